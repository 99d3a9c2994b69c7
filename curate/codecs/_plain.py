"""f32 and f16: the floats themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.codecs._bound import Bound, measure_bound
from curate.codecs._checks import Codes, check_codes, check_vectors
from curate.codecs._header import pack_header
from curate.errors import EmbedderError
from curate.geometry import Array, Geometry
from curate.types import Vectors

_DTYPES: dict[str, np.dtype[Any]] = {"f32": np.dtype("<f4"), "f16": np.dtype("<f2")}


@dataclass(frozen=True)
class Floats:
    """IEEE floats, little endian.  name: "f32" (exact) or "f16" (entries beyond 65504 are refused)."""

    name: str = "f32"
    dim: int | None = None
    bound: Bound | None = None
    stateless = True
    decides_duplicates = True

    def bytes_per_vector(self, dim: int) -> int:
        """4 or 2 bytes a coordinate."""
        return dim * int(_DTYPES[self.name].itemsize)

    def fit(self, sample: Vectors, geometry: Geometry, rng: np.random.Generator) -> Floats:
        """Itself with the measured bound: the codes depend on nothing that is learned."""
        x = check_vectors(sample, self.dim)
        fitted = replace(self, dim=x.shape[1])
        if self.name == "f32" or not len(x):
            return fitted
        return replace(fitted, bound=measure_bound(lambda v: fitted.decode(fitted.encode(v)), x, geometry, rng))

    def encode(self, vectors: Vectors) -> Codes:
        """(n, d) float32 -> (n, 4 d or 2 d) uint8.  Raises EmbedderError for an entry that f16 cannot hold."""
        x = check_vectors(vectors, self.dim)
        if self.name == "f16" and x.size and np.abs(x).max() > 65504:
            raise EmbedderError("codec f16 holds entries up to 65504; a vector has a larger one: use f32 or int8")
        held = np.ascontiguousarray(x, dtype=_DTYPES[self.name])
        return np.asarray(held.view(np.uint8).reshape(len(x), self.bytes_per_vector(x.shape[1])))

    def decode(self, codes: Codes) -> Vectors:
        """The floats again: (n, w) uint8 -> (n, d) float32."""
        width = np.shape(codes)[-1] if self.dim is None else self.bytes_per_vector(self.dim)
        held = check_codes(codes, width)
        return np.asarray(np.ascontiguousarray(held).view(_DTYPES[self.name]), dtype=np.float32)

    def header(self) -> bytes:
        """Name, dimension and bound."""
        return pack_header(*self._parts())

    def _parts(self) -> tuple[dict[str, Any], dict[str, Array]]:
        settings: dict[str, Any] = {"codec": self.name, "dim": self.dim}
        if self.bound is None:
            return settings, {}
        return {**settings, "geometry": self.bound.geometry}, self.bound.arrays()
