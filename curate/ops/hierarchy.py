"""Tags along a taxonomy: as deep as the evidence goes, never against itself.

Scores of the leaves -> softmax with a fitted temperature -> P(tag) = sum over its leaves -> down while P >= tau.
The threshold is 0.6, or the lowest one that keeps a promised risk on labelled rows.  See docs/hierarchy.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.errors import ConfigError
from curate.geometry import GUARD
from curate.ops._labels import Labels, read_labels
from curate.ops._leaf_scores import LeafScores, from_prototypes, from_texts
from curate.ops._tag_calibration import DEFAULT_TAU, Threshold, calibrate_threshold, fit_temperature, folds, rows_needed
from curate.ops._tag_texts import cached_text_vectors
from curate.ops._tagging import Tagged, probabilities, tag_rows, ways_down
from curate.ops._tree import Routes, violations
from curate.ops.tag_metrics import evaluate
from curate.protocols import Context
from curate.taxonomy import Facet, Taxonomy
from curate.types import Embeddings, Findings, Scalar, Vectors

FOLDS = 5
MIN_EVALUATION_ROWS = 10
NAMED = 20
"""How many names or ids a message lists; the counts are always whole."""


@dataclass(frozen=True)
class Tagger:
    """Everything that decides the tags of one facet.

    scores: of the leaves.  temperature: the scale of the softmax.  fitted: whether labelled rows decided it.
    tau: where to stop; above 1 nothing is tagged.  threshold: how tau was calibrated, None if it was not.
    """

    facet: Facet
    scores: LeafScores
    temperature: float
    fitted: bool
    tau: float
    threshold: Threshold | None = None

    def tag(self, x: Vectors) -> Tagged:
        """Tags of vectors (n, d)."""
        return tag_rows(self.facet, self.scores.score, x, temperature=self.temperature, tau=self.tau)


@dataclass(frozen=True)
class Tag:
    """The op "tag": a path for every row along each facet of a taxonomy, or none.

    taxonomy: from `read_taxonomy`.  risk: the share of images that may get a wrong tag (0.1), calibrated on labelled rows.
    tau: a threshold of your own, in [0, 1]; with neither, 0.6 and "uncalibrated".  labels_field: the field with the true tag
    (name, synonym or path), or facet -> field.  delta: how unlikely a broken promise is to be (0.1).
    scores: "text", "prototypes", or "auto" (text where the model has it).  logit, scale: the model's own kind of logit and
    exp(logit_scale); None asks the context, then the geometry.
    """

    taxonomy: Taxonomy
    risk: float | None = None
    tau: float | None = None
    labels_field: str | Mapping[str, str] | None = None
    delta: float = 0.1
    scores: str = "auto"
    logit: str = ""
    scale: float | None = None
    name: str = "tag"

    def __post_init__(self) -> None:
        if not isinstance(self.taxonomy, Taxonomy):
            raise ConfigError("tag: 'taxonomy' must be a taxonomy that was read; use curate.taxonomy.read_taxonomy(FILE)")
        if self.risk is not None and self.tau is not None:
            raise ConfigError("tag: say a risk or a tau, not both: the risk decides tau")
        for name, value in (("risk", self.risk), ("delta", self.delta)):
            if value is not None and not 0 < value < 1:
                raise ConfigError(f"tag: {name} = {value} must lie between 0 and 1 (0.1 = one image in ten)")
        if self.tau is not None and not 0 <= self.tau <= 1:
            raise ConfigError(f"tag: tau = {self.tau} must lie in [0, 1]: it is a probability")
        if self.scores not in ("auto", "text", "prototypes"):
            raise ConfigError(f"tag: scores = {self.scores!r}; known: auto, text, prototypes")
        if self.risk is not None and not self.labels_field:
            raise ConfigError("tag: a risk is calibrated on labelled rows: say which field holds the true tag (labels_field)")
        unknown = set(self.labels_field) - set(self.taxonomy.facets) if isinstance(self.labels_field, Mapping) else set()
        if unknown:
            known = ", ".join(self.taxonomy.facets)
            raise ConfigError(f"tag: labels_field names the unknown facet {min(unknown)!r}; the taxonomy has: {known}")

    @property
    def owns(self) -> frozenset[str]:
        """`path` and `path_confidence`, or one pair for each of several facets."""
        facets = self.taxonomy.facets
        return frozenset(name for f in facets for name in (self.taxonomy.field(f), self.taxonomy.confidence_field(f)))

    def __call__(self, embeddings: Embeddings, context: Context) -> Findings:
        """Tags every row; see `Findings.evidence` for the paths with their probabilities and for how tau came about."""
        values: dict[str, dict[str, Scalar]] = {name: {} for name in self.owns}
        reasons: dict[str, dict[str, str]] = {}
        facets, rows = {}, []
        somewhere = np.zeros(len(embeddings), dtype=bool)
        for name, facet in self.taxonomy.facets.items():
            labels = self.labels_of(facet, embeddings, context)
            tagger = self.fit(facet, embeddings, context, labels)
            tagged = tagger.tag(embeddings.vectors)
            somewhere |= tagged.ends >= 0
            found = {embeddings.ids[i]: tagged.paths[i] for i in np.flatnonzero(tagged.ends >= 0).tolist()}
            field, confidence = self.taxonomy.field(name), self.taxonomy.confidence_field(name)
            values[field].update(found)
            values[confidence].update({i: tagged.confidence_of(k) for k, i in enumerate(embeddings.ids) if i in found})
            reasons[field] = {i: tagged.reason(k) for k, i in enumerate(embeddings.ids) if i in found}
            facets[name] = _facet_evidence(tagger, tagged, labels, embeddings.ids)
            extra = {"facet": name} if self.taxonomy.several else {}
            rows += [{"id": i, **extra, **tagged.row(k)} for k, i in enumerate(embeddings.ids)]
        summary = {
            "tagged": int(somewhere.sum()),
            "abstained": int((~somewhere).sum()),
            "calibrated": all(f["calibrated"] for f in facets.values()),
            "facets": {name: {k: f[k] for k in ("tagged", "abstained", "calibrated", "tau")} for name, f in facets.items()},
            "notes": [note for f in facets.values() for note in f["notes"]],
        }
        return Findings(self.name, values, {"facets": facets, "rows": rows, "reasons": reasons}, summary)

    def evaluate(self, embeddings: Embeddings, context: Context) -> dict[str, dict[str, Any]]:
        """Figures of every facet against the true tags of `labels_field`: facet -> `tag_metrics.evaluate`.

        Five-fold: every labelled row is tagged by a tagger that has not seen its label, neither in a prototype nor in the
        temperature nor in tau.  Raises ConfigError without a labels_field or with fewer than 10 labelled rows.
        """
        if not self.labels_field:
            raise ConfigError("tag: to evaluate, say which field holds the true tag (labels_field)")
        return {
            name: self._evaluate_facet(facet, embeddings, context)
            for name, facet in self.taxonomy.facets.items()
            if not isinstance(self.labels_field, Mapping) or name in self.labels_field
        }

    def _evaluate_facet(self, facet: Facet, embeddings: Embeddings, context: Context) -> dict[str, Any]:
        labels = self.labels_of(facet, embeddings, context)
        if len(labels.rows) < MIN_EVALUATION_ROWS:
            raise ConfigError(
                f"tag: {len(labels.rows)} labelled rows of facet {facet.name!r} in field {labels.field!r} are too few: "
                f"at least {MIN_EVALUATION_ROWS} are needed to evaluate"
            )
        rows, truth = np.asarray(labels.rows), np.asarray(labels.truth)
        part = folds([embeddings.ids[i] for i in labels.rows], labels.truth, FOLDS)
        ends, ways, violated = np.empty(len(rows), dtype=np.int32), [], 0
        for fold in range(FOLDS):
            out = np.flatnonzero(part == fold)
            rest = Labels(labels.field, rows[part != fold].tolist(), truth[part != fold].tolist())
            tagger = self.fit(facet, embeddings, context, rest)
            whole = probabilities(facet, tagger.scores.score(embeddings.vectors[rows[out]]), tagger.temperature)
            violated += violations(facet, whole)
            ways.append((out, ways_down(facet, whole)))
            ends[out] = ways[-1][1].ends(facet, tagger.tau)
        together = _in_order(ways)
        kept = np.array([np.flatnonzero(together.tags[k] == end)[-1] if end >= 0 else 0 for k, end in enumerate(ends)])
        confidence = together.probabilities[np.arange(len(rows)), kept]
        figures = evaluate(facet, ends, truth.tolist(), ways=together, confidence=confidence, violations=violated)
        return {**figures, "labels_outside": dict(list(labels.outside.items())[:NAMED])}

    def labels_of(self, facet: Facet, embeddings: Embeddings, context: Context) -> Labels:
        """The labelled rows of one facet; none without a labels_field.  Raises ConfigError if no label is in the taxonomy."""
        field = self.labels_field.get(facet.name) if isinstance(self.labels_field, Mapping) else self.labels_field
        if not field:
            return Labels(field="", rows=(), truth=())
        return read_labels(self.taxonomy, facet, field, context.field(field), shared=isinstance(self.labels_field, str))

    def fit(self, facet: Facet, embeddings: Embeddings, context: Context, labels: Labels) -> Tagger:
        """The tagger of one facet, from the model's texts or the labelled rows.

        Rows that fit the temperature do not calibrate tau where there are enough of both; prototypes are scored out of fold.
        Raises ConfigError for a model with neither texts nor labels, and for too few labels to show the risk.
        """
        ids = embeddings.ids
        rows, truth = np.asarray(labels.rows, dtype=np.int64), list(labels.truth)
        if self.risk is not None and len(rows) < rows_needed(self.risk, self.delta):
            raise ConfigError(
                f"tag: {len(rows)} labelled rows in field {labels.field!r} are too few to calibrate facet {facet.name!r} to a "
                f"risk of {self.risk:g}: at least {rows_needed(self.risk, self.delta)} are needed even if none is tagged "
                "wrongly, and several times as many to tag deeply"
            )
        scores = self._leaf_scores(facet, embeddings, context, labels)
        if not len(rows):
            return Tagger(facet, scores, scores.scale, False, DEFAULT_TAU if self.tau is None else self.tau)
        known = self._held_out_scores(facet, embeddings, scores, labels)
        part = folds([ids[i] for i in rows], truth, 3)
        for_temperature = part == 0 if self.risk is not None and len(rows) >= 150 else np.ones(len(rows), dtype=bool)
        for_tau = ~for_temperature if not for_temperature.all() else for_temperature
        chosen = [t for t, use in zip(truth, for_temperature, strict=True) if use]
        fitted = fit_temperature(facet, known[:, for_temperature], chosen, start=scores.scale, spread=scores.spread)
        temperature = scores.scale if fitted is None else fitted
        if self.risk is None:
            return Tagger(facet, scores, temperature, fitted is not None, DEFAULT_TAU if self.tau is None else self.tau)
        held = [t for t, use in zip(truth, for_tau, strict=True) if use]
        if len(held) < rows_needed(self.risk, self.delta):
            held, for_tau = truth, np.ones(len(rows), dtype=bool)
        ways = ways_down(facet, probabilities(facet, known[:, for_tau], temperature))
        threshold = calibrate_threshold(facet, ways, held, risk=self.risk, delta=self.delta)
        tau = threshold.tau if threshold.tau is not None else 2.0
        return Tagger(facet, scores, temperature, fitted is not None, tau, threshold)

    def _leaf_scores(self, facet: Facet, embeddings: Embeddings, context: Context, labels: Labels) -> LeafScores:
        spec = embeddings.spec
        if self.scores != "prototypes" and context.embed_text is not None:
            vectors = cached_text_vectors(facet, facet.leaves, spec, context)
            return from_texts(spec.space, vectors, logit=self.logit or context.logit, scale=self.scale or context.logit_scale)
        if self.scores == "text":
            raise ConfigError(f"tag: model {spec.name!r} has no text tower; use CLIP, or prototypes from labelled rows")
        leaves = {t for t in labels.truth if t >= 0 and not facet.children[t]}
        if len(leaves) < 2:
            raise ConfigError(
                f"tag: model {spec.name!r} has no texts to compare images with, so facet {facet.name!r} needs labelled rows: a "
                "field with the true tag of at least 5 to 8 images for each leaf (labels_field; --labels FIELD or FILE.csv), "
                f"or a model with a text tower, such as CLIP. Labelled leaves found: {len(leaves)}"
            )
        return from_prototypes(facet, spec.space, embeddings.vectors[np.asarray(labels.rows)], labels.truth)

    def _held_out_scores(
        self, facet: Facet, embeddings: Embeddings, scores: LeafScores, labels: Labels
    ) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Leaf scores of the labelled rows by something that has not seen their labels: (leaves, labelled)."""
        x = embeddings.vectors[np.asarray(labels.rows)]
        if scores.source == "text":
            return scores.score(x)
        truth = np.asarray(labels.truth)
        part = folds([embeddings.ids[i] for i in labels.rows], labels.truth, FOLDS)
        found = np.full((len(facet.leaves), len(x)), -np.inf)
        for fold in np.unique(part):
            out = part == fold
            rest = from_prototypes(facet, embeddings.spec.space, x[~out], truth[~out]) if (~out).any() else scores
            found[:, out] = rest.score(x[out])
        return found


