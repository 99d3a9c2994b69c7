"""Lloyd-Max quantisers of the normal distribution (Max 1960, Lloyd 1982), and codes of a few bits packed into bytes."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np

from curate.codecs._checks import Codes
from curate.geometry import Array
from curate.types import Vectors


@functools.cache
def normal_levels(bits: int) -> tuple[float, ...]:
    """The positive half of the 2**bits levels with the least mean squared error for N(0, 1), ascending."""
    half = 2 ** (bits - 1)
    levels = [(i + 0.5) * 3.0 / half for i in range(half)]
    for _ in range(2000):
        cuts = [0.0, *((a + b) / 2 for a, b in itertools.pairwise(levels)), math.inf]
        density = [math.exp(-c * c / 2) / math.sqrt(2 * math.pi) if c < math.inf else 0.0 for c in cuts]
        mass = [math.erf(c / math.sqrt(2)) / 2 for c in cuts]
        levels = [(density[i] - density[i + 1]) / (mass[i + 1] - mass[i]) for i in range(half)]
    return tuple(levels)


def normal_codes(y: Vectors, bits: int) -> tuple[Codes, Vectors]:
    """The nearest level of every entry: y (n, d), about N(0, 1) -> codes (n, d) uint8 and their table (2**bits,).

    One comparison a level: exact, and faster than a search.
    """
    upper = np.array(normal_levels(bits))
    table = np.concatenate([-upper[::-1], upper]).astype(np.float32)
    codes = np.zeros(y.shape, np.uint8)
    for cut in (table[1:] + table[:-1]) / np.float32(2):
        codes += y > cut
    return codes, table


def pack_nibbles(codes: Codes) -> Codes:
    """Two 4-bit codes a byte, the first in the high half: (n, d) -> (n, ceil(d / 2))."""
    n, dim = codes.shape
    held = np.zeros((n, dim + dim % 2), np.uint8)
    held[:, :dim] = codes
    return np.asarray(held[:, 0::2] << 4 | held[:, 1::2], dtype=np.uint8)


def unpack_nibbles(packed: Codes, dim: int) -> Codes:
    """The inverse of `pack_nibbles`."""
    out = np.empty((len(packed), packed.shape[1] * 2), np.uint8)
    out[:, 0::2], out[:, 1::2] = packed >> 4, packed & 15
    return out[:, :dim]


def gain(y: Vectors, levels: Vectors) -> Array:
    """The factor on `levels` with the least squared error to `y`, row by row: (n, d), (n, d) -> (n,) float64."""
    wide = levels.astype(np.float64)
    have = np.einsum("ij,ij->i", wide, wide)
    dot = np.einsum("ij,ij->i", y.astype(np.float64), wide)
    return np.asarray(np.divide(dot, have, out=np.zeros_like(dot), where=have > 0))
