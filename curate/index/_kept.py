"""An approximate index that is kept on disk and grows: for search, never for a decision."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError, GeometryError, MissingExtra, StoreError
from curate.geometry import Array, Geometry, geometry_named
from curate.index._nearest import nearest
from curate.types import Vectors


def _hnswlib() -> Any:
    try:
        import hnswlib
    except ImportError as err:
        raise MissingExtra("hnswlib", "search", "a kept index") from err
    return hnswlib


@dataclass
class KeptIndex:
    """HNSW graph over prepared rows; row numbers are labels, in order of arrival.

    Build with `KeptIndex.build(x, geometry)`, grow with `extend`, keep with `save` and `load`.
    """

    geometry: Geometry
    dim: int
    graph: Any
    count: int = 0

    @classmethod
    def build(cls, x: Vectors, geometry: Geometry, *, links: int = 24, effort: int = 200) -> KeptIndex:
        """Indexes x (n, d).  links, effort: hnswlib's M and ef_construction.

        Raises GeometryError for Lorentz (not a straight-line distance: use `nearest`), MissingExtra without hnswlib.
        """
        if not geometry.flat:
            raise GeometryError(f"{geometry.unit_name} cannot be indexed; use the exact search")
        graph = _hnswlib().Index(space="l2", dim=x.shape[1])
        # One thread: the graph then depends on the rows alone.
        graph.init_index(max_elements=max(len(x), 1), M=links, ef_construction=effort, random_seed=0)
        index = cls(geometry, x.shape[1], graph)
        index.extend(x)
        return index

    def extend(self, x: Vectors) -> None:
        """Adds rows; their numbers follow on the last."""
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ConfigError(f"the index holds vectors of {self.dim} numbers, not of shape {x.shape}")
        if not len(x):
            return
        if self.count + len(x) > self.graph.get_max_elements():
            self.graph.resize_index(max(self.count + len(x), 2 * self.count))
        labels = np.arange(self.count, self.count + len(x))
        self.graph.add_items(self.geometry.prepare(x), labels, num_threads=1)
        self.count += len(x)

    def nearest(self, queries: Vectors, k: int, *, effort: int = 0) -> tuple[npt.NDArray[np.int64], Array]:
        """As `curate.index.nearest`, approximately: rows and distances (q, min(k, n)), nearest first.

        effort: hnswlib's ef; 0 takes max(128, 4 k).  Distances have float32 digits.
        """
        wanted = min(k, self.count)
        if wanted < 1:
            return np.zeros((len(queries), 0), dtype=np.int64), np.zeros((len(queries), 0))
        self.graph.set_ef(min(max(effort or max(128, 4 * wanted), wanted), max(self.count, 1)))
        labels, raw = self.graph.knn_query(self.geometry.prepare(queries), k=wanted, num_threads=1)
        return labels.astype(np.int64), self.geometry.from_index(raw)

    def recall(self, x: Vectors, queries: Vectors, k: int = 10) -> float:
        """Share of the exact k nearest rows that the index finds, over `queries`; x: the indexed rows, in order."""
        _, reach = nearest(x, queries, k, self.geometry)
        _, distances = self.nearest(queries, k)
        if not reach.size:
            return 1.0
        # What counts is to be as near as the k-th exact row: ties are no errors.
        return float(np.mean(distances <= reach[:, -1:] * (1 + 1e-5) + 1e-6))

    def save(self, path: Path) -> None:
        """Writes the graph to `path` and its description to `path`.json."""
        self.graph.save_index(str(path))
        about = {"geometry": self.geometry.label, "dim": self.dim, "count": self.count}
        path.with_name(path.name + ".json").write_text(json.dumps(about, sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> KeptIndex:
        """The inverse of `save`.  Raises StoreError when a file is missing or does not fit."""
        try:
            about = json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))
            geometry, dim, count = geometry_named(about["geometry"]), int(about["dim"]), int(about["count"])
            graph = _hnswlib().Index(space="l2", dim=dim)
            graph.load_index(str(path), max_elements=max(count, 1))
        except (OSError, RuntimeError, ValueError, KeyError) as err:
            raise StoreError(f"the index {path} cannot be read ({err}); delete it, it is built again") from err
        if graph.get_current_count() != count:
            raise StoreError(
                f"the index {path} holds {graph.get_current_count()} rows, its description says {count}; delete it"
            )
        return cls(geometry, dim, graph, count)
