"""Exports as a stream of rows: one piece of the file at a time in memory, nothing on disk, counted against the export's total.

The SDK's own stream writes the whole export to a temporary file first, leaves it behind when it fails, decodes every piece on
its own (a character cut at a boundary is lost) and checks completeness with an assert; so the pieces are fetched here.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from connectors._labelbox_errors import redacted
from connectors._labelbox_platform import Platform
from curate.errors import ConfigError, ConnectorError, NotFound, Transient

PIECE = 1 << 18
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
MOST_IDS = 2000
"""Ids in one export filter."""
WAIT_S = 7200
_FILE = (
    "query GetExportFileFromOffsetPyApi($where: WhereUniqueIdInput, $streamType: TaskStreamType!, $offset: UInt64!)"
    "{task(where: $where){exportFileFromOffset(streamType: $streamType, offset: $offset)"
    "{offsets {start end} lines {start end} file}}}"
)


@dataclass(frozen=True, slots=True)
class Address:
    """What is curated: kind "dataset", "slice" or "project", and its id."""

    kind: str
    id: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """From "ID", "slice/ID" or "project/ID".  Raises ConfigError for anything else."""
        kind, slash, rest = text.strip().rpartition("/")
        found = cls(kind if slash else "dataset", rest)
        if found.kind not in ("dataset", "slice", "project") or not _ID.fullmatch(rest):
            raise ConfigError(f"labelbox:{redacted(text)}: say labelbox:ID, labelbox:slice/ID or labelbox:project/ID")
        return found

    def __str__(self) -> str:
        return self.id if self.kind == "dataset" else f"{self.kind}/{self.id}"

    def look(self, platform: Platform) -> Any:
        """The SDK's object.  Raises NotFound."""

        def get(client: Any) -> Any:
            if self.kind == "dataset":
                return client.get_dataset(self.id)
            return client.get_project(self.id) if self.kind == "project" else client.get_catalog_slice(self.id)

        try:
            return platform.call(f"looking for {self.kind} {self.id}", get)
        except NotFound:
            raise NotFound(
                f"Labelbox has no {self.kind} {self.id}, or this API key may not see it. "
                "The id is the last part of its address in the app."
            ) from None


class _Refused(Transient):
    """The address of a piece of an export no longer works; a new one may."""


