"""Files that are either whole under their final name or not there: tmp, fsync, rename, fsync of the folder.

`write`, `fsync` and `rename` are module attributes so that tests can let a disk fail at any of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from curate.errors import StoreError

FILE_MODE = 0o600
FOLDER_MODE = 0o700

write = os.write
fsync = os.fsync
rename = os.rename


def make_folder(path: Path) -> None:
    """Creates a folder readable by its owner only, with its parents.  Raises StoreError."""
    try:
        path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as err:
        raise StoreError(f"cannot create the folder {path}: {err.strerror or err}") from err


def sync_folder(path: Path) -> None:
    """Makes the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fsync(fd)
    finally:
        os.close(fd)


def remove(path: Path) -> None:
    """Removes a file if it is there."""
    with contextlib.suppress(OSError):
        path.unlink()


class NewFile:
    """A file that appears under `path` only when `commit` returns; any failure before that leaves nothing.

    Use as a context manager: leaving it without `commit` removes what was written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tmp = path.with_name(path.name + ".tmp")
        self._fd = -1

    def __enter__(self) -> NewFile:
        with self._named():
            self._fd = os.open(self._tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            remove(self._tmp)

    def append(self, data: bytes | memoryview) -> None:
        """Writes all of `data` at the end."""
        view = memoryview(data).cast("B")
        with self._named():
            while view:
                view = view[write(self._fd, view) :]

    def rewind(self) -> None:
        """Goes back to the first byte, for a header whose checksums are known last."""
        os.lseek(self._fd, 0, os.SEEK_SET)

    def commit(self) -> None:
        """Makes the content durable, then the name."""
        with self._named():
            fsync(self._fd)
            os.close(self._fd)
            self._fd = -1
            try:
                rename(self._tmp, self.path)
                sync_folder(self.path.parent)
            except OSError:
                remove(self._tmp)
                remove(self.path)
                raise

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as err:
            raise StoreError(f"cannot write {self.path}: {err.strerror or err}. Nothing of it was kept.") from err


@contextlib.contextmanager
def reading(path: Path) -> Iterator[int]:
    """A descriptor for reading.  Raises FileNotFoundError when the file is not there, StoreError for any other failure."""
    fd = -1
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        yield fd
    except FileNotFoundError:
        raise
    except OSError as err:
        raise StoreError(f"cannot read {path}: {err.strerror or err}") from err
    finally:
        if fd >= 0:
            os.close(fd)


def read_range(fd: int, buffer: memoryview, offset: int) -> int:
    """Fills `buffer` from `offset`; returns the bytes read, fewer only at the end of the file."""
    done = 0
    while done < len(buffer):
        count = os.preadv(fd, [buffer[done:]], offset + done)
        if count == 0:
            break
        done += count
    return done
