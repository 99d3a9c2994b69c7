"""Distributions of vectors, as numbers: distance from [ROOT], modality gap, captions met, values, dead dimensions, norms."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.geometry import EUCLIDEAN, Geometry, norms
from curate.ops.traversal import STEPS, captions_met, nearest_on_the_way
from curate.types import Vectors

Array: TypeAlias = npt.NDArray[np.float64]

BINS = 50
DEAD_SHARE = 0.01
"""A dimension is dead if it varies less than this share of the median dimension."""
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
MOST_WALKS = 1000


def histogram(
    values: npt.NDArray[Any], *, bins: int = BINS, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    """Counts in equal bins, with the quantiles: values (n,), n > 0 -> {"edges", "counts", "quantiles", "mean"}."""
    flat = np.asarray(values, np.float64).ravel()
    low = float(flat.min()) if low is None else low
    high = float(flat.max()) if high is None else high
    # Values that differ by rounding alone, such as the lengths of unit rows, are one value.
    apart = high - low > 1e-6 * max(abs(low), abs(high))
    counts, edges = np.histogram(flat, bins=bins, range=(low, max(high, low + 1) if not apart else high))
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "quantiles": {f"{q:g}": float(v) for q, v in zip(QUANTILES, np.quantile(flat, QUANTILES), strict=True)},
        "mean": float(flat.mean()),
    }


def common_root(geometry: Geometry, images: Vectors, texts: Vectors | None = None) -> Vectors:
    """[ROOT] of a corpus: the origin, or for cosine the normalised mean of all unit image and text vectors.  (d,)."""
    return geometry.root(images if texts is None else np.concatenate([images, texts]))


def root_distances(geometry: Geometry, images: Vectors, texts: Vectors | None = None) -> dict[str, Any]:
    """Distance from [ROOT] of images and texts (figures 2 and 4 of arXiv 2409.13079), on common bins.

    separation: the probability that a text is nearer to [ROOT] than an image (0.5: the two do not separate).
    """
    root = common_root(geometry, images, texts)
    of_images = geometry.depth(images, root)
    of_texts = None if texts is None else geometry.depth(texts, root)
    both = of_images if of_texts is None else np.concatenate([of_images, of_texts])
    low, high = float(both.min()), float(both.max())
    return {
        "unit": geometry.unit_name,
        "images": histogram(of_images, low=low, high=high),
        "texts": None if of_texts is None else histogram(of_texts, low=low, high=high),
        "separation": None if of_texts is None else share_below(of_texts, of_images),
    }


def share_below(a: Array, b: Array) -> float:
    """The probability that a value of `a` is below a value of `b`, ties half: (n,), (m,) -> [0, 1]."""
    ordered = np.sort(b)
    above = len(b) - (np.searchsorted(ordered, a, "left") + np.searchsorted(ordered, a, "right")) / 2
    return float(above.mean() / len(b))


def modality_gap(geometry: Geometry, images: Vectors, texts: Vectors) -> float:
    """Straight-line distance between the mean image and the mean text, of unit rows for cosine (Liang et al. 2022)."""
    middle = [geometry.prepare(x).mean(axis=0, dtype=np.float64)[None] for x in (images, texts)]
    return float(EUCLIDEAN.distance(*middle)[0])


def dead_dimensions(x: Vectors) -> list[int]:
    """Dimensions that hardly vary: their deviation is below a hundredth of the median one.  (n, d) -> numbers."""
    deviation = x.std(axis=0, dtype=np.float64)
    return np.flatnonzero(deviation <= DEAD_SHARE * float(np.median(deviation))).tolist()


def describe(geometry: Geometry, images: Vectors, texts: Vectors | None = None, *, logit: str = "") -> dict[str, Any]:
    """Everything above for one set of images, and texts where the model has them; for the report and for JSON.

    images: (n, d), n > 0.  texts: (m, d).  `captions_met` walks at most 1,000 images, evenly spaced, and says how many.
    """
    found: dict[str, Any] = {
        "rows": len(images),
        "dim": images.shape[1],
        "from_root": root_distances(geometry, images, texts),
        "norms": histogram(norms(images)),
        "values": histogram(images),
        "dead_dimensions": dead_dimensions(images),
        "modality_gap": None if texts is None else modality_gap(geometry, images, texts),
        "captions_met": None,
    }
    if texts is not None and len(texts):
        chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), MOST_WALKS)).astype(int))
        root = common_root(geometry, images, texts)
        ways = nearest_on_the_way(images[chosen], texts, geometry, root=root, steps=STEPS, logit=logit)
        counts = captions_met(ways, len(texts))
        found["captions_met"] = {
            "images": len(chosen),
            "mean": float(counts.mean()),
            "counts": {str(k): int((counts == k).sum()) for k in np.unique(counts).tolist()},
        }
    return found
