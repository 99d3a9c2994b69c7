"""k-means on prepared rows: scikit-learn's, mini-batch when large, torch's on a GPU; and one beside what is covered already.

Prepared rows are points of a flat space (unit rows for cosine), so k-means minimises squared straight lines there.  One
thread: partial sums added in another order would move centres, and with them the plan, from one machine to the next.
"""

from __future__ import annotations

import warnings

import numpy as np

from curate.geometry import EUCLIDEAN
from curate.ops._rows import Floats64, Rows, distinct, nearest
from curate.ops._torch_kmeans import fit_on, gpu
from curate.types import Vectors

LARGE = 4e9
"""Rows x clusters x dimensions above which mini-batches replace full passes (a pass takes a fraction of a second there)."""

PASSES = 100


def fit(
    x: Vectors, k: int, rng: np.random.Generator, *, start: Vectors | None = None, restarts: int = 1
) -> tuple[Vectors, Rows]:
    """Centres (k', d) and the centre of every row (n,), k' = min(k, distinct rows); no centre is without rows.

    x: (n, d) prepared.  start: (k, d) centres to begin with, else k-means++.  restarts: the best of that many.
    """
    k = min(k, distinct(x))
    if k <= 1:
        return np.asarray(x.mean(axis=0, keepdims=True, dtype=np.float64), np.float32), np.zeros(len(x), np.intp)
    if k == len(x):
        return x.copy(), np.arange(len(x), dtype=np.intp)
    init = start if start is not None and len(start) == k else None
    seed = int(rng.integers(2**31))
    device = gpu() if len(x) * k * x.shape[1] > LARGE else None
    centres, label = fit_on(x, k, seed, device, start=init) if device else _scikit(x, k, seed, init, restarts)
    used, label = np.unique(label, return_inverse=True)
    return centres[used], label.astype(np.intp)


def _scikit(x: Vectors, k: int, seed: int, init: Vectors | None, restarts: int) -> tuple[Vectors, Rows]:
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    begin = "k-means++" if init is None else init
    work = len(x) * k * x.shape[1]
    tries, large = restarts if init is None and work < LARGE / 10 else 1, work > LARGE
    with warnings.catch_warnings(), threadpool_limits(limits=1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # rows that differ in the last bit only: fewer clusters, handled
        if large:
            size = min(len(x), max(4096, 2 * k))
            model = MiniBatchKMeans(
                k, init=begin, n_init=1, batch_size=size, init_size=max(3 * k, 3000), max_iter=4, random_state=seed
            )
        else:
            model = KMeans(k, init=begin, n_init=tries, max_iter=PASSES, random_state=seed)
        model.fit(x)
        centres = np.asarray(model.cluster_centers_, np.float32)
        label = nearest(x, centres, EUCLIDEAN)[0] if large else np.asarray(model.labels_, np.intp)
    return centres, label


def means(x: Vectors, label: Rows, k: int) -> Vectors:
    """The mean of every cluster's rows, summed in float64 in row order: (k, d) float32; zero for a cluster without rows."""
    total = np.zeros((k, x.shape[1]))
    order = np.argsort(label, kind="stable")
    bounds = np.searchsorted(label[order], np.arange(k + 1))
    for cluster in range(k):
        rows = order[bounds[cluster] : bounds[cluster + 1]]
        if rows.size:
            total[cluster] = x[rows].mean(axis=0, dtype=np.float64)
    return total.astype(np.float32)


def fit_beside(x: Vectors, k: int, rng: np.random.Generator, covered: Floats64, *, passes: int = 25) -> tuple[Vectors, Rows]:
    """k-means of what fixed points leave over: rows nearer to a fixed point than to every centre belong to that point.

    covered: (n,) straight-line distance of every row to its nearest fixed point.  Returns centres (k', d) and the centre of
    every row, -1 for rows that belong to a fixed point.  k-means++ starts from `covered`, so no centre starts beside one.
    """
    centres = _spread_start(x, k, rng, covered)
    label = np.full(len(x), -1, np.intp)
    for _ in range(passes):
        place, distance = nearest(x, centres, EUCLIDEAN)
        fresh = np.where(distance < covered, place, -1).astype(np.intp)
        if np.array_equal(fresh, label):
            break
        label = fresh
        held = label >= 0
        filled = np.unique(label[held])
        centres[filled] = means(x[held], label[held], len(centres))[filled]
    return centres, label


def _spread_start(x: Vectors, k: int, rng: np.random.Generator, covered: Floats64) -> Vectors:
    left = np.square(np.where(np.isfinite(covered), covered, 1.0))
    chosen: list[int] = []
    for _ in range(min(k, len(x))):
        total = np.cumsum(left)
        if total[-1] <= 0:
            break
        row = min(int(np.searchsorted(total, rng.random() * total[-1], side="right")), len(x) - 1)
        chosen.append(row)
        step = np.square(EUCLIDEAN.pairwise(x, x[row : row + 1], prepared=True)[:, 0].astype(np.float64))
        left = np.minimum(left, step)
        left[chosen] = 0
    return x[chosen].copy()
