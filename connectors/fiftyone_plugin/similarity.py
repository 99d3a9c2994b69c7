"""A similarity backend for FiftyOne: compressed codes in a sidecar, true distances, nothing centred, deletions survived.

FiftyOne's native search, `sort_by_similarity`, `find_duplicates`, `find_unique`, `duplicates_view`, `compute_uniqueness` and
`compute_visualization` work on it.  Distances are those of the model's own geometry (cosine: 1 - cos), so that a threshold
means the same here and in `curate duplicates`.  FiftyOne finds the classes by name: `curate` must be installed where the App
runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fiftyone.brain.similarity as base
import numpy as np
import numpy.typing as npt

from connectors.fiftyone_plugin._sidecar import Ids, Sidecar
from connectors.fiftyone_plugin._text_tower import TextTower
from curate.errors import ConfigError, EmbedderError
from curate.index import ExactIndex, Pairs, neighbours_within
from curate.types import Vectors

DECODED_BYTES = 1 << 28
"""Up to this size decoded vectors are kept between queries, three times over; above, each query decodes a block at a time."""
FEW = 4
"""Fewer queries than this go through the vectors a block at a time where they are not kept decoded."""
BLOCK = 16_384
MOST_PAIRS = 20_000_000
"""More pairs than this are not held in memory at once."""
Rows = npt.NDArray[np.int64]


class CurateSimilarityConfig(base.SimilarityConfig):  # type: ignore[misc]
    """What FiftyOne keeps of a run.

    sidecar: folder of the vectors.  made_by: "curate", so that a rerun knows its own.  text: the model has a text tower.
    """

    def __init__(self, sidecar: str = "", made_by: str = "curate", text: bool = False, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "supports_prompts": text})
        self.sidecar, self.made_by, self.text = sidecar, made_by, text
        if self.patches_field or self.roi_field or self.embeddings_field:
            raise ConfigError(
                "the similarity backend of curate works on whole samples: no patches, regions or embeddings field"
            )

    @property
    def method(self) -> str:
        """Name of the backend."""
        return "curate"

    @property
    def metric(self) -> str:
        """The unit of distances."""
        return Sidecar.open(Path(self.sidecar)).spec.space.unit_name

    @property
    def max_k(self) -> None:
        """No limit."""
        return None

    @property
    def supports_least_similarity(self) -> bool:
        """Yes."""
        return True

    @property
    def supported_aggregations(self) -> tuple[str, ...]:
        """Query vectors are averaged, or distances are."""
        return ("mean", "post-mean", "post-min", "post-max")


class CurateSimilarity(base.Similarity):  # type: ignore[misc]
    """Makes indexes."""

    def initialize(self, samples: Any, brain_key: str) -> CurateSimilarityIndex:
        """The index over the sidecar of the configuration."""
        return CurateSimilarityIndex(samples, self.config, brain_key, backend=self)


class CurateSimilarityIndex(base.SimilarityIndex, base.DuplicatesMixin):  # type: ignore[misc]
    """The index: rows are those of the sidecar whose samples still exist, in id order, so that ties break by id."""

    def __init__(self, samples: Any, config: CurateSimilarityConfig, brain_key: str, backend: Any = None) -> None:
        self._sidecar = Sidecar.open(Path(config.sidecar))
        self._dataset = samples._dataset
        self._seen: tuple[Any, ...] = ()
        self._ids: Ids = np.zeros(0, "U24")
        self._codes = np.zeros((0, 0), np.uint8)
        self._decoded: Vectors | None = None
        self._exact: tuple[Rows, ExactIndex] | None = None
        self._pairs: tuple[float, Rows, Pairs] | None = None
        self._tower: TextTower | None = None
        base.SimilarityIndex.__init__(self, samples, config, brain_key, backend=backend)
        base.DuplicatesMixin.__init__(self)
        self._look()

    # what FiftyOne asks of an index

    @property
    def supports_prompts(self) -> bool:
        """Whether the model can place texts."""
        return bool(self.config.text)

    @property
    def is_external(self) -> bool:
        """The vectors are not in a field of the samples."""
        return True

    @property
    def sample_ids(self) -> Ids:
        """Ids of all rows, sorted."""
        return self._ids

    @property
    def total_index_size(self) -> int:
        """How many rows there are."""
        self._look()
        return len(self._ids)

    def add_to_index(
        self, embeddings: Vectors, sample_ids: Sequence[str], label_ids: Any = None, overwrite: bool = True, **_kwargs: Any
    ) -> None:
        """Adds vectors of the run's model (n, dim).  Raises EmbedderError for another dimension, NaN or infinities."""
        vectors = np.asarray(embeddings, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self._sidecar.spec.dim:
            raise EmbedderError(f"this index holds vectors of {self._sidecar.spec.dim} dimensions, not {vectors.shape}")
        ids = [str(i) for i in sample_ids]
        new = np.ones(len(ids), bool) if overwrite else ~np.isin(np.array(ids), self._ids)
        self._sidecar.append([i for i, take in zip(ids, new, strict=True) if take], vectors[new])
        self._look()

    def remove_from_index(self, sample_ids: Sequence[str] | None = None, label_ids: Any = None, **_kwargs: Any) -> None:
        """Removes rows."""
        if sample_ids is not None and len(sample_ids):
            self._sidecar.drop([str(i) for i in sample_ids])
            self._look()

    def get_embeddings(
        self,
        sample_ids: Sequence[str] | str | None = None,
        label_ids: Any = None,
        allow_missing: bool = True,
        warn_missing: bool = False,
    ) -> tuple[Vectors, Ids, None]:
        """Decoded vectors of some rows, or of all, with their ids.  Raises ValueError for a missing id unless allowed."""
        self._look()
        if sample_ids is None:
            return self._vectors(None).copy(), self._ids.copy(), None
        asked = np.atleast_1d(np.asarray(sample_ids, dtype="U24"))
        rows = self._rows_of(asked)
        if not allow_missing and (rows < 0).any():
            raise ValueError(f"sample {asked[rows < 0][0]} is not in this index")
        found = rows[rows >= 0]
        return self._vectors(found), self._ids[found], None

    def reload(self) -> None:
        """Reads the sidecar again if it changed, and forgets samples that are gone."""
        self._look()
        super().reload()

    def cleanup(self) -> None:
        """Leaves the sidecar: it belongs to the store, and an undo may need it."""

    def find_duplicates(self, thresh: float | None = None, fraction: float | None = None) -> None:
        """As FiftyOne's; samples that were deleted meanwhile take no part."""
        self.reload()
        super().find_duplicates(thresh=thresh, fraction=fraction)

    def _remove_duplicates_thresh(self, thresh: float, ids: Any) -> Any:
        """As FiftyOne's, which holds every pair in memory; where there would be too many, row by row instead."""
        current, geometry = self._current(), self._sidecar.spec.space
        x = geometry.prepare(self._vectors(current))
        some = np.random.default_rng(0).choice(len(x), min(len(x), 1_000), replace=False)
        near = float((geometry.pairwise(x[some], x[some], prepared=True) <= thresh).mean()) if len(x) else 0.0
        if near * len(x) ** 2 <= MOST_PAIRS:
            return super()._remove_duplicates_thresh(thresh, ids)
        alive = np.ones(len(x), bool)
        for row in range(len(x)):
            if alive[row]:
                alive[row + 1 :] &= geometry.pairwise(x[row : row + 1], x[row + 1 :], prepared=True)[0] > thresh
        return [ids[n] for n in np.flatnonzero(alive)]

    def find_unique(self, count: int) -> None:
        """As FiftyOne's; samples that were deleted meanwhile take no part."""
        self.reload()
        super().find_unique(count)

    def sort_by_similarity(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        """As FiftyOne's; samples that were deleted meanwhile take no part."""
        self._look()
        return super().sort_by_similarity(query, *args, **kwargs)

    @classmethod
    def _from_dict(cls, d: Any, samples: Any, config: CurateSimilarityConfig, brain_key: str) -> CurateSimilarityIndex:
        return cls(samples, config, brain_key)

    def get_model(self) -> Any:
        """The model's text tower, loaded when it is first needed."""
        if self._tower is None:
            self._tower = TextTower(self._sidecar)
        return self._tower

    # rows

    def _look(self) -> None:
        """Brings rows up to date with sidecar and samples; costs two small queries when nothing changed."""
        newest = self._everything().mongo([{"$sort": {"_id": -1}}, {"$limit": 1}]).values("id")
        now = (self._sidecar.stamp, self._everything().count(), newest)
        if now == self._seen:
            return
        ids, codes = self._sidecar.read()
        there = np.isin(ids, np.array(self._everything().values("id"), dtype="U24"))
        self._ids, self._codes, self._decoded, self._exact, self._pairs = ids[there], codes[there], None, None, None
        self._seen = now
        super().reload()  # what FiftyOne remembers of the current view

    def _everything(self) -> Any:
        grouped = self._dataset.media_type == "group"
        return self._dataset.select_group_slices(_allow_mixed=True) if grouped else self._dataset

    def _rows_of(self, ids: Ids) -> Rows:
        """Row of each id, -1 for one that is not there."""
        if not len(self._ids):
            return np.full(len(ids), -1, np.int64)
        at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return np.where(self._ids[at] == ids, at, -1)

    def _vectors(self, rows: Rows | None) -> Vectors:
        """Decoded vectors of some rows, of all (None)."""
        if self._decoded is None and len(self._ids) * self._sidecar.spec.dim * 4 <= DECODED_BYTES:
            self._decoded = self._sidecar.decode(self._codes)
        if self._decoded is not None:
            return self._decoded if rows is None else self._decoded[rows]
        return self._sidecar.decode(self._codes if rows is None else self._codes[rows])

    def _current(self) -> Rows:
        """Rows of the current view."""
        return self._rows_of(np.asarray(self.current_sample_ids, dtype="U24"))

    # neighbours

    def _queries(self, query: Any) -> tuple[Vectors, Rows, bool]:
        """Vectors (q, dim) of a query, their rows (-1 for vectors of the user's), and whether it was a single one."""
        dim = self._sidecar.spec.dim
        if isinstance(query, str):
            query, single = [query], True
        else:
            query = np.asarray(query)
            single = bool(query.ndim == 1 and np.issubdtype(query.dtype, np.number))
        if np.issubdtype(np.asarray(query).dtype, np.number):
            vectors = np.atleast_2d(np.asarray(query, np.float32))
            if vectors.shape[1] != dim or not np.isfinite(vectors).all():
                raise ValueError(f"a query has {dim} finite numbers, as the model {self._sidecar.spec.name!r} gives them")
            return vectors, np.full(len(vectors), -1), single
        rows = self._rows_of(np.asarray(list(query), dtype="U24"))
        if (rows < 0).any():
            missing = [str(q) for q, row in zip(query, rows, strict=True) if row < 0]
            raise ValueError(f"Query IDs {missing} do not exist in this index")
        return self._vectors(rows), rows, single

    def _kneighbors(
        self,
        query: Any = None,
        k: int | None = None,
        reverse: bool = False,
        aggregation: Any = None,
        return_dists: bool = False,
    ) -> Any:
        """See FiftyOne's `SimilarityIndex._kneighbors`: distances are exact, the nearest first (reverse: the farthest)."""
        current = self._current()
        if query is None:
            return self._all_neighbours(current, k, reverse, return_dists)
        vectors, _, single = self._queries(query)
        if aggregation is not None:
            if aggregation not in self.config.supported_aggregations:
                raise ValueError(f"unknown aggregation {aggregation!r}; known: {self.config.supported_aggregations}")
            if aggregation == "mean":
                vectors = vectors.mean(axis=0, keepdims=True)
            found, distances = self._ranked(vectors, current, k, reverse, aggregation)
            ids = list(self._ids[current[found]])
            return (ids, None, list(distances)) if return_dists else (ids, None)
        if reverse or k is None or (self._decoded is None and len(vectors) < FEW):
            pairs = [self._ranked(one[None], current, k, reverse, None) for one in vectors]
            rows, far = [p[0] for p in pairs], [p[1] for p in pairs]
        else:
            near, exact = self._searched(current).nearest(vectors, k)
            rows, far = list(near), list(np.maximum(exact, 0))
        return self._told([current[r] for r in rows], far, single, return_dists)

    def _told(self, rows: Sequence[Rows], distances: Sequence[Any], single: bool, return_dists: bool) -> Any:
        ids = [list(self._ids[r]) for r in rows]
        lists = [list(d) for d in distances]
        told = (ids[0], lists[0]) if single else (ids, lists)
        return (told[0], None, told[1]) if return_dists else (told[0], None)

    def _ranked(
        self, queries: Vectors, current: Rows, k: int | None, reverse: bool, aggregation: str | None
    ) -> tuple[Rows, npt.NDArray[np.float64]]:
        """Positions in `current` by exact distance to one query, or to several by aggregation; ties by id."""
        geometry = self._sidecar.spec.space
        distances = np.empty((len(queries), len(current)))
        for start in range(0, len(current), BLOCK):
            block = self._vectors(current[start : start + BLOCK])
            for n, query in enumerate(queries):
                distances[n, start : start + BLOCK] = geometry.distance(block, np.broadcast_to(query, block.shape))
        fold = {"post-min": np.min, "post-max": np.max}.get(aggregation or "", np.mean)
        whole: npt.NDArray[np.float64] = np.maximum(fold(distances, axis=0), 0)
        order = np.lexsort((np.arange(len(whole)), -whole if reverse else whole))[:k]
        return order, whole[order]

    def _searched(self, current: Rows) -> ExactIndex:
        """The rows of the view, ready to be searched; kept between queries where their decoded vectors are."""
        if self._exact is None or not np.array_equal(self._exact[0], current):
            index = ExactIndex(self._vectors(current), self._sidecar.spec.space)
            if self._decoded is None:
                return index
            self._exact = current, index
        return self._exact[1]

    def _all_neighbours(self, current: Rows, k: int | None, reverse: bool, return_dists: bool) -> Any:
        """For every row of the view its k nearest others, as positions in the view."""
        if reverse or k is None:
            raise ValueError("a query of the whole index asks for its nearest neighbors: say k, and leave reverse out")
        rows, distances = self._searched(current).nearest(self._vectors(current), k + 1)
        inds, dists = [], []
        for n in range(len(current)):
            others = np.flatnonzero(rows[n] != n)[:k]
            inds.append(rows[n][others])
            dists.append(np.maximum(distances[n][others], 0))
        return (inds, dists) if return_dists else inds

    def _radius_neighbors(self, query: Any = None, thresh: float | None = None, return_dists: bool = False) -> Any:
        """See FiftyOne's `DuplicatesMixin._radius_neighbors`; complete, never capped."""
        if thresh is None:
            raise ValueError("say a distance threshold")
        current = self._current()
        if query is None:
            return self._graph(current, float(thresh), return_dists)
        vectors, _, single = self._queries(query)
        rows, far = [], []
        for one in vectors:
            order, distances = self._ranked(one[None], current, None, False, None)
            within = distances <= thresh
            rows.append(current[order[within]])
            far.append(distances[within])
        return self._told(rows, far, single, return_dists)

    def _graph(self, current: Rows, thresh: float, return_dists: bool) -> Any:
        """Neighbours of every row; the pairs are kept, so that a smaller threshold needs no new search."""
        geometry = self._sidecar.spec.space
        # FiftyOne doubles the threshold until enough is near: beyond the largest distance all are.
        reach = min(thresh, geometry.largest)
        kept = self._pairs
        if kept is None or kept[0] < reach or not np.array_equal(kept[1], current):
            kept = self._pairs = (reach, current, neighbours_within(self._vectors(current), geometry, reach))
        pairs = kept[2]
        chosen = pairs.distance <= reach
        i, j, distance = pairs.i[chosen], pairs.j[chosen], pairs.distance[chosen]
        of, other, far = np.concatenate([i, j]), np.concatenate([j, i]), np.concatenate([distance, distance])
        order = np.lexsort((other, of))
        cuts = np.searchsorted(of[order], np.arange(1, len(current)))
        inds, dists = np.split(other[order], cuts), np.split(far[order], cuts)
        return (inds, dists) if return_dists else inds
