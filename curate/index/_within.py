"""Every pair of rows within a radius: complete by proof, by the cheapest filter that the data allow.

All strategies work on prepared rows, where a distance is a straight line, shifted to their mean (which no distance notices).
With a' = (a, |a|^2/2, 1) and b' = (b, -1, -|b|^2/2), one matrix product gives a'.b' = -|a - b|^2 / 2, so the cut is one number.
A strategy may only overestimate that product; what passes is decided by `Geometry.distance`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError, GeometryError
from curate.geometry import Array, Geometry, norms
from curate.types import Vectors

Rows: TypeAlias = npt.NDArray[np.int64]

STRATEGIES = ("auto", "blas", "projection", "bf16", "gpu")
"""blas: float32 products of all columns.  projection: of the first principal axes, the rest bounded by its length.
bf16: bfloat16 products on the CPU (torch), with a margin.  gpu: the same on a CUDA device."""

SMALL = 20_000
_ROUND32 = 2.0**-24
_ROUND16 = 2.0**-8
_HEADS = (16, 32, 48, 64, 96, 128, 192, 256)
_SAMPLE = 3_000
_BLOCK = 1_024
_GATHER = 16_384


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
    unknown or has no device here.
    """
    geometry.check_radius(radius)
    if strategy not in STRATEGIES:
        raise ConfigError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}")
    x = np.asarray(x, dtype=np.float32)
    if not np.isfinite(x).all():
        raise GeometryError(f"row {int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])} is not finite")
    if len(x) < 2:
        empty = np.zeros(0, dtype=np.int64)
        return Pairs(empty, empty, np.zeros(0), "blas")
    if not geometry.flat:
        return _decided(x, geometry, radius, _by_pairwise(geometry.prepare(x), geometry, radius), "blas")
    points = geometry.prepare(x)
    reach = float(geometry.chord(radius))
    centred = points - points.mean(axis=0, dtype=np.float64).astype(np.float32)
    # Rows were rounded when they were prepared and centred: half a unit in the last place, twice, for each of two rows.
    slack = 4 * _ROUND32 * float(norms(points).max() + norms(centred).max())
    chosen, filtered = _choose(centred, reach + slack, strategy)
    return _decided(x, geometry, radius, filtered, chosen)


def _choose(x: Vectors, reach: float, strategy: str) -> tuple[str, Iterator[tuple[Rows, Rows]]]:
    if strategy == "gpu":
        return "gpu", _torch_candidates(x, reach, "cuda")
    if strategy == "bf16":
        return "bf16", _torch_candidates(x, reach, "cpu")
    if strategy == "blas" or (strategy == "auto" and len(x) <= SMALL):
        return "blas", _refined(x, reach, _blas_candidates(x, reach))
    axes, cost = _principal_axes(x, reach)
    if strategy == "auto" and cost > 0.15 * x.shape[1] and _has_fast_bf16():
        return "bf16", _torch_candidates(x, reach, "cpu")
    if strategy == "auto" and cost > 0.8 * x.shape[1]:
        return "blas", _refined(x, reach, _blas_candidates(x, reach))
    return f"projection:{axes.shape[1]}", _refined(x, reach, _blas_candidates(_project(x, axes), reach))


def _augmented(x: Vectors) -> tuple[Vectors, Vectors, float]:
    """(left, right, bound): left_i . right_j = -|x_i - x_j|^2 / 2 within `bound` (rounding of a float32 product)."""
    square = np.einsum("ij,ij->i", x, x, dtype=np.float64) / 2
    one = np.ones(len(x))
    left = np.column_stack([x, square, one]).astype(np.float32)
    right = np.column_stack([x, -one, -square]).astype(np.float32)
    largest = 2.0 * float(square.max(initial=0.0))
    # |x_i . x_j| <= largest and each half square <= largest / 2: gamma_n with n terms, plus rounding of the squares.
    return left, right, (x.shape[1] + 6) * _ROUND32 * 2 * largest


def _blas_candidates(x: Vectors, reach: float) -> Iterator[tuple[Rows, Rows]]:
    """Blocks of rows i < j whose product passes the cut; float32, upper triangle only."""
    left, right, bound = _augmented(x)
    cut = np.float32(-(reach**2) / 2 - bound)
    n = len(x)
    # A block of products stays in the second cache, or reading it back costs more than the product.
    columns = max(_BLOCK, min(2 * _BLOCK, n))
    room = np.empty((_BLOCK, columns), dtype=np.float32)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        for at in range(start, n, columns):
            until = min(at + columns, n)
            product = room[: stop - start, : until - at]
            if product.flags.c_contiguous:
                np.matmul(left[start:stop], right[at:until].T, out=product)
            else:
                product = left[start:stop] @ right[at:until].T
            # Few rows of a block have any hit: a maximum is a fraction of the price of a comparison with its positions.
            hit = np.flatnonzero(product.max(axis=1) >= cut)
            if hit.size:
                inner, other = np.nonzero(product[hit] >= cut)
                i, j = hit[inner] + start, other + at
                upper = i < j
                if upper.any():
                    yield i[upper].astype(np.int64), j[upper].astype(np.int64)


