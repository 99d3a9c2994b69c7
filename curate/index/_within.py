"""Every pair of rows within a radius: complete by proof, by the cheapest filter that the data allow.

All strategies work on prepared rows, where a distance is a straight line, shifted to their mean (which no distance notices).
A strategy may only let too much through; what passes is decided by `Geometry.distance`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from curate.errors import ConfigError, GeometryError
from curate.geometry import Array, Geometry, norms
from curate.index._ordered import ordered_candidates, plan_for
from curate.index._products import ROUND, Blocks, Rows, pairs_of
from curate.index._torch_pairs import torch_candidates
from curate.types import Vectors

STRATEGIES = ("auto", "blas", "projection", "bf16", "gpu")
"""blas: float32 products of all columns.  projection: of the first principal axes, the rest bounded by its length, on rows in
an order in which near ones stand together.  bf16: bfloat16 products on the CPU (torch), with a margin.  gpu: the same on a
CUDA device."""

SMALL = 20_000
_BF16_COST = 0.35
"""What bfloat16 products cost on a CPU that multiplies them, as a share of float32 products of all columns."""
_BLOCK = 1_024
_GATHER = 1_024
MOST = 20_000_000
"""Pairs that are listed at most, about 1 GB while they are sorted; a radius that takes in more tells nothing apart."""


class Pairs(NamedTuple):
    """Rows i < j and their distances, each (m,), ordered by (i, j); `strategy` says how they were found."""

    i: Rows
    j: Rows
    distance: Array
    strategy: str


def neighbours_within(x: Vectors, geometry: Geometry, radius: float, *, strategy: str = "auto") -> Pairs:
    """Every pair of rows at most `radius` apart.

    x: (n, d) float32, finite.  radius: >= 0, in `geometry`'s distance.  strategy: one of STRATEGIES; "auto" takes "blas" up to
    20,000 rows and above that "projection", "bf16" or "blas" by a cost estimate on a sample.
    Returns all pairs i < j, never capped, with exact distances.
    Raises GeometryError for an impossible radius, non-finite rows, or zero rows in cosine; ConfigError for a strategy that is
    unknown or has no device here, and for a radius that takes in more than 20 million pairs.
    """
    geometry.check_radius(radius)
    if strategy not in STRATEGIES:
        raise ConfigError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}")
    x = np.asarray(x, dtype=np.float32)
    # A sum of float32 in float64 is finite exactly where all of them are; a mask of every number would cost a byte each.
    broken = np.flatnonzero(~np.isfinite(x.sum(axis=1, dtype=np.float64)))
    if broken.size:
        raise GeometryError(f"row {int(broken[0])} is not finite")
    if len(x) < 2:
        empty = np.zeros(0, dtype=np.int64)
        return Pairs(empty, empty, np.zeros(0), "blas")
    if not geometry.flat:
        return _decided(x, geometry, radius, _by_pairwise(geometry.prepare(x), geometry, radius), "blas")
    points = geometry.prepare(x)
    reach = float(geometry.chord(radius))
    longest = float(norms(points).max())
    middle = points.mean(axis=0, dtype=np.float64).astype(np.float32)
    # In place where the rows are prepared's own: another copy of everything is what memory would run out by.
    points = points - middle if np.shares_memory(points, x) else np.subtract(points, middle, out=points)
    # Rows were rounded when they were prepared and centred: half a unit in the last place, twice, for each of two rows.
    slack = 4 * ROUND * (longest + float(norms(points).max()))
    chosen, filtered = _choose(points, reach + slack, strategy)
    return _decided(x, geometry, radius, filtered, chosen)


def _choose(x: Vectors, reach: float, strategy: str) -> tuple[str, Iterator[tuple[Rows, Rows]]]:
    if strategy == "gpu":
        return "gpu", torch_candidates(x, reach, "cuda")
    if strategy == "bf16":
        return "bf16", torch_candidates(x, reach, "cpu")
    if strategy == "blas" or (strategy == "auto" and len(x) <= SMALL):
        return "blas", _refined(x, reach, pairs_of(Blocks(x, reach)))
    plan = plan_for(x, reach)
    if strategy == "auto" and plan.cost > _BF16_COST * x.shape[1] and _has_fast_bf16():
        return "bf16", torch_candidates(x, reach, "cpu")
    if strategy == "auto" and plan.cost > x.shape[1]:
        return "blas", _refined(x, reach, pairs_of(Blocks(x, reach)))
    return f"projection:{plan.axes.shape[1]}", _refined(x, reach, ordered_candidates(x, plan, reach))


def _refined(x: Vectors, reach: float, found: Iterator[tuple[Rows, Rows]]) -> Iterator[tuple[Rows, Rows]]:
    """Drops candidates that all columns in float32 rule out (with room for rounding), before the exact float64 distance."""
    limit = np.float32(reach**2 * (1 + 64 * ROUND * x.shape[1]) + 1e-30)
    for i, j in found:
        for at in range(0, len(i), _GATHER):
            a, b = i[at : at + _GATHER], j[at : at + _GATHER]
            gap = x[a] - x[b]
            near = np.einsum("ij,ij->i", gap, gap) <= limit
            if near.any():
                yield a[near], b[near]


def _by_pairwise(points: Vectors, geometry: Geometry, radius: float) -> Iterator[tuple[Rows, Rows]]:
    # Lorentz: pairwise is float64 but cancels near zero (acosh near one): 1e-3 covers it for curvature of any size.
    margin = radius * 1e-3 + 1e-3
    for start in range(0, len(points), _BLOCK):
        block = geometry.pairwise(points[start : start + _BLOCK], points[start:], prepared=True)
        i, j = np.nonzero(block <= radius + margin)
        upper = i < j
        yield i[upper].astype(np.int64) + start, j[upper].astype(np.int64) + start


def _has_fast_bf16() -> bool:
    try:
        import torch
    except ImportError:
        return False
    says: Callable[[], Any] | None = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(says is not None and says())


def _decided(x: Vectors, geometry: Geometry, radius: float, found: Iterator[tuple[Rows, Rows]], strategy: str) -> Pairs:
    """The exact distance of every candidate; those within the radius, in (i, j) order."""
    kept: list[tuple[Rows, Rows, Array]] = []
    count = 0
    for rows, others in found:
        first, second = np.minimum(rows, others), np.maximum(rows, others)
        for at in range(0, len(rows), _GATHER):
            i, j = first[at : at + _GATHER], second[at : at + _GATHER]
            distance = geometry.distance(x[i], x[j])
            near = distance <= radius
            kept.append((i[near], j[near], distance[near]))
            count += len(kept[-1][0])
        if count > MOST:
            raise ConfigError(
                f"more than {MOST:,} pairs of {len(x):,} rows lie within {geometry.unit_name} {radius:.4g}: "
                "take a smaller radius, or look for vectors that are all alike"
            )
    none = np.zeros(0, dtype=np.int64)
    i, j = (np.concatenate([part[side] for part in kept] or [none]) for side in (0, 1))
    exact = np.concatenate([part[2] for part in kept] or [np.zeros(0)])
    order = np.lexsort((j, i))
    return Pairs(i[order], j[order], exact[order], strategy)
