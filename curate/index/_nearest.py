"""The k nearest rows, exactly."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError
from curate.geometry import Array, Geometry, norms
from curate.types import Vectors

Rows: TypeAlias = npt.NDArray[np.int64]

_CELLS = 1 << 24
_FOLD = 32
_SPARE = 8
_GATHER = 16_384
_ROUND32 = 2.0**-24


def nearest(x: Vectors, queries: Vectors, k: int, geometry: Geometry) -> tuple[Rows, Array]:
    """`ExactIndex(x, geometry).nearest(queries, k)`, for rows that are searched once."""
    return ExactIndex(x, geometry).nearest(queries, k)


class ExactIndex:
    """Rows prepared once for many exact searches: x (n, d), raw vectors, held beside a prepared copy of the same size.

    Candidates come from blocked float32 products, a few more than k, and all that rounding cannot tell from the k-th; order and
    distance from `Geometry.distance`.
    """

    def __init__(self, x: Vectors, geometry: Geometry) -> None:
        self._x, self._geometry = np.asarray(x), geometry
        self._points = geometry.prepare(self._x)
        self._repeats: Rows | None = None
        if geometry.flat and len(self._x):
            # Moving the origin to the mean changes no order of differences and keeps the product's digits for what differs.
            self._middle = self._points.mean(axis=0, dtype=np.float64).astype(np.float32)
            self._largest = float(norms(self._points).max())
            self._points = self._points - self._middle
            self._half = np.einsum("ij,ij->i", self._points, self._points) / 2
            self._reach = float(norms(self._points).max())

    def nearest(self, queries: Vectors, k: int) -> tuple[Rows, Array]:
        """The k rows nearest to each query, nearest first, ties by row number.

        queries: (q, d), raw vectors.  k: >= 1; with fewer than k rows all n are returned.
        Returns rows and distances, each (q, min(k, n)).  A query that is one of the rows finds itself, at distance 0.
        Raises ConfigError for k < 1.
        """
        if k < 1:
            raise ConfigError(f"k must be at least 1, not {k}")
        x, queries, n = self._x, np.asarray(queries), len(self._x)
        wanted = min(k, n)
        rows = np.zeros((len(queries), wanted), dtype=np.int64)
        distances = np.zeros((len(queries), wanted))
        if not n or not len(queries):
            return rows, distances
        asked = self._geometry.prepare(queries)
        step = max(1, _CELLS // n)
        for start in range(0, len(queries), step):
            near, doubt = self._closeness(asked[start : start + step])
            proposed = _largest(near, min(wanted + _SPARE, n))
            for at in range(0, len(proposed), 1_024):
                some = proposed[at : at + 1_024]
                mine = np.repeat(queries[start + at : start + at + len(some)], some.shape[1], axis=0)
                exact = self._geometry.distance(mine, x[some.ravel()]).reshape(some.shape)
                order = np.lexsort((some, exact), axis=1)[:, :wanted]
                rows[start + at : start + at + len(some)] = np.take_along_axis(some, order, axis=1)
                distances[start + at : start + at + len(some)] = np.take_along_axis(exact, order, axis=1)
            for at in _undecided(near, proposed, wanted, doubt).tolist():
                found = self._candidates(near[at], doubt[at], wanted)
                rows[start + at], distances[start + at] = self._ordered(queries[start + at], found, wanted)
        return rows, distances

    def _closeness(self, asked: Vectors) -> tuple[Vectors, Array]:
        """(q, n) float32 that grows as the distance shrinks, and for each query what any of it may be off by."""
        if not self._geometry.flat:
            near = -self._geometry.pairwise(asked, self._points, prepared=True)
            return near, 1e-4 * (1.0 - near.min(axis=1).astype(np.float64))
        a = asked - self._middle
        near = a @ self._points.T
        near -= self._half[None, :]
        length, reach = norms(a), self._reach
        # gamma_n of a product of n terms; and two roundings of each coordinate, on the way here, move a distance.
        product = (asked.shape[1] + 6) * _ROUND32 * (length * reach + reach**2)
        moved = 4 * _ROUND32 * (norms(asked) + self._largest + length + reach) * (length + reach)
        return near, product + moved

    def _candidates(self, near: Vectors, doubt: float, wanted: int) -> Rows:
        """Every row that may be one of the `wanted` nearest of a query, ascending."""
        if self._repeats is None:
            self._repeats = _repeats(self._x)
        # Of equal rows the first `wanted` are enough, and a data set may hold one picture ten thousand times.
        usable = np.flatnonzero(self._repeats < wanted)
        value = near[usable]
        least = np.partition(value, len(value) - wanted)[len(value) - wanted]
        found: Rows = usable[value + doubt >= least - doubt]
        return found

    def _ordered(self, query: Vectors, rows: Rows, wanted: int) -> tuple[Rows, Array]:
        """The `wanted` nearest of some ascending rows, by the exact distance and then by number."""
        exact = np.concatenate(
            [
                self._geometry.distance(np.repeat(query[None], len(some), axis=0), self._x[some])
                for some in (rows[at : at + _GATHER] for at in range(0, len(rows), _GATHER))
            ]
        )
        order = np.argsort(exact, kind="stable")[:wanted]
        return rows[order], exact[order]


def _undecided(near: Vectors, proposed: Rows, wanted: int, doubt: Array) -> Rows:
    """The queries of which a row that was not proposed may be among the nearest, for all that float32 tells."""
    if proposed.shape[1] == near.shape[1]:
        return np.zeros(0, np.int64)
    values = np.sort(np.take_along_axis(near, proposed, axis=1), axis=1)
    return np.flatnonzero(values[:, 0] + doubt >= values[:, -wanted] - doubt)


def _repeats(x: Vectors) -> Rows:
    """How many equal rows come before each row: (n,)."""
    seen: Counter[bytes] = Counter()
    before = np.zeros(len(x), np.int64)
    for n, row in enumerate(np.ascontiguousarray(x)):
        digest = hashlib.blake2b(row.data, digest_size=16).digest()
        before[n] = seen[digest]
        seen[digest] += 1
    return before


def _largest(values: Vectors, k: int) -> Rows:
    """Columns of the k largest values of each row, in no order: (q, k).

    Columns are folded first: the k largest lie in the k folds with the largest maxima.
    """
    rows, n = values.shape
    folds = -(-n // _FOLD)
    if k * 4 >= folds:
        return np.argpartition(values, n - k, axis=1)[:, n - k :].astype(np.int64) if k < n else _all(rows, n)
    padded = np.full((rows, folds * _FOLD), -np.inf, dtype=np.float32)
    padded[:, :n] = values
    stacked = padded.reshape(rows, _FOLD, folds)
    best = np.argpartition(stacked.max(axis=1), folds - k, axis=1)[:, folds - k :]
    columns = (best[:, :, None] + np.arange(_FOLD)[None, None, :] * folds).reshape(rows, -1)
    among = np.take_along_axis(padded, columns, axis=1)
    chosen = np.argpartition(among, among.shape[1] - k, axis=1)[:, among.shape[1] - k :]
    return np.take_along_axis(columns, chosen, axis=1).astype(np.int64)


def _all(rows: int, n: int) -> Rows:
    return np.tile(np.arange(n, dtype=np.int64), (rows, 1))
