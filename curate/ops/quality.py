"""Images that are blurry, dark, bright, nearly empty or of an odd size; rows that are unlike all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.errors import ConfigError
from curate.geometry import GUARD
from curate.index import nearest
from curate.ops._rows import Floats64, Mask, Ordered, copies_of, ordered
from curate.protocols import Context
from curate.types import Embeddings, Findings, Pixels

SMALLEST = 32
"""Thumbnails with a shorter side than this tell nothing about blur."""

FLAT = 0.03
"""Spread of brightness (standard deviation, white is 1) in every channel below which an image says almost nothing."""

DARK = 0.3
"""An image is dark when 99 % of it is below this brightness; the darkest of 500 ordinary photographs has 0.35."""

BRIGHT = 0.85
"""An image is bright when 95 % of it is above this brightness; the brightest of 500 ordinary photographs has 0.64."""

BLURRY = 0.5
"""Blur above which an image may be called blurry; 500 ordinary photographs reach 0.46, blurred ones begin at 0.55."""

TIMES = 16.0
"""A size is odd when the pixels are that many times more or fewer than the dataset's median."""

RARE = 0.05
"""Odd sizes and shapes are rare: what more rows than this share have is a second kind of image, not an odd one."""

LONG = 3.0
"""A shape is odd when the long side is that many times the short one, and twice the dataset's median ratio."""

NEIGHBOURS = 5
"""Neighbours whose mean distance says how unlike others a row is; more than a small group of equals has."""

FENCE = 1.5
"""Tukey's fence: an outlier lies that many interquartile ranges above the third quartile, on a log scale."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one image measures.  blur: 0 sharp to 1, NaN where it says nothing.  low, high: brightness that 5 % lie below and
    1 % above.  spread: largest standard deviation of a channel.  Brightness runs from 0 to 1.
    """

    blur: float
    low: float
    high: float
    spread: float


def look(pixels: Pixels) -> Look:
    """Measures one image: uint8 (h, w, 3)."""
    import cv2

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    low, high = np.percentile(grey, (5, 99)) / 255
    spread = float(pixels.reshape(-1, 3).std(axis=0, dtype=np.float64).max() / 255)
    blurs = min(grey.shape) >= SMALLEST and spread >= FLAT
    return Look(blur(grey) if blurs else float("nan"), float(low), float(high), spread)


def blur(grey: np.ndarray[Any, np.dtype[np.float32]], size: int = 11) -> float:
    """Blur of a grey image, 0 (sharp) to 1: the share of variation that blurring it once more does not take away.

    Crété, Dolmiere, Ladret & Nicolas 2007, "The blur effect".  grey: (h, w), any scale.  size: pixels of the second blur.
    """
    import cv2

    worst = 0.0
    for axis, kernel in ((0, (1, size)), (1, (size, 1))):
        again = cv2.blur(grey, kernel, borderType=cv2.BORDER_REFLECT)
        before, after = np.abs(np.diff(grey, axis=axis)), np.abs(np.diff(again, axis=axis))
        total = float(before.sum(dtype=np.float64))
        lost = float(np.maximum(before - after, 0).sum(dtype=np.float64))
        worst = max(worst, (total - lost) / total if total else 1.0)
    return worst


def fence(values: Floats64, reach: float = FENCE) -> float:
    """The third quartile plus `reach` interquartile ranges of the finite `values`; infinity for fewer than 8."""
    known = values[np.isfinite(values)]
    if known.size < 8:
        return float("inf")
    low, high = np.quantile(known, (0.25, 0.75))
    return float(high + reach * (high - low))


def strangeness(rows: Ordered, copies: Mask, k: int = NEIGHBOURS) -> tuple[Floats64, Floats64]:
    """Distance of every row to its nearest other row, and the mean to its k nearest: (n,), (n,); NaN where there is none.

    Copies count as no neighbours: two prints of one rare picture do not make it common.
    """
    base = np.flatnonzero(~copies)
    near, mean = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    if len(base) < 2:
        return near, mean
    place, distance = nearest(rows.raw[base], rows.raw, k + 1, rows.geometry)
    own = base[place] == np.arange(len(rows))[:, None]
    # A row that is not among its own k + 1 nearest (k + 1 equal ones are) gives up the farthest instead.
    own[~own.any(axis=1), -1] = True
    others = distance[~own].reshape(len(rows), -1)
    return others[:, 0], others.mean(axis=1)


