"""A Labelbox of our own on loopback, for the real SDK to talk to.

    with LabelboxServer() as box:
        dataset = box.state.add_dataset()
        box.add_images(dataset, 20)
        os.environ["LABELBOX_API_KEY"] = box.key; os.environ["LABELBOX_ENDPOINT"] = box.endpoint

It proves agreement with the SDK (7.17), not with the service.  Every GraphQL request is parsed and validated against a schema
made from the SDK's operations; the bearer token is checked; the documented limits hold; images and export files come from a
second port, which records whether the API key ever reached it.  `box.faults` injects failures, `box.switches` sets what
is unknown of the service.  `python -m tests.fakes.labelbox_server --rows 1000` runs it on its own and prints its addresses.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import sys
import threading
import time
from collections import Counter, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
from graphql import GraphQLError, execute, parse, validate

from tests.fakes._labelbox_faults import Fault, Faults, Switches
from tests.fakes._labelbox_resolvers import Mutation, Query
from tests.fakes._labelbox_schema import EXPERIMENTAL, OPERATIONS, WRITES, schema
from tests.fakes._labelbox_state import CLIP, Row, State

UPLOAD = re.compile(r"^/adv/adv/v1/embeddings/([^/]+)/_import_ndjson$")
COUNT = re.compile(r"^/adv/adv/v1/embeddings/([^/]+)/vectors/_count$")
NAME = re.compile(r"(?:query|mutation)\s+(\w+)")

__all__ = ["CLIP", "Fault", "LabelboxServer", "Row", "Switches", "image"]


@functools.lru_cache(maxsize=4096)
def image(number: int, side: int = 48) -> bytes:
    """A PNG that differs from that of every other number."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return cv2.imencode(".png", cv2.resize(coarse, (side, side), interpolation=cv2.INTER_NEAREST))[1].tobytes()


