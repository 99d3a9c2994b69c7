"""Groups of copies as stars: every copy was matched with its kept row itself, never through another copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Rows: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Star:
    """One kept row and its copies.

    copies: rows.  pairs: for each copy the number of the matched pair that decided it, -1 for an exact copy.
    """

    kept: int
    copies: Sequence[int]
    pairs: Sequence[int]


@dataclass(frozen=True, slots=True)
class Stars:
    """Stars in order, held flat: an object for each would cost more than to find them.

    kept: (n,) rows.  starts: (n + 1,) where the copies of each begin.  copies, pairs: as those of `Star`, star after star.
    """

    kept: Rows
    starts: Rows
    copies: Rows
    pairs: Rows

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, place: int) -> Star:
        mine = slice(self.starts[place], self.starts[place + 1])
        return Star(int(self.kept[place]), self.copies[mine].tolist(), self.pairs[mine].tolist())

    def __iter__(self) -> Iterator[Star]:
        return map(self.__getitem__, range(len(self)))

    def rows(self) -> Rows:
        """Every kept row, before its copies."""
        return np.insert(self.copies, self.starts[:-1], self.kept)

    def largest_first(self) -> Stars:
        """The same, those with most copies first."""
        sizes = np.diff(self.starts)
        order = np.argsort(-sizes, kind="stable")
        starts = _starts(sizes[order])
        copies = np.arange(len(self.copies)) + np.repeat(self.starts[order] - starts[:-1], sizes[order])
        return Stars(self.kept[order], starts, self.copies[copies], self.pairs[copies])


def same_content(keys: Sequence[Sequence[str | None]]) -> Rows:
    """Classes of rows that agree in any of the keys, such as content hash and pixel hash: -> (n,) smallest row of the class.

    keys: one sequence a key, each (n,); None and "" agree with nothing.
    """
    count = len(keys[0]) if keys else 0
    parent = list(range(count))

    def top(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for values in keys:
        first: dict[str, int] = {}
        for row, value in enumerate(values):
            if value:
                a, b = sorted((top(first.setdefault(value, row)), top(row)))
                parent[b] = a
    return np.array([top(row) for row in range(count)], dtype=np.int64)


def star_groups(
    order: Sequence[int] | Rows,
    content: Rows,
    links: tuple[Rows, Rows, Rows],
    *,
    protected: npt.NDArray[np.bool_] | None = None,
    sets: Rows | None = None,
) -> Stars:
    """Stars over rows, the row that comes first in `order` kept.

    order: every row once, most worth keeping first; protected rows must lead it.  content: `same_content`.
    links: (m,) rows i, (m,) rows j and (m,) numbers of the pairs that were decided to be copies, rising; a row speaks for its
    class.  protected: rows that are never a copy.  sets: where given, only rows of different sets may be copies of each other,
    and rows of set -1 take no part.  Returns the stars in `order` of their kept rows; depends on nothing else.
    """
    i, j, numbers = content[links[0]], content[links[1]], links[2]
    crowded = np.bincount(content, minlength=len(content)) > 1
    busy = crowded.copy()
    busy[i] = busy[j] = True
    rows = np.asarray(order, dtype=np.int64)
    rows = rows[busy[content[rows]]]  # the others stay alone
    if sets is not None:
        rows = rows[sets[rows] >= 0]
    rooms = _rooms(rows if protected is None else rows[~protected[rows]], content, sets)
    own = np.full(len(rows), -1) if sets is None else sets[rows]
    return _emptied(rows, content[rows], own, _both_ways(np.flatnonzero(crowded), i, j, numbers, len(content)), rooms)


def _emptied(rows: Rows, classes: Rows, own: Rows, links: _Links, rooms: _Rooms) -> Stars:
    """Row by row: every row that nobody took yet takes all that waits in the rooms it leads to, but those of its own set.

    A room is empty after that: where two pairs lead to one class (near and mirrored), the first one decides.
    """
    taken = bytearray(rows.max(initial=0) + 1)
    kept: list[int] = []
    starts = [0]
    copies: list[int] = []
    pairs: list[int] = []
    for row, mine, not_from in zip(rows.tolist(), classes.tolist(), own.tolist(), strict=True):
        if taken[row]:
            continue
        taken[row] = True
        for link in range(links.starts[mine], links.starts[mine + 1]):
            other, pair = links.others[link], links.pairs[link]
            for room in range(rooms.first[other], rooms.first[other + 1]):
                if rooms.sets[room] == not_from:
                    continue
                for copy in rooms.rows[rooms.starts[room] : rooms.ends[room]]:
                    if not taken[copy]:
                        taken[copy] = True
                        copies.append(copy)
                        pairs.append(pair)
                rooms.ends[room] = rooms.starts[room]
        if len(copies) > starts[-1]:
            kept.append(row)
            starts.append(len(copies))
    return Stars(*(np.array(column, dtype=np.int64) for column in (kept, starts, copies, pairs)))


class _Rooms(NamedTuple):
    """Rows that may go, by class and set, in plain lists.

    first: class -> its first room.  sets, starts, ends: of each room its set, and where in `rows` it lies.
    """

    first: list[int]
    sets: list[int]
    starts: list[int]
    ends: list[int]
    rows: list[int]


def _rooms(rows: Rows, content: Rows, sets: Rows | None) -> _Rooms:
    """rows: in order, which their rooms keep; the rooms of a class are in order of their first rows."""
    mine, apart = content[rows], np.zeros(len(rows), dtype=np.int64) if sets is None else sets[rows]
    _, seen, room = np.unique(mine * (apart.max(initial=0) + 1) + apart, return_index=True, return_inverse=True)
    by_class = np.lexsort((seen, mine[seen]))
    room = np.argsort(by_class)[room]
    seen = seen[by_class]
    starts = _starts(np.bincount(room, minlength=len(seen)))
    first = np.searchsorted(mine[seen], np.arange(len(content) + 1))
    inside = rows[np.argsort(room, kind="stable")]
    return _Rooms(first.tolist(), apart[seen].tolist(), starts[:-1].tolist(), starts[1:].tolist(), inside.tolist())


class _Links(NamedTuple):
    """Classes that hold copies of each other, in plain lists.

    starts: class -> its first link.  others, pairs: of each link the class it leads to, and the pair that says so.
    """

    starts: list[int]
    others: list[int]
    pairs: list[int]


def _both_ways(crowded: Rows, i: Rows, j: Rows, numbers: Rows, count: int) -> _Links:
    """Links of i and j both ways round, in order of pairs; before them crowded classes lead to themselves, by no pair (-1)."""
    here = np.concatenate((crowded, np.column_stack((i, j)).ravel()))
    there = np.concatenate((crowded, np.column_stack((j, i)).ravel()))
    pairs = np.concatenate((np.full(len(crowded), -1), np.repeat(numbers, 2)))
    by_class = np.argsort(here, kind="stable")
    starts = np.searchsorted(here[by_class], np.arange(count + 1))
    return _Links(starts.tolist(), there[by_class].tolist(), pairs[by_class].tolist())


def _starts(sizes: Rows) -> Rows:
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(sizes)))
