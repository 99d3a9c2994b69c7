"""A seeded orthogonal rotation made of additions: the same bits for one row as for a million, on any machine.

A dense matrix product rounds differently with the number of rows (gemv, gemm, threads); codes would then depend on the batch.
Here: random signs and fast Walsh-Hadamard transforms, over the leading and the trailing power-of-two block in turn where the
dimension is none (Ailon & Chazelle 2009, "The fast Johnson-Lindenstrauss transform"; the overlap as in RaBitQ's FHT rotator).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curate.types import Vectors

BLOCK = 512
"""Rows transformed at a time, so that they stay in the cache."""


def in_blocks(n: int) -> list[slice]:
    """Rows 0..n in slices of `BLOCK`."""
    return [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]


@dataclass(frozen=True)
class Rotation:
    """The rotation of `dim` coordinates that belongs to `seed`."""

    dim: int
    seed: int = 0

    def forward(self, x: Vectors) -> Vectors:
        """Rotated rows: (n, dim) -> (n, dim) float32."""
        return self._blocks(x, inverse=False)

    def inverse(self, x: Vectors) -> Vectors:
        """The rows before `forward`, to float32 rounding."""
        return self._blocks(x, inverse=True)

    def _blocks(self, x: Vectors, *, inverse: bool) -> Vectors:
        y = np.empty(np.shape(x), dtype=np.float32)
        steps = self._steps()
        for rows in in_blocks(len(y)):
            columns = np.array(x[rows].T, dtype=np.float32, order="C")
            for signs, at in reversed(steps) if inverse else steps:
                if not inverse:
                    columns *= signs
                columns[at] = _hadamard(columns[at])
                if inverse:
                    columns *= signs
            y[rows] = columns.T
        return y

    def _steps(self) -> list[tuple[Vectors, slice]]:
        size = 1 << (self.dim.bit_length() - 1)
        # Two rounds also flatten rows of one or two outlier coordinates; an odd dimension needs its ends mixed twice.
        ends = [slice(0, size)] * 2 if size == self.dim else [slice(0, size), slice(self.dim - size, self.dim)] * 2
        bits = np.random.Generator(np.random.PCG64(self.seed)).integers(0, 2, size=(len(ends), self.dim, 1))
        return [((2 * row - 1).astype(np.float32), at) for row, at in zip(bits, ends, strict=True)]


def _hadamard(columns: Vectors) -> Vectors:
    """The orthonormal Walsh-Hadamard transform of every column, (2**k, n); long rows make every pass two vector additions."""
    size, n = columns.shape
    a, b, half = columns.copy(), np.empty_like(columns), 1
    while half < size:
        old, new = a.reshape(-1, 2, half * n), b.reshape(-1, 2, half * n)
        np.add(old[:, 0], old[:, 1], out=new[:, 0])
        np.subtract(old[:, 0], old[:, 1], out=new[:, 1])
        a, b = b, a
        half *= 2
    a *= np.float32(size**-0.5)
    return a
