"""Downloads of rows: pooled connections, pinned to an address that was checked, bounded in bytes and seconds."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from curate.errors import ConfigError, MediaError, Transient
from curate.media._address import Target, resolve, target

if TYPE_CHECKING:
    import urllib3

MAX_BYTES = 50 * 2**20
"""The largest download, in bytes."""

_REDIRECTS = 5
_SECRETS = {"authorization", "proxy-authorization", "cookie", "x-api-key"}
_AGAIN = {408, 425, 429}


def fetch(
    url: str,
    *,
    allow_hosts: Collection[str] = (),
    max_bytes: int = MAX_BYTES,
    timeout_s: float = 30.0,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The body behind a URL, after at most 5 redirects, each checked like the first address.

    allow_hosts: "host" or "host:port" that may be on a private network.  max_bytes: counted while reading, after
    decompression; what Content-Length says only refuses earlier.  timeout_s: for everything together.
    headers: sent to the first origin only; none that carries credentials is taken (ConfigError).
    Raises MediaError: blocked_url, blocked_address, unknown_host, tls, too_many_redirects, too_many_bytes, http_STATUS;
    Transient: 408, 425, 429, 5xx (with Retry-After), time-outs and broken connections.
    """
    secret = _SECRETS & {name.lower() for name in headers or ()}
    if secret:
        raise ConfigError(f"the header {min(secret)} carries credentials, which are never sent with a download")
    at, first = target(url, allow_hosts=allow_hosts), None
    with _deadline(timeout_s) as call:
        for _ in range(_REDIRECTS + 1):
            first = first or at
            sent = dict(headers or {}) if at.origin == first.origin else {}
            body, onward = _get(at, sent, max_bytes, call)
            if onward is None:
                return body
            at = target(urljoin(at.url, onward), allow_hosts=allow_hosts)
    raise MediaError("too_many_redirects", f"more than {_REDIRECTS} from {first.shown if first else ''}")


def _get(at: Target, headers: dict[str, str], max_bytes: int, call: _Call) -> tuple[bytes, str | None]:
    """One request: its body, or the address it redirects to."""
    import urllib3.exceptions as broken

    remaining = call.remaining()
    try:
        response = _pool(allowed=at.allowed).request(
            "GET",
            at.url,
            headers={"accept-encoding": "gzip, deflate", "user-agent": "curate", **headers},
            redirect=False,
            retries=False,
            preload_content=False,
            timeout=_timeout(remaining),
        )
    except (broken.SSLError, broken.InsecureRequestWarning) as err:
        raise MediaError("tls", f"{at.shown}: {err}") from err
    except (broken.LocationParseError, UnicodeError) as err:
        raise MediaError("blocked_url", str(err)) from err
    except (broken.HTTPError, OSError) as err:
        raise Transient(f"{at.shown}: {_cause(err, call)}") from err
    try:
        with response:
            return _answer(response, at, max_bytes, call)
    except (broken.HTTPError, OSError, ValueError) as err:
        raise Transient(f"{at.shown}: {_cause(err, call)}") from err


