"""Ways to choose k rows out of n.  All take prepared rows in id order and return row numbers in order of choice.

`given` marks rows that one has already: they count as chosen from the start and are never returned.  Ties go to the first row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curate.geometry import EUCLIDEAN, Geometry
from curate.ops._kmeans import fit, fit_beside
from curate.ops._rows import Floats64, Mask, Rows, block_rows, nearest, paired
from curate.types import Scalar, Vectors

GROUND = 20_000
"""Facility location measures gains on at most that many rows (a seeded draw above it), so that its cost stays linear in n."""

NEIGHBOURS = 20
"""Typicality is one over the mean distance to that many neighbours (Hacohen et al., arXiv 2202.02794)."""

SAME = 1e-6
"""Relative difference below which two gains are a tie: sums of float32 distances are no more exact."""


def at_random(n: int, k: int, rng: np.random.Generator, *, given: Mask | None = None) -> Rows:
    """K rows, each set equally likely."""
    rows = _open(n, given)
    return rng.permutation(rows)[: min(k, len(rows))].astype(np.intp)


def k_center(
    x: Vectors,
    k: int,
    geometry: Geometry,
    rng: np.random.Generator,
    *,
    given: Mask | None = None,
    weight: Floats64 | None = None,
    closed: Mask | None = None,
) -> Rows:
    """Always the row farthest from those chosen: the largest distance left is at most twice the smallest possible.

    Gonzalez 1985 (for distances with a triangle inequality).  It reaches rare cases first, outliers among them.
    weight: (n,) in [0, 1], multiplies the distance; without `given` the first row is the heaviest, else a random one.
    closed: (n,) rows that are not to be chosen, besides those given.
    """
    taken = np.zeros(len(x), bool) if given is None else given.copy()
    taken |= False if closed is None else closed
    rows = np.flatnonzero(~taken)
    k = min(k, len(rows))
    if k < 1:
        return np.zeros(0, np.intp)
    heavy = np.ones(len(x)) if weight is None else weight
    away = np.full(len(x), np.inf)
    chosen: list[int] = []
    if given is not None and given.any():
        away = nearest(x, x[given], geometry)[1]
    else:
        chosen.append(int(rng.choice(rows)) if weight is None else int(rows[np.argmax(heavy[rows])]))
    while True:
        if chosen:
            taken[chosen[-1]] = True
            away = np.minimum(away, geometry.pairwise(x, x[chosen[-1:]], prepared=True)[:, 0])
        if len(chosen) == k:
            return np.asarray(chosen, np.intp)
        chosen.append(int(np.argmax(np.where(taken, -1.0, away * heavy))))


def facility_location(
    x: Vectors,
    k: int,
    geometry: Geometry,
    *,
    given: Mask | None = None,
    rng: np.random.Generator | None = None,
    ground: int = GROUND,
) -> Rows:
    """Rows that lower the mean distance from every row to its nearest chosen one, greedily: >= 1 - 1/e of the best possible.

    Nemhauser, Wolsey & Fisher 1978; lazily evaluated (Minoux 1978): a gain can only shrink, so a row whose old gain is below
    the best new one needs no look.  The gain of a set is the sum over rows of (largest possible distance - distance to the
    set).  Above `ground` rows the sum runs over a draw of that many (rng), while every row may still be chosen.
    Memory: a block of `CELLS` distances.
    """
    rows = _open(len(x), given)
    if len(x) > ground:
        draw = np.random.default_rng(0) if rng is None else rng
        measured = x[np.sort(draw.choice(len(x), ground, replace=False))]
    else:
        measured = x
    left = np.full(len(measured), _beyond(x, geometry))
    if given is not None and given.any():
        left = np.minimum(left, nearest(measured, x[given], geometry)[1])
    most = np.full(len(x), -np.inf)
    most[rows] = _gains(x[rows], measured, left, geometry)
    chosen: list[int] = []
    while len(chosen) < min(k, len(rows)):
        row = _best(x, measured, left, most, geometry, fresh=not chosen)
        chosen.append(row)
        most[row] = -np.inf
        left = np.minimum(left, geometry.pairwise(measured, x[row : row + 1], prepared=True)[:, 0])
    return np.asarray(chosen, np.intp)


def _best(x: Vectors, measured: Vectors, left: Floats64, most: Floats64, geometry: Geometry, *, fresh: bool) -> int:
    # `most` holds upper bounds of the gains; it is brought up to date, largest first, until no other can reach the best.
    known = np.full(len(most), fresh)
    batch = 8
    while True:
        best = most[known].max(initial=-np.inf)
        floor = best - SAME * abs(best) if np.isfinite(best) else -np.inf
        open_rows = np.flatnonzero(~known & (most >= floor) & np.isfinite(most))
        if not open_rows.size:
            return int(np.flatnonzero(known & (most >= floor) & np.isfinite(most))[0])
        top = open_rows[np.argsort(-most[open_rows], kind="stable")[:batch]]
        most[top] = _gains(x[top], measured, left, geometry)
        known[top] = True
        batch = min(2 * batch, 256)


def _gains(candidates: Vectors, measured: Vectors, left: Floats64, geometry: Geometry) -> Floats64:
    gain = np.zeros(len(candidates))
    room = left.astype(np.float32)
    step = block_rows(len(measured))
    for start in range(0, len(candidates), step):
        saved = room[None, :] - geometry.pairwise(candidates[start : start + step], measured, prepared=True)
        gain[start : start + step] = np.maximum(saved, 0, out=saved).sum(axis=1, dtype=np.float64)
    return gain


def _beyond(x: Vectors, geometry: Geometry) -> float:
    """A distance that no two rows exceed: the largest there is, or twice the largest from one row (triangle inequality)."""
    if np.isfinite(geometry.largest):
        return geometry.largest
    return 2 * float(geometry.pairwise(x, x[:1], prepared=True).max()) if len(x) else 0.0


def cluster_centres(
    x: Vectors, k: int, geometry: Geometry, rng: np.random.Generator, *, given: Mask | None = None, typical: bool = False
) -> Rows:
    """One row of each of k clusters, the largest cluster first: the nearest to the centroid, or the most typical one.

    With `given`, the clusters are those of what the given rows leave over.  typical: the row with the smallest mean distance
    to its `NEIGHBOURS` nearest in the cluster.  Where equal rows leave fewer than k clusters, the farthest rows fill up.
    """
    rows = _open(len(x), given)
    if len(rows) <= k:
        return _topped_up(np.zeros(0, np.intp), x, k, geometry, rng, given)
    if given is not None and given.any():
        covered = nearest(x, x[given], EUCLIDEAN)[1]
        covered[given] = 0
        centres, label = fit_beside(x, k, rng, covered)
        label = np.where(given, -1, label)
    else:
        centres, label = fit(x, k, rng)
    inside = np.flatnonzero(label >= 0)
    measure = _crowding(x, label, rng) if typical else np.zeros(len(x))
    if not typical and inside.size:
        measure[inside] = paired(x[inside], centres, label[inside], EUCLIDEAN)
    order = inside[np.lexsort((inside, measure[inside], label[inside]))]
    cluster, first, size = np.unique(label[order], return_index=True, return_counts=True)
    chosen = order[first][np.lexsort((cluster, order[first], -size))][:k]
    return _topped_up(chosen, x, k, geometry, rng, given)


def _crowding(x: Vectors, label: Rows, rng: np.random.Generator, *, most: int = 4000) -> Floats64:
    """Mean straight-line distance of every row to its nearest ones in its cluster (at most `most` of them, drawn): (n,)."""
    mean = np.zeros(len(x))
    order = np.argsort(label, kind="stable")
    for inside in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        if not inside.size or label[inside[0]] < 0:
            continue
        near = inside if len(inside) <= most else np.sort(rng.choice(inside, most, replace=False))
        count = min(NEIGHBOURS + 1, len(near))
        step = block_rows(len(near))
        for start in range(0, len(inside), step):
            block = EUCLIDEAN.pairwise(x[inside[start : start + step]], x[near], prepared=True)
            mean[inside[start : start + step]] = np.partition(block, count - 1, axis=1)[:, :count].mean(axis=1)
    return mean


def balanced(
    x: Vectors, k: int, geometry: Geometry, rng: np.random.Generator, values: Sequence[Scalar], *, given: Mask | None = None
) -> Rows:
    """As many rows of each value as can be, those given counted; inside a value, one of each cluster.

    values: one a row; rows without one (None) are not chosen.
    """
    have = np.zeros(len(x), bool) if given is None else given
    groups: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        if value is not None:
            groups.setdefault(str(value), []).append(row)
    names = sorted(groups)
    room = {name: sum(not have[row] for row in groups[name]) for name in names}
    held = {name: len(groups[name]) - room[name] for name in names}
    share = dict.fromkeys(names, 0)
    turns: list[str] = []
    while len(turns) < k and any(share[name] < room[name] for name in names):
        name = min((n for n in names if share[n] < room[n]), key=lambda n: (held[n] + share[n], n))
        share[name] += 1
        turns.append(name)
    picks = {}
    for name in names:
        rows = np.asarray(groups[name], np.intp)
        picks[name] = iter(
            rows[cluster_centres(x[rows], share[name], geometry, rng, given=have[rows])] if share[name] else rows[:0]
        )
    return np.asarray([next(picks[name]) for name in turns], np.intp)


def uncertain(
    x: Vectors, k: int, geometry: Geometry, rng: np.random.Generator, doubt: Floats64, *, given: Mask | None = None
) -> Rows:
    """Always the row with the largest doubt times distance to those chosen.

    doubt: (n,) any scale, larger is less certain, NaN is never chosen; its rank in (0, 1] is what counts, so that scores
    squeezed near 1 still tell rows apart.
    """
    known = np.isfinite(doubt)
    weight = np.zeros(len(x))
    if known.any():
        _, place, count = np.unique(doubt[known], return_inverse=True, return_counts=True)
        weight[known] = (np.cumsum(count) - (count - 1) / 2)[place] / known.sum()
    return k_center(x, k, geometry, rng, given=given, weight=weight, closed=~known)


def _topped_up(chosen: Rows, x: Vectors, k: int, geometry: Geometry, rng: np.random.Generator, given: Mask | None) -> Rows:
    if len(chosen) >= k:
        return chosen
    have = np.zeros(len(x), bool) if given is None else given.copy()
    have[chosen] = True
    return np.concatenate([chosen, k_center(x, k - len(chosen), geometry, rng, given=have)])


def _open(n: int, given: Mask | None) -> Rows:
    return np.arange(n, dtype=np.intp) if given is None else np.flatnonzero(~given).astype(np.intp)
