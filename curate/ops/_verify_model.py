"""From features to a calibrated probability: a logistic part and boosted trees, plain numbers, evaluated in numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.geometry import Array
from curate.ops._views import Grey

LIMIT = 9.0
"""Features are clipped to +-LIMIT before the logistic part, so that nothing strange decides alone."""


@dataclass(frozen=True)
class PairModel:
    """Features of a pair -> probability that one is a copy of the other.

    centre, spread, weights: (d,) of the logistic part; bias.  feature, threshold, left, right, value: (nodes,) of all trees,
    a negative feature marks a leaf; roots: first node of each tree; start: the trees' constant.
    slope, offset: calibration of the mean of both parts' log odds.
    """

    centre: Array
    spread: Array
    weights: Array
    bias: float
    feature: npt.NDArray[np.int32]
    threshold: Array
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    value: Array
    roots: npt.NDArray[np.int32]
    start: float
    slope: float
    offset: float

    def log_odds(self, rows: Grey) -> Array:
        """Calibrated log odds of rows (n, d) of features."""
        wide = np.asarray(rows, dtype=np.float64)
        linear = (np.clip(wide, -LIMIT, LIMIT) - self.centre) / self.spread @ self.weights + self.bias
        return np.asarray(self.slope * (linear + self._trees(wide)) / 2 + self.offset, dtype=np.float64)

    def probability(self, rows: Grey) -> Array:
        """Probability of rows (n, d); rows of NaN (which could not be laid over each other) have 0."""
        found = np.zeros(len(rows))
        known = np.isfinite(rows).all(axis=1)
        found[known] = 1 / (1 + np.exp(-np.clip(self.log_odds(rows[known]), -40, 40)))
        return found

    def _trees(self, rows: Array) -> Array:
        total = np.full(len(rows), self.start)
        every = np.arange(len(rows))
        for root in self.roots:
            at = np.full(len(rows), root, dtype=np.int32)
            inner = self.feature[at] >= 0
            while inner.any():
                walk, node = every[inner], at[inner]
                lower = rows[walk, self.feature[node]] <= self.threshold[node]
                at[walk] = np.where(lower, self.left[node], self.right[node])
                inner = self.feature[at] >= 0
            total += self.value[at]
        return total

    def arrays(self) -> dict[str, Any]:
        """What `model_from` reads back."""
        return {name: np.asarray(getattr(self, name)) for name in self.__dataclass_fields__}


def model_from(held: Mapping[str, Any]) -> PairModel:
    """The model of `PairModel.arrays`."""
    scalars, whole = {"bias", "start", "slope", "offset"}, {"feature", "left", "right", "roots"}
    values: dict[str, Any] = {
        name: float(held[name]) if name in scalars else np.asarray(held[name], np.int32 if name in whole else np.float64)
        for name in PairModel.__dataclass_fields__
    }
    return PairModel(**values)


@cache
def shipped_model(name: str) -> PairModel:
    """The model "large" or "small" that comes with the package, made by `benchmarks/train_duplicates.py`."""
    with (
        resources.files("curate.ops").joinpath(f"data/{name}.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as held,
    ):
        return model_from(dict(held))