def _in_order(parts: Sequence[tuple[np.ndarray[Any, np.dtype[np.intp]], Routes]]) -> Routes:
    """The routes of several sets of rows as one, each row in its place."""
    back = np.argsort(np.concatenate([rows for rows, _ in parts]), kind="stable")
    tags, chances, leads = (
        np.concatenate([getattr(ways, name) for _, ways in parts])[back] for name in ("tags", "probabilities", "leads")
    )
    return Routes(tags, chances, leads)


def _facet_evidence(tagger: Tagger, tagged: Tagged, labels: Labels, ids: Sequence[str]) -> dict[str, Any]:
    facet, threshold = tagger.facet, tagger.threshold
    calibrated = threshold is not None and threshold.tau is not None
    notes = []
    if threshold is not None and threshold.tau is None:
        notes.append(f"{facet.name}: no threshold keeps the risk on these labels, so every row stays untagged")
    elif not calibrated:
        notes.append(f"{facet.name}: uncalibrated: tau = {tagger.tau:g} promises nothing; give labelled rows and a risk")
    if labels.outside:
        notes.append(f"{facet.name}: {sum(labels.outside.values())} labels are not used: {'; '.join(labels.why[:3])}")
    if tagger.scores.missing:
        names = ", ".join(facet.names[v] for v in tagger.scores.missing[:5])
        notes.append(f"{facet.name}: {len(tagger.scores.missing)} leaves have no labelled row and are never tagged: {names}")
    if tagger.scores.thin:
        notes.append(f"{facet.name}: {len(tagger.scores.thin)} leaves have fewer than 5 labelled rows")
    borderline = [ids[i] for i in np.flatnonzero(tagged.borderline).tolist()]
    return {
        "tagged": int((tagged.ends >= 0).sum()),
        "abstained": int((tagged.ends < 0).sum()),
        "calibrated": calibrated,
        "tau": tagger.tau if tagger.tau <= 1 else None,
        "risk_bound": threshold.bound if threshold and calibrated else None,
        "calibration_rows": threshold.rows if threshold else 0,
        "temperature": round(tagger.temperature, 6),
        "temperature_fitted": tagger.fitted,
        "scores": tagger.scores.source,
        "labels": {"field": labels.field, "rows": len(labels.rows), "outside": dict(list(labels.outside.items())[:NAMED])},
        "missing_leaves": len(tagger.scores.missing),
        "guard": GUARD,
        "borderline": borderline,
        "notes": notes,
    }
