"""Near duplicates: which rows are copies of which, and which one stays."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError, EmbedderError, GeometryError, UnknownName
from curate.geometry import Array
from curate.index import STRATEGIES
from curate.ops._decide import (
    Only,
    by_pixels,
    by_vectors,
    calibration,
    cut_key,
    has_pixels,
    rows_of,
    usual_radius,
    with_texts,
)
from curate.ops._graph import Graph, kept_pairs
from curate.ops._groups import Rows, Star, same_content
from curate.ops._keep import CRITERIA, PROTECTED, Ranking, check_keep, protected_rows, ranking
from curate.ops._scored import Scored
from curate.protocols import Context
from curate.types import Embeddings, Findings, Scalar


def in_id_order(embeddings: Embeddings, context: Context) -> tuple[Embeddings, Context]:
    """The same rows by id, with a context that is aligned to them: no result then depends on the order they came in.

    Raises EmbedderError naming a row whose vector is not finite, GeometryError naming one that is zero in cosine.
    """
    order = sorted(range(len(embeddings)), key=lambda row: embeddings.ids[row])
    sorted_already = order == list(range(len(order)))
    vectors = np.asarray(embeddings.vectors, dtype=np.float32)
    if not sorted_already:
        vectors = vectors[order]
    ids = [embeddings.ids[row] for row in order]
    bad = np.flatnonzero(~np.isfinite(vectors.sum(axis=1, dtype=np.float64)))
    if bad.size:
        raise EmbedderError(f"the vector of {ids[bad[0]]!r} is not finite")
    nowhere = np.flatnonzero(~vectors.any(axis=1)) if embeddings.geometry.kind == "cosine" else bad
    if nowhere.size:
        raise GeometryError(f"the vector of {ids[nowhere[0]]!r} is zero, which has no direction in cosine distance")
    if sorted_already:
        return Embeddings(ids, vectors, embeddings.spec), context

    def sorted_(column: Callable[[str], Sequence[Any]]) -> Callable[[str], list[Any]]:
        def read(name: str) -> list[Any]:
            values = column(name)
            return [values[row] for row in order] if len(values) else []

        return read

    aligned = replace(context, field=sorted_(context.field), fact=sorted_(context.fact), previous=sorted_(context.previous))
    return Embeddings(ids, vectors, embeddings.spec), aligned


@dataclass(frozen=True)
class Duplicates:
    """Finds copies and groups them around the row that stays.

    precision: share of decided pairs that must be right, in (0, 1).  radius: where given, the distance alone decides, in the
    embedder's unit.  keep: which copy stays, criteria of `curate.ops._keep.CRITERIA` in order of importance.
    protect: FIELD=VALUE rules; such rows are never called copies, nor those that a connector marks so (`_keep.PROTECTED`).
    between: a field; only rows that differ in it are compared (leakage between splits).
    reach: where the distance decides, pairs up to this multiple of the radius are kept for later, looser cuts.
    strategy: how pairs within a distance are searched, of `curate.index.STRATEGIES`; "auto" chooses by size and data.
    """

    precision: float = 0.99
    radius: float | None = None
    keep: Sequence[str] = CRITERIA
    protect: Sequence[str] = ()
    between: str | None = None
    reach: float = 1.0
    strategy: str = "auto"

    name = "duplicates"
    owns = frozenset({"duplicate", "duplicate_score"})

    def __post_init__(self) -> None:
        if not 0 < self.precision < 1:
            raise ConfigError(f"precision = {self.precision} must lie between 0 and 1 (0.99 = at most 1 in 100 pairs wrong)")
        if not 1 <= self.reach <= 10:
            raise ConfigError(f"reach = {self.reach} must lie between 1 and 10: a multiple of the radius")
        if self.strategy not in STRATEGIES:
            raise UnknownName("strategy", self.strategy, STRATEGIES)
        check_keep(self.keep)

    def __call__(self, embeddings: Embeddings, context: Context) -> Findings:
        """Copies, groups and reasons; independent of the order of rows."""
        embeddings, context = in_id_order(embeddings, context)
        return self.findings_of(*self.scored(embeddings, context), embeddings, context)

    def needs_model(self, embeddings: Embeddings, cached: Callable[[str], Any]) -> bool:
        """Whether a model that embeds pixels would be used: to fit the distance cut, once for these settings."""
        return self.radius is None and embeddings.spec.media == "image" and not cached(cut_key(embeddings, self.precision))

    def scored(self, embeddings: Embeddings, context: Context) -> tuple[Scored, dict[str, Any]]:
        """Every candidate pair that was looked at, decided, and what the decision rests on (JSON values).

        Both come from `in_id_order`.
        """
        geometry = embeddings.geometry
        if self.radius is not None:
            geometry.check_radius(self.radius)
        geometry.prepare(embeddings.vectors[:1])
        content = self._content(len(embeddings), context)
        reps = np.unique(content)
        only = _differing(_sets(context.field(self.between)), content) if self.between else None
        basis: dict[str, Any] = {"unit": geometry.unit_name}
        by_text = embeddings.spec.media == "text"
        if self.radius is None and not by_text and has_pixels([embeddings.ids[r] for r in reps], context):
            fitted = calibration(embeddings, context, self.precision)
            radius = fitted["radius"] if fitted else usual_radius(rows_of(embeddings.vectors, reps), geometry)
            more: dict[str, Any] = {"only": only, "strategy": self.strategy}
            scored, how = by_pixels(embeddings, context, reps, precision=self.precision, radius=radius, **more)
            return scored, {**basis, **how, "calibration": fitted}
        fitted = calibration(embeddings, context, self.precision) if self.radius is None and not by_text else None
        radius = self.radius if self.radius is not None else (fitted or {}).get("radius")
        if radius is None:
            radius = usual_radius(rows_of(embeddings.vectors, reps), geometry)
        reach = min(radius * self.reach, geometry.largest)
        scored, strategy = by_vectors(embeddings, context, reps, radius, only=only, reach=reach, strategy=self.strategy)
        texts = _texts(context) if by_text else []
        if len(texts):
            scored = with_texts(scored, texts, embeddings, reps, only=only)
        basis |= {"radius": radius, "strategy": strategy, "decided_by": "distance", "calibration": fitted}
        basis |= {"reach": reach} if self.reach > 1 else {}
        return scored, basis

    def findings_of(self, scored: Scored, basis: dict[str, Any], embeddings: Embeddings, context: Context) -> Findings:
        """Groups the decided pairs and chooses the rows that stay."""
        graph = self.graph(scored, basis, embeddings, context)
        place = {item: row for row, item in enumerate(embeddings.ids)}

        def apart(a: Sequence[str], b: Sequence[str]) -> Array:
            x = embeddings.vectors
            return embeddings.geometry.distance(x[[place[i] for i in a]], x[[place[i] for i in b]])

        found = graph_findings(graph, graph.scored, apart, precision=self.precision)
        return replace(found, summary=dict(found.summary) | {"candidates": len(scored)}, arrays=graph.arrays())

    def graph(self, scored: Scored, basis: dict[str, Any], embeddings: Embeddings, context: Context) -> Graph:
        """What is kept for other cuts: the pairs that some cut could decide, among the rows that take part."""
        ids, count = embeddings.ids, len(embeddings)
        content = self._content(count, context)
        pairs = kept_pairs(scored)
        linked = np.zeros(count, dtype=bool)
        for side in (scored.i, scored.j):
            linked[content[side[pairs]]] = True
        rows = np.flatnonzero((np.bincount(content, minlength=count)[content] > 1) | linked[content])
        protected = protected_rows(self.protect, count, context)
        rules = ", ".join((*self.protect, PROTECTED)) if self.protect else PROTECTED
        rank = ranking(
            ids, rows.tolist(), check_keep(self.keep), context, protected=protected.tolist(), protect=rules
        ).of(rows)  # fmt: skip
        known = context.fact("content_hash") or [None] * count
        hashes = _numbered([known[r] or None for r in rows.tolist()])
        sets = _sets(context.field(self.between))[rows] if self.between else None
        here = scored.of(pairs, lambda side: np.searchsorted(rows, side))
        return Graph([ids[r] for r in rows.tolist()], here, np.searchsorted(rows, content[rows]), hashes, rank, sets, basis)

    def _content(self, count: int, context: Context) -> Rows:
        keys = [context.fact(name) or [None] * count for name in ("content_hash", "pixel_hash")]
        return same_content(keys)


def graph_findings(
    graph: Graph,
    scored: Scored,
    apart: Callable[[Sequence[str], Sequence[str]], Array],
    *,
    precision: float,
    protected: Collection[str] = (),
) -> Findings:
    """The findings of a graph at a cut.

    scored: `graph.cut(...)`.  apart: the exact distances of rows a from rows b, each named by id.  precision: what was asked.
    protected: rows that are never called copies, besides those of the run.
    """
    rank = graph.rank.protecting(graph.protected(protected), PROTECTED) if protected else graph.rank
    stars = list(graph.stars(scored, protected))
    pairs = [(graph.ids[star.kept], graph.ids[copy]) for star in stars for copy in star.copies]
    distances = iter(apart([a for a, _ in pairs], [b for _, b in pairs]).tolist() if pairs else ())
    groups = [_described(star, scored, graph, rank, distances) for star in stars]
    groups.sort(key=lambda g: str(g["keep"]))
    values: dict[str, dict[str, Scalar]] = {"duplicate": {}, "duplicate_score": {}}
    kinds: dict[str, int] = {}
    for group in groups:
        values["duplicate"][group["keep"]] = "kept"
        for copy in group["copies"]:
            values["duplicate"][copy["id"]] = f"copy-of/{group['keep']}"
            values["duplicate_score"][copy["id"]] = copy["evidence"].get("probability", copy["distance"])
            kinds[copy["kind"]] = kinds.get(copy["kind"], 0) + 1
    ids = graph.ids
    borderline = [
        {"a": ids[scored.i[p]], "b": ids[scored.j[p]], "distance": float(scored.distance[p]), **scored.describe(int(p))}
        for p in np.flatnonzero(scored.borderline)
    ]
    evidence = {"groups": groups, "borderline": borderline, "precision": precision, **graph.basis}
    summary = {
        "groups": len(groups),
        "rows": len(pairs),
        "kinds": dict(sorted(kinds.items())),
        "candidates": len(scored),
        "decided_by": graph.basis["decided_by"],
    }
    return Findings(Duplicates.name, values, evidence, summary)


def _described(star: Star, scored: Scored, graph: Graph, rank: Ranking, distances: Iterator[float]) -> dict[str, Any]:
    copies = []
    mine = graph.bytes_class[star.kept]
    for row, pair in zip(star.copies, star.pairs, strict=True):
        kind = scored.kind(pair) if pair >= 0 else ("bytes" if mine == graph.bytes_class[row] else "pixels")
        evidence = scored.describe(pair) if pair >= 0 else {"probability": 1.0}
        copies.append({"id": graph.ids[row], "kind": kind, "distance": round(next(distances), 9), "evidence": evidence})
    copies.sort(key=lambda c: str(c["id"]))
    return {"keep": graph.ids[star.kept], "why": rank.reason(star.kept, star.copies), "copies": copies}


def _numbered(values: Sequence[Any]) -> Rows:
    """Equal numbers for equal values; -1 for None."""
    names = {v: n for n, v in enumerate(dict.fromkeys(v for v in values if v is not None))}
    return np.array([-1 if v is None else names[v] for v in values], dtype=np.int64)


def _texts(context: Context) -> Sequence[Scalar]:
    """The field `text`; nothing where no row has it."""
    try:
        return context.field("text")
    except ConfigError:
        return []


def _differing(sets: Rows, content: Rows) -> Only:
    """Pairs of classes of equal content that hold rows of different sets."""
    held: dict[int, set[int]] = {}
    for row, number in enumerate(sets):
        if number >= 0:
            held.setdefault(int(content[row]), set()).add(int(number))

    def only(i: Rows, j: Rows) -> npt.NDArray[np.bool_]:
        sides = [(held.get(int(a), set()), held.get(int(b), set())) for a, b in zip(i, j, strict=True)]
        return np.array([bool(a and b and len(a | b) > 1) for a, b in sides], dtype=bool)

    return only


def _sets(values: Sequence[Scalar]) -> Rows:
    """A number for each value, in the order of their texts; -1 where a row has none."""
    names = {v: n for n, v in enumerate(sorted({str(v) for v in values if v is not None}))}
    return np.array([-1 if v is None else names[str(v)] for v in values], dtype=np.int64)
