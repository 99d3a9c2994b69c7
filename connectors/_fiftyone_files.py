"""Versions of files: sha256 of the bytes, computed again only when size or time of modification changed."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

MISSING = "missing"
UNREADABLE = "unreadable"
_RACY_NS = 2_000_000_000
"""A file changed less than this before it was read may be changed again within the same tick of its clock: not remembered."""
_BLOCK = 1 << 20
Known: TypeAlias = dict[str, tuple[int, int, str]]


class Versions:
    """The versions of files, remembered in one SQLite file; without a place to write they are computed each time.

    Use as a context manager; `of` may be called by one thread only.
    """

    def __init__(self, path: Path, *, workers: int = 6) -> None:
        self._path, self._workers = path, workers

    def __enter__(self) -> Versions:
        self._db = self._open()
        self._pool = ThreadPoolExecutor(self._workers, "curate-fiftyone")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)
        if self._db is not None:
            self._db.close()

    def _open(self) -> sqlite3.Connection | None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            return _connect(self._path)
        except sqlite3.DatabaseError:
            self._path.unlink(missing_ok=True)  # A cache that cannot be read is made anew.
        except OSError:
            return None
        try:
            return _connect(self._path)
        except (sqlite3.DatabaseError, OSError):
            return None

    def of(self, paths: Sequence[str]) -> dict[str, str]:
        """For each path the sha256 of its bytes in hexadecimal, "missing" or "unreadable"."""
        wanted = list(dict.fromkeys(paths))
        known = self._known(wanted)
        found = dict(zip(wanted, self._pool.map(lambda path: _identify(path, known.get(path)), wanted), strict=True))
        fresh = [(path, *seen) for path, (version, seen) in found.items() if seen is not None and seen != known.get(path)]
        if fresh and self._db is not None:
            try:
                with self._db:
                    self._db.executemany("INSERT OR REPLACE INTO file VALUES(?,?,?,?)", fresh)
            except sqlite3.OperationalError:
                self._db = None  # a full or read-only disk: the versions are right all the same
        return {path: version for path, (version, _) in found.items()}

    def _known(self, paths: Sequence[str]) -> Known:
        known: Known = {}
        if self._db is not None:
            for some in _pieces(paths, 500):
                marks = ",".join("?" * len(some))
                with closing(self._db.execute(f"SELECT * FROM file WHERE path IN ({marks})", some)) as rows:  # noqa: S608
                    known.update({path: (size, mtime, version) for path, size, mtime, version in rows})
        return known


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=10)
    try:
        db.execute("CREATE TABLE IF NOT EXISTS file(path TEXT PRIMARY KEY, size INT, mtime INT, sha TEXT) WITHOUT ROWID")
        db.execute("SELECT * FROM file LIMIT 1")
    except BaseException:
        db.close()
        raise
    return db


def _pieces(rows: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _identify(path: str, known: tuple[int, int, str] | None) -> tuple[str, tuple[int, int, str] | None]:
    """The version of a file, and what is to be remembered of it (None: nothing)."""
    try:
        status = Path(path).stat()
        if known is not None and known[:2] == (status.st_size, status.st_mtime_ns):
            return known[2], known
        started = time.time_ns()
        digest = hashlib.sha256()
        with Path(path).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except FileNotFoundError:
        return MISSING, None
    except (OSError, ValueError):
        return UNREADABLE, None
    version = digest.hexdigest()
    settled = started - status.st_mtime_ns > _RACY_NS
    return version, ((status.st_size, status.st_mtime_ns, version) if settled else None)
