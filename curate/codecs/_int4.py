"""int4: centred, rotated, four bits a coordinate on the levels of a normal distribution, the length, and distances debiased."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from curate.codecs._bound import Bound, measure_bound
from curate.codecs._checks import NORM_BYTES, Codes, check_codes, check_vectors, enough_rows, pack_norms, unpack_norms
from curate.codecs._frame import Frame, mean_error
from curate.codecs._header import pack_header
from curate.codecs._lloyd import gain, normal_codes, pack_nibbles, unpack_nibbles
from curate.codecs._rotation import Rotation, in_blocks
from curate.errors import ConfigError
from curate.geometry import Array, Geometry, norms
from curate.types import Vectors

Ints: TypeAlias = npt.NDArray[np.int64]

GAIN_BYTES = 2
HEAD = NORM_BYTES + GAIN_BYTES
NEED = 32
BITS = 4
WIDTHS = (1.0, 0.96, 0.92, 0.88, 1.04)
NEIGHBOURS, AMONG = 512, 4096
"""Rows whose nearest neighbour says how much small distances grow, and rows among which it is looked for."""
_F16_MAX = 65504.0


@dataclass(frozen=True)
class Int4:
    """Length (float32), least-squares gain over the length (float16), then a 4-bit Lloyd-Max level a rotated coordinate.

    Learned: the mean, and one factor, which is why 32 rows are enough.  Quantisation noise lengthens small distances; `shrink`
    draws decoded rows towards the mean until the distances of close neighbours are what they were, so that a radius keeps its
    meaning.  `bound` measures what is left, and `Band.middle` is the cut that allows for it.
    """

    frame: Frame | None = None
    bound: Bound | None = None
    error: float = 0.0
    seed: int = 0
    shrink: float = 1.0
    name = "int4"
    stateless = False
    decides_duplicates = True

    @property
    def dim(self) -> int | None:
        """Dimension of the vectors; None before `fit`."""
        return None if self.frame is None else len(self.frame.mean)

    def bytes_per_vector(self, dim: int) -> int:
        """Half a byte a coordinate and six bytes."""
        return HEAD + (dim + 1) // 2

    def fit(self, sample: Vectors, geometry: Geometry, rng: np.random.Generator) -> Int4:
        """Learns mean and shrinkage, and measures the bound and the usual error.  Raises ConfigError for fewer than 32 rows."""
        x = enough_rows(sample, NEED, codec=self.name)
        fitted = replace(self, frame=Frame.of(x, geometry))
        fitted = replace(fitted, shrink=_shrinkage(fitted, x, geometry, rng))

        def round_trip(rows: Vectors) -> Vectors:
            return fitted.decode(fitted.encode(rows))

        bound = measure_bound(round_trip, x, geometry, rng)
        return replace(fitted, bound=bound, error=mean_error(x, round_trip(x)))

    def encode(self, vectors: Vectors) -> Codes:
        """(n, d) float32 -> (n, d / 2 + 6) uint8."""
        frame = self._fitted()
        dim = len(frame.mean)
        x = check_vectors(vectors, dim)
        codes = np.empty((len(x), self.bytes_per_vector(dim)), np.uint8)
        length, codes[:, :NORM_BYTES] = pack_norms(x)
        rotation = Rotation(dim, self.seed)
        for rows in in_blocks(len(x)):
            y = rotation.forward(frame.centre(x[rows], length[rows]))
            level, share = _best_levels(y)
            share = share if frame.directions else _over(share, length[rows])
            codes[rows, NORM_BYTES:HEAD] = np.minimum(share, _F16_MAX).astype("<f2").view(np.uint8).reshape(-1, GAIN_BYTES)
            codes[rows, HEAD:] = pack_nibbles(level)
        return codes

    def decode(self, codes: Codes) -> Vectors:
        """(n, d / 2 + 6) uint8 -> (n, d) float32 of the stored lengths."""
        frame = self._fitted()
        dim = len(frame.mean)
        held = check_codes(codes, self.bytes_per_vector(dim))
        length, rotation = unpack_norms(held), Rotation(dim, self.seed)
        _, table = normal_codes(np.zeros((0, dim), np.float32), BITS)
        x = np.empty((len(held), dim), np.float32)
        for rows in in_blocks(len(held)):
            share = np.ascontiguousarray(held[rows, NORM_BYTES:HEAD]).view("<f2").astype(np.float32)
            if not frame.directions:
                share = share * length[rows]
            share = share * np.float32(self.shrink)
            y = table[unpack_nibbles(held[rows, HEAD:], dim)] * share
            x[rows] = frame.restore(rotation.inverse(y), length[rows])
        return x

    def header(self) -> bytes:
        """Mean, frame, seed, shrinkage, bound and usual error."""
        frame = self._fitted()
        settings = {"codec": self.name, "dim": self.dim, "seed": self.seed, "directions": frame.directions, "error": self.error}
        settings["shrink"] = self.shrink
        arrays: dict[str, Array | Vectors] = {"mean": frame.mean}
        if self.bound is not None:
            settings["geometry"] = self.bound.geometry
            arrays.update(self.bound.arrays())
        return pack_header(settings, arrays)

    def _fitted(self) -> Frame:
        if self.frame is None:
            raise ConfigError(f"codec {self.name} must be fitted to a sample before it is used")
        return self.frame


def _best_levels(y: Vectors) -> tuple[Codes, Array]:
    """Codes and gains with the least error among a few widths of the levels, row by row: (n, d) -> (n, d), (n,).

    A row of some hundred numbers is not quite normal; its own width takes 2 % off the error.
    """
    spread = norms(y)[:, None] * y.shape[1] ** -0.5
    best, least = np.zeros(y.shape, np.uint8), np.full(len(y), np.inf)
    share = np.zeros(len(y))
    for width in WIDTHS:
        wide = np.divide(y, spread * width, out=np.zeros_like(y), where=spread > 0, casting="same_kind")
        level, table = normal_codes(wide, BITS)
        factor = gain(y, table[level])
        error = norms(y - table[level] * factor[:, None])
        better = error < least
        best[better], share[better], least[better] = level[better], factor[better], error[better]
    return best, share


def _shrinkage(codec: Int4, x: Vectors, geometry: Geometry, rng: np.random.Generator) -> float:
    """The factor, 0.8 to 1, at which the distances of the closer half of nearest neighbours come out right in the middle.

    The closer half: pairs as near as duplicates are what a radius decides on.
    """
    x = x[np.sort(rng.permutation(len(x))[:AMONG])]
    decoded = codec.decode(codec.encode(x))
    if not geometry.zero_ok:
        some = (norms(x) > 0) & (norms(decoded) > 0)
        x, decoded = x[some], decoded[some]
    asked = np.arange(min(NEIGHBOURS, len(x)), dtype=np.int64)
    if len(asked) < 2:
        return 1.0
    ready = geometry.prepare(x)
    apart = geometry.pairwise(ready[asked], ready, prepared=True)
    apart[asked, asked] = np.inf
    near = apart.argmin(axis=1)
    true = geometry.distance(x[asked], x[near])
    some = (true > 0) & (true <= np.median(true))
    if not some.any():
        return 1.0
    pairs, true = np.stack([asked[some], near[some]]), true[some]
    return _where_right(codec, x, pairs, true, geometry)


def _where_right(codec: Int4, x: Vectors, pairs: Ints, true: Array, geometry: Geometry) -> float:
    codes = [codec.encode(x[rows]) for rows in pairs]
    low, high = 0.8, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        tried = replace(codec, shrink=middle)
        found = geometry.distance(*(tried.decode(some) for some in codes))
        if float(np.median(found / true)) > 1:
            high = middle
        else:
            low = middle
    return high


def _over(share: Array, length: Array) -> Array:
    return np.asarray(np.divide(share, length, out=np.zeros_like(share), where=length > 0))
