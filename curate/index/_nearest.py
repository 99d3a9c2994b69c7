"""The k nearest rows, exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError
from curate.geometry import Array, Geometry
from curate.types import Vectors

_CELLS = 1 << 24
_FOLD = 32
_SPARE = 8


def nearest(x: Vectors, queries: Vectors, k: int, geometry: Geometry) -> tuple[npt.NDArray[np.int64], Array]:
    """The k rows of `x` nearest to each query, nearest first, ties by row number.

    x: (n, d), queries: (q, d), raw vectors.  k: >= 1; with fewer than k rows in `x` all n are returned.
    Returns rows and distances, each (q, min(k, n)).  A query that is a row of `x` finds itself, at distance 0.
    Candidates come from blocked float32 products, a few more than k; order and distance from `Geometry.distance`.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1, not {k}")
    n = len(x)
    wanted = min(k, n)
    rows = np.zeros((len(queries), wanted), dtype=np.int64)
    distances = np.zeros((len(queries), wanted))
    if not n or not len(queries):
        return rows, distances
    points, asked = geometry.prepare(x), geometry.prepare(queries)
    step = max(1, _CELLS // n)
    for start in range(0, len(queries), step):
        near = _closeness(asked[start : start + step], points, geometry)
        proposed = _largest(near, min(wanted + _SPARE, n))
        for at in range(0, len(proposed), 1_024):
            some = proposed[at : at + 1_024]
            mine = np.repeat(np.asarray(queries)[start + at : start + at + len(some)], some.shape[1], axis=0)
            exact = geometry.distance(mine, np.asarray(x)[some.ravel()]).reshape(some.shape)
            order = np.lexsort((some, exact), axis=1)[:, :wanted]
            rows[start + at : start + at + len(some)] = np.take_along_axis(some, order, axis=1)
            distances[start + at : start + at + len(some)] = np.take_along_axis(exact, order, axis=1)
    return rows, distances


def _closeness(asked: Vectors, points: Vectors, geometry: Geometry) -> Vectors:
    """(q, n) float32 that grows as the distance shrinks."""
    if not geometry.flat:
        return -geometry.pairwise(asked, points, prepared=True)
    # Moving the origin to the mean changes no order of differences and keeps the product's digits for what differs.
    middle = points.mean(axis=0, dtype=np.float64).astype(np.float32)
    a, b = asked - middle, points - middle
    product: Vectors = a @ b.T
    product -= np.einsum("ij,ij->i", b, b)[None, :] / 2
    return product


def _largest(values: Vectors, k: int) -> npt.NDArray[np.int64]:
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


def _all(rows: int, n: int) -> npt.NDArray[np.int64]:
    return np.tile(np.arange(n, dtype=np.int64), (rows, 1))
