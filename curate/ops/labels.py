"""Labels: how classes lie in the embedding, which labels are likely wrong, and where a model fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.errors import ConfigError
from curate.geometry import EUCLIDEAN, Geometry
from curate.index import nearest
from curate.ops._kmeans import means
from curate.ops._rows import Floats64, Mask, Ordered, Rows, copies_of, number_of, ordered
from curate.protocols import Context
from curate.types import Embeddings, Findings, Scalar, Vectors

NEIGHBOURS = 10
"""Rows asked for their label."""

AGREE = 0.6
"""Share of the neighbours that must carry one other label."""

OWN = 0.1
"""Share of the neighbours that may carry the row's own label."""

FARTHER = 1.5
"""How many times farther the nearest rows of its own class must be than those of the other (straight lines).

Votes alone call every row at the border of two classes a mistake; a mislabelled row lies deep in the other class.  On
digits with 3 % of the labels changed, votes alone are right in 95 % of cases, and with this in all."""

FEW = 3
"""Rows of a class whose mean distance stands for the class; a class needs so many to be suggested."""


def likely_mistakes(
    x: Vectors, raw: Vectors, label: Rows, geometry: Geometry, *, farther: float = FARTHER, copies: Mask | None = None
) -> tuple[Rows, Rows, Floats64, Floats64]:
    """Rows whose label is likely wrong, the likeliest first.

    x, raw: (n, d) prepared and raw rows.  label: (n,) 0..c-1, -1 for none.  copies: rows that give no vote (a copy of a row
    agrees with it for no reason).  A row is a likely mistake when at least `AGREE` of its `NEIGHBOURS` nearest carry one
    other label, at most `OWN` its own, and its own class is `farther` times as far.
    Returns rows, the label suggested, the share of neighbours that carry it, and how many times farther the own class is.
    """
    voters = np.flatnonzero((label >= 0) & (True if copies is None else ~copies))
    judged = np.flatnonzero(label >= 0)
    classes = int(label.max()) + 1 if judged.size else 0
    none = np.zeros(0)
    if len(voters) < NEIGHBOURS + 1 or len(np.unique(label[voters])) < 2:
        return none.astype(np.intp), none.astype(np.intp), none, none
    place, _ = nearest(raw[voters], raw[judged], NEIGHBOURS + 1, geometry)
    own = voters[place] == judged[:, None]
    own[~own.any(axis=1), -1] = True
    around = label[voters[place][~own].reshape(len(judged), -1)]
    votes = np.zeros((len(judged), classes))
    np.add.at(votes, (np.arange(len(judged))[:, None], around), 1 / around.shape[1])
    mine = votes[np.arange(len(judged)), label[judged]]
    votes[np.arange(len(judged)), label[judged]] = -1
    suggested = votes.argmax(axis=1)
    agreement = votes.max(axis=1)
    size = np.bincount(label[voters], minlength=classes)
    doubt = np.flatnonzero((agreement >= AGREE - 1e-9) & (mine <= OWN + 1e-9) & (size[suggested] >= FEW))
    if not doubt.size:
        return none.astype(np.intp), none.astype(np.intp), none, none
    times = _times_farther(x, judged[doubt], label, suggested[doubt], voters)
    sure = times >= farther
    order = np.lexsort((judged[doubt][sure], -agreement[doubt][sure], -times[sure]))
    rows = doubt[sure][order]
    return judged[rows].astype(np.intp), suggested[rows].astype(np.intp), agreement[rows], times[sure][order]


def _times_farther(x: Vectors, rows: Rows, label: Rows, suggested: Rows, voters: Rows) -> Floats64:
    times = np.full(len(rows), np.inf)
    for at, (row, other) in enumerate(zip(rows, suggested, strict=True)):
        apart = []
        for c in (label[row], other):
            inside = voters[(label[voters] == c) & (voters != row)]
            block = np.sort(EUCLIDEAN.pairwise(x[row : row + 1], x[inside], prepared=True)[0])
            apart.append(float(block[:FEW].mean()) if inside.size else float("inf"))
        times[at] = apart[0] / apart[1] if apart[1] > 0 else float("inf")
    return times


