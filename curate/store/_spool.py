"""Batches that are computed but not committed yet, so that a device need not wait for the disk.

A file is written and not made durable: it outlives the process (kill -9, an exception), not the machine.  Its checksum tells
a whole one from a torn one.  The next writer commits what it finds; what it cannot read is computed again.

    magic "CURATSP1", crc32 of the rest, length of the head
    head      JSON: dataset, spec, codec, ids, versions, facts, sizes of the thumbnails (-1: none), failures
    payload   vectors as float32, then the thumbnails
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import StoreError
from curate.store import _disk
from curate.types import Batch, EmbedderSpec, Facts, Failure

MAGIC = b"CURATSP1"
_PREFIX = struct.Struct("<8sII")


@dataclass(frozen=True, slots=True)
class Spooled:
    """One batch and where it belongs."""

    dataset: str
    spec: EmbedderSpec
    codec: str
    batch: Batch


class Spool:
    """A folder of such files.  Thread-safe: a batch has a file of its own, named after its rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, found: Spooled) -> None:
        """Writes a batch; when this returns it survives the end of the process.  Raises StoreError, leaving nothing."""
        head, payload = _packed(found)
        body = [head, *payload]
        crc = 0
        for part in body:
            crc = zlib.crc32(part, crc)
        path = self._path(found.dataset, found.spec, found.batch)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _disk.FILE_MODE)
            try:
                for part in (_PREFIX.pack(MAGIC, crc, len(head)), *body):
                    view = memoryview(part).cast("B")
                    while view:
                        view = view[_disk.write(fd, view) :]
            finally:
                os.close(fd)
        except OSError as err:
            _disk.remove(path)
            raise StoreError(f"cannot write {path}: {err.strerror or err}. Nothing of it was kept.") from err

    def drop(self, dataset: str, spec: EmbedderSpec, batch: Batch) -> None:
        """Forgets a batch, which is committed by now."""
        _disk.remove(self._path(dataset, spec, batch))

    def left(self) -> Iterator[tuple[Path, Spooled | None]]:
        """What an interrupted run left, in the order it was computed; None for a file that is torn or damaged."""
        files = [path for path in self.folder.iterdir() if path.suffix == ".spool"] if self.folder.is_dir() else []
        for path in sorted(files, key=lambda p: (p.stat().st_mtime_ns, p.name)):
            yield path, _read(path)

    def _path(self, dataset: str, spec: EmbedderSpec, batch: Batch) -> Path:
        rows = [*zip(batch.ids, batch.versions, strict=True), *((f.id, f.version) for f in batch.failures)]
        told = json.dumps([dataset, spec.fingerprint, rows]).encode()
        return self.folder / f"{hashlib.sha256(told).hexdigest()[:32]}.spool"


def _packed(found: Spooled) -> tuple[bytes, list[bytes]]:
    batch = found.batch
    head = {
        "dataset": found.dataset,
        "spec": found.spec.as_dict(),
        "codec": found.codec,
        "ids": list(batch.ids),
        "versions": list(batch.versions),
        "facts": [dataclasses.astuple(f) for f in batch.facts],
        "thumbs": [-1 if data is None else len(data) for data in batch.thumbs],
        "failures": [dataclasses.astuple(f) for f in batch.failures],
    }
    vectors = np.ascontiguousarray(batch.vectors, "<f4").tobytes()
    return json.dumps(head).encode(), [vectors, *(data for data in batch.thumbs if data)]


def _read(path: Path) -> Spooled | None:
    try:
        data = path.read_bytes()
        magic, crc, length = _PREFIX.unpack_from(data)
        if magic != MAGIC or zlib.crc32(memoryview(data)[_PREFIX.size :]) != crc:
            return None
        return _unpacked(data, _PREFIX.size + length)
    except (OSError, struct.error, ValueError, KeyError, TypeError):  # torn, or of another version of curate
        return None


def _unpacked(data: bytes, at: int) -> Spooled:
    head = json.loads(data[_PREFIX.size : at])
    spec = EmbedderSpec(**head["spec"])
    count = len(head["ids"])
    vectors = np.frombuffer(data, "<f4", count * spec.dim, at).reshape(count, spec.dim)
    at += vectors.nbytes
    thumbs: list[bytes | None] = []
    for size in head["thumbs"]:
        thumbs.append(None if size < 0 else data[at : at + size])
        at += max(size, 0)
    batch = Batch(
        head["ids"],
        head["versions"],
        vectors.astype(np.float32),
        [Facts(*fact) for fact in head["facts"]],
        thumbs,
        [Failure(*failure) for failure in head["failures"]],
    )
    return Spooled(head["dataset"], spec, head["codec"], batch)
