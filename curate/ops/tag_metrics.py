"""How good tags are: hierarchical precision and recall, wrong tags, depth at a share of correct paths, calibration.

A(v) = a tag and everything above it, without the tags that hold for every image.  hP = sum |A(v) & A(y)| / sum |A(v)|,
hR = ... / sum |A(y)|, hF their harmonic mean (Kiritchenko, Matwin, Famili 2006, micro-averaged).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.ops._tag_calibration import wrong_at, wrong_rows, wrong_steps
from curate.ops._tree import Routes
from curate.taxonomy import Facet

Array: TypeAlias = npt.NDArray[np.float64]
Ends: TypeAlias = Sequence[int] | npt.NDArray[np.int32]

BINS = 10


def lineage(facet: Facet, tag: int) -> frozenset[int]:
    """A(v): the tag and its ancestors without those above every leaf; empty for -1 (untagged)."""
    return facet.ancestors(tag) - facet.trivial if tag >= 0 else frozenset()


def scores_of(facet: Facet, ends: Ends, truth: Sequence[int]) -> dict[str, float]:
    """Figures of predicted tags (n,), -1 for untagged, against true ones (n,), leaves or internal; n > 0.

    precision, recall, f1: hierarchical.  wrong: share of rows with any wrong tag; a tag below an internal label counts as
    wrong, and `unjudged` is the share of rows where that is all.  untagged: share.  depth: mean |A(v)|.  exact: share of rows
    tagged with their very label.  tree_distance: mean |A(v)| + |A(y)| - 2 |A(v) & A(y)|.
    """
    found = [(lineage(facet, int(v)), lineage(facet, int(y))) for v, y in zip(ends, truth, strict=True)]
    shared = np.array([len(a & b) for a, b in found], dtype=np.float64)
    said = np.array([len(a) for a, _ in found], dtype=np.float64)
    true = np.array([len(b) for _, b in found], dtype=np.float64)
    precision = float(shared.sum() / said.sum()) if said.any() else 0.0
    recall = float(shared.sum() / true.sum()) if true.any() else 0.0
    pairs = list(zip(ends, truth, strict=True))
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "wrong": float(wrong_rows(facet, ends, truth).mean()),
        "unjudged": float(np.mean([v != y and y in lineage(facet, int(v)) for v, y in pairs])),
        "untagged": float(np.mean(np.asarray(ends) < 0)),
        "depth": float(said.mean()),
        "exact": float(np.mean([v == y for v, y in pairs])),
        "tree_distance": float((said + true - 2 * shared).mean()),
    }


def depth_at(facet: Facet, ways: Routes, truth: Sequence[int], share: float) -> dict[str, float]:
    """The mean depth reached when the threshold is chosen so that `share` of the rows have no wrong tag.

    Returns depth and the tau that gives it (chosen on these very rows: a summary of the ranking, not a promise).
    """
    best = {"depth": 0.0, "tau": 1.0}
    missed = wrong_steps(facet, ways, truth)
    deep = {int(v): len(lineage(facet, int(v))) for v in np.unique(ways.tags)}
    depths = np.vectorize(deep.__getitem__, otypes=[float])(ways.tags)
    row = np.arange(len(depths))
    for tau in np.unique(np.quantile(ways.probabilities[ways.tags >= 0], np.linspace(0, 1, 201))).tolist():
        kept = ways.kept(tau)
        if 1 - wrong_at(missed, kept).mean() >= share:
            depth = float(np.where(kept > 0, depths[row, np.maximum(kept - 1, 0)], 0).mean())
            if depth > best["depth"]:
                best = {"depth": depth, "tau": tau}
    return best


def calibration_error(confidence: Array, correct: npt.NDArray[np.bool_]) -> float:
    """Expected calibration error: mean |confidence - share correct| over ten bins, weighted by rows.  (n,), (n,)."""
    if not len(confidence):
        return 0.0
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [
        abs(float(confidence[place == k].mean()) - float(correct[place == k].mean())) * float((place == k).mean())
        for k in range(BINS)
        if (place == k).any()
    ]
    return float(sum(gaps))


def calibration_by_level(facet: Facet, ways: Routes, truth: Sequence[int]) -> dict[int, float]:
    """Calibration error of every step of the way down, whether or not it is kept: level from 1 -> error."""
    found = {}
    for step in range(ways.tags.shape[1]):
        rows = np.flatnonzero((ways.tags[:, step] >= 0) & ~np.isin(ways.tags[:, step], list(facet.trivial)))
        if rows.size:
            correct = ~wrong_rows(facet, ways.tags[rows, step], [truth[i] for i in rows.tolist()])
            found[step + 1] = calibration_error(ways.probabilities[rows, step], correct)
    return found


def evaluate(
    facet: Facet, ends: Ends, truth: Sequence[int], *, ways: Routes, confidence: Array, violations: int
) -> dict[str, Any]:
    """All figures of one facet.

    ends: (n,) predicted tags.  truth: (n,).  ways: the same rows' way down.  confidence: (n,) P of the predicted tag (any
    value for untagged rows).  violations: how often a tag was more probable than its parent.
    """
    tagged = np.asarray(ends) >= 0
    correct = ~wrong_rows(facet, ends, truth)
    return {
        "rows": len(truth),
        **scores_of(facet, ends, truth),
        "depth_at_90": depth_at(facet, ways, truth, 0.90),
        "depth_at_95": depth_at(facet, ways, truth, 0.95),
        "calibration_error": calibration_error(confidence[tagged], correct[tagged]),
        "calibration_error_by_level": calibration_by_level(facet, ways, truth),
        "violations": violations,
    }