def wilson(errors: int, rows: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of an error rate (Wilson 1927): (low, high), each in [0, 1]; (0, 1) without rows."""
    if not rows:
        return 0.0, 1.0
    share, weight = errors / rows, z * z / rows
    middle, half = share + weight / 2, z * np.sqrt(share * (1 - share) / rows + weight / (4 * rows))
    return max(0.0, float((middle - half) / (1 + weight))), min(1.0, float((middle + half) / (1 + weight)))


def error_rates(wrong: Mapping[int, bool], groups: Sequence[Scalar], confidence: Sequence[Scalar]) -> list[dict[str, Any]]:
    """Error rate of every group, with its interval, the surest bad one first.

    wrong: row -> whether the prediction missed, for rows that have both.  groups, confidence: one a row, None for none.
    """
    inside: dict[str, list[int]] = {}
    for row in wrong:
        if groups[row] is not None:
            inside.setdefault(str(groups[row]), []).append(row)
    found = []
    for value, rows in inside.items():
        errors = sum(wrong[row] for row in rows)
        low, high = wilson(errors, len(rows))
        sure = [c for c in (number_of(confidence[row]) for row in rows) if c is not None] if confidence else []
        line: dict[str, Any] = {
            "value": value,
            "rows": len(rows),
            "errors": errors,
            "rate": errors / len(rows),
            "low": low,
            "high": high,
        }
        found.append(line | ({"confidence": sum(sure) / len(sure)} if sure else {}))
    return sorted(found, key=lambda line: (-line["low"], -line["rate"], line["value"]))


@dataclass(frozen=True, slots=True)
class Labels:
    """Class report and likely label mistakes of one field; with predictions, where the model fails.  Pushes nothing.

    field: the labels.  predictions, confidence: fields of a model's answer and its confidence.  by: further fields whose
    values are groups for error rates, besides clusters and tags.  farther: see `FARTHER`; more finds fewer, surer mistakes.
    """

    field: str = "label"
    predictions: str = ""
    confidence: str = ""
    by: Sequence[str] = ()
    farther: float = FARTHER
    name: str = "labels"

    def __post_init__(self) -> None:
        if not self.field:
            raise ConfigError('labels: which field holds them? field = "label"')
        if (self.confidence or self.by) and not self.predictions:
            raise ConfigError("labels: confidence and by need predictions, the field with the model's answers")
        if not self.farther >= 1:
            raise ConfigError(f"labels: farther {self.farther!r} is impossible; 1 flags every disagreement, 1.5 the sure ones")

    @property
    def owns(self) -> frozenset[str]:
        """It writes no field."""
        return frozenset()

    def __call__(self, embeddings: Embeddings, context: Context) -> Findings:
        """Judges the labels of `field`."""
        rows = ordered(embeddings)
        values = rows.aligned(context.field(self.field))
        names = sorted({str(value) for value in values if value not in (None, "")})
        number = {name: i for i, name in enumerate(names)}
        label = np.asarray([number.get(str(value), -1) if value not in (None, "") else -1 for value in values], np.intp)
        copies = copies_of(rows, context)
        wrong, suggested, agreement, times = likely_mistakes(
            rows.x, rows.raw, label, rows.geometry, farther=self.farther, copies=copies
        )
        mistakes = [
            {
                "id": rows.ids[row],
                "label": names[label[row]],
                "suggested": names[other],
                "agreement": round(float(share), 6),
                "times_farther": round(float(far), 6) if np.isfinite(far) else None,
            }
            for row, other, share, far in zip(wrong, suggested, agreement, times, strict=True)
        ]
        evidence: dict[str, Any] = {
            "field": self.field,
            "unit": rows.geometry.unit_name,
            "classes": class_report(rows, label, names, label[wrong]),
            "mistakes": mistakes,
        }
        summary: dict[str, Any] = {"classes": len(names), "labelled": int((label >= 0).sum()), "mistakes": len(mistakes)}
        if self.predictions:
            errors, overall = self._errors(rows, values, context)
            evidence |= {"errors": errors, "overall": overall}
            summary |= {"predicted": overall["rows"], "errors": overall["errors"]}
        return Findings(self.name, {}, evidence, summary)

    def _errors(
        self, rows: Ordered, values: Sequence[Scalar], context: Context
    ) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
        answers = rows.aligned(context.field(self.predictions))
        confidence = rows.aligned(context.field(self.confidence)) if self.confidence else []
        both = [row for row in range(len(rows)) if values[row] not in (None, "") and answers[row] not in (None, "")]
        wrong = {row: str(values[row]) != str(answers[row]) for row in both}
        groups: dict[str, Sequence[Scalar]] = {self.field: values}
        groups |= {name: rows.aligned(context.field(name)) for name in self.by}
        for op, field in (("clusters", "cluster"), ("tag", "path")):
            if op in context.findings:
                found = context.findings[op].values.get(field, {})
                groups[field] = [found.get(item) for item in rows.ids]
        overall = error_rates(wrong, ["all"] * len(rows), confidence)
        none = {"value": "all", "rows": 0, "errors": 0, "rate": None, "low": 0.0, "high": 1.0}
        return {name: error_rates(wrong, group, confidence) for name, group in groups.items()}, overall[0] if overall else none


def class_report(rows: Ordered, label: Rows, names: Sequence[str], mistaken: Rows) -> list[dict[str, Any]]:
    """Count, spread and nearest other class of every class, largest first.

    spread: mean distance of a class's rows to its most central row.  nearest_distance: between the central rows of two
    classes.  Both in the embedder's distance.  mistaken: the labels of the likely mistakes.
    """
    if not names:
        return []
    held = np.flatnonzero(label >= 0)
    centres = means(rows.x[held], label[held], len(names))
    middle = np.zeros(len(names), np.intp)
    spread = np.zeros(len(names))
    for c in range(len(names)):
        inside = held[label[held] == c]
        away = EUCLIDEAN.distance(rows.x[inside], np.broadcast_to(centres[c], rows.x[inside].shape))
        middle[c] = inside[int(np.argmin(away))]
        spread[c] = rows.geometry.distance(
            rows.raw[inside], np.broadcast_to(rows.raw[middle[c]], rows.raw[inside].shape)
        ).mean()
    between = rows.geometry.pairwise(rows.x[middle], rows.x[middle], prepared=True)
    np.fill_diagonal(between, np.inf)
    count, wrong = np.bincount(label[held], minlength=len(names)), np.bincount(mistaken, minlength=len(names))
    found = []
    for c, name in enumerate(names):
        other = int(between[c].argmin()) if len(names) > 1 else None
        entry: dict[str, Any] = {"label": name, "count": int(count[c]), "spread": round(float(spread[c]), 6)}
        entry |= {"central": rows.ids[middle[c]], "mistakes": int(wrong[c])}
        entry |= {"nearest": names[other] if other is not None else None}
        apart = (
            rows.geometry.distance(rows.raw[middle[c]][None], rows.raw[middle[other]][None])[0] if other is not None else None
        )
        found.append(entry | {"nearest_distance": round(float(apart), 6) if apart is not None else None})
    return sorted(found, key=lambda entry: (-entry["count"], entry["label"]))
