"""Thumbnails: the JPEGs of one batch in one file, each with its own checksum in the catalog."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from curate.errors import StoreError
from curate.store._disk import NewFile, read_range
from curate.store._segments import damaged

MAGIC = b"CURATPK1"
Place = tuple[int, int, int]  # start, size, crc


def write_pack(path: Path, keys: Sequence[int], images: Sequence[bytes]) -> tuple[int, list[Place]]:
    """Writes images, durably; returns the file's size and the place of each.  keys: `row_key` of each image's row."""
    places, at = [], len(MAGIC)
    with NewFile(path) as file:
        file.append(MAGIC)
        for key, data in zip(keys, images, strict=True):
            file.append(data)
            places.append((at, len(data), image_crc(key, data)))
            at += len(data)
        file.commit()
    return at, places


def image_crc(key: int, data: bytes) -> int:
    """Checksum of an image that also says whose it is."""
    return zlib.crc32(data, key)


def read_image(path: Path, key: int, place: Place) -> bytes:
    """One image.  Raises FileNotFoundError when the file is gone, Corrupt when the bytes are not those of this row."""
    start, size, crc = place
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise StoreError(f"cannot read {path}: {err.strerror or err}") from err
    try:
        if not 0 <= start <= start + size <= os.fstat(fd).st_size:
            raise damaged(path, "it is cut short")
        data = bytearray(size)
        read_range(fd, memoryview(data), start)
    finally:
        os.close(fd)
    if image_crc(key, bytes(data)) != crc:
        raise damaged(path, "a thumbnail does not match its checksum")
    return bytes(data)


def check_pack(path: Path, size: int) -> None:
    """Raises Corrupt unless the file is a pack of this size."""
    if not path.exists():
        raise damaged(path, "it is missing")
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC or os.fstat(file.fileno()).st_size != size:
            raise damaged(path, "it is not the file that was written")
