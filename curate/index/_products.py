"""Blocks of products of rows: which pairs of a block may lie within reach.

With a' = (a, |a|^2/2, 1) and b' = (b, -1, -|b|^2/2), one matrix product gives a'.b' = -|a - b|^2 / 2, so the cut is one number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from curate.geometry import squares
from curate.types import Vectors

Rows: TypeAlias = npt.NDArray[np.int64]

ROUND = 2.0**-24
_TALL = 512
_WIDE = 1_024


def product_bound(dim: int, largest: float) -> float:
    """What rounding can do to -|a - b|^2 / 2 in float32, for rows of at most `largest` squared length.

    |a . b| <= largest and each half square <= largest / 2: gamma_n with n terms, plus rounding of the squares.
    """
    return (dim + 6) * ROUND * 2 * largest


class Blocks:
    """The upper triangle of all pairs of rows x (n, m), block by block; only blocks with a pair that may be within `reach`.

    Gives (rows, columns, passed): row numbers, and the mask of the pairs that pass, (rows, columns); the diagonal's blocks hold
    pairs both ways round.  May only pass too many: the cut leaves room for rounding.
    """

    def __init__(self, x: Vectors, reach: float) -> None:
        half = squares(x) / 2
        count, dim = x.shape
        self._left = np.empty((count, dim + 2), dtype=np.float32)
        self._right = np.empty((count, dim + 2), dtype=np.float32)
        self._left[:, :dim] = self._right[:, :dim] = x
        self._left[:, dim], self._left[:, dim + 1] = half, 1
        self._right[:, dim], self._right[:, dim + 1] = -1, -half
        self._cut = np.float32(-(reach**2) / 2 - product_bound(dim, 2 * float(half.max(initial=0.0))))

    def __iter__(self) -> Iterator[tuple[Rows, Rows, npt.NDArray[np.bool_]]]:
        n = len(self._left)
        # A block of products stays in the second cache, or reading it back costs more than the product.
        room = np.empty((_TALL, _WIDE), dtype=np.float32)
        for start in range(0, n, _TALL):
            stop = min(start + _TALL, n)
            for at in range(start, n, _WIDE):
                until = min(at + _WIDE, n)
                product = room[: stop - start, : until - at]
                if product.flags.c_contiguous:
                    np.matmul(self._left[start:stop], self._right[at:until].T, out=product)
                else:
                    product = self._left[start:stop] @ self._right[at:until].T
                # Few rows of a block have any hit: a maximum is a fraction of the price of a comparison with its positions.
                hit = np.flatnonzero(product.max(axis=1) >= self._cut)
                if hit.size:
                    passed = product[hit] >= self._cut
                    columns = np.flatnonzero(passed.any(axis=0))
                    yield hit + start, columns + at, passed[:, columns]


def pairs_of(blocks: Blocks) -> Iterator[tuple[Rows, Rows]]:
    """The passed pairs i < j of all blocks."""
    for rows, columns, passed in blocks:
        inner, other = np.nonzero(passed)
        i, j = rows[inner], columns[other]
        upper = i < j
        if upper.any():
            yield i[upper].astype(np.int64), j[upper].astype(np.int64)
