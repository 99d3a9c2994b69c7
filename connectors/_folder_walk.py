"""Finds the files of a folder that are rows, in a fixed order, and identifies each by the hash of its bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from curate import media
from curate.errors import ConnectorError, MediaError, Transient

TEXT = {".txt"}
IMAGES = set(".jpg .jpeg .jpe .jfif .png .webp .gif .tif .tiff .bmp .dib".split())
# Kinds nobody here can read: they are rows too, so that their failure is seen instead of their absence missed.
OTHER_IMAGES = set(".heic .heif .avif .jxl .jp2 .j2k .psd .ico .svg".split())
UNREADABLE = "unreadable"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """One file that is a row.  version: sha256 of its bytes, or "unreadable".  media_type: "image" or "text"."""

    id: str
    path: Path
    version: str
    media_type: str


def files(root: Path, *, skip: Path | None = None) -> Iterator[tuple[str, Path]]:
    """Every regular file under `root` that is not hidden: (id, path), folders in name order, streamed.

    id: POSIX path relative to `root`; bytes that are no UTF-8 appear escaped.  skip: a folder to leave out (the store).
    A linked folder inside the root is left out, for it is met under its own name; one outside is entered, once: loops end.
    A folder that cannot be listed is given itself, so that its loss is seen.
    Raises ConnectorError when the root itself cannot be listed.
    """
    try:
        top = root.resolve(strict=True)
        entries = _sorted(top)
    except OSError as err:
        raise ConnectorError(f"folder {root} cannot be listed: {err.strerror or err}") from err
    seen: set[tuple[int, int]] = set()
    stack = [iter(entries)]
    names: list[str] = []
    skipped = skip.resolve() if skip is not None else None
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
            if names:
                names.pop()
            continue
        if entry.name.startswith("."):
            continue
        below = _folder(entry, top, skipped, seen)
        if below is not None and not isinstance(below, OSError):
            stack.append(iter(below))
            names.append(entry.name)
        elif below is not None or _is_file(entry):
            yield readable("/".join([*names, entry.name])), Path(entry.path)


def readable(name: str) -> str:
    """A file name as text that every file format can hold."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _sorted(path: str | Path) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _folder(
    entry: os.DirEntry[str], top: Path, skipped: Path | None, seen: set[tuple[int, int]]
) -> list[os.DirEntry[str]] | OSError | None:
    """The entries of a folder to enter (none for one to leave out), the error of one that cannot be; None for no folder."""
    try:
        if not entry.is_dir():
            return None
        path = Path(entry.path)
        if entry.is_symlink():
            real = path.resolve()
            status = real.stat()
            key = (status.st_dev, status.st_ino)
            if real == top or top in real.parents or real in top.parents or key in seen:
                return []
            seen.add(key)
        if skipped is not None and path.resolve() == skipped:
            return []
        below = _sorted(path)
    except OSError as err:
        return err
    is_store = {"catalog.sqlite", "segments"} <= {one.name for one in below}
    return [] if is_store else below


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        if entry.is_file():
            return True
        # A dangling link is a row that cannot be read; pipes, sockets and devices are never opened.
        return entry.is_symlink() and not Path(entry.path).exists()
    except OSError:
        return True


def identified(root: Path, *, skip: Path | None = None, workers: int = 0) -> Iterator[Found | None]:
    """The rows among `files`, hashed by several threads, in the order of `files`; None for a file that is no row.

    A row is what starts like an image, whatever its name, and what is named like an image or ends in .txt.
    """
    waiting: deque[Future[Found | None]] = deque()
    with ThreadPoolExecutor(workers or min(8, (os.cpu_count() or 1) + 2), "curate-folder") as pool:
        try:
            for item_id, path in files(root, skip=skip):
                waiting.append(pool.submit(_identify, item_id, path))
                if len(waiting) >= 256:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _identify(item_id: str, path: Path) -> Found | None:
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            head = file.read(_BLOCK)
            kind = _kind(head, suffix)
            if kind is None:
                return None
            digest = hashlib.sha256(head)
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError:
        seen = suffix in IMAGES | OTHER_IMAGES or path.is_dir()
        kind = "text" if suffix in TEXT else "image" if seen else None
        return Found(item_id, path, UNREADABLE, kind) if kind else None
    return Found(item_id, path, digest.hexdigest(), kind)


def _kind(head: bytes, suffix: str) -> str | None:
    try:
        media.sniff(head)
    except MediaError:
        if suffix in TEXT:
            return "text"
        return "image" if suffix in IMAGES | OTHER_IMAGES else None
    return "image"


def uri_of(path: Path) -> str:
    """The file: URI of a path; holds any name."""
    return path.absolute().as_uri()


def path_of(uri: str) -> Path:
    """The path behind a file: URI of `uri_of`."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """The bytes of a regular file.  Raises MediaError: missing, unreadable, too_many_bytes; Transient for a failing disk."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(UNREADABLE, f"{path} is not a regular file")
        if status.st_size > max_bytes:
            raise MediaError("too_many_bytes", f"{path}: {status.st_size} bytes, {max_bytes} allowed")
        return path.read_bytes()
    except FileNotFoundError as err:
        raise MediaError("missing", f"{path} is gone") from err
    except (PermissionError, IsADirectoryError, NotADirectoryError, ValueError) as err:
        raise MediaError(UNREADABLE, f"{path}: {getattr(err, 'strerror', None) or err}") from err
    except OSError as err:
        if err.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            raise MediaError(UNREADABLE, f"{path}: {err.strerror}") from err
        # A disk or a network mount with trouble of its own.
        raise Transient(f"{path}: {err.strerror or err}") from err
