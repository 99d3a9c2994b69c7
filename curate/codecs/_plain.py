"""f32 and f16: the floats themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.geometry import Geometry
from curate.types import Vectors


@dataclass(frozen=True)
class Float:
    """IEEE floats, little endian.  name: "f32" (exact) or "f16" (values beyond 65504 are refused)."""

    name: str = "f32"
    stateless = True
    decides_duplicates = True

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype("<f4" if self.name == "f32" else "<f2")

    def bytes_per_vector(self, dim: int) -> int:
        """4 or 2 bytes a coordinate."""
        return dim * self._dtype.itemsize

    def fit(self, sample: Vectors, *, geometry: Geometry, rng: np.random.Generator) -> Float:
        """Itself: nothing is learned."""
        return self
