"""What a codec's loss does to distances: measured once, kept in the header, used wherever codes decide.

A pair whose decoded distance lies inside the band of a radius is borderline: the floats might have said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.geometry import GUARD, Array, Geometry, geometry_named, norms
from curate.types import Vectors

PAIRS = 384
BINS = 36
ANCHORS, AMONG, RANKS = 384, 4096, (1, 2, 3, 5, 8, 13, 21, 34)
"""Rows of the sample, those among which their neighbours are looked for, and which neighbours are taken."""

ENOUGH = 12
"""Pairs of rows as they are from which a bin believes their median, rather than that of points between rows."""

_PARTS = tuple(np.geomspace(2**-9, 1.0, 19).tolist())
_NOISE, _TOWARDS, _ROWS = 0, 1, 2  # what the pairs are: towards noise, towards another row, rows themselves
WIDEN = 1.5
DEVIATIONS = 5.0
"""The sample has not seen every pair: a band reaches 1.5 times as far as its extremes, and 5 standard deviations at least."""

Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Band:
    """The decoded distances that leave open on which side of `radius` the true one lies: [low, high].

    middle: the decoded distance to expect at `radius`: the cut to use where a side must be taken (debiased).
    """

    radius: float
    low: float
    high: float
    middle: float


@dataclass(frozen=True)
class Split:
    """Pairs at a radius, one flag a pair.

    inside: decided, within the radius.  borderline: not decided; to be re-ranked by floats or listed.  The rest is outside.
    """

    inside: Flags
    borderline: Flags


@dataclass(frozen=True)
class Bound:
    """Decoded minus true distance over a sample, by true distance.

    geometry: label of the geometry the distances are in.  true: (k,) ascending, the centre of each bin.
    low, high: (k,) what a difference in the bin keeps to: 1.5 times the extremes from the mean, at least 5 standard deviations,
    of both kinds of pair.
    middle: (k,) the median difference of pairs of rows, or of pairs towards other rows where hardly any rows are so near.
    """

    geometry: str
    true: Array
    low: Array
    middle: Array
    high: Array

    def band(self, radius: float) -> Band:
        """The band around `radius` (in the geometry's distance); never narrower than the guard of every cut."""
        geometry_named(self.geometry).check_radius(radius)
        at = np.searchsorted(self.true, radius)
        near = slice(max(at - 2, 0), at + 1)
        low, high = float(self.low[near].min()), float(self.high[near].max())
        middle = radius + float(np.interp(radius, np.r_[0.0, self.true], np.r_[0.0, self.middle]))
        return Band(radius, radius + min(low, -GUARD), radius + max(high, GUARD), middle)

    def arrays(self) -> dict[str, Array]:
        """For the header."""
        return {"bound": np.stack([self.true, self.low, self.middle, self.high])}

    @classmethod
    def from_arrays(cls, geometry: str, table: Array) -> Bound:
        """The inverse of `arrays`."""
        return cls(geometry, *table)


def split_pairs(distance: Array, band: Band) -> Split:
    """Splits pairs by their decoded distances: (m,) -> decided inside, and open."""
    d = np.asarray(distance, np.float64)
    inside = d < band.low
    return Split(inside, (d <= band.high) & ~inside)


def measure_bound(
    round_trip: Callable[[Vectors], Vectors], sample: Vectors, geometry: Geometry, rng: np.random.Generator
) -> Bound:
    """Measures `Bound` on pairs at every distance that the sample reaches.

    A pair is a row and one of its neighbours; or a row and a point on the way to another row, or to the same length of noise
    in all directions (a copy differs from its original where the data varies little, and a codec may spend no bits there).
    """
    rows = np.asarray(sample, np.float64)
    if not geometry.zero_ok:
        rows = rows[norms(rows) > 0]
    here, steps, to_row = _walks(rows, rng)
    left, right = _neighbours(np.asarray(rows, np.float32), geometry, rng)
    sides = [(left, right, np.full(len(left), _ROWS))]
    kinds = np.where(to_row, _TOWARDS, _NOISE)
    sides += [(np.asarray(here, np.float32), np.asarray(here + part * steps, np.float32), kinds) for part in _PARTS]
    true, gap, kind = [], [], []
    for one, other, what in sides:
        seen_one, seen_other = round_trip(one), round_trip(other)
        ok = np.ones(len(one), bool)
        if not geometry.zero_ok:
            ok = (norms(other) > 0) & (norms(seen_other) > 0) & (norms(seen_one) > 0)
        d = geometry.distance(one[ok], other[ok])
        true.append(d)
        gap.append(geometry.distance(seen_one[ok], seen_other[ok]) - d)
        kind.append(what[ok])
    return _binned(np.concatenate(true), np.concatenate(gap), np.concatenate(kind), geometry)


def _neighbours(rows: Vectors, geometry: Geometry, rng: np.random.Generator) -> tuple[Vectors, Vectors]:
    """Rows and some of their neighbours among a part of the sample, (m, d) each; none for a single row."""
    rows = rows[np.sort(rng.permutation(len(rows))[:AMONG])]
    anchors = np.arange(min(ANCHORS, len(rows)))
    ready = geometry.prepare(rows)
    apart = geometry.pairwise(ready[anchors], ready, prepared=True)
    apart[anchors, anchors] = np.inf
    ranks = [rank - 1 for rank in RANKS if rank < len(rows)]
    near = np.argsort(apart, axis=1, kind="stable")[:, ranks]
    return rows[np.repeat(anchors, len(ranks))], rows[near.ravel()]


def _walks(rows: Array, rng: np.random.Generator) -> tuple[Array, Array, Flags]:
    """Starts and steps of the pairs, each (PAIRS, d), and which steps lead to another row."""
    here = rows[rng.integers(0, len(rows), PAIRS)]
    there = rows[rng.integers(0, len(rows), PAIRS)] - here
    noise = rng.standard_normal(here.shape)
    reach = norms(there)
    reach[reach == 0] = np.maximum(norms(here), 1e-6)[reach == 0]
    noise *= (reach / norms(noise))[:, None]
    to_row = np.arange(PAIRS) % 2 == 0
    return here, np.where(to_row[:, None], there, noise), to_row


def _binned(true: Array, difference: Array, kind: npt.NDArray[np.int64], geometry: Geometry) -> Bound:
    order = np.argsort(true, kind="stable")
    centre, low, middle, high = [], [], [], []
    for part in np.array_split(order, min(BINS, len(order))):
        kinds = [difference[part[kind[part] == k]] for k in (_ROWS, _TOWARDS, _NOISE)]
        # Each kind by itself: the spread of all together would be that of their distance.
        reach = [_reach(some) for some in kinds if some.size]
        centre.append(float(np.median(true[part])))
        low.append(min(0.0, *(down for down, _ in reach)))
        high.append(max(0.0, *(up for _, up in reach)))
        believed = kinds[0] if kinds[0].size >= ENOUGH else kinds[1] if kinds[1].size else difference[part]
        middle.append(float(np.median(believed)))
    return Bound(geometry.label, np.array(centre), np.array(low), np.array(middle), np.array(high))


def _reach(difference: Array) -> tuple[float, float]:
    mean, spread = float(difference.mean()), DEVIATIONS * float(difference.std())
    down, up = WIDEN * (mean - float(difference.min())), WIDEN * (float(difference.max()) - mean)
    return mean - max(down, spread), mean + max(up, spread)
