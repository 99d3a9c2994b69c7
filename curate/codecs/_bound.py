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
BINS = 20
WIDEN = 1.25
"""The measured extremes are widened by this much: the sample has not seen every pair."""

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
    low, high: (k,) smallest and largest difference in the bin, widened by 1.25.  middle: the median one towards other rows.
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
        near = slice(max(at - 2, 0), at + 2)
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
    rows = np.asarray(sample, np.float64)
    if not geometry.zero_ok:
        rows = rows[norms(rows) > 0]
    here = rows[rng.integers(0, len(rows), PAIRS)]
    there = rows[rng.integers(0, len(rows), PAIRS)] - here
    noise = rng.standard_normal(here.shape)
    reach = norms(there)
    reach[reach == 0] = np.maximum(norms(here), 1e-6)[reach == 0]
    noise *= (reach / norms(noise))[:, None]
    is_row = np.arange(PAIRS) % 2 == 0
    steps = np.where(is_row[:, None], there, noise)
    left = np.asarray(here, np.float32)
    decoded_left = round_trip(left)
    true, gap, towards = [], [], []
    for part in np.geomspace(2**-9, 1.0, 19):
        right = np.asarray(here + part * steps, np.float32)
        decoded = round_trip(right)
        ok = np.ones(PAIRS, bool) if geometry.zero_ok else (norms(right) > 0) & (norms(decoded) > 0) & (norms(decoded_left) > 0)
        d = geometry.distance(left[ok], right[ok])
        true.append(d)
        towards.append(is_row[ok])
        gap.append(geometry.distance(decoded_left[ok], decoded[ok]) - d)
    d, difference = np.concatenate(true), np.concatenate(gap)
    order = np.argsort(d, kind="stable")
    real = np.concatenate(towards)[order]
    pieces = [part for part in np.array_split(np.arange(len(order)), BINS) if len(part)]
    bins = [(d[order[part]], difference[order[part]], real[part]) for part in pieces]
    low = [min(float(e.min()), 0.0) * WIDEN for _, e, _ in bins]
    high = [max(float(e.max()), 0.0) * WIDEN for _, e, _ in bins]
    centre = [float(np.median(t)) for t, _, _ in bins]
    middle = [float(np.median(e[real])) if real.any() else float(np.median(e)) for _, e, real in bins]
    return Bound(geometry.label, np.array(centre), np.array(low), np.array(middle), np.array(high))