def _answer(response: urllib3.BaseHTTPResponse, at: Target, max_bytes: int, call: _Call) -> tuple[bytes, str | None]:
    status, onward = response.status, response.headers.get("location")
    if status in (301, 302, 303, 307, 308) and onward:
        return b"", onward
    if status in _AGAIN or status >= 500:
        raise Transient(f"{at.shown}: HTTP {status}", _retry_after(response.headers.get("retry-after")))
    if not 200 <= status < 300:
        raise MediaError(f"http_{status}", at.shown)
    body = bytearray()
    declared = response.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise MediaError("too_many_bytes", f"{at.shown}: {declared} bytes announced, {max_bytes} allowed")
    while chunk := response.read1(65536):
        body += chunk
        if len(body) > max_bytes:
            raise MediaError("too_many_bytes", f"{at.shown}: more than {max_bytes} bytes")
        call.remaining()
    call.remaining()  # An end without a length may be the socket that was shut because the call was over.
    response.release_conn()  # Read to its end: the connection can serve the next row.
    return bytes(body), None


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date), None where it says nothing usable."""
    if not value:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _cause(err: Exception, call: _Call) -> str:
    if call.over() or isinstance(err, TimeoutError) or "timed out" in str(err):
        return f"no complete answer within {call.timeout_s:g} s"
    return f"the connection broke ({type(err).__name__})"


def _timeout(remaining: float) -> urllib3.Timeout:
    import urllib3

    return urllib3.Timeout(connect=min(10.0, remaining), read=remaining)


class _Call:
    """One `fetch` in flight: when it must be over, and the socket to shut when it is."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.ends = time.monotonic() + timeout_s
        self.sock: socket.socket | None = None

    def over(self) -> bool:
        return time.monotonic() >= self.ends

    def remaining(self) -> float:
        left = self.ends - time.monotonic()
        if left <= 0:
            raise Transient(f"no complete answer within {self.timeout_s:g} s")
        return left


class _Process:
    """The pools and the watch of one process; a fork starts its own, for sockets and threads do not survive one."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.guarded = _manager(allowed=False)
        self.open = _manager(allowed=True)
        self.calls: set[_Call] = set()
        self.lock = threading.Lock()
        self.wake = threading.Event()
        threading.Thread(target=self._watch, name="curate-deadlines", daemon=True).start()

    def _watch(self) -> None:
        """Shuts the socket of every call that is over: a server that drips bytes never trips a read time-out."""
        while True:
            self.wake.wait()
            with self.lock:
                late = [call for call in self.calls if call.over()]
                if not self.calls:
                    self.wake.clear()
            for call in late:
                if call.sock is not None:
                    with contextlib.suppress(OSError):
                        call.sock.shutdown(socket.SHUT_RDWR)
            time.sleep(0.1)


_here = threading.local()
_process: _Process | None = None
_process_lock = threading.Lock()


def _this_process() -> _Process:
    global _process
    found = _process
    if found is None or found.pid != os.getpid():
        with _process_lock:
            if _process is None or _process.pid != os.getpid():
                _process = _Process()
            found = _process
    return found


def _pool(*, allowed: bool) -> urllib3.PoolManager:
    process = _this_process()
    return process.open if allowed else process.guarded


@contextlib.contextmanager
def _deadline(timeout_s: float) -> Iterator[_Call]:
    process, call = _this_process(), _Call(timeout_s)
    with process.lock:
        process.calls.add(call)
        process.wake.set()
    _here.call = call
    try:
        yield call
    finally:
        _here.call = None
        with process.lock:
            process.calls.discard(call)


def _manager(*, allowed: bool) -> urllib3.PoolManager:
    """A pool whose connections look a name up once, check every answer unless `allowed`, and connect to just that address.

    Host header, TLS server name and certificate check stay those of the name.
    """
    import urllib3
    from urllib3.connection import HTTPConnection, HTTPSConnection
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.exceptions import NewConnectionError
    from urllib3.util.connection import create_connection

    class Pinned(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            failure: OSError | None = None
            for address in resolve(self._dns_host, self.port, allowed=allowed):
                try:
                    return create_connection((address, self.port), self.timeout, socket_options=self.socket_options)
                except OSError as err:
                    failure = err
            raise NewConnectionError(self, f"no connection to {self._dns_host}: {failure}") from failure

        def getresponse(self) -> Any:
            call = getattr(_here, "call", None)
            if call is not None:
                call.sock = self.sock
            return super().getresponse()

    class PinnedTLS(Pinned, HTTPSConnection):
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = Pinned

    class TLSPool(HTTPSConnectionPool):
        ConnectionCls = PinnedTLS

    manager = urllib3.PoolManager(num_pools=32, maxsize=64)
    manager.pool_classes_by_scheme = {"http": Pool, "https": TLSPool}
    return manager
