"""The rows of a dataset: listings, items, fields."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from curate.errors import StoreError
from curate.store._catalog import Catalog
from curate.types import Change, Item, Scalar

PAGE = 4096
_ITEM = "SELECT r.id, r.uri, r.version, r.fields, r.media FROM row r WHERE r.dataset=? AND r.live"
_numbers = itertools.count()


@dataclass(frozen=True)
class RowCounts:
    """What a listing showed.  new: unknown or retired before.  changed: another version than before."""

    seen: int
    new: int
    changed: int
    retired: int


class _Twice(Exception):
    """Rolls an addition back."""


class Listing:
    """A listing under way; nothing of it is visible before `finish`, and nothing of it stays when it is abandoned."""

    def __init__(self, catalog: Catalog, dataset: str) -> None:
        self._catalog, self._dataset = catalog, dataset
        self._table: str | None = f"temp.listing_{next(_numbers)}"
        self._run(
            "CREATE TABLE LISTING(id TEXT PRIMARY KEY, uri TEXT NOT NULL, version TEXT NOT NULL, "
            "media TEXT NOT NULL, fields TEXT NOT NULL) WITHOUT ROWID"
        )

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.abandon()

    def add(self, items: Collection[Item]) -> None:
        """Adds some rows.  Raises StoreError for an id that was added before, naming it."""
        rows = [(i.id, i.uri, i.version, i.media_type, dump(dict(i.fields)) if i.fields else "{}") for i in items]
        try:
            with self._catalog.transaction():
                if self._catalog.many(self._sql("INSERT OR IGNORE INTO LISTING VALUES(?,?,?,?,?)"), rows) != len(rows):
                    raise _Twice
            return
        except _Twice:
            twice = [i for i, count in Counter(row[0] for row in rows).items() if count > 1]
            query = self._sql("SELECT id FROM LISTING WHERE id IN ({})")
            twice += [i for (i,) in self._catalog.by_ids(query, (), (row[0] for row in rows))]
        self.abandon()
        raise StoreError(f"the listing of {self._dataset} names the row {twice[0]!r} twice; ids must be unique in a dataset")

    def finish(self, cursor: str | None = None, complete: bool = True) -> RowCounts:
        """Makes the listing the state of the dataset, in one transaction; unseen rows retire if it was complete.

        cursor: where the next incremental listing starts; None keeps the old one after an incomplete listing.
        """
        db = self._catalog
        with db.transaction():
            db.run("INSERT OR IGNORE INTO dataset(name) VALUES(?)", (self._dataset,))
            key = int(db.value("SELECT key FROM dataset WHERE name=?", (self._dataset,)))
            seen = int(db.value(self._sql("SELECT count(*) FROM LISTING")))
            changed = self._supersede(key)
            back = self._refresh(key)
            new = self._run(
                "INSERT INTO row(dataset, id, uri, version, media, fields, edition, live) "
                "SELECT ?, s.id, s.uri, s.version, s.media, s.fields, 0, 1 FROM LISTING s "
                "WHERE NOT EXISTS(SELECT 1 FROM row r WHERE r.dataset=? AND r.id=s.id) ORDER BY s.id",
                (key, key),
            )
            retired = 0
            if complete:
                retired = self._run(
                    "UPDATE row SET live=0 WHERE dataset=? AND live AND NOT EXISTS(SELECT 1 FROM LISTING s WHERE s.id=row.id)",
                    (key,),
                )
            if cursor is not None or complete:
                db.run("UPDATE dataset SET cursor=? WHERE key=? AND cursor IS NOT ?", (cursor, key, cursor))
        self.abandon()
        return RowCounts(seen, new + back, changed, retired)

    def abandon(self) -> None:
        """Forgets the listing; harmless after `finish`."""
        if self._table is not None:
            self._run("DROP TABLE LISTING")
            self._table = None

    def _sql(self, text: str) -> str:
        if self._table is None:
            raise StoreError(f"the listing of {self._dataset} is over; begin another")
        return text.replace("LISTING", self._table)

    def _run(self, text: str, params: tuple[Any, ...] = ()) -> int:
        return self._catalog.run(self._sql(text), params)

    def _supersede(self, key: int) -> int:
        """Gives rows whose version differs their other edition; returns how many live ones there were."""
        db = self._catalog
        differ = db.rows(
            self._sql(
                "SELECT r.key, r.edition, r.version, s.version, r.live FROM row r JOIN LISTING s ON s.id=r.id "
                "WHERE r.dataset=? AND r.version<>s.version"
            ),
            (key,),
        )
        for row, edition, old, new, _live in differ:
            db.run("INSERT OR IGNORE INTO edition VALUES(?,?,?)", (row, edition, old))
            number = edition_of(db, row, new)
            db.run("UPDATE row SET version=?, edition=? WHERE key=?", (new, number, row))
        return sum(1 for row in differ if row[4])

    def _refresh(self, key: int) -> int:
        """Updates what else differs; returns how many rows came back."""
        retired = self._sql("SELECT count(*) FROM row r JOIN LISTING s ON s.id=r.id WHERE r.dataset=? AND NOT r.live")
        back = int(self._catalog.value(retired, (key,)))
        self._run(
            "UPDATE row SET uri=s.uri, media=s.media, fields=s.fields, live=1 FROM LISTING s "
            "WHERE row.dataset=? AND row.id=s.id "
            "AND (row.uri<>s.uri OR row.media<>s.media OR row.fields<>s.fields OR NOT row.live)",
            (key,),
        )
        return back


def edition_of(db: Catalog, row: int, version: str) -> int:
    """The number of a version that is not the row's current one: the one it had, or the next free one, now recorded."""
    known = db.value("SELECT edition FROM edition WHERE row=? AND version=?", (row, version))
    if known is not None:
        return int(known)
    highest = db.value(
        "SELECT max(coalesce((SELECT max(edition) FROM edition WHERE row=:row), 0), edition) FROM row WHERE key=:row",
        {"row": row},
    )
    db.run("INSERT INTO edition VALUES(?,?,?)", (row, int(highest) + 1, version))
    return int(highest) + 1


