"""Segments replaced by better ones: many small by one large, one codec by another, dead rows dropped, damaged ones removed.

Everything follows one order: new files written, read back and checked; one transaction that changes over; old files removed.
A crash before the transaction leaves new files, after it old ones; either way the next writer removes what nobody names.
"""

from __future__ import annotations

import json
import math
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from curate.codecs import Codec
from curate.codecs import verify as verify_codes
from curate.errors import Corrupt
from curate.store._disk import remove
from curate.store._packs import read_image, write_pack
from curate.store._segments import Keys, Places, Segment, SegmentWriter, row_key
from curate.store._vectors import VectorSets, only_copy
from curate.types import EmbedderSpec, Vectors

SMALL_BYTES = 8 << 20
MANY = 64  # small segments of about one size that are merged
LARGE_BYTES = 256 << 20  # payload of one rewritten segment
SAMPLE_ROWS = 20_000  # a codec is fitted on this many
STEP = 4096
_DROP_DEAD = (
    "DELETE FROM TABLE_ WHERE NOT EXISTS(SELECT 1 FROM row r WHERE r.key=TABLE_.row AND r.edition=TABLE_.edition AND r.live)"
)


@dataclass(frozen=True)
class _Written:
    """A new segment with the places whose vectors it holds, in slot order."""

    file: str
    codec: str
    size: int
    places: Places


def merge_small(sets: VectorSets, dataset: str, fingerprint: str) -> None:
    """Merges small segments of about one size once there are many, so that a byte is copied only a few times."""
    key = sets.spec_key(dataset, fingerprint)
    tiers: dict[tuple[str, int], list[int]] = defaultdict(list)
    for number, codec, size in sets.db.rows("SELECT key, codec, size FROM segment WHERE spec=? AND size<?", (key, SMALL_BYTES)):
        tiers[codec, int(math.log(max(size, 1), 16))].append(number)
    for numbers in tiers.values():
        if len(numbers) > MANY:
            try:
                _repack(sets, key, numbers)
            except Corrupt:  # nothing was changed; whoever reads the segment is told which one it is
                return


