"""Near duplicates: which rows are copies of which, and which one stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError, EmbedderError
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
from curate.ops._groups import Rows, Star, same_content, star_groups
from curate.ops._keep import CRITERIA, Ranking, check_keep, protected_rows, ranking
from curate.ops._scored import Scored
from curate.protocols import Context
from curate.types import Embeddings, Findings, Scalar


def in_id_order(embeddings: Embeddings, context: Context) -> tuple[Embeddings, Context]:
    """The same rows by id, with a context that is aligned to them: no result then depends on the order they came in.

    Raises EmbedderError naming a row whose vector is not finite.
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
    protect: FIELD=VALUE rules; such rows are never called copies.  between: a field; only rows that differ in it are compared
    (leakage between splits).
    """

    precision: float = 0.99
    radius: float | None = None
    keep: Sequence[str] = CRITERIA
    protect: Sequence[str] = ()
    between: str | None = None

    name = "duplicates"
    owns = frozenset({"duplicate", "duplicate_score"})

    def __post_init__(self) -> None:
        if not 0 < self.precision < 1:
            raise ConfigError(f"precision = {self.precision} must lie between 0 and 1 (0.99 = at most 1 in 100 pairs wrong)")
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
            scored, how = by_pixels(embeddings, context, reps, precision=self.precision, radius=radius, only=only)
            return scored, {**basis, **how, "calibration": fitted}
        fitted = calibration(embeddings, context, self.precision) if self.radius is None and not by_text else None
        radius = self.radius if self.radius is not None else (fitted or {}).get("radius")
        if radius is None:
            radius = usual_radius(rows_of(embeddings.vectors, reps), geometry)
        scored, strategy = by_vectors(embeddings, context, reps, radius, only=only)
        texts = _texts(context) if by_text else []
        if len(texts):
            scored = with_texts(scored, texts, embeddings, reps, only=only)
        basis |= {"radius": radius, "strategy": strategy, "decided_by": "distance", "calibration": fitted}
        return scored, basis

    def findings_of(self, scored: Scored, basis: dict[str, Any], embeddings: Embeddings, context: Context) -> Findings:
        """Groups the decided pairs and chooses the rows that stay."""
        ids = embeddings.ids
        content = self._content(len(ids), context)
        links: dict[int, list[tuple[int, int]]] = {}
        for pair in np.flatnonzero(scored.decided):
            i, j = int(content[scored.i[pair]]), int(content[scored.j[pair]])
            links.setdefault(i, []).append((j, int(pair)))
            links.setdefault(j, []).append((i, int(pair)))
        sizes = np.bincount(content, minlength=len(ids))
        involved = [row for row in range(len(ids)) if sizes[content[row]] > 1 or int(content[row]) in links]
        protected = protected_rows(self.protect, len(ids), context)
        rank = ranking(
            ids, involved, check_keep(self.keep), context, protected=protected.tolist(), protect=", ".join(self.protect)
        )
        sets = _sets(context.field(self.between)) if self.between else None
        stars = star_groups(rank.order, content, links, protected=protected, sets=sets)
        hashes = context.fact("content_hash") or [""] * len(ids)
        groups = [self._described(star, scored, embeddings, hashes, rank) for star in stars]
        return self._findings(stars, groups, scored, basis, ids)

    def _described(
        self, star: Star, scored: Scored, embeddings: Embeddings, hashes: Sequence[str], rank: Ranking
    ) -> dict[str, Any]:
        ids = embeddings.ids
        rows = np.array(star.copies, dtype=np.int64)
        kept = np.full(len(rows), star.kept)
        distance = embeddings.geometry.distance(embeddings.vectors[kept], embeddings.vectors[rows])
        copies = []
        for row, pair, apart in zip(star.copies, star.pairs, distance, strict=True):
            kind = scored.kind(pair) if pair >= 0 else ("bytes" if hashes[row] == hashes[star.kept] else "pixels")
            evidence = scored.describe(pair) if pair >= 0 else {"probability": 1.0}
            copies.append({"id": ids[row], "kind": kind, "distance": round(float(apart), 9), "evidence": evidence})
        copies.sort(key=lambda c: str(c["id"]))
        return {"keep": ids[star.kept], "why": rank.reason(star.kept, star.copies), "copies": copies}

    def _findings(
        self, stars: Sequence[Star], groups: list[dict[str, Any]], scored: Scored, basis: dict[str, Any], ids: Sequence[str]
    ) -> Findings:
        groups.sort(key=lambda g: str(g["keep"]))
        values: dict[str, dict[str, Scalar]] = {"duplicate": {}, "duplicate_score": {}}
        kinds: dict[str, int] = {}
        for group in groups:
            values["duplicate"][group["keep"]] = "kept"
            for copy in group["copies"]:
                values["duplicate"][copy["id"]] = f"copy-of/{group['keep']}"
                values["duplicate_score"][copy["id"]] = copy["evidence"].get("probability", copy["distance"])
                kinds[copy["kind"]] = kinds.get(copy["kind"], 0) + 1
        borderline = [
            {"a": ids[scored.i[p]], "b": ids[scored.j[p]], "distance": float(scored.distance[p]), **scored.describe(int(p))}
            for p in np.flatnonzero(scored.borderline)
        ]
        evidence = {"groups": groups, "borderline": borderline, "precision": self.precision, **basis}
        summary = {
            "groups": len(groups),
            "rows": sum(len(s.copies) for s in stars),
            "kinds": dict(sorted(kinds.items())),
            "candidates": len(scored),
            "decided_by": basis["decided_by"],
        }
        return Findings(self.name, values, evidence, summary)

    def _content(self, count: int, context: Context) -> Rows:
        keys = [context.fact(name) or [None] * count for name in ("content_hash", "pixel_hash")]
        return same_content(keys)


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
