"""The segment file: vectors of one embedder in one codec, written once, checked on reading.

    0   prefix      magic "CURATSEG", format version, crc32 of the head, length of the head
        head        JSON (name, fingerprint, codec, dim, rows, width, block), codec header, one key a row, one crc32 a block
        payload     rows x width bytes

A key is the crc32 of a row's id and version: a slot number that went wrong in the catalog is seen, not read as another row.
A block is about 8 KiB of whole rows, so that single rows are read and checked without reading the file.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.codecs import Codec, Codes, codec_from_header
from curate.errors import Corrupt, WrongVersion
from curate.store._disk import NewFile, read_range, reading

MAGIC = b"CURATSEG"
FORMAT = 1
BLOCK_BYTES = 8192
READ_BYTES = 1 << 20  # codes decoded at a time: small enough to stay in the processor's cache
DENSE = 0.25  # share of wanted rows from which a whole range is read at once

Keys: TypeAlias = npt.NDArray[np.uint32]
Numbers: TypeAlias = npt.NDArray[np.int64]
_PREFIX = struct.Struct("<8sHHII")
_HEAD = struct.Struct("<II")  # lengths of the JSON and of the codec header


def row_key(item_id: str, version: str) -> int:
    """What ties a stored row to its item: crc32 of id and version."""
    return zlib.crc32(f"{item_id}\0{version}".encode())


def row_keys(ids: Sequence[str], versions: Sequence[str]) -> Keys:
    """`row_key` of every pair: (n,) uint32."""
    crc = zlib.crc32
    return np.fromiter((crc(f"{i}\0{v}".encode()) for i, v in zip(ids, versions, strict=True)), np.uint32, len(ids))


@dataclass(frozen=True)
class Places:
    """Where vectors of one set are: row, edition, segment, slot, each (n,)."""

    row: Numbers
    edition: Numbers
    segment: Numbers
    slot: Numbers

    @classmethod
    def of(cls, tables: Sequence[Numbers]) -> Places:
        """From tables of (row, edition, segment, slot), each (n, 4)."""
        table = np.concatenate([np.empty((0, 4), np.int64), *tables])
        return cls(*(np.ascontiguousarray(column) for column in table.T))

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, which: Numbers | slice) -> Places:
        return Places(self.row[which], self.edition[which], self.segment[which], self.slot[which])


@dataclass(frozen=True, slots=True)
class Head:
    """What a segment says about itself.  keys: (rows,).  crcs: one a block.  start: offset of the payload."""

    name: str
    fingerprint: str
    codec: str
    dim: int
    rows: int
    width: int
    block: int
    codec_header: bytes
    keys: Keys
    crcs: Keys
    start: int

    @property
    def size(self) -> int:
        """Bytes the file must have."""
        return self.start + self.rows * self.width


def write_segment(path: Path, *, fingerprint: str, codec: Codec, dim: int, keys: Keys, codes: Sequence[Codes]) -> int:
    """Writes a segment from pieces of codes in slot order, durably; returns its size in bytes."""
    writer = SegmentWriter(path, fingerprint=fingerprint, codec=codec, dim=dim, keys=keys)
    with writer:
        for piece in codes:
            writer.add(piece)
        return writer.commit()


class SegmentWriter:
    """Writes a segment piece by piece; the keys are known first, the checksums last."""

    def __init__(self, path: Path, *, fingerprint: str, codec: Codec, dim: int, keys: Keys) -> None:
        self.path, self._keys, self._codec_header = path, np.ascontiguousarray(keys, "<u4"), codec.header()
        width = codec.bytes_per_vector(dim)
        self._width, self._block = width, max(1, BLOCK_BYTES // max(width, 1))
        self._about = {
            "name": path.stem,
            "fingerprint": fingerprint,
            "codec": codec.name,
            "dim": dim,
            "rows": len(keys),
            "width": width,
            "block": self._block,
        }
        self._crcs: list[int] = []
        self._rest = np.empty((0, width), np.uint8)
        self._file = NewFile(path)

    def __enter__(self) -> SegmentWriter:
        self._file.__enter__()
        try:
            self._file.append(self._head([0] * -(-len(self._keys) // self._block)))
        except BaseException:
            self._file.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.__exit__(*exc)

    def add(self, codes: Codes) -> None:
        """Appends (n, width) codes."""
        rows = np.concatenate([self._rest, codes]) if len(self._rest) else np.ascontiguousarray(codes)
        whole = len(rows) - len(rows) % self._block
        self._put(rows[:whole])
        self._rest = rows[whole:].copy()

    def commit(self) -> int:
        """Writes the head and makes the file durable; returns its size in bytes."""
        self._put(self._rest)
        head = self._head(self._crcs)
        self._file.rewind()
        self._file.append(head)
        self._file.commit()
        return len(head) + len(self._keys) * self._width

    def _put(self, rows: Codes) -> None:
        if len(rows):
            view = memoryview(rows.reshape(-1).data)
            step = self._block * self._width
            self._crcs += [zlib.crc32(view[at : at + step]) for at in range(0, len(view), step)]
            self._file.append(view)

    def _head(self, crcs: Sequence[int]) -> bytes:
        text = json.dumps(self._about, sort_keys=True).encode()
        parts = [_HEAD.pack(len(text), len(self._codec_header)), text, self._codec_header]
        head = b"".join([*parts, self._keys.tobytes(), np.asarray(crcs, "<u4").tobytes()])
        return _PREFIX.pack(MAGIC, FORMAT, 0, _crc(head, 0, len(head)), len(head)) + head


def _crc(head: bytes | bytearray, flags: int, length: int) -> int:
    return zlib.crc32(head, zlib.crc32(struct.pack("<HHI", FORMAT, flags, length)))


def read_head(path: Path) -> Head:
    """The checked head of a segment file.

    Raises FileNotFoundError when it is not there, Corrupt when it is damaged, WrongVersion for a newer format.
    """
    with reading(path) as fd:
        size = os.fstat(fd).st_size
        prefix = os.pread(fd, _PREFIX.size, 0)
        if len(prefix) < _PREFIX.size or prefix[:8] != MAGIC:
            raise damaged(path, "it is not a segment")
        _, version, flags, crc, length = _PREFIX.unpack(prefix)
        head = bytearray(min(length, size))
        read_range(fd, memoryview(head), _PREFIX.size)
    if version > FORMAT:
        raise WrongVersion(f"{path} has format {version}, this curate reads up to {FORMAT}: upgrade curate")
    if version != FORMAT or len(head) != length or _crc(head, flags, length) != crc:
        raise damaged(path, "its head does not match its checksum")
    try:
        parsed = _parse(bytes(head), _PREFIX.size + length)
    except (ValueError, KeyError, TypeError, struct.error) as err:
        raise damaged(path, f"its head cannot be read: {err}") from err
    if parsed.name != path.stem:
        raise damaged(path, f"it was written as {parsed.name}.seg")
    if parsed.size != size:
        raise damaged(path, f"it has {size} bytes, not {parsed.size}")
    return parsed


def _parse(head: bytes, start: int) -> Head:
    text_size, codec_size = _HEAD.unpack_from(head)
    at = _HEAD.size + text_size
    about: dict[str, Any] = json.loads(head[_HEAD.size : at])
    keys = np.frombuffer(head, "<u4", about["rows"], at + codec_size)
    crcs = np.frombuffer(head, "<u4", offset=at + codec_size + keys.nbytes)
    if len(crcs) != -(-about["rows"] // about["block"]):
        raise ValueError(f"{len(crcs)} blocks")
    return Head(**about, codec_header=head[at : at + codec_size], keys=keys, crcs=crcs, start=start)


def damaged(path: Path, why: str) -> Corrupt:
    """The error for a damaged file of the store."""
    return Corrupt(
        f"{path} is damaged: {why}. Run `curate sync --verify` (or `curate embed --verify`): its rows are dropped and computed "
        "again."
    )


@dataclass
class Segment:
    """An open-able segment: its checked head, its codec, and which blocks were found sound in this process."""

    path: Path
    head: Head
    codec: Codec
    sound: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.sound = np.zeros(len(self.head.crcs), np.bool_)

    @property
    def step(self) -> int:
        """Rows to read at a time: whole blocks."""
        return max(1, READ_BYTES // (self.head.block * max(self.head.width, 1))) * self.head.block

    @classmethod
    def load(cls, path: Path, *, fingerprint: str, rows: int, size: int) -> Segment:
        """The segment at `path`, which must be the one the catalog describes.  Raises as `read_head`."""
        head = read_head(path)
        if (head.fingerprint, head.rows, head.size) != (fingerprint, rows, size):
            raise damaged(path, "it is not the segment that the catalog describes (another model, or another length)")
        try:
            codec = codec_from_header(head.codec_header)
        except Corrupt as err:
            raise damaged(path, str(err)) from err
        if codec.name != head.codec or codec.bytes_per_vector(head.dim) != head.width:
            raise damaged(path, "its codec does not fit its rows")
        return cls(path, head, codec)

    def check_slots(self, slots: Numbers, keys: Keys, catalog: Path) -> None:
        """Raises Corrupt unless the slots hold the rows of these keys."""
        if len(slots) and (slots.min() < 0 or slots.max() >= self.head.rows or (self.head.keys[slots] != keys).any()):
            raise Corrupt(
                f"{catalog} and {self.path} disagree on which row is where; one of them is damaged. "
                "Run `curate sync --verify` (or `curate embed --verify`): the rows are dropped and computed again."
            )

    def read_into(self, out: npt.NDArray[np.float32], dest: Numbers, slots: Numbers) -> None:
        """Decodes `slots` into `out[dest]`, by pieces."""
        order = np.argsort(slots, kind="stable") if (np.diff(slots) < 0).any() else None
        if order is not None:
            slots, dest = slots[order], dest[order]
        with reading(self.path) as fd:
            for at in range(0, len(slots), self.step):
                some, to = slots[at : at + self.step], dest[at : at + self.step]
                straight = _consecutive(to)
                if straight and self._as_stored(some):
                    target = out[to[0] : to[-1] + 1].view(np.uint8)
                    self._read_blocks(fd, int(some[0]) // self.head.block, int(some[-1]) // self.head.block + 1, into=target)
                    continue
                vectors = self.codec.decode(self._codes(fd, some))
                if vectors.shape != (len(some), self.head.dim):
                    raise damaged(self.path, "it decodes to another shape")
                if straight:
                    out[to[0] : to[-1] + 1] = vectors
                else:
                    out[to] = vectors

    def _as_stored(self, slots: Numbers) -> bool:
        """Whether these are whole blocks in order, of bytes that are the vectors themselves: they need no buffer."""
        end = int(slots[-1]) + 1
        whole = slots[0] % self.head.block == 0 and (end % self.head.block == 0 or end == self.head.rows)
        return self.codec.name == "f32" and sys.byteorder == "little" and whole and _consecutive(slots)

    def codes(self, slots: Numbers) -> Codes:
        """The checked codes of `slots`, ascending: (n, width) uint8."""
        with reading(self.path) as fd:
            return self._codes(fd, slots)

    def check_all(self) -> None:
        """Reads everything again and raises Corrupt when any block is damaged."""
        self.sound[:] = False
        with reading(self.path) as fd:
            step = self.step // self.head.block
            for first in range(0, len(self.sound), step):
                self._read_blocks(fd, first, min(first + step, len(self.sound)))

    def _codes(self, fd: int, slots: Numbers) -> Codes:
        if not len(slots):
            return np.empty((0, self.head.width), np.uint8)
        block = self.head.block
        first, last = int(slots[0]) // block, int(slots[-1]) // block
        if len(slots) >= DENSE * (last - first + 1) * block:
            rows = self._read_blocks(fd, first, last + 1)
            low = int(slots[0]) - first * block
            if _consecutive(slots):
                return rows[low : low + len(slots)]
            return rows[slots - first * block]
        codes = np.empty((len(slots), self.head.width), np.uint8)
        numbers = slots // block
        edges = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(slots)]
        for low, high in pairwise(edges):
            number = int(numbers[low])
            codes[low:high] = self._read_blocks(fd, number, number + 1)[slots[low:high] - number * block]
        return codes

    def _read_blocks(self, fd: int, first: int, last: int, *, into: Codes | None = None) -> Codes:
        """Blocks [first, last), checked once a process.  into: where they go, (rows, width) contiguous; new by default."""
        head = self.head
        low, high = first * head.block, min(last * head.block, head.rows)
        rows = np.empty((high - low, head.width), np.uint8) if into is None else into
        view = memoryview(rows.reshape(-1).data)
        if read_range(fd, view, head.start + low * head.width) != len(view):
            raise damaged(self.path, "it is cut short")
        if not self.sound[first:last].all():
            step = head.block * head.width
            for number in range(first, last):
                at = (number - first) * step
                if zlib.crc32(view[at : at + step]) != head.crcs[number]:
                    raise damaged(self.path, f"block {number} does not match its checksum")
            self.sound[first:last] = True
        return rows


def _consecutive(rows: Numbers) -> bool:
    return bool(rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all())
