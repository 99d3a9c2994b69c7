"""Clusters: k-means whose numbers stay what they were from one run to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.errors import ConfigError
from curate.geometry import EUCLIDEAN, Geometry
from curate.ops._kmeans import fit, means
from curate.ops._rows import Ordered, Rows, copies_of, distinct, nearest, ordered, paired
from curate.protocols import Context
from curate.types import Embeddings, Findings, Scalar, Vectors

MOST = 100
"""The largest number of clusters that is chosen without being asked for: more than people look through."""

KEEP = 0.05
"""A row leaves its cluster when another centre is nearer by this share of the distance; less is not worth a change."""

DRIFT = 0.05
"""Share of the old rows that would leave their clusters above which the old clusters are fitted again."""

RESTARTS = 4
"""Starts of k-means on small sets, of which the best counts; large ones start once."""

GROWN = 0.1
"""Share of rows without an earlier cluster above which the clusters are fitted again."""


def usual_count(rows: int) -> int:
    """How many clusters `rows` rows get when nobody says: the root of half of them, 1 to 100 (50 rows: 5, 5,000: 50)."""
    return int(np.clip(round((rows / 2) ** 0.5), min(rows, 1), MOST))


def settle(x: Vectors, label: Rows, *, passes: int = 50) -> Rows:
    """Moves rows to a centre that is clearly nearer (by `KEEP`) until none moves: (n, d), (n,) numbers 0..k-1 -> (n,).

    A settled partition stays as it is when settled again, so a run on unchanged rows changes nothing.
    """
    label = label.copy()
    every = np.arange(len(x))
    for _ in range(passes):
        used, compact = np.unique(label, return_inverse=True)
        centres = means(x, compact, len(used))
        place, distance = nearest(x, centres, EUCLIDEAN)
        own = paired(x, centres, compact, EUCLIDEAN)
        moves = every[(place != compact) & (own * (1 - KEEP) > distance)]
        if not moves.size:
            break
        label[moves] = used[place[moves]]
    return label


def matched(before: Rows, after: Rows) -> Rows:
    """Numbers for new clusters such that as many rows as possible keep theirs (Hungarian method on the shared rows).

    before: (n,) old numbers, -1 where a row had none.  after: (n,) new clusters 0..k-1.  Returns (n,): `after`, renumbered; a
    cluster that shares no row with an old one gets the smallest number that is free.
    """
    from scipy.optimize import linear_sum_assignment

    count = int(after.max()) + 1 if after.size else 0
    old = np.unique(before[before >= 0])
    shared = np.zeros((count, len(old)), np.int64)
    had = before >= 0
    np.add.at(shared, (after[had], np.searchsorted(old, before[had])), 1)
    rows, columns = linear_sum_assignment(shared, maximize=True)
    number = np.full(count, -1, np.intp)
    for row, column in zip(rows, columns, strict=True):
        if shared[row, column]:
            number[row] = old[column]
    free = iter(sorted(set(range(count + len(old))) - set(number.tolist())))
    for row in np.flatnonzero(number < 0):
        number[row] = next(free)
    return number[after]


def by_size(label: Rows) -> Rows:
    """Numbers 0, 1, ... from the largest cluster down; equal sizes in the order of their first row."""
    names, first, size = np.unique(label, return_index=True, return_counts=True)
    rank = np.empty(len(names), np.intp)
    rank[np.lexsort((first, -size))] = np.arange(len(names))
    return rank[np.searchsorted(names, label)]


def clusters(
    x: Vectors, count: int | None = None, *, rng: np.random.Generator, before: Rows | None = None
) -> tuple[Rows, dict[str, Any]]:
    """The cluster number of every prepared row, and how it came about.

    x: (n, d) prepared rows in id order.  count: >= 1, or None for `usual_count`.  before: (n,) numbers of the last run, -1 for
    rows that had none.  Returns (n,) and {"fit": "first" | "kept" | "refit", "moved": old rows that changed, "new": rows}.
    """
    if not len(x):
        return np.zeros(0, np.intp), {"fit": "first", "moved": 0, "new": 0}
    before = np.full(len(x), -1, np.intp) if before is None else before
    old, new = before >= 0, int((before < 0).sum())
    if not old.any():
        label = fit(x, count or usual_count(len(x)), rng, restarts=RESTARTS)[1]
        return by_size(settle(x, label)), {"fit": "first", "moved": 0, "new": new}
    used = np.unique(before[old])
    if not _another_number(count, len(used), x) and new <= GROWN * len(x):
        place = nearest(x[~old], means(x[old], np.searchsorted(used, before[old]), len(used)), EUCLIDEAN)[0]
        label = before.copy()
        label[~old] = used[place]
        label = settle(x, label)
        moved = int((label[old] != before[old]).sum())
        if moved <= DRIFT * old.sum():
            return label, {"fit": "kept", "moved": moved, "new": new}
    asked = count or (len(used) if not _another_number(None, len(used), x) else usual_count(len(x)))
    start = means(x[old], np.searchsorted(used, before[old]), len(used))
    label = matched(before, by_size(settle(x, fit(x, asked, rng, start=start, restarts=RESTARTS)[1])))
    return label, {"fit": "refit", "moved": int((label[old] != before[old]).sum()), "new": new}


def _another_number(count: int | None, had: int, x: Vectors) -> bool:
    if count is not None:
        return had != count and had < distinct(x)
    return abs(usual_count(len(x)) - had) > max(1, had / 4)


def describe(
    x: Vectors, label: Rows, geometry: Geometry, texts: Vectors, vocabulary: Sequence[str], *, terms: int = 3
) -> list[str]:
    """A few words for every cluster: the texts nearer to its typical rows than to the rest.

    x: (n, d) raw rows.  label: (n,) 0..k-1.  texts: (m, d) raw vectors of `vocabulary`.  Scores are averaged over up to 64
    rows a cluster; the average over all clusters is taken off, so that a text that fits everything describes nothing.
    """
    count = int(label.max()) + 1
    score = np.zeros((count, len(texts)))
    for cluster in range(count):
        rows = np.flatnonzero(label == cluster)
        some = rows[np.unique(np.linspace(0, len(rows) - 1, min(64, len(rows))).astype(int))]
        score[cluster] = geometry.logits(x[some], texts).mean(axis=0, dtype=np.float64)
    if count > 1:
        score = score - score.mean(axis=0)
    return [", ".join(vocabulary[i] for i in np.argsort(-row, kind="stable")[:terms]) for row in score]


@dataclass(frozen=True, slots=True)
class Clusters:
    """k-means clusters with stable numbers.

    count: how many; None follows `usual_count`, and keeps an earlier number of clusters while the rule is within a quarter of
    it.  vocabulary: texts that may describe a cluster, for models with a text tower.  medoids: typical rows listed for each.
    """

    count: int | None = None
    vocabulary: Sequence[str] = ()
    medoids: int = 8
    name: str = "clusters"

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise ConfigError(f"clusters: count {self.count} is impossible; ask for 1 or more, or leave it out")
        if self.medoids < 1:
            raise ConfigError(f"clusters: medoids {self.medoids} is impossible; every cluster shows at least one row")

    @property
    def owns(self) -> frozenset[str]:
        """It writes `cluster`."""
        return frozenset({"cluster"})

    def __call__(self, embeddings: Embeddings, context: Context) -> Findings:
        """Clusters all rows; `context.previous("cluster")` keeps the numbers stable."""
        rows = ordered(embeddings)
        before = np.asarray([_number(value) for value in rows.previous(context, "cluster")], np.intp)
        label, how = clusters(rows.x, self.count, rng=context.rng, before=before)
        found = self._evidence(rows, label, context)
        summary: dict[str, Any] = {"count": len(found), "rows": len(rows), **how}
        if self.count is not None and len(found) < self.count:
            summary |= {"asked": self.count, "note": f"{self.count} clusters asked; the rows have {len(found)} to give"}
        values: dict[str, Scalar] = {item: int(number) for item, number in zip(rows.ids, label, strict=True)}
        evidence = {"unit": rows.geometry.unit_name, "clusters": found}
        return Findings(self.name, {"cluster": values}, evidence, summary)

    def _evidence(self, rows: Ordered, label: Rows, context: Context) -> list[dict[str, Any]]:
        used, compact = np.unique(label, return_inverse=True)
        words = [""] * len(used)
        if context.embed_text is not None and self.vocabulary and len(used):
            texts = np.asarray(context.embed_text(list(self.vocabulary)), np.float32)
            words = describe(rows.raw, compact, rows.geometry, texts, self.vocabulary)
        centres = means(rows.x, compact, len(used))
        copies = copies_of(rows, context)  # a cluster is shown by different rows, copies come last
        found = []
        for cluster, number in enumerate(used.tolist()):
            inside = np.flatnonzero(compact == cluster)
            away = paired(rows.x[inside], centres[cluster][None], np.zeros(len(inside), np.intp), EUCLIDEAN)
            typical = inside[np.lexsort((away, copies[inside]))[: self.medoids]]
            spread = paired(rows.raw[inside], rows.raw[typical[:1]], np.zeros(len(inside), np.intp), rows.geometry)
            entry = {"cluster": number, "size": len(inside), "medoids": [rows.ids[i] for i in typical]}
            found.append(entry | {"spread": round(float(spread.mean()), 6), "description": words[cluster]})
        return found


def _number(value: Scalar) -> int:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 else -1