def dump(value: Any) -> str:
    """JSON text of plain values; numpy scalars and arrays are taken as plain ones."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=_plain, separators=(",", ":"))


def _plain(value: Any) -> Any:
    for name in ("tolist", "item"):
        if hasattr(value, name):
            return getattr(value, name)()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if hasattr(value, "items"):
        return dict(value.items())
    raise TypeError(f"{type(value).__name__} is no JSON value")


def dataset_key(db: Catalog, dataset: str) -> int:
    """The key of a dataset; -1 for one that was never listed."""
    return int(db.value("SELECT key FROM dataset WHERE name=?", (dataset,)) or -1)


def items_from(db: Catalog, rows: Sequence[tuple[Any, ...]]) -> list[Item]:
    """Items of (id, uri, version, fields, media) rows."""
    with db.decoding():
        return [Item(i, uri, version, {} if f == "{}" else json.loads(f), media) for i, uri, version, f, media in rows]


def items(db: Catalog, dataset: str, ids: Collection[str] | None) -> Iterator[Item]:
    """Live rows in id order, a page at a time, so that the store may change meanwhile."""
    key = dataset_key(db, dataset)
    if ids is not None:
        wanted = sorted(set(ids))
        for start in range(0, len(wanted), PAGE):
            found = db.by_ids(f"{_ITEM} AND r.id IN ({{}}) ORDER BY r.id", (key,), wanted[start : start + PAGE])
            yield from items_from(db, found)
        return
    last: str | None = None
    while True:
        after = "" if last is None else " AND r.id>?"
        page = db.rows(f"{_ITEM}{after} ORDER BY r.id LIMIT {PAGE}", (key,) if last is None else (key, last))
        yield from items_from(db, page)
        if len(page) < PAGE:
            return
        last = page[-1][0]


def basis(db: Catalog, dataset: str) -> str:
    """sha256 over the live (id, version) in id order, each with its length before it."""
    digest = hashlib.sha256()
    for piece in db.chunks("SELECT id, version FROM row WHERE dataset=? AND live ORDER BY id", (dataset_key(db, dataset),)):
        with db.decoding():
            digest.update("".join(f"{len(i)}:{i}{len(v)}:{v}" for i, v in piece).encode())
    return digest.hexdigest()


def fields(db: Catalog, dataset: str, name: str) -> dict[str, Scalar]:
    """Id -> value of one field, of live rows that have it, in id order."""
    found: dict[str, Scalar] = {}
    query = "SELECT id, fields FROM row WHERE dataset=? AND live AND fields<>'{}' ORDER BY id"
    for piece in db.chunks(query, (dataset_key(db, dataset),)):
        with db.decoding():
            for item_id, text in piece:
                held = json.loads(text)
                if name in held:
                    found[item_id] = held[name]
    return found


def field_names(db: Catalog, dataset: str) -> list[str]:
    """The names of all fields of live rows, sorted."""
    names: set[str] = set()
    query = "SELECT DISTINCT fields FROM row WHERE dataset=? AND live AND fields<>'{}'"
    for piece in db.chunks(query, (dataset_key(db, dataset),)):
        with db.decoding():
            for (text,) in piece:
                names.update(json.loads(text))
    return sorted(names)


def update_fields(db: Catalog, dataset: str, changes: Sequence[Change]) -> None:
    """Writes what the platform shows after a push; None removes a field.  Rows that are gone are passed over."""
    key = dataset_key(db, dataset)
    wanted: dict[str, dict[str, Scalar]] = {}
    for change in changes:
        wanted.setdefault(change.item_id, {})[change.field] = change.after
    with db.transaction():
        found = db.by_ids("SELECT id, key, fields FROM row WHERE dataset=? AND id IN ({})", (key,), wanted)
        updates = []
        for item_id, row, text in found:
            with db.decoding():
                held = json.loads(text)
            held.update(wanted[item_id])
            updates.append((dump({k: v for k, v in held.items() if v is not None}), row))
        db.many("UPDATE row SET fields=? WHERE key=?", updates)
