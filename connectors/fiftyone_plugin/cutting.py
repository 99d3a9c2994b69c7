"""The stored pairs of `duplicates` cut again: counts, groups a page, and the findings that a plan is made from."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.errors import ConfigError
from curate.ops._graph import Graph, graph_from
from curate.ops._groups import Star, Stars
from curate.ops._scored import Scored
from curate.ops.duplicates import graph_findings
from curate.store import Store
from curate.types import EmbedderSpec, Findings

GRAPHS = 2
PRECISIONS = (0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)
"""Stops of the precision slider: even steps would put everything of interest into its last tenth."""
USUAL = PRECISIONS.index(0.99)

_KEPT: dict[tuple[str, str, str, int], Graph] = {}
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the pairs are cut.  precision: share of right decisions asked for.  radius: a largest distance, None for none."""

    precision: float = 0.99
    radius: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A kept row and its copies, for people.  copies: (id, kind, probability or None, distance of its pair or None)."""

    keep: str
    why: str
    copies: Sequence[tuple[str, str, float | None, float | None]]


@dataclass(frozen=True, slots=True)
class Recut:
    """The groups at a cut.  rows: copies, that would go; the kept row of a group is not counted."""

    graph: Graph
    scored: Scored
    stars: Stars
    protected: frozenset[str]

    @property
    def rows(self) -> int:
        """How many rows would be called copies."""
        return len(self.stars.copies)

    def copies(self) -> list[str]:
        """Ids of all copies, group by group."""
        return [self.graph.ids[row] for row in self.stars.copies.tolist()]

    def grouped(self) -> list[str]:
        """Ids of all groups, the kept row before its copies."""
        return [self.graph.ids[row] for row in self.stars.rows().tolist()]

    def page(self, start: int, count: int) -> list[Group]:
        """Some groups with their reasons."""
        rank = self.graph.rank
        if self.protected:
            rank = rank.protecting(self.graph.protected(self.protected), "its tag")
        groups = []
        for star in (self.stars[n] for n in range(start, min(start + count, len(self.stars)))):
            copies = [self._copy(star, row, pair) for row, pair in zip(star.copies, star.pairs, strict=True)]
            groups.append(Group(self.graph.ids[star.kept], rank.reason(star.kept, star.copies), copies))
        return groups

    def _copy(self, star: Star, row: int, pair: int) -> tuple[str, str, float | None, float | None]:
        item = self.graph.ids[row]
        if pair < 0:
            same = self.graph.bytes_class[star.kept] == self.graph.bytes_class[row]
            return item, "same file" if same else "same pixels", None, None
        chance = float(self.scored.probability[pair])
        kind = "mirrored" if self.scored.mirrored[pair] else "near copy"
        return item, kind, None if chance != chance else chance, float(self.scored.distance[pair])


def graph_of(store: Store, dataset: str, spec: EmbedderSpec) -> Graph | None:
    """The kept pairs of the newest run of `duplicates`; None where there are none.  The last two read are kept in memory."""
    found = store.summaries(dataset, spec.fingerprint).get("duplicates")
    if found is None:
        return None
    key = (str(store.path.absolute()), dataset, spec.fingerprint, found[0])
    with _LOCK:
        if key in _KEPT:
            _KEPT[key] = _KEPT.pop(key)
            return _KEPT[key]
    arrays = store.arrays(dataset, spec.fingerprint, "duplicates")
    if not arrays:
        return None
    graph = graph_from(arrays)
    with _LOCK:
        _KEPT[key] = graph
        while len(_KEPT) > GRAPHS:
            del _KEPT[next(iter(_KEPT))]
    return graph


def recut(graph: Graph, cut: Cut, protected: Collection[str] = ()) -> Recut:
    """The groups at another cut, largest first.  protected: rows never called copies."""
    scored = graph.cut(precision=cut.precision, radius=cut.radius)
    return Recut(graph, scored, graph.stars(scored, protected).largest_first(), frozenset(protected))


def cut_findings(store: Store, dataset: str, spec: EmbedderSpec, found: Recut, cut: Cut) -> Findings:
    """The findings of `duplicates` at the cut, with exact distances, as a run with that cut gives them."""
    graph = found.graph
    wanted = set(found.grouped())
    embeddings = store.embeddings(dataset, spec.fingerprint, ids=wanted)
    place = {item: row for row, item in enumerate(embeddings.ids)}
    gone = wanted - set(place)
    if gone:
        raise ConfigError(
            f"{len(gone):,} of these samples are gone from the dataset, or changed, such as {min(gone)}. Sync again, then "
            "find duplicates: only what is new is computed"
        )

    def apart(a: Sequence[str], b: Sequence[str]) -> Any:
        x = embeddings.vectors
        return spec.space.distance(x[[place[i] for i in a]], x[[place[i] for i in b]])

    at = graph_findings(graph, found.scored, apart, precision=cut.precision, protected=found.protected)
    basis: Mapping[str, Any] = {"radius": cut.radius} if not graph.by_pixels and cut.radius is not None else {}
    return Findings(at.op, at.values, {**at.evidence, **basis}, at.summary, graph.arrays())
