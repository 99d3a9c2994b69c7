"""Scored candidate pairs: what every way of deciding returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.geometry import GUARD, Array
from curate.ops._groups import Rows


@dataclass(frozen=True, slots=True)
class Scored:
    """Candidate pairs with what speaks for them, ordered by (i, j).

    i, j: rows, ids[i] < ids[j].  distance: in the embedder's unit.  probability: that one is a copy of the other; NaN where
    only the distance decides.  mirrored: one is the mirror image of the other.  decided: it is a copy.  borderline: within the
    guard band of the cut.  evidence: column -> one number a pair, for reports.
    """

    i: Rows
    j: Rows
    distance: Array
    probability: Array
    mirrored: npt.NDArray[np.bool_]
    decided: npt.NDArray[np.bool_]
    borderline: npt.NDArray[np.bool_]
    evidence: dict[str, Array]

    def __len__(self) -> int:
        return len(self.i)

    def of(self, pairs: Rows, place: Callable[[Rows], Rows]) -> Scored:
        """Only some pairs, with rows counted anew by `place`."""
        columns = {f.name: getattr(self, f.name)[pairs] for f in fields(self) if f.name != "evidence"}
        columns |= {name: place(columns[name]) for name in ("i", "j")}
        return Scored(**columns, evidence={name: column[pairs] for name, column in self.evidence.items()})

    def kind(self, pair: int) -> str:
        """Which kind of copy it is: "mirrored" or "near"."""
        return "mirrored" if self.mirrored[pair] else "near"

    def describe(self, pair: int) -> dict[str, Any]:
        """The evidence of one pair as JSON values; the probability is left out where only the distance decides."""
        known = {} if np.isnan(self.probability[pair]) else {"probability": round(float(self.probability[pair]), 6)}
        more = {name: float(f"{column[pair]:.5g}") for name, column in self.evidence.items() if np.isfinite(column[pair])}
        return {**known, **more}


def by_distance(i: Rows, j: Rows, distance: Array, radius: float, *, band: tuple[float, float] | None = None) -> Scored:
    """Decides by the distance alone: a copy is at most `radius` away.

    band: the distances of compressed vectors that leave it open (`Context.band`); such pairs are borderline, and no copies.
    """
    no = np.zeros(len(i), dtype=bool)
    if band is not None:
        low, high = band
        inside = distance < low
        between = ~inside & (distance <= high)
        return Scored(i, j, distance, np.full(len(i), np.nan), no, inside, between, evidence={})
    return Scored(
        i, j, distance, np.full(len(i), np.nan), no, distance <= radius, np.abs(distance - radius) <= GUARD, evidence={}
    )
