"""int8: a rotated vector, one byte a coordinate, and its length."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.codecs._bound import Bound, measure_bound
from curate.codecs._checks import NORM_BYTES, Codes, at_length, check_codes, check_vectors, pack_norms, scaled, unpack_norms
from curate.codecs._header import pack_header
from curate.codecs._rotation import Rotation, in_blocks
from curate.geometry import Array, Geometry
from curate.types import Vectors

HALF = 128
FINE = 4096
"""Steps of the even scale on which a coordinate is looked up."""


@dataclass(frozen=True)
class Int8:
    """Length (float32), then for every coordinate of the rotated row y the nearest of 256 levels of y / max|y|.

    The levels lie closer around zero, where the coordinates of a rotated vector are: a fifth less error than even steps.
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
        rotation, (_, nearest) = Rotation(x.shape[1], self.seed), _scale(x.shape[1])
        for rows in in_blocks(len(x)):
            y = rotation.forward(scaled(x[rows]))
            peak = np.abs(y).max(axis=1, keepdims=True)
            np.divide(y, peak, out=y, where=peak > 0)
            y *= np.float32(FINE)
            y += np.float32(FINE)
            codes[rows, NORM_BYTES:] = nearest[y.astype(np.int16)]
        return codes

    def decode(self, codes: Codes) -> Vectors:
        """(n, d + 4) uint8 -> (n, d) float32 of the stored lengths."""
        dim = np.shape(codes)[-1] - NORM_BYTES if self.dim is None else self.dim
        held = check_codes(codes, self.bytes_per_vector(dim))
        length, rotation, (levels, _) = unpack_norms(held), Rotation(dim, self.seed), _scale(dim)
        x = np.empty((len(held), dim), np.float32)
        for rows in in_blocks(len(held)):
            y = levels[held[rows, NORM_BYTES:]]
            x[rows] = at_length(rotation.inverse(y), length[rows])
        return x

    def header(self) -> bytes:
        """Name, dimension, seed of the rotation and bound."""
        settings: dict[str, Any] = {"codec": self.name, "dim": self.dim, "seed": self.seed}
        arrays: dict[str, Array] = {}
        if self.bound is not None:
            settings["geometry"], arrays = self.bound.geometry, self.bound.arrays()
        return pack_header(settings, arrays)


@functools.cache
def _scale(dim: int) -> tuple[Vectors, Codes]:
    """256 levels in [-1, 1] for y / max|y|, and the nearest level of each of 2 * 4096 + 1 even steps.

    The coordinates of a rotated vector are nearly normal, with max|y| about sqrt(2 ln 2d) standard deviations; the best density
    of levels is the cube root of the density of values (Panter & Dite 1951).  Values are rounded to 12 digits, so that no
    machine's erf moves a byte.
    """
    reach = max(math.sqrt(2 * math.log(2 * dim)), 1.5)
    edges = [-1 + 2 * i / 20_000 for i in range(20_001)]
    mass = [math.erf(t * reach / math.sqrt(6)) for t in edges]
    share = np.interp((np.arange(2 * HALF) + 0.5) / (2 * HALF) * 2 - 1, np.array(mass) / mass[-1], edges)
    upper = np.round(share[HALF:], 12)
    # The outermost level is the peak itself, which every vector has.
    upper[-1] = 1.0
    levels = np.concatenate([-upper[::-1], upper])
    steps = np.arange(-FINE, FINE + 1) / FINE
    nearest = np.searchsorted((levels[1:] + levels[:-1]) / 2, steps).astype(np.uint8)
    return levels.astype(np.float32), nearest