@dataclass(frozen=True, slots=True)
class Quality:
    """Quality issues and outliers; pushes nothing.

    images: look at the thumbnails.  outliers: look for rows unlike all others.  neighbours: for outliers.
    """

    images: bool = True
    outliers: bool = True
    neighbours: int = NEIGHBOURS
    name: str = "quality"

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ConfigError(f"quality: neighbours {self.neighbours} is impossible; take 1 or more")
        if not (self.images or self.outliers):
            raise ConfigError("quality: both images and outliers are off; nothing is left to look at")

    @property
    def owns(self) -> frozenset[str]:
        """It writes no field."""
        return frozenset()

    def __call__(self, embeddings: Embeddings, context: Context) -> Findings:
        """Looks at thumbnails, sizes and distances."""
        rows = ordered(embeddings)
        evidence: dict[str, Any] = {"unit": rows.geometry.unit_name, "issues": {}, "outliers": []}
        summary: dict[str, Any] = {"checked": 0, "unseen": 0}
        if self.images:
            looks = _looks(rows.ids, context)
            seen = sum(one is not None for one in looks)
            evidence["issues"] = image_issues(rows.ids, looks) | _size_issues(rows, context)
            summary |= {"checked": max(seen, _sized(rows, context)), "unseen": len(rows) - seen}
        if self.outliers:
            copies = copies_of(rows, context)
            near, mean = strangeness(rows, copies, self.neighbours)
            evidence["outliers"] = _outliers(rows, near, mean, copies)
            evidence["uniqueness"] = uniqueness(near)
        issues = {key: lines for key, lines in evidence["issues"].items() if lines}
        evidence["issues"] = issues
        summary |= {key: len(lines) for key, lines in issues.items()} | {"outliers": len(evidence["outliers"])}
        return Findings(self.name, {}, evidence, summary)


def _looks(ids: Sequence[str], context: Context) -> list[Look | None]:
    looks: list[Look | None] = []
    for done, item in enumerate(ids):
        pixels = context.pixels(item)
        looks.append(None if pixels is None or not pixels.size else look(pixels))
        if done % 256 == 0:
            context.progress("quality", done, len(ids))
    return looks


def image_issues(ids: Sequence[str], looks: Sequence[Look | None]) -> dict[str, list[dict[str, Any]]]:
    """Blurry, dark, bright and nearly empty images, the worst first.

    An image is blurry when its blur is above `BLURRY` and above the inner fence of this dataset: where all images are soft,
    none stands out.
    """
    known = [(item, one) for item, one in zip(ids, looks, strict=True) if one is not None]
    soft = max(BLURRY, fence(np.asarray([one.blur for _, one in known], np.float64), 1.5)) if len(known) >= 8 else BLURRY
    found: dict[str, list[dict[str, Any]]] = {"blurry": [], "dark": [], "bright": [], "flat": []}
    for item, one in known:
        if one.spread < FLAT:
            found["flat"].append(_line(item, one.spread, f"brightness varies by {100 * one.spread:.1f} % only"))
            continue
        if one.high < DARK:
            found["dark"].append(_line(item, one.high, f"99 % of it is darker than {100 * one.high:.0f} % of white"))
        if one.low > BRIGHT:
            found["bright"].append(_line(item, one.low, f"95 % of it is brighter than {100 * one.low:.0f} % of white"))
        if one.blur > soft:
            found["blurry"].append(_line(item, one.blur, f"blur {one.blur:.2f}, where this dataset allows {soft:.2f}"))
    up = {"blurry", "bright"}
    for key, lines in found.items():
        lines.sort(key=lambda line: (-line["value"] if key in up else line["value"], line["id"]))
    return found