def _refined(x: Vectors, reach: float, found: Iterator[tuple[Rows, Rows]]) -> Iterator[tuple[Rows, Rows]]:
    """Drops candidates that all columns in float32 rule out (with room for rounding), before the exact float64 distance."""
    limit = np.float32(reach**2 * (1 + 64 * _ROUND32 * x.shape[1]) + 1e-30)
    for i, j in found:
        for at in range(0, len(i), _GATHER):
            a, b = i[at : at + _GATHER], j[at : at + _GATHER]
            gap = x[a] - x[b]
            near = np.einsum("ij,ij->i", gap, gap) <= limit
            if near.any():
                yield a[near], b[near]


def _principal_axes(x: Vectors, reach: float) -> tuple[Vectors, float]:
    """The axes of the cheapest projection, and its estimated cost in columns of a full product.

    Estimated on pairs of a fixed sample: a projection on m axes costs m columns a pair, and one gather of two rows, about
    1,500 times the product of a column, for each pair it lets through.
    """
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(len(x), size=min(len(x), _SAMPLE), replace=False))
    many = np.sort(rng.choice(len(x), size=min(len(x), 20_000), replace=False))
    covariance = x[many].T @ x[many]
    axes = np.linalg.eigh(covariance.astype(np.float64))[1][:, ::-1].astype(np.float32)
    best, best_cost = min(256, x.shape[1]), float("inf")
    for head in _HEADS:
        if head >= x.shape[1]:
            break
        left, right, bound = _augmented(_project(x[rows], axes[:, :head]))
        passed = int(np.count_nonzero(left @ right.T >= -(reach**2) / 2 - bound)) - len(rows)
        share = max(passed, 0) / (len(rows) * (len(rows) - 1))
        cost = head + 8 + 60_000 * share
        if cost < best_cost:
            best, best_cost = head, cost
    return np.ascontiguousarray(axes[:, :best]), best_cost


def _project(x: Vectors, axes: Vectors) -> Vectors:
    """(n, m + 1): coordinates on the axes, and the length of the rest.

    |a - b|^2 >= |head a - head b|^2 + (|rest a| - |rest b|)^2 for orthonormal axes, so that no pair within reach is lost.
    """
    head = x @ axes
    rest = np.sqrt(np.maximum(np.square(norms(x)) - np.square(norms(head)), 0))
    # The axes are orthonormal to about 1e-7 only: shrink, so that the projection can only bring rows nearer.
    return np.column_stack([head, rest]).astype(np.float32) * np.float32(1 - 4e-6)


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


def _torch_candidates(x: Vectors, reach: float, device: str) -> Iterator[tuple[Rows, Rows]]:
    """Candidates by bfloat16 products in torch, refined in float32 on the same device.

    Each rounded factor is off by at most 2^-9 of itself, so a product by 2^-8 |a||b| (and a little); squares stay in float32.
    """
    try:
        import torch
    except ImportError as err:
        raise ConfigError(f"strategy needs torch ({device}): pip install 'curate-vision[models]'; or use 'projection'") from err
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("strategy 'gpu' needs a CUDA device, and torch sees none; use 'auto'")
    full = torch.from_numpy(np.ascontiguousarray(x)).to(device)
    half = full.to(torch.bfloat16)
    square = full.square().sum(dim=1) / 2
    length = (2 * square).sqrt()
    # What each row's own length allows to be lost, folded into its half square: sharper than one bound for all.
    worst = float(length.max()) if len(x) else 0.0
    offset = square - (_ROUND16 * 1.02 + x.shape[1] * _ROUND32 * 2) * length * worst / 2
    cut = -(reach**2) / 2 - 8 * _ROUND32 * worst**2
    limit = reach**2 * (1 + 64 * _ROUND32 * x.shape[1]) + 1e-30
    tall, wide = (2_048, 4_096) if device == "cpu" else (16_384, 32_768)
    for start in range(0, len(x), tall):
        stop = min(start + tall, len(x))
        for at in range(start, len(x), wide):
            until = min(at + wide, len(x))
            product = (half[start:stop] @ half[at:until].T).float() - offset[at:until] - offset[start:stop, None]
            i, j = _torch_hits(torch, product, cut)
            i, j = i + start, j + at
            upper = i < j
            i, j = i[upper], j[upper]
            for piece in range(0, len(i), 1 << 18):
                a, b = i[piece : piece + (1 << 18)], j[piece : piece + (1 << 18)]
                near = (full[a] - full[b]).square().sum(dim=1) <= limit
                if bool(near.any()):
                    yield a[near].cpu().numpy(), b[near].cpu().numpy()


def _torch_hits(torch: Any, product: Any, cut: float) -> tuple[Any, Any]:
    rows = torch.nonzero(product.amax(dim=1) >= cut)[:, 0]
    inner, j = torch.nonzero(product[rows] >= cut, as_tuple=True)
    return rows[inner], j


def _decided(x: Vectors, geometry: Geometry, radius: float, found: Iterator[tuple[Rows, Rows]], strategy: str) -> Pairs:
    """The exact distance of every candidate; those within the radius, in (i, j) order."""
    kept: list[tuple[Rows, Rows, Array]] = []
    for rows, others in found:
        for at in range(0, len(rows), _GATHER):
            i, j = rows[at : at + _GATHER], others[at : at + _GATHER]
            distance = geometry.distance(x[i], x[j])
            near = distance <= radius
            kept.append((i[near], j[near], distance[near]))
    none = np.zeros(0, dtype=np.int64)
    i, j = (np.concatenate([part[side] for part in kept] or [none]) for side in (0, 1))
    exact = np.concatenate([part[2] for part in kept] or [np.zeros(0)])
    order = np.lexsort((j, i))
    return Pairs(i[order], j[order], exact[order], strategy)
