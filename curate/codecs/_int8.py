"""int8: a rotated vector, one byte a coordinate, and its length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.codecs._bound import Bound, measure_bound
from curate.codecs._checks import NORM_BYTES, Codes, check_codes, check_vectors, pack_norms, scaled, stretch, unpack_norms
from curate.codecs._header import pack_header
from curate.codecs._rotation import Rotation, in_blocks
from curate.geometry import Array, Geometry
from curate.types import Vectors

LEVELS = 127


@dataclass(frozen=True)
class Int8:
    """Length (float32), then round(127 y / max|y|) of the rotated row y.

    The per-vector scale needs no byte of its own: decoding gives the rounded direction the stored length.  Nothing is learned,
    and every step is exact or rounds one number at a time, so a vector has the same bytes alone, in a batch and on any machine.
    """

    dim: int | None = None
    bound: Bound | None = None
    seed: int = 0
    name = "int8"
    stateless = True
    decides_duplicates = True

    def bytes_per_vector(self, dim: int) -> int:
        """One byte a coordinate and four for the length."""
        return dim + NORM_BYTES

    def relative_error(self, dim: int) -> float:
        """No row is further than this times its length from its decoded form: rounding moves a coordinate by half a level.

        It is reached only by a vector that the rotation turns onto an axis; after rotation 0.01 is usual.
        """
        return float(dim**0.5) / LEVELS

    def fit(self, sample: Vectors, geometry: Geometry, rng: np.random.Generator) -> Int8:
        """Itself with the measured bound: the codes depend on nothing that is learned."""
        x = check_vectors(sample, self.dim)
        fitted = replace(self, dim=x.shape[1])
        if not len(x):
            return fitted
        return replace(fitted, bound=measure_bound(lambda v: fitted.decode(fitted.encode(v)), x, geometry, rng))

    def encode(self, vectors: Vectors) -> Codes:
        """(n, d) float32 -> (n, d + 4) uint8."""
        x = check_vectors(vectors, self.dim)
        codes = np.empty((len(x), self.bytes_per_vector(x.shape[1])), np.uint8)
        codes[:, :NORM_BYTES] = pack_norms(x)[1]
        rotation = Rotation(x.shape[1], self.seed)
        for rows in in_blocks(len(x)):
            y = rotation.forward(scaled(x[rows]))
            peak = np.abs(y).max(axis=1, keepdims=True)
            np.divide(y, peak, out=y, where=peak > 0)
            y *= np.float32(LEVELS)
            codes[rows, NORM_BYTES:] = np.rint(y, out=y).astype(np.int8).view(np.uint8)
        return codes

    def decode(self, codes: Codes) -> Vectors:
        """(n, d + 4) uint8 -> (n, d) float32 of the stored lengths."""
        dim = np.shape(codes)[-1] - NORM_BYTES if self.dim is None else self.dim
        held = check_codes(codes, self.bytes_per_vector(dim))
        length, rotation = unpack_norms(held), Rotation(dim, self.seed)
        x = np.empty((len(held), dim), np.float32)
        for rows in in_blocks(len(held)):
            y = held[rows, NORM_BYTES:].view(np.int8).astype(np.float32)
            np.multiply(rotation.inverse(y), stretch(y, length[rows]), out=x[rows])
        return x

    def header(self) -> bytes:
        """Name, dimension, seed of the rotation and bound."""
        settings: dict[str, Any] = {"codec": self.name, "dim": self.dim, "seed": self.seed}
        arrays: dict[str, Array] = {}
        if self.bound is not None:
            settings["geometry"], arrays = self.bound.geometry, self.bound.arrays()
        return pack_header(settings, arrays)
