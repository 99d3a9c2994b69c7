"""How well every image goes with every leaf: by the texts of the leaves, or by prototypes from labelled rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from curate.geometry import EUCLIDEAN, Geometry, unit
from curate.taxonomy import Facet
from curate.types import Vectors

Array: TypeAlias = npt.NDArray[np.float64]
Numbers: TypeAlias = npt.NDArray[np.int64]

SHRINK = 3.0
"""How many rows of its own a tag needs to weigh as much as its parent's mean."""

FEW = 5
"""Labelled rows of a leaf below which its prototype is called thin."""

MODEL_SCALE = {"cosine": 100.0, "euclidean": 1.0, "lorentz": 1.0}
"""exp(logit_scale) where the model does not say: CLIP trains up to its clamp of 100, EuCLIP and MERU start at 1."""

PROTOTYPE_SCALE = 0.5
"""A Gaussian with the pooled deviations has the log density -1/2 of the squared distance."""


@dataclass(frozen=True, slots=True)
class LeafScores:
    """Scores of images against the leaves of one facet.

    score: vectors (n, d) -> (leaves, n) float64, larger is closer, -inf for a leaf that cannot be predicted.
    scale: the temperature to start from.  spread: how far (in log scale, one deviation) a fitted one may be from it.
    source: "text" or "prototypes".  missing: numbers of leaves without a prototype.  thin: leaves with few labelled rows.
    """

    score: Callable[[Vectors], Array]
    scale: float
    spread: float
    source: str
    missing: Sequence[int] = ()
    thin: Sequence[int] = ()


def text_vectors(
    facet: Facet, tags: Sequence[int], geometry: Geometry, embed_text: Callable[[Sequence[str]], Vectors]
) -> Vectors:
    """One vector for each of `tags`: the mean over its texts, made unit length for cosine only.  (tags, d) float32."""
    texts = [facet.texts(v) for v in tags]
    flat = list(dict.fromkeys(text for some in texts for text in some))
    place = {text: k for k, text in enumerate(flat)}
    vectors = geometry_rows(geometry, np.asarray(embed_text(flat), dtype=np.float32))
    means = np.stack([vectors[[place[text] for text in some]].mean(axis=0, dtype=np.float64) for some in texts])
    return geometry_rows(geometry, means.astype(np.float32))


def geometry_rows(geometry: Geometry, x: Vectors) -> Vectors:
    """Unit rows for cosine, the rows themselves otherwise (tangent vectors for Lorentz)."""
    return unit(x) if geometry.kind == "cosine" else x


def from_texts(geometry: Geometry, leaf_vectors: Vectors, *, logit: str = "", scale: float | None = None) -> LeafScores:
    """Leaf scores by the model's own logit (EuCLIP: minus the squared distance; CLIP: the cosine).

    leaf_vectors: (leaves, d), in the order of `Facet.leaves`.  scale: the model's exp(logit_scale), None where unknown.
    """
    start = MODEL_SCALE[geometry.kind] if scale is None else scale
    return LeafScores(lambda x: geometry.scores(leaf_vectors, x, logit=logit), start, 0.7, "text")


def from_prototypes(facet: Facet, geometry: Geometry, x: Vectors, truth: Sequence[int]) -> LeafScores:
    """Leaf scores of a model without texts: shrunken diagonal linear discriminant analysis over labelled rows.

    x: (n, d) labelled rows.  truth: (n,) their tags, -1 for rows of no tag, which are left out.  A tag's mean is shrunk to its
    parent's, m <- (n m + 3 m_parent)/(n + 3), and s = -|(x - m)/sigma|^2 with one deviation for each dimension, pooled within
    the tags.  Leaves without a labelled row cannot be told from their siblings and get -inf.
    """
    tags = np.asarray(truth, dtype=np.int64)
    rows, tags = np.asarray(geometry.prepare(x[tags >= 0]), dtype=np.float64), tags[tags >= 0]
    means, counts = _shrunken_means(facet, rows, tags)
    leaves = np.asarray(facet.leaves)
    sigma = _pooled_deviation(rows, tags)
    scaled = means[leaves] / sigma
    absent = np.flatnonzero(counts[leaves] == 0)

    def score(vectors: Vectors) -> Array:
        found = EUCLIDEAN.scores(scaled, np.asarray(geometry.prepare(vectors), dtype=np.float64) / sigma, logit="-d2")
        found[absent] = -np.inf
        return found

    thin = [int(v) for v in leaves if 0 < counts[v] < FEW]
    return LeafScores(score, PROTOTYPE_SCALE, 1.5, "prototypes", [int(leaves[k]) for k in absent], thin)


def _shrunken_means(facet: Facet, rows: Array, truth: Numbers) -> tuple[Array, Array]:
    total, counts = np.zeros((len(facet), rows.shape[1])), np.zeros(len(facet))
    for tag in np.unique(truth):
        own = rows[truth == tag]
        for above in sorted(facet.ancestors(int(tag))):
            total[above] += own.sum(axis=0)
            counts[above] += len(own)
    centre = rows.mean(axis=0)
    means = np.empty_like(total)
    for v, parents in enumerate(facet.parents):
        towards = means[list(parents)].mean(axis=0) if parents else centre
        means[v] = (total[v] + SHRINK * towards) / (counts[v] + SHRINK)
    return means, counts


def _pooled_deviation(rows: Array, truth: Numbers) -> Array:
    """One deviation for each dimension, within tags, drawn a tenth of the way to their mean: (d,), > 0."""
    within, degrees = np.zeros(rows.shape[1]), 0
    for tag in np.unique(truth):
        own = rows[truth == tag]
        within += np.square(own - own.mean(axis=0)).sum(axis=0)
        degrees += len(own) - 1
    overall = rows.var(axis=0)
    # With hardly any repeats within a tag, the deviation of all rows stands in for ten of them.
    variance = (within + 10 * overall) / (degrees + 10)
    variance = 0.9 * variance + 0.1 * variance.mean()
    return np.asarray(np.sqrt(np.where(variance > 0, variance, 1.0)))
