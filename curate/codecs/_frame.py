"""Where codes are centred: on the mean of the rows, or of their directions where the geometry looks at nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curate.codecs._checks import at_length
from curate.geometry import Array, Geometry, norms
from curate.types import Vectors


@dataclass(frozen=True)
class Frame:
    """mean: (d,) float32.  directions: rows are divided by their length first (cosine)."""

    mean: Vectors
    directions: bool

    @classmethod
    def of(cls, sample: Vectors, geometry: Geometry) -> Frame:
        """The frame of a sample; zero rows count as they are."""
        x, directions = np.asarray(sample, np.float64), geometry.kind == "cosine"
        rows = _divided(x, norms(x)) if directions else x
        return cls(rows.mean(axis=0).astype(np.float32), directions)

    def centre(self, x: Vectors, length: Array) -> Vectors:
        """Rows relative to the mean: (n, d), their lengths (n,) -> (n, d) float32."""
        rows = _divided(np.asarray(x, np.float64), length) if self.directions else x
        return np.asarray(rows - self.mean, dtype=np.float32)

    def restore(self, centred: Vectors, length: Vectors) -> Vectors:
        """The inverse; every row gets exactly its stored length: (n, d), (n, 1) -> (n, d) float32."""
        return at_length(np.asarray(centred + self.mean), length)


def mean_error(x: Vectors, decoded: Vectors) -> float:
    """Mean squared distance of rows from their decoded forms, in units of their squared lengths; zero rows are left out."""
    length = norms(x)
    some = length > 0
    if not some.any():
        return 0.0
    share = norms(np.asarray(x[some], np.float64) - decoded[some]) / length[some]
    return float(np.mean(share * share))


def _divided(x: Array, length: Array) -> Array:
    return np.asarray(np.divide(x, length[:, None], out=np.zeros_like(x), where=length[:, None] > 0))
