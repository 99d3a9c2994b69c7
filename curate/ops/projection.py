"""Maps of vectors in two or three dimensions: PCA, t-SNE, UMAP.  Coordinates only; a fitted reducer is never kept."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError, MissingExtra, UnknownName
from curate.geometry import Geometry
from curate.protocols import Context
from curate.types import Embeddings, Findings, Vectors

Array32: TypeAlias = npt.NDArray[np.float32]

METHODS = ("pca", "tsne", "umap")
TSNE_INPUT_DIM = 50
"""t-SNE works on this many principal components, as its authors advise."""

NEIGHBOURS = 15
MOST_TRUST_ROWS = 2000


@dataclass(frozen=True, slots=True)
class Map:
    """A map.  points: (n, dims) float32.  trustworthiness: in [0, 1], over `trust_rows` rows; None for fewer than 4 rows.

    1 means that neighbours on the map are neighbours in the embedding (Venna & Kaski 2001), 0.5 is chance.
    """

    points: Array32
    method: str
    trustworthiness: float | None
    trust_rows: int


def project(x: Vectors, geometry: Geometry, *, method: str = "umap", dims: int = 2, seed: int = 0) -> Map:
    """A map of (n, d) vectors in 2 or 3 dimensions; the same input and seed give the same map on one machine.

    method: "pca", "tsne" (scikit-learn, on 50 principal components) or "umap" (umap-learn).  Distances are those of the
    geometry: cosine through unit rows; Lorentz vectors are mapped in the tangent space.
    Raises UnknownName, ConfigError, MissingExtra (umap-learn).
    """
    if method not in METHODS:
        raise UnknownName("map", method, METHODS)
    if dims not in (2, 3):
        raise ConfigError(f"a map has 2 or 3 dimensions, not {dims}")
    if not len(x):
        raise ConfigError("there are no rows to map")
    rows = geometry.prepare(x) if geometry.flat else np.asarray(x, dtype=np.float32)
    if method != "pca" and len(rows) <= dims + 2:
        raise ConfigError(f"{method} needs more than {dims + 2} rows to find neighbours among, there are {len(rows)}: use pca")
    points = {"pca": _pca, "tsne": _tsne, "umap": _umap}[method](rows, dims, seed)
    points = np.ascontiguousarray(_upright(points), dtype=np.float32)
    trust, count = trustworthiness(rows, points, seed=seed)
    return Map(points, method, trust, count)


def trustworthiness(
    x: Vectors, points: Array32, *, neighbours: int = NEIGHBOURS, seed: int = 0, most: int = MOST_TRUST_ROWS
) -> tuple[float | None, int]:
    """How far neighbours on the map are neighbours in the embedding: in [0, 1], and over how many rows it was measured.

    Quadratic, so that beyond `most` rows a seeded sample stands in.  x: prepared rows (n, d).  points: (n, dims).
    """
    from sklearn.manifold import trustworthiness as measure

    if len(x) > most:
        chosen = np.sort(np.random.default_rng(seed).choice(len(x), most, replace=False))
        x, points = x[chosen], points[chosen]
    near = min(neighbours, (len(x) - 1) // 2)
    if near < 1 or len(x) < 4:
        return None, len(x)
    return float(measure(x, points, n_neighbors=near)), len(x)


def _pca(rows: Array32, dims: int, _seed: int) -> npt.NDArray[Any]:
    centred = rows - rows.mean(axis=0, dtype=np.float64)
    # The eigenvectors of the smaller Gram matrix: exact, and the same whatever the number of threads asks of a random one.
    if len(rows) >= rows.shape[1]:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        points = centred @ vectors[:, ::-1][:, :dims]
    else:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        points = vectors[:, ::-1][:, :dims] * np.sqrt(np.maximum(values[::-1][:dims], 0))
    missing = dims - points.shape[1]
    return np.pad(points, ((0, 0), (0, missing))) if missing > 0 else points


def _tsne(rows: Array32, dims: int, seed: int) -> npt.NDArray[Any]:
    from sklearn.manifold import TSNE

    if rows.shape[1] > TSNE_INPUT_DIM:
        rows = np.asarray(_pca(rows, min(TSNE_INPUT_DIM, len(rows)), seed), dtype=np.float32)
    # Scaled as scikit-learn scales a start of its own, which it cannot make of equal rows: they have no direction.
    start = _pca(rows, dims, seed)
    start = (1e-4 * start / (start[:, 0].std() or 1.0)).astype(np.float32)
    perplexity = min(30.0, (len(rows) - 1) / 3)
    reducer = TSNE(dims, perplexity=perplexity, init=start, learning_rate="auto", random_state=seed)
    return np.asarray(reducer.fit_transform(rows))


def _umap(rows: Array32, dims: int, seed: int) -> npt.NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from umap import UMAP
    except ImportError as err:
        raise MissingExtra("umap-learn", "maps", "a UMAP map") from err
    near = min(NEIGHBOURS, len(rows) - 1)
    # Spectral initialisation needs more rows than it has eigenvectors; tiny sets start at random.
    start = "spectral" if len(rows) > dims + 12 else "random"
    with warnings.catch_warnings():
        # A seed makes umap-learn use one thread, which it warns of.
        warnings.simplefilter("ignore")
        return np.asarray(
            UMAP(n_components=dims, n_neighbors=near, init=start, random_state=seed, n_jobs=1).fit_transform(rows)
        )


def _upright(points: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # The sign of an axis is arbitrary: the row farthest out decides it, so that maps of similar data look alike.
    points = points - points.mean(axis=0)
    farthest = points[np.abs(points).argmax(axis=0), np.arange(points.shape[1])]
    return np.asarray(points * np.where(farthest < 0, -1, 1))


@dataclass(frozen=True)
class Projection:
    """The op "map": coordinates of every row, kept as findings; it owns no field, so nothing of it is pushed.

    Evidence: method, dims, seed, trustworthiness, and points: id -> [x, y] or [x, y, z].  Arrays: the same points (n, dims)
    with their ids as JSON, for panels that draw 100,000 of them.
    """

    method: str = "umap"
    dims: int = 2
    seed: int = 0
    name: str = "map"

    @property
    def owns(self) -> frozenset[str]:
        """Nothing."""
        return frozenset()

    def __call__(self, embeddings: Embeddings, context: Context) -> Findings:
        """Maps the rows."""
        found = project(embeddings.vectors, embeddings.geometry, method=self.method, dims=self.dims, seed=self.seed)
        summary = {
            "method": self.method,
            "dims": self.dims,
            "seed": self.seed,
            "rows": len(embeddings),
            "trustworthiness": found.trustworthiness,
            "trust_rows": found.trust_rows,
        }
        points = {i: place for i, place in zip(embeddings.ids, np.round(found.points, 5).tolist(), strict=True)}
        return Findings(self.name, {}, {**summary, "points": points}, summary, _columns(embeddings.ids, found.points))


@dataclass(frozen=True)
class StandingMap:
    """The op "map" where nobody asked for a method: by PCA, unless another map of these vectors was made, which stays."""

    name: str = "map"

    @property
    def owns(self) -> frozenset[str]:
        """Nothing."""
        return frozenset()

    def __call__(self, embeddings: Embeddings, context: Context) -> Findings:
        """Maps the rows, or gives back the map there is."""
        made = context.findings.get(self.name)
        if made is None or made.summary["method"] == "pca":
            return Projection("pca")(embeddings, context)
        points: dict[str, list[float]] = made.evidence["points"]
        return replace(made, arrays=_columns(list(points), np.array(list(points.values()), dtype=np.float32)))


def _columns(ids: Sequence[str], points: Array32) -> dict[str, npt.NDArray[Any]]:
    return {"points": points, "ids": np.frombuffer(json.dumps(list(ids)).encode(), dtype=np.uint8)}
