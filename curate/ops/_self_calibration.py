"""The distance cut of one model on one set of images: edited copies of the user's own images against random pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from curate.geometry import Geometry
from curate.types import Pixels, Vectors

SAMPLE = 40
_RANDOM_PAIRS = 200_000


def edited(pixels: Pixels) -> dict[str, Pixels]:
    """The edits a copy may have gone through: name -> pixels."""
    import cv2

    high, wide = pixels.shape[:2]
    edge_y, edge_x = max(1, high // 10), max(1, wide // 10)
    coded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 25])[1]
    decoded: Any = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    turn = cv2.getRotationMatrix2D((wide / 2, high / 2), 5, 1.0)
    half = cv2.resize(pixels, (max(2, wide // 2), max(2, high // 2)), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    made: dict[str, Any] = {
        "re-encoded": decoded[..., ::-1],
        "resized": cv2.resize(half, (wide, high), interpolation=cv2.INTER_LINEAR),
        "cropped": pixels[edge_y : high - edge_y, edge_x : wide - edge_x] if min(high, wide) > 8 else pixels,
        "bordered": cv2.copyMakeBorder(pixels, edge_y, edge_y, edge_x, edge_x, cv2.BORDER_CONSTANT),
        "blurred": cv2.GaussianBlur(pixels, (0, 0), max(0.6, max(high, wide) / 200)),
        "darkened": (pixels * 0.7).astype(np.uint8),
        "turned": cv2.warpAffine(pixels, turn, (wide, high), borderMode=cv2.BORDER_REPLICATE),
        "mirrored": pixels[:, ::-1],
        "grey": np.repeat(grey[..., None], 3, axis=2),
    }
    return {name: np.ascontiguousarray(image, dtype=np.uint8) for name, image in made.items()}


def fitted_cut(
    images: Sequence[Pixels],
    x: Vectors,
    geometry: Geometry,
    embed: Callable[[Sequence[Pixels]], Vectors],
    *,
    precision: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """The largest distance at which a pair may be called a copy by its distance alone.

    images: a sample of the user's images.  x: (n, d) their whole set.  precision: at most 1 - precision false neighbours a row
    are expected among random pairs.  Returns JSON values: radius, the share of edited copies within it by edit, sample sizes.
    """
    rows = rng.integers(0, len(x), size=(2, _RANDOM_PAIRS)) if len(x) > 1 else np.zeros((2, 0), dtype=np.int64)
    rows = rows[:, rows[0] != rows[1]]
    random_pairs = np.concatenate(
        [np.zeros(0)] + [geometry.distance(x[a], x[b]) for a, b in zip(*(np.array_split(r, 20) for r in rows), strict=True)]
    )
    share = (1 - precision) / max(len(x), 2)
    # Random pairs contain the copies that are looked for: the lowest thousandth is left out where the data are that many.
    far = np.sort(random_pairs)
    limit = float(np.quantile(far, max(share, 1e-3))) * 0.9 if far.size else 0.0
    original = embed(images)
    names = sorted(edited(images[0]))
    found: dict[str, list[float]] = {name: [] for name in names}
    for image, own in zip(images, original, strict=True):
        made = edited(image)
        vectors = embed([made[name] for name in names])
        for name, distance in zip(names, geometry.distance(np.repeat(own[None], len(names), axis=0), vectors), strict=True):
            found[name].append(float(distance))
    every = np.concatenate([np.array(v) for v in found.values()])
    radius = float(min(limit, np.quantile(every, 0.98)))
    return {
        "radius": radius,
        "recall": {name: round(float(np.mean(np.array(values) <= radius)), 4) for name, values in found.items()},
        "images": len(images),
        "random_pairs": int(far.size),
    }
