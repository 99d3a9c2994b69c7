"""`check_connector`: the demands on a connector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from curate.errors import ConnectorError, MediaError
from curate.protocols import Connector, Prepares, Presentation, Presents
from curate.testing._demand import demand, raising
from curate.types import Applied, Change, EmbedderSpec, Item, Scalar, field_kind

UNKNOWN = "nosuchdataset4e0c"
FOREIGN = "no/such dataset: 4e0c"
CHECK_SPEC = EmbedderSpec("contract-check", "1", "check", 8, "cosine")
AWKWARD = '=1+1 "quoted", line\nbreak <script>\U0001f600'


def check_connector(
    factory: Callable[[], Connector],
    dataset_id: str,
    *,
    fields: Sequence[str] = ("duplicate", "cluster"),
    awkward: str = AWKWARD,
) -> None:
    """Holds a connector to its protocol; leaves the dataset as it was.

    factory: builds a connector that sees the same data each time, as a new process would.
    dataset_id: a dataset with at least two rows, one of which can be read.
    fields: results to try, of those the platform takes.  awkward: a text value that must come back as it was.

    Demands:
    1. It has `name` (no colon in it), `takes_vectors` and the methods of the protocol.
    2. `has` knows the dataset, and says False for an unknown one.
    3. `check` accepts the dataset and raises ConnectorError (NotFound) for an unknown one; `prepare`, where it is offered,
       names no field that was not wanted.
    4. `pages` gives every row once, with a non-empty id and version, scalar fields, and a cursor on the last page only; a new
       connector lists the same rows with the same versions; an unknown dataset or a cursor it never gave is a ConnectorError;
       a cursor it gave lists no row that the whole listing has not.
    5. `read` gives the same bytes every time and from several threads, and raises MediaError or ConnectorError for a row that
       is not there.
    6. `push_fields` is durable at once and an idempotent upsert: a new connector shows the values, pushing again is accepted
       and changes nothing, None clears, fields and rows that were not named keep their values, and a change for an unknown row
       comes back in `rejected`, without harm to the others in the chunk.
    7. `push_vectors` accepts every row, twice, where `takes_vectors`; otherwise it rejects every row by name.
    8. Where `plan_presentation` is offered: what `present` did is not planned again, a second `present` changes nothing, and
       `withdraw` leaves it to be planned as before.
    """
    connector = factory()
    _check_shape(connector)
    _check_finding(connector, dataset_id)
    if isinstance(connector, Prepares):
        places = connector.prepare(dataset_id, spec=None, fields=fields, create=True)
        demand(set(places) <= set(fields), f"`prepare` names no field that was not wanted, not {sorted(set(places))}")
    items = _check_pages(factory, dataset_id)
    _check_reading(connector, items)
    _check_fields(factory, dataset_id, items, fields, awkward)
    _check_vectors(factory(), dataset_id, items)
    _check_presentation(factory, dataset_id, items)
    demand(
        {i: _plain(item.fields) for i, item in _listed(factory(), dataset_id).items()}
        == {item.id: _plain(item.fields) for item in items},
        "undoing every change leaves the fields as they were",
    )


def _check_shape(connector: Connector) -> None:
    demand(isinstance(connector, Connector), "a connector has every attribute and method of curate.protocols.Connector")
    demand(
        isinstance(connector.name, str) and bool(connector.name) and ":" not in connector.name,
        "`name` is a non-empty text without a colon",
    )
    demand(isinstance(connector.takes_vectors, bool), "`takes_vectors` is True or False")


def _check_finding(connector: Connector, dataset_id: str) -> None:
    demand(connector.has(dataset_id) is True, f"`has` returns True for {dataset_id!r}")
    for name in (UNKNOWN, FOREIGN):
        demand(connector.has(name) is False, "`has` returns False for an unknown dataset, also one that cannot be its own")
    connector.check(dataset_id)
    with raising(ConnectorError, "`check` raises ConnectorError for an unknown dataset"):
        connector.check(UNKNOWN)


def _listed(connector: Connector, dataset_id: str) -> dict[str, Item]:
    return {item.id: item for page in connector.pages(dataset_id) for item in page.items}


def _check_pages(factory: Callable[[], Connector], dataset_id: str) -> list[Item]:
    pages = list(factory().pages(dataset_id))
    items = [item for page in pages for item in page.items]
    demand(len(items) >= 2, f"{dataset_id!r} has at least two rows for this check; `pages` gave {len(items)}")
    demand(len({item.id for item in items}) == len(items), "`pages` gives every row once")
    for item in items:
        demand(isinstance(item.id, str) and bool(item.id), f"row ids are non-empty texts, not {item.id!r}")
        demand(isinstance(item.version, str) and bool(item.version), f"row {item.id!r} has a non-empty version")
        scalars = all(isinstance(v, (str, int, float, bool, type(None))) for v in item.fields.values())
        demand(scalars, f"the fields of row {item.id!r} are texts, numbers, booleans or None")
        _encodable(item)
    demand(all(page.cursor is None for page in pages[:-1]), "only the last page has a cursor")
    again = _listed(factory(), dataset_id)
    demand(
        {i: (item.version, item.media_type) for i, item in again.items()}
        == {item.id: (item.version, item.media_type) for item in items},
        "a new connector lists the same rows with the same versions",
    )
    with raising(ConnectorError, "`pages` raises ConnectorError for an unknown dataset"):
        list(factory().pages(UNKNOWN))
    with raising(ConnectorError, "`pages` raises ConnectorError for a cursor it never gave"):
        list(factory().pages(dataset_id, since="no cursor of yours"))
    if pages[-1].cursor is not None:
        since = [item.id for page in factory().pages(dataset_id, since=pages[-1].cursor) for item in page.items]
        demand(set(since) <= set(again), "`pages` since its own cursor lists no row that the whole listing has not")
    return items


def _encodable(item: Item) -> None:
    texts = [item.id, item.uri, *(v for v in item.fields.values() if isinstance(v, str))]
    try:
        "".join(texts).encode("utf-8")
    except UnicodeEncodeError as err:
        raise AssertionError(f"the id, uri and fields of row {item.id!r} can be written as UTF-8") from err


def _check_reading(connector: Connector, items: Sequence[Item]) -> None:
    readable: list[tuple[Item, bytes]] = []
    for item in items[:50]:
        try:
            data = connector.read(item)
        except MediaError:
            continue
        demand(isinstance(data, bytes), f"`read` gives bytes, not {type(data).__name__}")
        readable.append((item, data))
    demand(bool(readable), "at least one of the first 50 rows can be read")
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda pair: connector.read(pair[0]) == pair[1], readable * 4))
    demand(all(again), "`read` gives the same bytes every time and from several threads")
    gone = Item("no-such-row-4e0c", f"{readable[0][0].uri}-no-such-row", "0", {}, readable[0][0].media_type)
    with raising((MediaError, ConnectorError), "`read` of a row that is not there raises MediaError or ConnectorError"):
        connector.read(gone)


def _value(field: str, n: int, awkward: str) -> Scalar:
    if field_kind(field) == "number":
        return (0, 7, 12 if field == "cluster" else 0.25)[n]
    return ("kept", "copy-of/" + "x" * 40, awkward)[n]


def _push(connector: Connector, dataset_id: str, changes: Sequence[Change]) -> Applied:
    applied = connector.push_fields(dataset_id, changes)
    demand(isinstance(applied, Applied), "`push_fields` returns Applied")
    return applied


def _flush(connector: Connector, dataset_id: str) -> None:
    flush = getattr(connector, "flush", None)
    if flush is not None:
        flush(dataset_id)


def _check_fields(
    factory: Callable[[], Connector], dataset_id: str, items: Sequence[Item], fields: Sequence[str], awkward: str
) -> None:
    first, other = items[0], items[1]
    for field in fields:
        before = first.fields.get(field)
        for n in range(3):
            value = _value(field, n, awkward)
            change = Change(first.id, field, before, value)
            connector = factory()
            for time in ("once", "again"):
                applied = _push(connector, dataset_id, [change])
                demand(
                    applied.accepted == 1 and not applied.rejected,
                    f"pushing {field!r} = {value!r} {time} is accepted, not {applied}",
                )
                shown = _listed(factory(), dataset_id)
                found = shown[first.id].fields.get(field)
                demand(found == value, f"{field!r} = {value!r} is shown by a new connector, even before `flush`, not {found!r}")
            _flush(connector, dataset_id)
            shown = _listed(factory(), dataset_id)
            demand(shown[first.id].fields.get(field) == value, f"{field!r} = {value!r} is shown after `flush`")
            demand(_plain(shown[other.id].fields) == _plain(other.fields), "a row that was not named keeps its fields")
            rest = {k: v for k, v in first.fields.items() if k != field}
            kept = {k: v for k, v in shown[first.id].fields.items() if k != field}
            demand(_plain(kept) == _plain(rest), "fields that were not named keep their values")
            before = value
        _check_clearing(factory, dataset_id, Change(first.id, field, before, None))
        if first.fields.get(field) is not None:
            _push(factory(), dataset_id, [Change(first.id, field, None, first.fields[field])])
    _check_unknown_row(factory, dataset_id, first, fields[0])


def _check_clearing(factory: Callable[[], Connector], dataset_id: str, change: Change) -> None:
    connector = factory()
    applied = _push(connector, dataset_id, [change])
    demand(applied.accepted == 1, f"clearing {change.field!r} with None is accepted")
    _flush(connector, dataset_id)
    shown = _listed(factory(), dataset_id)[change.item_id].fields.get(change.field)
    demand(shown is None, f"None clears {change.field!r}; {shown!r} is shown")


def _check_unknown_row(factory: Callable[[], Connector], dataset_id: str, first: Item, field: str) -> None:
    connector = factory()
    stranger, known = (
        Change("no-such-row-4e0c", field, None, _value(field, 1, "")),
        Change(first.id, field, None, _value(field, 1, "")),
    )
    applied = _push(connector, dataset_id, [stranger, known])
    demand(
        [r.item_id for r in applied.rejected] == [stranger.item_id] and applied.accepted == 1,
        f"a change for an unknown row comes back in `rejected`, and the others are accepted, not {applied}",
    )
    demand(all(r.reason for r in applied.rejected), "a rejected change says why")
    _push(connector, dataset_id, [Change(first.id, field, known.after, first.fields.get(field))])
    _flush(connector, dataset_id)


def _check_vectors(connector: Connector, dataset_id: str, items: Sequence[Item]) -> None:
    # At least three: one platform cannot take fewer at a time, and a page is never that small in real use.
    ids = [item.id for item in items[:50]]
    vectors = np.random.default_rng(0).normal(size=(len(ids), 8)).astype(np.float32)
    for time in ("once", "twice"):
        applied = connector.push_vectors(dataset_id, CHECK_SPEC, ids, vectors)
        demand(isinstance(applied, Applied), "`push_vectors` returns Applied")
        if connector.takes_vectors:
            demand(applied.accepted == len(ids), f"`push_vectors` accepts every row, {time}; it returned {applied}")
        else:
            refused = {r.item_id for r in applied.rejected}
            demand(applied.accepted == 0 and refused == set(ids), "a connector that takes no vectors rejects every row by name")


def _check_presentation(factory: Callable[[], Connector], dataset_id: str, items: Sequence[Item]) -> None:
    connector = factory()
    if not isinstance(connector, Presents):
        return
    points = {item.id: (float(n), float(n * n)) for n, item in enumerate(items[:50])}
    presentation = Presentation(CHECK_SPEC if connector.takes_vectors else None, points, "contract-check")
    planned = dict(connector.plan_presentation(dataset_id, presentation))
    demand(bool(planned), "a map that the platform does not show is planned")
    demand(dict(_presenting(factory).plan_presentation(dataset_id, presentation)) == planned, "planning shows nothing")
    for time in ("once", "twice"):
        _presenting(factory).present(dataset_id, planned, presentation)
        left = _presenting(factory).plan_presentation(dataset_id, presentation)
        demand(not left, f"what was presented {time} is not planned again, not {left}")
    demand(_presenting(factory).withdraw(dataset_id, planned) > 0, "`withdraw` says how many things it changed")
    _presenting(factory).withdraw(dataset_id, planned)
    again = dict(_presenting(factory).plan_presentation(dataset_id, presentation))
    demand(again == planned, "what was withdrawn, once or twice, is planned as before")


def _presenting(factory: Callable[[], Connector]) -> Presents:
    """A new connector, of which `Presents` is known."""
    connector = factory()
    assert isinstance(connector, Presents)
    return connector


def _plain(fields: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {k: v for k, v in fields.items() if v is not None}
