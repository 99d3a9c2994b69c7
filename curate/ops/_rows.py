"""What clusters, samples, quality and labels do first: rows in id order, checked, in the form distances are computed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.errors import EmbedderError, GeometryError
from curate.geometry import Geometry
from curate.protocols import Context
from curate.types import Embeddings, Scalar, Vectors

Rows: TypeAlias = npt.NDArray[np.intp]
Mask: TypeAlias = npt.NDArray[np.bool_]
Floats64: TypeAlias = npt.NDArray[np.float64]

CELLS = 16_000_000
"""Distances held at once: 64 MB of float32, whatever the number of rows."""

BLOCK = 8192
"""Rows that are held in float64 at once."""


def number_of(value: Scalar) -> float | None:
    """A field's value as a number: text that spells one counts, since a CSV holds nothing but text; None for anything else."""
    if isinstance(value, (int, float)):
        return float(value)
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Ordered:
    """Rows sorted by id, so that no result depends on the order in which they came.

    ids: (n,).  raw: (n, d) as embedded.  x: (n, d) `Geometry.prepare`d.  order: where each row stood in the embeddings.
    """

    ids: list[str]
    raw: Vectors
    x: Vectors
    order: Rows
    geometry: Geometry

    def __len__(self) -> int:
        return len(self.ids)

    def aligned(self, values: Sequence[Any]) -> list[Any]:
        """Values that came one a row in the embeddings' order, in id order; [] stays [] (nothing known)."""
        return [values[i] for i in self.order] if len(values) else []

    def previous(self, context: Context, field: str) -> list[Scalar]:
        """The last run's value of `field` for every row, None where there is none."""
        return self.aligned(context.previous(field)) or [None] * len(self)


def ordered(embeddings: Embeddings) -> Ordered:
    """The rows of `embeddings` by id.

    Raises EmbedderError for a vector that is not finite and GeometryError for a zero vector in cosine, naming the row.
    """
    order = np.asarray(sorted(range(len(embeddings)), key=lambda i: embeddings.ids[i]), dtype=np.intp)
    ids = [embeddings.ids[i] for i in order]
    raw = np.asarray(embeddings.vectors, dtype=np.float32)
    if not len(ids):
        raw = np.zeros((0, embeddings.spec.dim), np.float32)
    elif not np.array_equal(order, np.arange(len(order))):
        raw = raw[order]
    geometry = embeddings.geometry
    x = raw if geometry.kind == "euclidean" else np.empty_like(raw)
    for start in range(0, len(ids), BLOCK):
        some = raw[start : start + BLOCK]
        bad = np.flatnonzero(~np.isfinite(some).all(axis=1))
        if bad.size:
            raise EmbedderError(
                f"the vector of {ids[start + int(bad[0])]!r} is not finite; embed that row again or leave it out"
            )
        zero = np.flatnonzero(~some.any(axis=1)) if not geometry.zero_ok else bad
        if zero.size:
            raise GeometryError(
                f"the vector of {ids[start + int(zero[0])]!r} is zero, which has no direction in cosine distance"
            )
        if x is not raw:
            x[start : start + BLOCK] = geometry.prepare(some)
    return Ordered(ids, raw, x, order, geometry)


def paired(x: Vectors, to: Vectors, place: Rows, geometry: Geometry) -> Floats64:
    """Exact distance of row i of `x` to row place[i] of `to`, raw vectors: (n,); blocked, so memory stays bounded."""
    found = np.empty(len(x))
    for start in range(0, len(x), BLOCK):
        stop = start + BLOCK
        found[start:stop] = geometry.distance(x[start:stop], to[place[start:stop]])
    return found


def distinct(x: Vectors) -> int:
    """How many different rows `x` (n, d) has."""
    if not x.size:
        return min(len(x), 1)
    rows = np.ascontiguousarray(x + np.float32(0))  # one byte pattern for both zeros
    return len(np.unique(rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))))


def block_rows(columns: int) -> int:
    """How many rows of distances to `columns` points fit in `CELLS`."""
    return max(1, CELLS // max(1, columns))


def nearest(x: Vectors, to: Vectors, geometry: Geometry) -> tuple[Rows, Floats64]:
    """For every prepared row of `x` the nearest of the prepared rows `to`, and its distance: (n,), (n,).

    Ties go to the first.  Blocked, so memory stays bounded; distances are recomputed by difference only where asked for.
    """
    place, distance = np.zeros(len(x), np.intp), np.full(len(x), np.inf)
    step = block_rows(len(to))
    for start in range(0, len(x) if len(to) else 0, step):
        block = geometry.pairwise(x[start : start + step], to, prepared=True)
        place[start : start + step] = block.argmin(axis=1)
        distance[start : start + step] = block.min(axis=1)
    return place, distance


def is_copy(value: Scalar) -> bool:
    """Whether a value of the field `duplicate` says that the row is a copy of another."""
    return isinstance(value, str) and value.startswith("copy-of/")


def copies_of(rows: Ordered, context: Context) -> Mask:
    """Which rows are copies: by the duplicates op of this run, else by the last one."""
    found = context.findings.get("duplicates")
    if found is not None:
        values = found.values.get("duplicate", {})
        return np.asarray([is_copy(values.get(item)) for item in rows.ids], bool)
    return np.asarray([is_copy(value) for value in rows.previous(context, "duplicate")], bool)
