"""The stored rows nearest to a vector: exact up to 50,000 rows, through a kept index above."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import StoreError
from curate.index import KeptIndex, nearest
from curate.store import Store
from curate.types import EmbedderSpec, Embeddings, Vectors

EXACT_UP_TO = 50_000
STALE_SHARE = 0.2
ABANDONED_S = 3600.0
_GRAPH, _ROWS = "graph", "rows.json"


@dataclass(frozen=True, slots=True)
class Hits:
    """The nearest rows, nearest first, with exact distances.  by: "exact" or "index" (which proposed; distances are exact)."""

    ids: list[str]
    distances: list[float]
    by: str


def search(
    store: Store,
    dataset: str,
    spec: EmbedderSpec,
    query: Vectors,
    k: int,
    *,
    exact_up_to: int = EXACT_UP_TO,
    notify: Callable[[str], None] = lambda _line: None,
) -> Hits:
    """The k live rows nearest to `query` (dim,), ties by id.

    Above `exact_up_to` rows a graph is built once, kept in the store and extended by what is new; Lorentz is always exact,
    for it cannot be indexed.
    """
    count = len(store.embedded_ids(dataset, spec.fingerprint))
    if count <= exact_up_to or not spec.space.flat:
        return _among(store.embeddings(dataset, spec.fingerprint), query, k, by="exact")
    kept = Kept.current(store, dataset, spec, notify=notify)
    proposed = kept.propose(query, k)
    return _among(store.embeddings(dataset, spec.fingerprint, ids=proposed), query, k, by="index")


def _among(rows: Embeddings, query: Vectors, k: int, *, by: str) -> Hits:
    found, distances = nearest(rows.vectors, query[None], k, rows.geometry)
    return Hits([rows.ids[int(n)] for n in found[0]], [float(d) for d in distances[0]], by)


def recall(
    store: Store, dataset: str, spec: EmbedderSpec, *, k: int = 10, queries: int = 200, rng: np.random.Generator
) -> float | None:
    """Share of the exact k nearest rows that the kept index finds, over some stored rows; None where there is no index."""
    folder = _folder(store, dataset, spec)
    if not (folder / _ROWS).is_file():
        return None
    kept, rows = Kept.current(store, dataset, spec), store.embeddings(dataset, spec.fingerprint)
    asked = rng.choice(len(rows), size=min(queries, len(rows)), replace=False)
    hit = 0
    exact, reach = nearest(rows.vectors, rows.vectors[asked], k, rows.geometry)
    place = {name: n for n, name in enumerate(rows.ids)}
    for n, row in enumerate(asked):
        near = [place[name] for name in kept.propose(rows.vectors[row], k)]
        query = np.broadcast_to(rows.vectors[row], (len(near), rows.vectors.shape[1]))
        # What counts is to be as near as the k-th exact row: ties are no errors.
        hit += int((np.sort(rows.geometry.distance(rows.vectors[near], query))[:k] <= reach[n, -1] * (1 + 1e-5) + 1e-6).sum())
    return hit / exact.size if exact.size else 1.0


def _folder(store: Store, dataset: str, spec: EmbedderSpec) -> Path:
    return store.path / "indexes" / f"{hashlib.sha256(dataset.encode()).hexdigest()[:12]}-{spec.fingerprint}"


@dataclass
class Kept:
    """A graph with what its rows are: ids and digests of vectors by row number, and the basis of the dataset it fits.

    Rows that retired or changed stay in the graph and are passed over; with more than a fifth of them it is built anew.
    """

    graph: KeptIndex
    ids: list[str]
    digests: list[str]
    basis: str
    live: set[int]

    @classmethod
    def current(
        cls, store: Store, dataset: str, spec: EmbedderSpec, *, notify: Callable[[str], None] = lambda _line: None
    ) -> Kept:
        """The kept graph, brought up to date: loaded, extended or built, and saved when it changed."""
        folder = _folder(store, dataset, spec)
        basis = f"{store.basis(dataset)}:{store.generation(dataset, spec.fingerprint)}"
        kept = cls._load(folder, notify)
        if kept is not None and kept.basis == basis:
            return kept
        kept = cls._brought_up(kept, store, dataset, spec, notify)
        kept.basis = basis
        try:
            kept._save(folder)
        except (OSError, RuntimeError) as err:  # hnswlib reports a full disk by the latter
            notify(f"the index cannot be kept in {folder.parent} ({err}); the next search builds it again")
        return kept

    @classmethod
    def _brought_up(
        cls, kept: Kept | None, store: Store, dataset: str, spec: EmbedderSpec, notify: Callable[[str], None]
    ) -> Kept:
        known = {pair: n for n, pair in enumerate(zip(kept.ids, kept.digests, strict=True))} if kept else {}
        live: set[int] = set()
        fresh: list[Embeddings] = []
        for block in store.blocks(dataset, spec.fingerprint):
            names = list(zip(block.ids, _digests(block.vectors), strict=True))
            live.update(known[name] for name in names if name in known)
            new = [n for n, name in enumerate(names) if name not in known]
            if new:
                fresh.append(Embeddings([block.ids[n] for n in new], block.vectors[new], spec))
        count = sum(len(block) for block in fresh)
        if kept is None or len(kept.ids) - len(live) > STALE_SHARE * len(kept.ids):
            notify(f"building the index of {len(live) + count:,} rows, once")
            empty = KeptIndex.build(np.zeros((0, spec.dim), np.float32), spec.space)
            kept, fresh, live = cls(empty, [], [], "", set()), list(store.blocks(dataset, spec.fingerprint)), set()
        elif count:
            notify(f"adding {count:,} rows to the index")
        for block in fresh:
            live.update(range(len(kept.ids), len(kept.ids) + len(block)))
            kept.graph.extend(block.vectors)
            kept.ids.extend(block.ids)
            kept.digests.extend(_digests(block.vectors))
        kept.live = live
        return kept

    def propose(self, query: Vectors, k: int) -> list[str]:
        """Ids of live rows among which the k nearest are, most probably."""
        stale = len(self.ids) - len(self.live)
        # A few more than k: distances in the graph have float32 digits, and the exact ones decide.
        rows, _ = self.graph.nearest(query[None], k + 8 + min(stale, 4 * k))
        found = [int(n) for n in rows[0] if int(n) in self.live]
        if len(found) < min(k, len(self.live)):
            rows, _ = self.graph.nearest(query[None], k + stale)
            found = [int(n) for n in rows[0] if int(n) in self.live]
        return [self.ids[n] for n in found]

    @classmethod
    def _load(cls, folder: Path, notify: Callable[[str], None]) -> Kept | None:
        try:
            place = folder.stat().st_ino
            about = json.loads((folder / _ROWS).read_text(encoding="utf-8"))
            graph = KeptIndex.load(folder / _GRAPH)
            if folder.stat().st_ino != place:  # another search replaced it meanwhile
                return None
            kept = cls(graph, list(about["ids"]), list(about["digests"]), str(about["basis"]), set(about["live"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, StoreError) as err:
            notify(f"the index {folder} cannot be read ({err}); it is built again")
            return None
        return kept if graph.count == len(kept.ids) == len(kept.digests) else None

    def _save(self, folder: Path) -> None:
        """Writes the files aside and puts them in place; of two searches that do so at once, either one's stay.

        Raises OSError where the store cannot be written.
        """
        folder.parent.mkdir(exist_ok=True)
        for left in folder.parent.glob(f"{folder.name}.*.part"):
            if time.time() - left.stat().st_mtime > ABANDONED_S:  # of a search that was killed
                shutil.rmtree(left, ignore_errors=True)
        part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".part", dir=folder.parent))
        try:
            self.graph.save(part / _GRAPH)
            about = {"basis": self.basis, "ids": self.ids, "digests": self.digests, "live": sorted(self.live)}
            (part / _ROWS).write_text(json.dumps(about), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
        except OSError as err:
            if err.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _digests(vectors: Vectors) -> list[str]:
    rows = np.ascontiguousarray(vectors)
    return [hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest() for row in rows]