def rewrite(sets: VectorSets, dataset: str, fingerprint: str, codec: str) -> tuple[int, int]:
    """Holds every vector of a set in another codec; returns (old, new) bytes of its files."""
    wanted = only_copy(codec)
    key, spec = sets.spec_of(dataset, fingerprint)
    old = [int(n) for (n,) in sets.db.rows("SELECT key FROM segment WHERE spec=?", (key,))]
    places = _places(sets, key)
    before = _size(sets, old)
    if not len(places):
        return before, before
    rng = np.random.default_rng(0)
    sample = np.sort(rng.permutation(len(places))[:SAMPLE_ROWS])
    fitted = wanted.fit(_decoded(sets, spec, places[sample])[0], spec.space, rng)
    rows = max(STEP, LARGE_BYTES // max(fitted.bytes_per_vector(spec.dim), 1))
    written: list[_Written] = []
    try:
        for at in range(0, len(places), rows):
            written.append(_encode_segment(sets, spec, fitted, places[at : at + rows]))
    except BaseException:
        _remove(sets, written)
        raise
    _change_over(sets, key, old, written)
    return before, sum(w.size for w in written)


def _encode_segment(sets: VectorSets, spec: EmbedderSpec, codec: Codec, places: Places) -> _Written:
    path = sets.segments / f"{uuid.uuid4().hex}.seg"
    keys = np.empty(len(places), np.uint32)
    for number in np.unique(places.segment).tolist():
        mine = places.segment == number
        keys[mine] = sets.segment(number, spec).head.keys[places.slot[mine]]
    try:
        with SegmentWriter(path, fingerprint=spec.fingerprint, codec=codec, dim=spec.dim, keys=keys) as writer:
            for at in range(0, len(places), STEP):
                vectors, _ = _decoded(sets, spec, places[at : at + STEP])
                codes = codec.encode(vectors)
                verify_codes(codec, vectors, codes)
                writer.add(codes)
            size = writer.commit()
        Segment.load(path, fingerprint=spec.fingerprint, rows=len(places), size=size).check_all()
    except BaseException:
        remove(path)
        raise
    return _Written(path.name, codec.name, size, places)


def _decoded(sets: VectorSets, spec: EmbedderSpec, places: Places) -> tuple[Vectors, Keys]:
    """Vectors and keys of some places, in their order."""
    out = np.empty((len(places), spec.dim), np.float32)
    keys = np.empty(len(places), np.uint32)
    for number in np.unique(places.segment).tolist():
        mine = np.flatnonzero(places.segment == number)
        segment = sets.segment(number, spec)
        keys[mine] = segment.head.keys[places.slot[mine]]
        segment.read_into(out, mine, places.slot[mine])
    return out, keys


def _repack(sets: VectorSets, key: int, numbers: Sequence[int]) -> None:
    """Copies the codes that are still named of some segments into as few as possible; nothing is decoded."""
    places = _places(sets, key, numbers)
    segments = {number: sets.segment(number) for number in numbers}
    alike: dict[bytes, list[int]] = defaultdict(list)
    for number, segment in segments.items():
        alike[segment.head.codec_header].append(number)
    written: list[_Written] = []
    try:
        for group in alike.values():
            mine = places[np.flatnonzero(np.isin(places.segment, group))]
            if len(mine):
                written.append(_copy_segment(sets, segments, mine))
    except BaseException:
        _remove(sets, written)
        raise
    _change_over(sets, key, numbers, written)


def _copy_segment(sets: VectorSets, segments: dict[int, Segment], places: Places) -> _Written:
    order = np.unique(places.segment).tolist()
    head, codec = segments[order[0]].head, segments[order[0]].codec
    path = sets.segments / f"{uuid.uuid4().hex}.seg"
    slots = [(segments[n], places.slot[places.segment == n]) for n in order]
    keys = np.concatenate([segment.head.keys[some] for segment, some in slots])
    try:
        with SegmentWriter(path, fingerprint=head.fingerprint, codec=codec, dim=head.dim, keys=keys) as writer:
            for segment, some in slots:
                for at in range(0, len(some), STEP):
                    writer.add(segment.codes(some[at : at + STEP]))
            size = writer.commit()
        Segment.load(path, fingerprint=head.fingerprint, rows=len(places), size=size).check_all()
    except BaseException:
        remove(path)
        raise
    return _Written(path.name, head.codec, size, places)


def _change_over(sets: VectorSets, key: int, old: Sequence[int], written: Sequence[_Written]) -> None:
    db = sets.db
    files = [str(f) for (f,) in db.by_ids("SELECT file FROM segment WHERE key IN ({})", (), old)]
    with db.transaction():
        for new in written:
            number = db.insert(
                "INSERT INTO segment(spec, file, codec, rows, size) VALUES(?,?,?,?,?)",
                (key, new.file, new.codec, len(new.places), new.size),
            )
            held = zip(new.places.row.tolist(), new.places.edition.tolist(), strict=True)
            rows = ((key, row, edition, number, slot) for slot, (row, edition) in enumerate(held))
            db.many("INSERT OR REPLACE INTO vector VALUES(?,?,?,?,?)", rows)
        db.many("DELETE FROM segment WHERE key=?", ((number,) for number in old))
    sets.forget()
    for file in files:
        remove(sets.segments / file)


def _places(sets: VectorSets, key: int, segments: Sequence[int] | None = None) -> Places:
    """Where the vectors of a set are: those in `segments` by segment and slot, or all of them by id."""
    by_id = (
        "SELECT v.row, v.edition, v.segment, v.slot FROM vector v JOIN row r ON r.key=v.row WHERE v.spec=? "
        "ORDER BY r.id, v.edition"
    )
    inside = (
        "SELECT row, edition, segment, slot FROM vector WHERE spec=? AND segment IN (SELECT value FROM json_each(?)) "
        "ORDER BY segment, slot"
    )
    query, params = (by_id, (key,)) if segments is None else (inside, (key, json.dumps(list(segments))))
    with sets.db.decoding():
        pieces = [np.array(piece, np.int64) for piece in sets.db.chunks(query, params)]
    return Places.of(pieces)


def _size(sets: VectorSets, numbers: Iterable[int]) -> int:
    return sum(int(s) for (s,) in sets.db.by_ids("SELECT size FROM segment WHERE key IN ({})", (), numbers))


def _remove(sets: VectorSets, written: Iterable[_Written]) -> None:
    for new in written:
        remove(sets.segments / new.file)


# ---- prune


def prune(sets: VectorSets) -> int:
    """Drops what belongs to superseded versions and retired rows; returns the bytes of files that were freed."""
    db = sets.db
    total = "SELECT (SELECT coalesce(sum(size),0) FROM segment) + (SELECT coalesce(sum(size),0) FROM pack)"
    before = int(db.value(total))
    with db.transaction():
        for table in ("vector", "failure", "fact", "thumb", "pushed"):
            db.run(_DROP_DEAD.replace("TABLE_", table))
        db.run("DELETE FROM edition")
        db.run("DELETE FROM row WHERE NOT live")
    for (key,) in db.rows("SELECT key FROM spec"):
        named: dict[int, int] = dict(db.rows("SELECT segment, count(*) FROM vector WHERE spec=? GROUP BY segment", (key,)))
        segments = db.rows("SELECT key, rows FROM segment WHERE spec=?", (key,))
        partly = [number for number, rows in segments if named.get(number, 0) < rows]
        if partly:
            _repack(sets, key, partly)
    packs = {pack for (pack,) in db.rows("SELECT key FROM pack")}
    named_bytes: dict[int, int] = dict(db.rows("SELECT pack, sum(size) FROM thumb GROUP BY pack"))
    sizes: dict[int, int] = dict(db.rows("SELECT key, size FROM pack"))
    _repack_thumbs(sets, [pack for pack in packs if named_bytes.get(pack, 0) < sizes[pack] - _PACK_HEAD])
    return before - int(db.value(total))


_PACK_HEAD = 8


def _repack_thumbs(sets: VectorSets, packs: Sequence[int]) -> None:
    """Copies the thumbnails that are still named of each pack into a new one."""
    db = sets.db
    for pack in packs:
        (old,) = db.one("SELECT file FROM pack WHERE key=?", (pack,)) or ("",)
        rows = db.rows(
            "SELECT t.row, t.edition, t.start, t.size, t.crc, r.id, r.version FROM thumb t JOIN row r ON r.key=t.row "
            "WHERE t.pack=? ORDER BY t.start",
            (pack,),
        )
        name = f"{uuid.uuid4().hex}.pack"
        keys = [row_key(r[5], r[6]) for r in rows]
        images = [read_image(sets.thumbs / old, k, (r[2], r[3], r[4])) for k, r in zip(keys, rows, strict=True)]
        size, places = write_pack(sets.thumbs / name, keys, images) if rows else (0, [])
        with db.transaction():
            if rows:
                new = db.insert("INSERT INTO pack(file, size) VALUES(?,?)", (name, size))
                moved = ((r[0], r[1], new, *place) for r, place in zip(rows, places, strict=True))
                db.many("INSERT OR REPLACE INTO thumb VALUES(?,?,?,?,?,?)", moved)
            db.run("DELETE FROM pack WHERE key=?", (pack,))
        remove(sets.thumbs / old)