class LabelboxServer:
    """The stand-in.  key may do all, reader may only read.  rate: requests a minute, more are refused with 429."""

    key = "canary-key-5f0c4d2e9b7a41c8"
    reader = "canary-reader-1c9e77aa02d34b5f"

    def __init__(self, *, plan: str = "free", switches: Switches | None = None, rate: int | None = None) -> None:
        self.switches = switches or Switches()
        self.state = State(self.switches, plan)
        self.faults = Faults()
        self.rate = rate
        self.requests: Counter[str] = Counter()
        self.log: deque[tuple[float, str, int]] = deque(maxlen=200_000)
        self.key_at_images: list[str] = []
        self.images: dict[str, bytes] = {}
        self.image_faults: dict[str, str] = {}
        self.unknown: list[str] = []
        self._schema = schema()
        self._documents: dict[str, Any] = {}
        self._recent: deque[float] = deque()
        self._meter = threading.Lock()
        self._stop = threading.Event()

    # life

    def __enter__(self) -> LabelboxServer:
        api = type("Api", (_Api,), {"box": self})
        images = type("Images", (_Images,), {"box": self})
        self._servers = [_Quiet(("127.0.0.1", 0), handler) for handler in (api, images)]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._servers[0].server_port}/graphql"
        self.state.image_host = f"http://127.0.0.1:{self._servers[1].server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self.state.folder.cleanup()

    # content

    def add_images(self, dataset: str, count: int, *, start: int = 0, **values: Any) -> list[Row]:
        """`count` rows with a picture each, made when it is asked for."""
        rows = []
        for number in range(start, start + count):
            extra = {"global_key": f"key-{dataset[-4:]}-{number}", "external_id": f"{number}.png", **values}
            rows.append(self.state.add_row(dataset, f"img/{number}.png", **extra))
        return rows

    def add_clip(self, rows: list[Row], dims: int = 512) -> None:
        """The vectors that Labelbox computes itself."""
        known = next(e for e in self.state.embeddings.values() if e["name"] == CLIP)
        for number, row in enumerate(rows):
            row.vectors[known["id"]] = (
                np.random.default_rng(number).normal(size=dims).astype(np.float32).astype(np.float64).tobytes()
            )

    def expire_urls(self) -> None:
        """Every address handed out so far is expired."""
        self.state.epoch += 1

    def reset_counts(self) -> None:
        """Forgets the requests so far."""
        self.requests.clear()
        self.log.clear()
        self.state.metadata_writes = self.state.vector_writes = 0

    def calls(self, *names: str) -> int:
        """Requests of some operations; of all with none named."""
        return sum(self.requests.values()) if not names else sum(self.requests[n] for n in names)

    # GraphQL

    def graphql(
        self, path: str, role: str, query: str, variables: dict[str, Any] | None, operation: str
    ) -> tuple[int, dict[str, Any]]:
        """Status and body of one request."""
        if operation not in OPERATIONS:
            self.unknown.append(operation)
            return 400, _error("GRAPHQL_VALIDATION_FAILED", f"the SDK sends no operation {operation!r}")
        if (operation in EXPERIMENTAL) != path.endswith("/_gql") and operation != "getProjectBatchPyApi":
            return 400, _error("GRAPHQL_VALIDATION_FAILED", f"{operation} is not served at {path}")
        document = self._documents.get(query)
        if document is None:
            try:
                document = parse(query)
            except GraphQLError as err:
                return 400, _error("GRAPHQL_PARSE_FAILED", err.message)
            wrong = validate(self._schema, document)
            if wrong:
                self.unknown.append(wrong[0].message)
                return 400, _error("GRAPHQL_VALIDATION_FAILED", wrong[0].message)
            self._documents[query] = document
        if role == "reader" and operation in WRITES:
            return 200, _error("AUTHORIZATION_ERROR", "this key may not write")
        root = Mutation(self.state) if query.lstrip().startswith("mutation") else Query(self.state)
        with self.state.lock:
            done = execute(self._schema, document, root, variable_values=variables or {})
        if done.errors:
            first = done.errors[0]
            code = (first.extensions or {}).get("code")
            if code is None and first.original_error is not None:
                raise first.original_error
            if code is None:
                self.unknown.append(first.message)
            more = {k: v for k, v in (first.extensions or {}).items() if k != "code"}
            body = _error(code or "GRAPHQL_VALIDATION_FAILED", first.message, **more)
            return 200 if code else 400, body
        return 200, {"data": done.data}

    def too_fast(self) -> float:
        """Seconds to wait, or 0: the rate limit of the plan."""
        if self.rate is None:
            return 0.0
        with self._meter:
            now = time.monotonic()
            while self._recent and now - self._recent[0] > 60:
                self._recent.popleft()
            if len(self._recent) >= self.rate:
                return 60 - (now - self._recent[0])
            self._recent.append(now)
        return 0.0

    def note(self, operation: str, status: int, arrived: float | None = None) -> None:
        """Counts a request.  arrived: when it came, now when not said."""
        with self._meter:
            self.requests[operation] += 1
            self.log.append((time.monotonic() if arrived is None else arrived, operation, status))


