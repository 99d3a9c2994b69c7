"""Bytes of a row: from a local copy of its bucket, or by HTTP with a fresh signature; never with the API key."""

from __future__ import annotations

import bisect
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from connectors._labelbox_export import MOST_IDS, Exports
from connectors._labelbox_rows import SIGNED, TEXT, is_address
from curate import media
from curate.errors import ConfigError, MediaError, Transient
from curate.types import Item

REMEMBERED, REMEMBERED_CHARS = 20_000, 32_000_000
"""Signed addresses (and short texts) kept in memory, and their length; more are asked for again when their rows are read."""
LONG = 4096
"""A text longer than this is kept for one reading only."""
FRESH_S = 60.0


class Roots:
    """`--media-root PREFIX=DIR`: addresses that begin with PREFIX are files under DIR."""

    def __init__(self, given: Iterable[str]) -> None:
        self._roots: list[tuple[str, Path]] = []
        for entry in given:
            prefix, equals, folder = str(entry).rpartition("=")
            if not equals or not prefix or not folder:
                raise ConfigError(f"--media-root {entry!r}: say PREFIX=DIR, such as gs://bucket/=/mnt/bucket")
            if not Path(folder).is_dir():
                raise ConfigError(f"--media-root {entry!r}: {folder} is not a directory")
            self._roots.append((prefix, Path(folder).resolve()))
        self._roots.sort(key=lambda root: -len(root[0]))

    def file(self, address: str) -> Path | None:
        """The file of an address, None when no root covers it.  Raises MediaError for one that leads out of its folder."""
        for prefix, folder in self._roots:
            rest = address.removeprefix(prefix)
            if rest == address or not (prefix.endswith("/") or rest.startswith("/")):
                continue  # gs://photos is no prefix of gs://photos-2/a.png
            web = prefix.startswith(("http:", "https:"))
            plain = (rest.partition("?")[0] if web else rest).lstrip("/")
            # Names in a bucket may hold a percent sign or a question mark of their own.
            literal = not web and (folder / plain).resolve().is_relative_to(folder) and (folder / plain).is_file()
            path = (folder / (plain if literal else unquote(plain.partition("?")[0]))).resolve()
            if not path.is_relative_to(folder):
                raise MediaError("blocked_path", f"{address} leads out of {folder}")
            return path
        return None


class Media:
    """Reads rows.  Thread-safe; knows the addresses of the latest listing, and asks for new ones when they expired."""

    def __init__(self, exports: Exports, *, roots: Roots, allow_hosts: Sequence[str], timeout_s: float) -> None:
        self.exports, self.roots, self.allow_hosts, self.timeout_s = exports, roots, tuple(allow_hosts), timeout_s
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._chars = 0
        self._ids: list[str] = []
        self._sorted = True
        self._lock = threading.Lock()
        self._signing = threading.Lock()

    def begin(self) -> None:
        """A listing starts: what was known is forgotten."""
        with self._lock:
            self._known.clear()
            self._ids.clear()
            self._chars = 0

    def listed(self, item: Item, line: Mapping[str, Any]) -> None:
        """One row of the listing, with the address that is valid now."""
        if not item.uri.endswith(SIGNED) and not item.uri.startswith(TEXT):
            return
        with self._lock:
            self._ids.append(item.id)
            self._sorted = False
            content = str(line["data_row"].get("row_data") or "")
            if len(content) <= LONG and not self._full():
                self._keep(item.id, content, -math.inf)

    def _full(self) -> bool:
        return len(self._known) >= REMEMBERED or self._chars >= REMEMBERED_CHARS

    def _keep(self, item_id: str, content: str, signed_at: float) -> None:
        self._chars += len(content) - len(self._known.pop(item_id, ("",))[0])
        self._known[item_id] = content, signed_at

    def read(self, item: Item) -> bytes:
        """The bytes of one row.  Raises MediaError or Transient."""
        path = self.roots.file(item.uri.removesuffix(SIGNED))
        if path is not None:
            return _read_file(path)
        if item.uri.startswith(TEXT) or item.uri.endswith(SIGNED):
            return self._read_signed(item)
        return self._fetch(item.uri)

    def _read_signed(self, item: Item) -> bytes:
        address, signed_at = self._address(item.id)
        if not is_address(address):
            return address.encode()
        try:
            return self._fetch(address)
        except MediaError as err:
            if err.reason not in ("http_403", "http_401", "http_400") or time.monotonic() - signed_at < FRESH_S:
                raise
        address, _ = self._address(item.id, stale=address)
        return self._fetch(address)

    def _fetch(self, address: str) -> bytes:
        scheme = urlsplit(address).scheme
        if scheme not in ("http", "https"):
            raise MediaError(
                "needs_media_root",
                f"{scheme}:// addresses cannot be fetched; say --media-root {scheme}://BUCKET/=DIR for a local copy",
            )
        try:
            data = media.fetch(address, allow_hosts=self.allow_hosts, timeout_s=self.timeout_s)
        except Transient as err:
            if err.retry_after is not None:
                raise  # Whoever called waits as long as was asked.
            data = media.fetch(address, allow_hosts=self.allow_hosts, timeout_s=self.timeout_s)
        # Some stores answer an expired signature with an error page and status 200.
        if data[:5] == b"<?xml" and b"<Error>" in data[:400] and b"<Code>" in data[:400]:
            raise MediaError("http_403", "the store answered with an error page")
        return data

    def _address(self, item_id: str, stale: str | None = None) -> tuple[str, float]:
        """A row's address (or text) and when it was signed (-inf: by the listing).  stale: an address that no longer works."""
        with self._signing:
            with self._lock:
                known = self._known.get(item_id)
            if known is None or known[0] == stale:
                return self._sign(item_id)
            return known

    def _sign(self, item_id: str) -> tuple[str, float]:
        """New addresses for this row and those that will be read after it; returns this row's."""
        with self._lock:
            if not self._sorted:
                self._ids.sort()
                self._sorted = True
            start = bisect.bisect_left(self._ids, item_id)
            ids = [item_id, *(i for i in self._ids[start : start + MOST_IDS] if i != item_id)][:MOST_IDS]
            self._chars -= len(self._known.pop(item_id, ("",))[0])
        now, own = time.monotonic(), None
        for line in self.exports.of_ids(ids, params={}, what="new addresses of images"):
            row, content = str(line["data_row"]["id"]), str(line["data_row"].get("row_data") or "")
            own = content if row == item_id else own
            with self._lock:
                if len(content) <= LONG:
                    self._keep(row, content, now)
                while self._full():
                    self._chars -= len(self._known.popitem(last=False)[1][0])
        if own is None:
            raise MediaError("gone", f"data row {item_id} is no longer in Labelbox")
        return own, now


def _read_file(path: Path) -> bytes:
    try:
        if path.stat().st_size > media.MAX_BYTES:
            raise MediaError("too_many_bytes", f"{path}: more than {media.MAX_BYTES} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise MediaError("missing", str(path)) from None
    except OSError as err:
        raise MediaError("unreadable", f"{path}: {err.strerror}") from err
