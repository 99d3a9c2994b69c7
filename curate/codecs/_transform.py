"""tc:BITS, transform coding: principal axes, more bits where there is more variance, and the length.

Bits go one at a time to the axis where one more lowers the squared error most (reverse water-filling, Cover & Thomas 2006,
section 10.3.3, in whole bits); every axis has its own Lloyd-Max levels, learned from the sample.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.codecs._bound import Bound, measure_bound
from curate.codecs._checks import NORM_BYTES, Codes, check_codes, check_vectors, enough_rows, pack_norms, unpack_norms
from curate.codecs._frame import Frame, mean_error
from curate.codecs._header import pack_header
from curate.errors import ConfigError
from curate.geometry import Array, Geometry
from curate.types import Vectors

Ints: TypeAlias = npt.NDArray[np.int64]

MOST_BITS = 8
TRAIN_ROWS = 16_000
BLOCK = 2048
# Mean squared error of the best quantiser of N(0, 1) with 0..9 bits (Max 1960; 2.72 / 4**bits from there on).
_NORMAL_ERROR = (1.0, 0.3634, 0.1175, 0.03454, 0.009497, 0.002499, 0.000642, 0.0001628, 0.0000410, 0.0000103)


@dataclass(frozen=True)
class Basis:
    """What tc learns.

    axes: (d, k) orthonormal columns, the principal axes that have bits.  bits: (k,) bits of each, 1..8.
    levels: the 2**bits levels of every axis in turn, ascending.
    """

    axes: Vectors
    bits: Ints
    levels: Vectors

    @property
    def starts(self) -> Ints:
        """Where the levels of every axis start."""
        sizes = np.left_shift(1, self.bits)
        return np.asarray(np.cumsum(sizes) - sizes, dtype=np.int64)


@dataclass(frozen=True)
class Transform:
    """Length (float32), then `per_coordinate` bits a coordinate on average, spent where the variance is.

    Few bits shorten differences along the axes that have none: at 1 to 3 bits duplicates are not decided on it.
    """

    per_coordinate: int
    frame: Frame | None = None
    basis: Basis | None = None
    bound: Bound | None = None
    error: float = 0.0
    stateless = False

    @property
    def name(self) -> str:
        """tc:BITS."""
        return f"tc:{self.per_coordinate}"

    @property
    def decides_duplicates(self) -> bool:
        """From 4 bits on."""
        return self.per_coordinate >= 4

    @property
    def dim(self) -> int | None:
        """Dimension of the vectors; None before `fit`."""
        return None if self.frame is None else len(self.frame.mean)

    def bytes_per_vector(self, dim: int) -> int:
        """`per_coordinate` bits a coordinate and four bytes."""
        return NORM_BYTES + (self.per_coordinate * dim + 7) // 8

    def fit(self, sample: Vectors, geometry: Geometry, rng: np.random.Generator) -> Transform:
        """Learns mean, axes, bits and levels.  Raises ConfigError for fewer rows than 256 or twice the dimension."""
        x = check_vectors(sample)
        x = enough_rows(x, max(256, 2 * x.shape[1]), codec=self.name)
        # What a codec says about its error is measured on rows it did not learn from.
        order = rng.permutation(len(x))[:TRAIN_ROWS]
        held_out, x = x[np.sort(order[: len(order) // 4])], x[np.sort(order[len(order) // 4 :])]
        frame = Frame.of(x, geometry)
        centred = frame.centre(x, pack_norms(x)[0]).astype(np.float64)
        fitted = replace(self, frame=frame, basis=_learn(centred, self.per_coordinate * x.shape[1]))

        def round_trip(rows: Vectors) -> Vectors:
            return fitted.decode(fitted.encode(rows))

        bound = measure_bound(round_trip, held_out, geometry, rng)
        return replace(fitted, bound=bound, error=mean_error(held_out, round_trip(held_out)))

    def encode(self, vectors: Vectors) -> Codes:
        """(n, d) float32 -> (n, bits d / 8 + 4) uint8."""
        frame, basis = self._fitted()
        x = check_vectors(vectors, len(frame.mean))
        codes = np.zeros((len(x), self.bytes_per_vector(x.shape[1])), np.uint8)
        length, codes[:, :NORM_BYTES] = pack_norms(x)
        axes = basis.axes.astype(np.float64)
        spans = [basis.levels[start : start + (1 << bits)] for start, bits in zip(basis.starts, basis.bits, strict=True)]
        cuts = [(levels[1:].astype(np.float64) + levels[:-1]) / 2 for levels in spans]
        for start in range(0, len(x), BLOCK):
            rows = slice(start, start + BLOCK)
            # float64, so that the shape of the batch moves no row across a cut.
            along = (frame.centre(x[rows], length[rows]).astype(np.float64) @ axes).T
            level = np.empty((along.shape[1], len(cuts)), np.uint8)
            for axis, cut in enumerate(cuts):
                level[:, axis] = np.searchsorted(cut, along[axis])
            packed = _pack(level, basis.bits)
            codes[rows, NORM_BYTES : NORM_BYTES + packed.shape[1]] = packed
        return codes

    def decode(self, codes: Codes) -> Vectors:
        """(n, bits d / 8 + 4) uint8 -> (n, d) float32 of the stored lengths."""
        frame, basis = self._fitted()
        dim = len(frame.mean)
        held = check_codes(codes, self.bytes_per_vector(dim))
        length, back = unpack_norms(held), basis.axes.astype(np.float64).T
        x = np.empty((len(held), dim), np.float32)
        for start in range(0, len(held), BLOCK):
            rows = slice(start, start + BLOCK)
            level = _unpack(held[rows, NORM_BYTES:], basis.bits)
            x[rows] = frame.restore(basis.levels[basis.starts + level].astype(np.float64) @ back, length[rows])
        return x

    def header(self) -> bytes:
        """Mean, axes, bits, levels, bound and usual error."""
        frame, basis = self._fitted()
        settings = {"codec": self.name, "dim": self.dim, "directions": frame.directions, "error": self.error}
        arrays: dict[str, np.ndarray[Any, Any]] = {"mean": frame.mean, "axes": basis.axes, "levels": basis.levels}
        arrays["bits"] = basis.bits.astype(np.uint8)
        if self.bound is not None:
            settings["geometry"] = self.bound.geometry
            arrays.update(self.bound.arrays())
        return pack_header(settings, arrays)

    def _fitted(self) -> tuple[Frame, Basis]:
        if self.frame is None or self.basis is None:
            raise ConfigError(f"codec {self.name} must be fitted to a sample before it is used")
        return self.frame, self.basis


def _learn(centred: Array, budget: int) -> Basis:
    variance, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    variance, axes = np.maximum(variance[::-1], 0), axes[:, ::-1]
    # An eigenvector's sign is arbitrary; fixed, so that another LAPACK learns the same codes.
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(len(axes))] < 0, -1.0, 1.0)
    bits = allocate_bits(variance, budget, most=min(MOST_BITS, max(int(np.log2(len(centred) / 8)), 1)))
    some = np.flatnonzero(bits)
    along = (centred @ axes[:, some]).T
    levels = [_levels(values, int(b)) for values, b in zip(along, bits[some], strict=True)]
    flat = np.concatenate(levels) if levels else np.zeros(0)
    return Basis(np.ascontiguousarray(axes[:, some], dtype=np.float32), bits[some], flat.astype(np.float32))


def allocate_bits(variance: Array, budget: int, *, most: int = MOST_BITS) -> Ints:
    """How many bits every axis gets: (d,) variances, a budget -> (d,) bits in 0..most, summing to the budget or less.

    Each bit goes where it lowers the total squared error most; axes without variance get none.
    """
    error = np.asarray(_NORMAL_ERROR)
    bits = np.zeros(len(variance), np.int64)
    floor = variance.max(initial=0.0) * 1e-12
    worth = np.where(variance > floor, variance * (error[0] - error[1]), 0.0)
    for _ in range(budget):
        axis = int(worth.argmax())
        if worth[axis] <= 0:
            break
        bits[axis] += 1
        have = int(bits[axis])
        worth[axis] = variance[axis] * (error[have] - error[have + 1]) if have < most else 0.0
    return bits


def _levels(values: Array, bits: int) -> Array:
    """The 2**bits levels with a small mean squared error for these values, ascending (Lloyd's iteration)."""
    count = 1 << bits
    ordered = np.sort(values)
    total = np.concatenate([[0.0], np.cumsum(ordered)])
    levels = np.quantile(ordered, (np.arange(count) + 0.5) / count)
    for _ in range(25):
        ends = np.concatenate([[0], np.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2), [len(ordered)]])
        held = np.diff(ends)
        levels = np.where(held > 0, np.diff(total[ends]) / np.maximum(held, 1), levels)
    return levels


def _pack(level: Codes, bits: Ints) -> Codes:
    """Codes of varying width as a row of bits, the highest first: (n, k) -> (n, ceil(sum(bits) / 8))."""
    axis, shift = _layout(bits)
    return np.packbits((level[:, axis] >> shift) & 1, axis=1)


def _unpack(packed: Codes, bits: Ints) -> Ints:
    """The inverse of `_pack`: (n, k)."""
    if not len(bits):
        return np.zeros((len(packed), 0), np.int64)
    _, shift = _layout(bits)
    spread = np.unpackbits(packed, axis=1, count=int(bits.sum())) << shift
    return np.asarray(np.add.reduceat(spread, np.cumsum(bits) - bits, axis=1, dtype=np.int64))


def _layout(bits: Ints) -> tuple[Ints, Codes]:
    axis = np.repeat(np.arange(len(bits)), bits)
    place = np.arange(int(bits.sum())) - np.repeat(np.cumsum(bits) - bits, bits)
    return axis, (bits[axis] - 1 - place).astype(np.uint8)