def _error(code: str, message: str, **extensions: Any) -> dict[str, Any]:
    return {"errors": [{"message": message, "extensions": {**extensions, "code": code}}], "data": None}


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(*_)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120
    box: LabelboxServer

    def log_message(self, *_: object) -> None:
        pass

    def reply(
        self, status: int, body: bytes, kind: str = "application/json", *, cut: int | None = None, **headers: str
    ) -> None:
        """Sends an answer; cut: only that many bytes of it before the connection is closed."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            self.close_connection = True

    def fail(self, operation: str, fault: Fault | None) -> bool:
        """Plays the faults that come before anything is applied; True when the request is dealt with."""
        if fault is None:
            return False
        box = self.box
        if fault.kind == "429":
            box.note(operation, 429)
            self.refuse_rate(fault.seconds)
        elif fault.kind in ("503", "500", "502", "504"):
            box.note(operation, int(fault.kind))
            self.reply(int(fault.kind), b"upstream unavailable", "text/plain")
        elif fault.kind in ("401", "403"):
            box.note(operation, int(fault.kind))
            self.reply(int(fault.kind), b"<html>no</html>", "text/html")
        elif fault.kind == "drop":
            box.note(operation, 0)
            self.close_connection = True
            self.connection.shutdown(2)
        elif fault.kind == "hang":
            box.note(operation, 0)
            box._stop.wait(fault.seconds)
            self.close_connection = True
        elif fault.kind.startswith("error:"):
            box.note(operation, 200)
            self.reply(200, json.dumps(_error(fault.kind.removeprefix("error:"), "injected")).encode())
        else:
            if fault.kind == "slow":
                box._stop.wait(fault.seconds)
            return False
        return True

    def refuse_rate(self, seconds: float) -> None:
        """429 in one of the shapes it may have."""
        shapes = {
            "json": (b'{"message": "You have exceeded your rate limit", "errors": []}', "application/json"),
            "html": (b"<html>429 Too Many Requests</html>", "text/html"),
            "graphql": (b'{"errors": [{"message": "slow down", "extensions": {}}]}', "application/json"),
        }
        body, kind = shapes[self.box.switches.too_many]
        header = {"Retry_After": f"{seconds:g}"} if self.box.switches.retry_after else {}
        self.reply(429, body, kind, **header)

    def body(self) -> bytes:
        """What was sent."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))


