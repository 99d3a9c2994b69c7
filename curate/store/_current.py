"""Which live rows have a vector at their current version, and where it lies: all of them, some, or the next ones.

Columns come out of SQLite as one JSON array each: a Python tuple for every row costs more than reading its vector.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import le
from typing import Any

import numpy as np

from curate.store._catalog import Catalog
from curate.store._segments import Keys, Numbers, row_keys

CHUNK = 65_536

_BY_ID = (
    "SELECT r.id i, r.version e, v.segment s, v.slot t FROM row r "
    "JOIN vector v ON v.spec=? AND v.row=r.key AND v.edition=r.edition WHERE r.dataset=? AND r.live"
)
# From the vectors on: both tables are walked in the order they are stored, which takes a third of the time.
_BY_ROW = (
    "SELECT r.id i, r.version e, v.segment s, v.slot t, v.row k FROM vector v "
    "CROSS JOIN row r ON r.key=v.row WHERE v.spec=? AND v.row>? AND v.edition=r.edition AND r.dataset=? AND r.live "
    "ORDER BY v.row LIMIT ?"
)
_IDS = "SELECT json_group_array(i)"
_COLUMNS = f"{_IDS}, json_group_array(e), json_group_array(s), json_group_array(t)"


@dataclass(frozen=True)
class Current:
    """Rows in id order.  ids: (n,).  keys: `row_key` of each.  segments, slots: where the vector of each is, (n,)."""

    ids: list[str]
    keys: Keys
    segments: Numbers
    slots: Numbers


def all_current(db: Catalog, spec: int, dataset: int) -> Current:
    """Every row of an embedding set."""
    ids: list[str] = []
    parts: list[tuple[Keys, Numbers, Numbers]] = []
    last: int | None = -1
    with db.snapshot():
        while last is not None:
            found = db.one(f"{_COLUMNS}, max(k) FROM ({_BY_ROW})", (spec, last, dataset, CHUNK))
            *columns, last = found or (None,) * 5
            if last is not None:
                some = _current(db, columns)
                ids += some.ids
                parts.append((some.keys, some.segments, some.slots))
    if not ids:
        return Current([], np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.int64))
    keys, segments, slots = (np.concatenate(column) for column in zip(*parts, strict=True))
    if all(map(le, ids, ids[1:])):
        return Current(ids, keys, segments, slots)
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return Current([ids[n] for n in order], keys[order], segments[order], slots[order])


def current_ids(db: Catalog, spec: int, dataset: int) -> list[str]:
    """The ids alone, in order."""
    ids: list[str] = []
    last: int | None = -1
    with db.snapshot():
        while last is not None:
            found = db.one(f"{_IDS}, max(k) FROM ({_BY_ROW})", (spec, last, dataset, CHUNK))
            text, last = found or (None, None)
            if last is not None:
                with db.decoding():
                    ids += json.loads(text)
    return sorted(ids)


def current_of(db: Catalog, spec: int, dataset: int, ids: Collection[str]) -> Current:
    """Those of `ids` that are live and have a vector."""
    rows = db.by_ids(f"{_BY_ID} AND r.id IN ({{}}) ORDER BY r.id", (spec, dataset), ids)
    with db.decoding():
        names, versions, segments, slots = zip(*rows, strict=True) if rows else ((), (), (), ())
        return Current(list(names), row_keys(names, versions), np.array(segments, np.int64), np.array(slots, np.int64))


def current_after(db: Catalog, spec: int, dataset: int, last: str | None, count: int) -> Current:
    """The next rows in id order after the id `last`, at most `count`."""
    after, bound = ("", ()) if last is None else (" AND r.id>?", (last,))
    query = f"{_COLUMNS} FROM ({_BY_ID}{after} ORDER BY r.id LIMIT ?)"
    return _current(db, db.one(query, (spec, dataset, *bound, count)) or ())


def _current(db: Catalog, columns: Sequence[Any]) -> Current:
    with db.decoding():
        ids, versions, segments, slots = (json.loads(column) for column in columns)
        return Current(ids, row_keys(ids, versions), np.array(segments, np.int64), np.array(slots, np.int64))