def _line(item: str, value: float, text: str) -> dict[str, Any]:
    return {"id": item, "value": round(float(value), 6), "text": text}


def _sides(rows: Ordered, context: Context) -> Floats64:
    wide, high = rows.aligned(context.fact("width")), rows.aligned(context.fact("height"))
    return np.asarray([wide, high], np.float64) if wide and high else np.zeros((2, len(rows)))


def _sized(rows: Ordered, context: Context) -> int:
    return int((_sides(rows, context).min(axis=0) > 0).sum()) if len(rows) else 0


def _size_issues(rows: Ordered, context: Context) -> dict[str, list[dict[str, Any]]]:
    sides = _sides(rows, context)
    some = np.flatnonzero(sides.min(axis=0) > 0) if len(rows) else np.zeros(0, np.intp)
    found: dict[str, list[dict[str, Any]]] = {"small": [], "large": [], "shape": []}
    if not some.size:
        return found
    area, ratio = sides[0, some] * sides[1, some], sides[:, some].max(axis=0) / sides[:, some].min(axis=0)
    usual, shape = float(np.median(area)), float(np.median(ratio))
    for row, pixels, longer in zip(some, area, ratio, strict=True):
        text = f"{sides[0, row]:.0f} x {sides[1, row]:.0f}"
        if pixels * TIMES < usual or pixels > usual * TIMES:
            less = pixels < usual
            times = usual / pixels if less else pixels / usual
            line = _line(rows.ids[row], pixels, f"{text}: {times:.0f} times {'fewer' if less else 'more'} pixels than usual")
            found["small" if less else "large"].append(line)
        if longer > max(LONG, 2 * shape):
            found["shape"].append(_line(rows.ids[row], longer, f"{text}: {longer:.1f} times as long as it is short"))
    found = {key: lines if len(lines) <= max(1, RARE * some.size) else [] for key, lines in found.items()}
    found["small"].sort(key=lambda line: (line["value"], line["id"]))
    for key in ("large", "shape"):
        found[key].sort(key=lambda line: (-line["value"], line["id"]))
    return found


def _outliers(rows: Ordered, near: Floats64, mean: Floats64, copies: Mask) -> list[dict[str, Any]]:
    # On a log scale the fence is the same for a distance and for its square, which cosine distance is of the straight line.
    apart = mean[np.isfinite(mean) & (mean > 0)]
    cut = float(np.exp(fence(np.log(apart)))) * (1 + GUARD) if apart.size else float("inf")
    usual = float(np.nanmedian(mean)) if np.isfinite(mean).any() else 0.0
    found = []
    for row in np.flatnonzero((mean > cut) & ~copies):
        times = f"{mean[row] / usual:.1f} times as far from its nearest rows as usual" if usual > 0 else "far from all others"
        found.append(
            {"id": rows.ids[row], "distance": round(float(mean[row]), 6), "nearest": round(float(near[row]), 6), "text": times}
        )
    found.sort(key=lambda line: (-float(line["distance"]), str(line["id"])))  # type: ignore[arg-type]
    return found


def uniqueness(near: Floats64, bins: int = 30) -> dict[str, Any]:
    """How far rows are from their nearest other row: a histogram, and what the middle row has, in words.

    near: (n,), NaN for a row without another.  Returns {"edges", "counts", "median", "text"}; empty lists without rows.
    """
    known = near[np.isfinite(near)]
    if not known.size:
        return {"edges": [], "counts": [], "median": None, "text": "there are no two rows to compare"}
    counts, edges = np.histogram(known, bins=bins, range=(0.0, float(known.max()) or 1.0))
    low, middle, high = np.quantile(known, (0.1, 0.5, 0.9))
    text = f"one row in ten has another within {low:.3g}, half of them within {middle:.3g}, nine in ten within {high:.3g}"
    return {
        "edges": [float(e) for e in edges],
        "counts": [int(c) for c in counts],
        "median": round(float(middle), 6),
        "text": text,
    }
