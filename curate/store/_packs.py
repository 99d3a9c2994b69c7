"""Thumbnails: the JPEGs of one batch in one file, each with its own checksum in the catalog."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

from curate.errors import StoreError
from curate.store._disk import NewFile, read_range, reading
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


def image_crc(key: int, data: bytes | bytearray | memoryview) -> int:
    """Checksum of an image that also says whose it is."""
    return zlib.crc32(data, key)


def read_image(path: Path, key: int, place: Place) -> bytes:
    """One image.  Raises FileNotFoundError when the file is gone, Corrupt when the bytes are not those of this row."""
    start, size, crc = place
    with reading(path) as fd:
        if not 0 <= start <= start + size <= os.fstat(fd).st_size:
            raise damaged(path, "it is cut short")
        data = bytearray(size)
        read_range(fd, memoryview(data), start)
    if image_crc(key, data) != crc:
        raise damaged(path, "a thumbnail does not match its checksum")
    return bytes(data)


def damaged_images(path: Path, size: int, wanted: Sequence[tuple[int, Place]]) -> list[int]:
    """Which of the (key, place) pairs of one file are not what was written; all of them when the file as a whole is not.

    size: bytes the file had.
    """
    try:
        with reading(path) as fd:
            data = memoryview(bytearray(os.fstat(fd).st_size))
            read_range(fd, data, 0)
    except (FileNotFoundError, StoreError):
        return list(range(len(wanted)))
    if bytes(data[: len(MAGIC)]) != MAGIC or len(data) != size:
        return list(range(len(wanted)))
    return [n for n, (key, (start, length, crc)) in enumerate(wanted) if image_crc(key, data[start : start + length]) != crc]
