"""The SQLite catalog: one connection, transactions, and every database error as one of ours."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import struct
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from curate.errors import Corrupt, Locked, StoreError, WrongVersion
from curate.store import _schema
from curate.store._disk import FILE_MODE

Row = tuple[Any, ...]
Params = Sequence[Any] | Mapping[str, Any]
MANY_IDS = 1000  # ids in one SQL list; SQLite allows 32,766
BUSY_S = 30.0

_REBUILD = "The store is a cache: move it away and run the command again to rebuild it."
_UNREADABLE_WAL = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)


class Catalog:
    """`catalog.sqlite`, open for reading or for writing.

    Every call raises StoreError (disk full, read only), Corrupt (not a database, malformed, values that cannot be) or
    WrongVersion, naming the file.  Thread-safe: calls are serialised.
    """

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path, self.writable = path, write
        self.lock = threading.RLock()
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        with self._errors():
            self._db = self._open_for_writing() if write else self._open_for_reading()
        try:
            self._check_version()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Folds the write-ahead log into the catalog and closes it."""
        with self.lock:
            if self.writable:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()
            if self._copy:
                self._copy.cleanup()

    def rows(self, sql: str, params: Params = ()) -> list[Row]:
        """All rows of a query."""
        with self.lock, self._errors():
            return self._db.execute(sql, params).fetchall()

    def one(self, sql: str, params: Params = ()) -> Row | None:
        """The first row of a query, or None."""
        with self.lock, self._errors():
            row: Row | None = self._db.execute(sql, params).fetchone()
            return row

    def value(self, sql: str, params: Params = ()) -> Any:
        """The first value of the first row; None when there is none."""
        row = self.one(sql, params)
        return row[0] if row else None

    def chunks(self, sql: str, params: Params = (), *, size: int = 8192) -> Iterator[list[Row]]:
        """The rows of a query in pieces; do not write while iterating."""
        with self.lock, self._errors():
            cursor = self._db.execute(sql, params)
        while True:
            with self.lock, self._errors():
                piece = cursor.fetchmany(size)
            if not piece:
                return
            yield piece

    def by_ids(self, sql: str, before: Sequence[Any], ids: Iterable[Any]) -> list[Row]:
        """Rows of a query with `IN ({})` at its end of parameters, asked in sorted pieces of `ids`."""
        ordered = sorted(set(ids))
        found: list[Row] = []
        for start in range(0, len(ordered), MANY_IDS):
            some = ordered[start : start + MANY_IDS]
            found += self.rows(sql.replace("{}", ",".join("?" * len(some))), (*before, *some))
        return found

    def run(self, sql: str, params: Params = ()) -> int:
        """Runs one statement; returns how many rows it changed."""
        with self.lock, self._errors():
            return self._db.execute(sql, params).rowcount

    def many(self, sql: str, params: Iterable[Sequence[Any]]) -> int:
        """Runs one statement for every row of parameters; returns how many rows changed."""
        with self.lock, self._errors():
            return self._db.executemany(sql, params).rowcount

    def insert(self, sql: str, params: Params) -> int:
        """Runs one INSERT; returns the new row's key."""
        with self.lock, self._errors():
            return int(self._db.execute(sql, params).lastrowid or 0)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable when it returns."""
        with self.lock:
            with self._errors():
                self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                with self._errors():
                    self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several reads of one state; inside a transaction nothing more is needed."""
        with self.lock:
            outer = self._db.in_transaction
            with self._errors():
                if not outer:
                    self._db.execute("BEGIN")
            try:
                yield
            finally:
                if not outer:
                    with contextlib.suppress(sqlite3.Error):
                        self._db.execute("COMMIT")

    @contextlib.contextmanager
    def decoding(self) -> Iterator[None]:
        """Around code that turns stored values into ours: a value that cannot be is damage, not a bug."""
        try:
            yield
        except (TypeError, ValueError, KeyError, OverflowError, struct.error) as err:
            raise self.corrupt(str(err)) from err

    def corrupt(self, why: str) -> Corrupt:
        """The error for a damaged catalog."""
        return Corrupt(f"{self.path} is damaged ({why}). {_REBUILD}")

    def integrity(self) -> list[str]:
        """What SQLite finds wrong with the file; empty when it is sound."""
        answer = [str(row[0]) for row in self.rows("PRAGMA integrity_check(20)")]
        return [] if answer == ["ok"] else answer

    def _open_for_writing(self) -> sqlite3.Connection:
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
        db = self._connect(f"file:{quote(str(self.path.absolute()))}?mode=rw")
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "journal_size_limit=67108864", "cache_size=-32000"):
                db.execute(f"PRAGMA {pragma}")
        except BaseException:
            db.close()
            raise
        return db

    def _open_for_reading(self) -> sqlite3.Connection:
        """A read-only connection; works beside a writer, and on a read-only file system.

        SQLite reads a WAL catalog only where it may keep a -shm file beside it.  Where it may not, nobody can write there
        either: the file is read as immutable, or as a copy when its log holds commits that are not in it yet.
        """
        where = quote(str(self.path.absolute()))
        db = self._connect(f"file:{where}?mode=ro")
        try:
            db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            return db
        except sqlite3.OperationalError as err:
            db.close()
            if err.sqlite_errorcode & 0xFF not in _UNREADABLE_WAL:
                raise
        log = self.path.with_name(self.path.name + "-wal")
        if not log.exists() or log.stat().st_size == 0:
            return self._connect(f"file:{where}?mode=ro&immutable=1")
        self._copy = tempfile.TemporaryDirectory(prefix="curate-")
        for source in (self.path, log):
            shutil.copyfile(source, Path(self._copy.name) / source.name)
        return self._connect(f"file:{quote(self._copy.name)}/{quote(self.path.name)}?mode=rw")

    def _connect(self, uri: str) -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)

    def _check_version(self) -> None:
        newest = len(_schema.MIGRATIONS)
        version = int(self.value("PRAGMA user_version"))
        mark = int(self.value("PRAGMA application_id"))
        if mark != _schema.APPLICATION_ID and (version or self.value("SELECT count(*) FROM sqlite_schema")):
            raise self.corrupt("it is not a catalog of curate")
        if version > newest:
            raise WrongVersion(
                f"{self.path} has format {version}, this curate knows up to {newest}: it was written by a newer curate. "
                "Upgrade with: pip install --upgrade curate-vision"
            )
        if version == 0 and not self.writable:
            raise StoreError(
                f"the store {self.path.parent} is empty so far: run a command that writes (curate sync, curate pull)"
            )
        if version < newest and not self.writable:
            raise WrongVersion(
                f"{self.path} has the older format {version} (now {newest}) and is open for reading only. "
                "Run a command that writes (curate sync, curate pull) once; it migrates the store."
            )
        for number in range(version, newest):
            self._migrate(number)

    def _migrate(self, number: int) -> None:
        with self.transaction():
            for statement in _statements(_schema.MIGRATIONS[number]):
                self.run(statement)
            self.run(f"PRAGMA application_id={_schema.APPLICATION_ID}")
            self.run(f"PRAGMA user_version={number + 1}")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UnicodeEncodeError as err:
            raise StoreError(f"text that is not valid Unicode cannot be stored: {err.object!r}") from err
        except OSError as err:
            raise StoreError(f"cannot open {self.path}: {err.strerror or err}") from err
        except sqlite3.ProgrammingError as err:
            if "closed" not in str(err):
                raise
            raise StoreError(f"{self.path} is closed") from err
        except sqlite3.Error as err:
            raise self._explain(err) from err

    def _explain(self, err: sqlite3.Error) -> StoreError:
        code = getattr(err, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code == sqlite3.SQLITE_READONLY:
            return StoreError(f"{self.path} is open for reading only, or lies on a read-only disk")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Locked(f"{self.path} is being used by another program: {err}")
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return StoreError(f"cannot read or write {self.path}: {err}. Nothing of this step was kept.")
        return self.corrupt(str(err))


def _statements(script: str) -> Iterator[str]:
    """The single statements of a script; none of ours holds a semicolon inside."""
    for statement in script.split(";"):
        if statement.strip():
            yield statement