class _Api(_Handler):
    def role(self) -> str | None:
        return {f"Bearer {self.box.key}": "all", f"Bearer {self.box.reader}": "reader"}.get(
            self.headers.get("Authorization", "")
        )

    def do_POST(self) -> None:
        arrived = time.monotonic()
        sent = self.body()
        box = self.box
        try:
            request = json.loads(sent)
            query = request["query"]
        except (ValueError, KeyError):
            return self.reply(400, json.dumps(_error("GRAPHQL_PARSE_FAILED", "no query")).encode())
        found = NAME.search(query)
        operation = found[1] if found else ""
        if self.path not in ("/graphql", "/_gql"):
            return self.reply(404, b"not here", "text/plain")
        fault = box.faults.draw(operation)
        if self.fail(operation, fault):
            return None
        wait = box.too_fast()
        if wait:
            box.note(operation, 429)
            return self.refuse_rate(wait)
        role = self.role()
        if role is None:
            box.note(operation, 401)
            return self.reply(401, json.dumps(_error("AUTHENTICATION_ERROR", "Invalid API key")).encode())
        status, answer = box.graphql(self.path, role, query, request.get("variables"), operation)
        box.note(operation, status, arrived)
        self.finish_reply(status, json.dumps(answer).encode(), fault)
        return None

    def finish_reply(self, status: int, body: bytes, fault: Fault | None) -> None:
        """Sends the answer, or fails although the request was applied."""
        kind = fault.kind if fault else ""
        if kind == "503_after":
            self.reply(503, b"upstream unavailable", "text/plain")
        elif kind == "drop_after":
            self.reply(status, body, cut=len(body) // 2)
        elif kind == "html502":
            self.reply(502, b"<html>502 Bad Gateway</html>", "text/html")
        else:
            self.reply(status, body)

    def do_PUT(self) -> None:
        sent = self.body()
        found = UPLOAD.match(self.path)
        self._adv("import_vectors", found[1] if found else None, sent)

    def do_GET(self) -> None:
        found = COUNT.match(self.path)
        self._adv("count_vectors", found[1] if found else None, b"")

    def _adv(self, operation: str, embedding: str | None, sent: bytes) -> None:
        box = self.box
        if embedding is None:
            return self.reply(404, b'{"message": "no such path"}')
        fault = box.faults.draw(operation)
        if self.fail(operation, fault):
            return None
        role = self.role()
        if role != "all" and not (role and operation == "count_vectors"):
            status = 403 if role else 401
            box.note(operation, status)
            return self.reply(status, b'{"message": "not allowed"}')
        with box.state.lock:
            if operation == "count_vectors":
                status, answer = 200, {"count": box.state.count_vectors(embedding)}
            else:
                status, answer = box.state.put_vectors(embedding, sent, int(self.headers.get("X-Content-Lines") or 0))
        box.note(operation, status)
        self.finish_reply(status, json.dumps(answer).encode() if isinstance(answer, dict) else answer.encode(), fault)
        return None


class _Images(_Handler):
    """Images and export files: another host, which must never see the API key."""

    def do_GET(self) -> None:
        box = self.box
        told = f"{self.path} {dict(self.headers)}"
        if box.key in told or box.reader in told or "Authorization" in self.headers:
            box.key_at_images.append(self.path)
        path, _, query = self.path.partition("?")
        if path == "/_stats":
            return self.reply(200, json.dumps({"requests": box.requests, "key_at_images": len(box.key_at_images)}).encode())
        if path.startswith("/_export/"):
            return self._export(path)
        fault = box.faults.draw("image")
        if self.fail("image", fault):
            return None
        return self._image(path.lstrip("/"), query, fault)

    def _export(self, path: str) -> None:
        box = self.box
        fault = box.faults.draw("export_file")
        if self.fail("export_file", fault):
            return None
        _, _, export_id, span = path.split("/")
        start, end = map(int, span.split("-"))
        with box.state.exports[export_id].path.open("rb") as file:
            file.seek(start)
            body = file.read(end - start + 1)
        if fault and fault.kind == "truncate":
            body = body[: body[: len(body) * 3 // 4].rfind(b"\n") + 1]
        box.note("export_file", 200)
        cut = len(body) // 2 if fault and fault.kind == "drop_after" else None
        return self.reply(503 if fault and fault.kind == "503_after" else 200, body, "application/x-ndjson", cut=cut)

    def _image(self, asset: str, query: str, fault: Fault | None) -> None:
        box = self.box
        signature = re.search(r"X-Signature=c[0-9a-f]{24}(\d+)$", query)
        if signature is None or int(signature[1]) != box.state.epoch:
            box.note("image_expired", 403)
            if box.switches.expired == "xml200":
                return self.reply(200, b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "application/xml")
            return self.reply(403, b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "application/xml")
        wrong = box.image_faults.get(asset)
        box.note("image", 200)
        if wrong == "404":
            return self.reply(404, b"no", "text/plain")
        if wrong == "private":
            return self.reply(302, b"", Location="http://10.1.2.3/secret.png")
        if wrong == "loopback":
            return self.reply(302, b"", Location="http://127.0.0.1:9/secret.png")
        data = box.images.get(asset)
        if data is None:
            number = re.search(r"(\d+)\.png$", asset)
            data = image(int(number[1])) if number else b""
        if wrong == "corrupt":
            data = data[: len(data) // 2]
        cut = len(data) // 2 if fault and fault.kind == "drop_after" else None
        return self.reply(200, data, "image/png", cut=cut)


def main() -> None:
    """Runs the stand-in until its standard input closes; prints the addresses, dataset and key as one JSON line."""
    flags = argparse.ArgumentParser()
    flags.add_argument("--rows", type=int, default=100)
    flags.add_argument("--plan", default="enterprise")
    flags.add_argument("--clip", action="store_true")
    given = flags.parse_args()
    with LabelboxServer(plan=given.plan) as box:
        dataset = box.state.add_dataset()
        rows = box.add_images(dataset, given.rows)
        if given.clip:
            box.add_clip(rows)
        sys.stdout.write(
            json.dumps({"endpoint": box.endpoint, "images": box.state.image_host, "dataset": dataset, "key": box.key}) + "\n"
        )
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
