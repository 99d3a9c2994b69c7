"""What a codec's loss does to distances: measured once, kept in the header, used wherever codes decide.

A pair whose decoded distance lies inside the band of a radius is borderline: the floats might have said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.geometry import GUARD, Array, Geometry, geometry_named, norms
from curate.types import Vectors

PAIRS = 384
BINS = 36
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
    middle: (k,) the median difference of pairs towards other rows.
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

    A pair is a row and a point on the way to another row, or to the same length of noise in all directions (a copy differs
    from its original where the data varies little, and a codec may spend no bits there).
    """
    here, steps, to_row = _walks(np.asarray(sample, np.float64), geometry, rng)
    left = np.asarray(here, np.float32)
    decoded_left = round_trip(left)
    true, gap, real = [], [], []
    for part in np.geomspace(2**-9, 1.0, 19):
        right = np.asarray(here + part * steps, np.float32)
        decoded = round_trip(right)
        ok = np.ones(PAIRS, bool) if geometry.zero_ok else (norms(right) > 0) & (norms(decoded) > 0) & (norms(decoded_left) > 0)
        d = geometry.distance(left[ok], right[ok])
        true.append(d)
        gap.append(geometry.distance(decoded_left[ok], decoded[ok]) - d)
        real.append(to_row[ok])
    return _binned(np.concatenate(true), np.concatenate(gap), np.concatenate(real), geometry)


def _walks(rows: Array, geometry: Geometry, rng: np.random.Generator) -> tuple[Array, Array, Flags]:
    """Starts and steps of the pairs, each (PAIRS, d), and which steps lead to another row."""
    if not geometry.zero_ok:
        rows = rows[norms(rows) > 0]
    here = rows[rng.integers(0, len(rows), PAIRS)]
    there = rows[rng.integers(0, len(rows), PAIRS)] - here
    noise = rng.standard_normal(here.shape)
    reach = norms(there)
    reach[reach == 0] = np.maximum(norms(here), 1e-6)[reach == 0]
    noise *= (reach / norms(noise))[:, None]
    to_row = np.arange(PAIRS) % 2 == 0
    return here, np.where(to_row[:, None], there, noise), to_row


def _binned(true: Array, difference: Array, real: Flags, geometry: Geometry) -> Bound:
    order = np.argsort(true, kind="stable")
    centre, low, middle, high = [], [], [], []
    for part in np.array_split(order, min(BINS, len(order))):
        kinds = [difference[part[real[part]]], difference[part[~real[part]]]]
        # Either kind by itself: the spread of both together would be that of their distance.
        reach = [_reach(kind) for kind in kinds if kind.size]
        centre.append(float(np.median(true[part])))
        low.append(min(0.0, *(down for down, _ in reach)))
        high.append(max(0.0, *(up for _, up in reach)))
        middle.append(float(np.median(kinds[0] if kinds[0].size else kinds[1])))
    return Bound(geometry.label, np.array(centre), np.array(low), np.array(middle), np.array(high))


def _reach(difference: Array) -> tuple[float, float]:
    mean, spread = float(difference.mean()), DEVIATIONS * float(difference.std())
    down, up = WIDEN * (mean - float(difference.min())), WIDEN * (float(difference.max()) - mean)
    return mean - max(down, spread), mean + max(up, spread)
