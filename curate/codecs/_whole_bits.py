"""Transform coding in whole bits: what tc:BITS wrote first, and still does where vectors are too short for an entropy coder.

Bits go one at a time to the axis where one more lowers the squared error most (reverse water-filling, Cover & Thomas 2006,
section 10.3.3, in whole bits); every axis has its own Lloyd-Max levels, learned from the sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.codecs._checks import NORM_BYTES, Codes, float_bytes, unpack_norms
from curate.geometry import Array
from curate.types import Vectors

Ints: TypeAlias = npt.NDArray[np.int64]

MOST_BITS = 8
# Mean squared error of the best quantiser of N(0, 1) with 0..9 bits (Max 1960; 2.72 / 4**bits from there on).
_NORMAL_ERROR = (1.0, 0.3634, 0.1175, 0.03454, 0.009497, 0.002499, 0.000642, 0.0001628, 0.0000410, 0.0000103)


@dataclass(frozen=True)
class WholeBits:
    """Length (float32), then a whole number of bits along every axis.

    axes: (d, k) orthonormal columns, the principal axes that have bits.  bits: (k,) bits of each, 1..8.
    levels: the 2**bits levels of every axis in turn, ascending.
    """

    axes: Vectors
    bits: Ints
    levels: Vectors

    @cached_property
    def _starts(self) -> Ints:
        sizes = np.left_shift(1, self.bits)
        return np.asarray(np.cumsum(sizes) - sizes, dtype=np.int64)

    @cached_property
    def _cuts(self) -> list[Array]:
        spans = [self.levels[start : start + (1 << bits)] for start, bits in zip(self._starts, self.bits, strict=True)]
        return [(levels[1:].astype(np.float64) + levels[:-1]) / 2 for levels in spans]

    def encode(self, along: Array, length: Array, width: int) -> Codes:
        """Coordinates along the axes (n, k) float64, lengths (n,) -> (n, width) uint8."""
        codes = np.zeros((len(along), width), np.uint8)
        codes[:, :NORM_BYTES] = float_bytes(length)
        level = np.empty(along.shape, np.uint8)
        for axis, (cut, values) in enumerate(zip(self._cuts, np.ascontiguousarray(along.T), strict=True)):
            level[:, axis] = np.searchsorted(cut, values)
        packed = _pack(level, self.bits)
        codes[:, NORM_BYTES : NORM_BYTES + packed.shape[1]] = packed
        return codes

    def decode(self, codes: Codes) -> tuple[Array, Vectors]:
        """(n, width) uint8 -> coordinates (n, k) float64, lengths (n, 1) float32."""
        level = _unpack(codes[:, NORM_BYTES:], self.bits)
        return self.levels[self._starts + level].astype(np.float64), unpack_norms(codes)

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """What a header holds."""
        return {"axes": self.axes, "levels": self.levels, "bits": self.bits.astype(np.uint8)}

    @classmethod
    def learn(cls, centred: Array, variance: Array, axes: Array, budget: int) -> WholeBits:
        """From centred rows (n, d), their principal axes and the variance along them; budget: bits of a vector."""
        bits = allocate_bits(variance, budget, most=min(MOST_BITS, max(int(np.log2(len(centred) / 8)), 1)))
        some = np.flatnonzero(bits)
        along = (centred @ axes[:, some]).T
        levels = [_levels(values, int(b)) for values, b in zip(along, bits[some], strict=True)]
        flat = np.concatenate(levels) if levels else np.zeros(0)
        return cls(np.ascontiguousarray(axes[:, some], dtype=np.float32), bits[some], flat.astype(np.float32))


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
