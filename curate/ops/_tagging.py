"""Many rows through one tagger, block by block, and what is kept of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.ops._tree import Routes, block_rows, routes, softmax, tag_probabilities
from curate.taxonomy import Facet
from curate.types import Vectors

Array: TypeAlias = npt.NDArray[np.float64]
DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Tagged:
    """The tags of some rows along one facet.

    ends: (n,) the last tag, -1 for untagged.  paths: (n,) or None.  levels: (n,) the probability of every tag of the path, or
    of the best top tag alone for an untagged row.  following: (n,) the first tag not taken and its probability, or None.
    borderline: (n,) whether a probability lies within the guard band of the threshold.
    """

    ends: npt.NDArray[np.int32]
    paths: Sequence[str | None]
    levels: Sequence[Sequence[float]]
    following: Sequence[tuple[str, float] | None]
    borderline: npt.NDArray[np.bool_]

    def confidence_of(self, row: int) -> float | None:
        """The probability of the last tag; None for an untagged row."""
        return self.levels[row][-1] if self.ends[row] >= 0 else None

    def reason(self, row: int) -> str:
        """Why, in a few words: the probabilities along the path, and what would have come next."""
        said = " > ".join(f"{p:.2f}" for p in self.levels[row])
        after = self.following[row]
        return f"P {said}" + (f"; then {after[0]} {after[1]:.2f}" if after else "")

    def row(self, row: int) -> dict[str, Any]:
        """The JSON of one row, without its id."""
        after = self.following[row]
        return {
            "path": self.paths[row],
            "confidence": self.confidence_of(row),
            "levels": list(self.levels[row]),
            "next": {"tag": after[0], "p": after[1]} if after else None,
        }


def probabilities(facet: Facet, scores: Array, temperature: float) -> Array:
    """P(tag) of every row from leaf scores: (leaves, n) -> (tags, n); `scores` is left as it is."""
    return tag_probabilities(facet, softmax(scores * temperature))


def ways_down(facet: Facet, whole: Array) -> Routes:
    """The way down of every row: (tags, n) -> `Routes`."""
    return routes(facet, whole)


def tag_rows(facet: Facet, score: Callable[[Vectors], Array], x: Vectors, *, temperature: float, tau: float) -> Tagged:
    """Tags of vectors (n, d), in blocks whose size depends on the taxonomy only."""
    size = block_rows(facet)
    parts = [_tag_block(facet, probabilities(facet, score(x[k : k + size]), temperature), tau) for k in range(0, len(x), size)]
    if not parts:
        nothing = np.zeros(0, dtype=np.int32)
        return Tagged(nothing, (), (), (), nothing.astype(bool))
    return Tagged(
        np.concatenate([part.ends for part in parts]),
        [path for part in parts for path in part.paths],
        [levels for part in parts for levels in part.levels],
        [after for part in parts for after in part.following],
        np.concatenate([part.borderline for part in parts]),
    )


def _tag_block(facet: Facet, whole: Array, tau: float) -> Tagged:
    ways = routes(facet, whole)
    ends = ways.ends(facet, tau)
    count = len(ends)
    paths: list[str | None] = [None] * count
    levels: list[Sequence[float]] = [()] * count
    for end in np.unique(ends):
        rows = np.flatnonzero(ends == end)
        if end < 0:
            best = whole[list(facet.tops)][:, rows].max(axis=0)
            some: Any = np.round(best[:, None], DECIMALS).tolist()
        else:
            path, trail = facet.path(int(end)), facet.trail(int(end))
            some = np.round(whole[np.ix_(np.array(trail), rows)].T, DECIMALS).tolist()
            for i in rows.tolist():
                paths[i] = path
        for i, here in zip(rows.tolist(), some, strict=True):
            levels[i] = tuple(here)
    tags, chances = ways.following(tau)
    following = [
        (facet.shown[tag], round(chance, DECIMALS)) if tag >= 0 else None
        for tag, chance in zip(tags.tolist(), chances.tolist(), strict=True)
    ]
    return Tagged(ends, paths, levels, following, ways.borderline(tau))
