"""Groups of copies as stars: every copy was matched with its kept row itself, never through another copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

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
    order: Sequence[int],
    content: Rows,
    links: Mapping[int, Sequence[tuple[int, int]]],
    *,
    protected: npt.NDArray[np.bool_] | None = None,
    sets: Rows | None = None,
) -> list[Star]:
    """Stars over rows, the row that comes first in `order` kept.

    order: every row once, most worth keeping first; protected rows must lead it.  content: `same_content`.
    links: class -> (other class, pair number) of the pairs that were decided to be copies, both ways round.
    protected: rows that are never a copy.  sets: where given, only rows of different sets may be copies of each other, and rows
    of set -1 take no part.  Returns the stars in `order` of their kept rows; depends on nothing else.
    """
    free: dict[int, dict[int, list[int]]] = {}
    for row in order:
        if sets is None or sets[row] >= 0:
            free.setdefault(int(content[row]), {}).setdefault(0 if sets is None else int(sets[row]), []).append(row)
    taken = np.zeros(len(content), dtype=bool)
    stars = []
    for row in order:
        if taken[row] or (sets is not None and sets[row] < 0):
            continue
        taken[row] = True
        mine = int(content[row])
        copies: list[tuple[int, int]] = []
        for other, pair in [(mine, -1), *links.get(mine, ())]:
            rooms = free.get(other, {})
            for room in list(rooms):
                if sets is not None and room == sets[row]:
                    continue
                waiting = [r for r in rooms[room] if not taken[r]]
                stay = [r for r in waiting if protected is not None and protected[r]]
                copies += [(r, pair) for r in waiting if protected is None or not protected[r]]
                rooms[room] = stay
        # Two pairs may lead to one class (near and mirrored): the first one decides, `waiting` is empty for the second.
        for copy, _ in copies:
            taken[copy] = True
        if copies:
            stars.append(Star(row, [c for c, _ in copies], [p for _, p in copies]))
    return stars