class Exports:
    """Runs exports of one workspace."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._session = requests.Session()
        # Neither the API key nor anything from ~/.netrc goes along with a signed address.
        self._session.auth = lambda request: request

    def rows(
        self, source: Any, *, params: Mapping[str, Any], filters: Mapping[str, Any] | None = None, what: str = "the export"
    ) -> Iterator[dict[str, Any]]:
        """The rows of a dataset, slice, project or catalog (SDK objects), as parsed lines of the export.

        Raises ConnectorError when the export fails, or gives another number of rows than it announced.
        """
        task = self._finished(source, params, filters, what)
        size, lines = self.platform.call(f"reading the size of {what}", lambda _c: _totals(task))
        seen = 0
        for line in self._lines(task.uid, size, what):
            seen += 1
            try:
                yield json.loads(line)
            except ValueError as err:
                raise ConnectorError(f"{what}: row {seen} is not JSON: {redacted(err)}") from None
        if seen != lines:
            raise ConnectorError(
                f"{what} gave {seen:,} rows and had announced {lines:,}; nothing was concluded from it. Run it again."
            )

    def of_ids(self, ids: Sequence[str], *, params: Mapping[str, Any], what: str) -> Iterator[dict[str, Any]]:
        """The export lines of some data rows; ids that are gone are simply missing."""
        catalog = self.platform.client().get_catalog()
        for start in range(0, len(ids), MOST_IDS):
            chosen = list(ids[start : start + MOST_IDS])
            yield from self.rows(catalog, params=params, filters={"data_row_ids": chosen}, what=what)

    def _finished(self, source: Any, params: Mapping[str, Any], filters: Mapping[str, Any] | None, what: str) -> Any:
        def run(_client: Any) -> Any:
            return source.export(**{"params": dict(params), **({"filters": dict(filters)} if filters else {})})

        def wait(_client: Any) -> None:
            task.wait_till_done(WAIT_S)

        for attempt in range(3):
            task = self.platform.call(f"starting {what}", run)
            self.platform.call(f"waiting for {what}", wait)
            if task.status == "COMPLETE":
                return task
            if task.status == "IN_PROGRESS":
                raise ConnectorError(
                    f"{what} is not finished after {WAIT_S // 3600} hours; look at it in the app and run again"
                )
            if attempt == 2:
                raise ConnectorError(f"{what} ended as {task.status} three times")
        raise AssertionError("unreachable")

    def _lines(self, task_id: str, size: int, what: str) -> Iterator[bytes]:
        rest = b""
        for data in self._bytes(task_id, size, what):
            first, *more = data.split(b"\n")
            if not more:
                rest += first
                continue
            if rest or first:
                yield rest + first
            yield from (line for line in more[:-1] if line)
            rest = more[-1]
        if rest.strip():
            yield rest

    def _bytes(self, task_id: str, size: int, what: str) -> Iterator[bytes]:
        """The file, piece by piece; a piece that breaks off is asked for again from where it stopped."""
        position = barren = 0
        place: tuple[str, int, int] | None = None
        while position < size:
            before, failure = position, None
            place = place or self._locate(task_id, position, what)
            url, start, end = place
            try:
                for data in self._piece(url, skip=position - start, length=end - position + 1, what=what):
                    position += len(data)
                    yield data
                place = None
            except Transient as err:
                failure = err
            barren = 0 if position > before else barren + 1
            if barren >= self.platform.attempts:
                raise ConnectorError(f"{failure or what} (gave up after {barren} attempts)")
            if failure is not None:
                if isinstance(failure, _Refused) or (barren and barren % 2 == 0):
                    place = None  # its signature may have expired
                time.sleep(min(8.0, 0.25 * 2**barren))

    def _locate(self, task_id: str, position: int, what: str) -> tuple[str, int, int]:
        """The address of the piece of the file that holds the byte `position`, and its first and last byte."""

        def ask(client: Any) -> dict[str, Any]:
            # Offsets are 64-bit numbers in the API and travel as text.
            wanted = {"where": {"id": task_id}, "streamType": "RESULT", "offset": str(position)}
            answer = client.execute(_FILE, wanted, error_log_key="errors")
            if not answer or not answer["task"] or not answer["task"]["exportFileFromOffset"]:
                raise Transient(f"{what}: no file at offset {position:,}")
            return dict(answer["task"]["exportFileFromOffset"])

        found = self.platform.call(f"locating {what}", ask)
        start, end = int(found["offsets"]["start"]), int(found["offsets"]["end"])
        if not start <= position <= end:
            raise ConnectorError(f"{what}: offset {position:,} was asked for and {start:,}-{end:,} came")
        return str(found["file"]), start, end

    def _piece(self, url: str, *, skip: int, length: int, what: str) -> Iterator[bytes]:
        """`length` bytes of a file after the first `skip`.  Raises Transient when fewer come."""
        got, broken = 0, ""
        kind: type[Transient] = Transient
        try:
            with self._session.get(url, stream=True, timeout=(10, min(30.0, self.platform.timeout_s))) as response:
                if response.status_code != 200:
                    broken = f"HTTP {response.status_code}"
                    kind = _Refused if response.status_code < 500 else Transient
                for data in response.iter_content(PIECE) if not broken else ():
                    dropped = min(skip, len(data))
                    skip -= dropped
                    useful = data[dropped : dropped + length - got]
                    got += len(useful)
                    yield useful
        except requests.RequestException as err:
            broken = type(err).__name__
        if broken or got != length:
            raise kind(f"{what}: {broken or f'{got:,} of {length:,} bytes'} from the export's file")


def _totals(task: Any) -> tuple[int, int]:
    from labelbox import StreamType

    if not task.has_result():
        return 0, 0
    return int(task.get_total_file_size(StreamType.RESULT)), int(task.get_total_lines(StreamType.RESULT))
