"""What two images that lie over each other do not share."""

from __future__ import annotations

from typing import Any

import numpy as np

from curate.ops._views import Grey, View

_BLURS = (0.0, 0.6, 1.0, 1.6, 2.5, 4.0)
_NOISE = 30.0
_BAD = 0.35
_STEPS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))
_CELL = 11
"""Pixels of a cell in which two images clash: about a letter."""
_FAINT = 40.0
"""Power of colour (squared levels) below which hue says little: added to both sides of its ratio."""


def residuals(moved: View, inside: Any, still: View) -> dict[str, float]:
    """Features of the area `inside` that both images cover; see `_aligned.COLUMNS`."""
    a, b, tone = _toned(moved.grey, still.grey, inside)
    a, b, blur = _equally_sharp(a, b, inside)
    row = {"tone": tone, "blur": blur, "zncc": _correlation(a, b, inside), "gradient": gradient(a, b, inside)}
    soft_a, soft_b = _softened(a, 0.7), _softened(b, 0.7)
    row.update(_shared(soft_a, soft_b, inside, 9, ""))
    row.update(_shared(_softened(a, 1.6), _softened(b, 1.6), inside, 19, "_wide"))
    row.update(_clash(soft_a, soft_b, inside))
    row.update(_blocks(a, b, inside))
    row.update(_rest(a, b, inside))
    row.update(_chroma(moved.rgb, still.rgb, inside))
    row["detail"] = float(np.log1p(_energy(b, inside)))
    return row


def _correlation(a: Grey, b: Grey, inside: Any) -> float:
    x, y = a[inside], b[inside]
    x, y = x - x.mean(dtype=np.float64), y - y.mean(dtype=np.float64)
    power = np.sqrt(np.square(x).sum(dtype=np.float64) * np.square(y).sum(dtype=np.float64))
    return float((x * y).sum(dtype=np.float64) / power) if power > 1e-6 else 0.0


def _toned(a: Grey, b: Grey, inside: Any) -> tuple[Grey, Grey, float]:
    """`a` with the tones of `b` (a quadratic of the brightness), and the share of the variance that it explains."""
    x, y = a[inside][::3].astype(np.float64), b[inside][::3].astype(np.float64)
    if x.std() < 1 or y.std() < 1:
        return a, b, 0.0
    centre, width = x.mean(), x.std()
    z = (x - centre) / width
    basis = np.stack([np.ones_like(z), z, z * z], axis=1)
    weights = np.linalg.lstsq(basis, y, rcond=None)[0]
    # Falling or collapsing tones are no tone curve of a copy: fall back to gain and offset.
    low, high = np.percentile(z, [2, 98])
    if min(weights[1] + 2 * weights[2] * low, weights[1] + 2 * weights[2] * high) <= 0.05 * abs(weights[1]):
        weights = np.array([y.mean(), np.sign((z * (y - y.mean())).mean()) * y.std(), 0.0])
    fitted = basis @ weights
    explained = 1 - np.square(y - fitted).mean() / max(y.var(), 1e-6)
    z_all = (a - np.float32(centre)) / np.float32(width)
    toned = (weights[0] + weights[1] * z_all + weights[2] * z_all * z_all).astype(np.float32)
    return toned, b, float(explained)


def _energy(x: Grey, inside: Any) -> float:
    import cv2

    return float(np.square(cv2.Laplacian(x, cv2.CV_32F, ksize=3))[inside].mean())


def _equally_sharp(a: Grey, b: Grey, inside: Any) -> tuple[Grey, Grey, float]:
    """The sharper one blurred until the rest is smallest; the blur (pixels) that did it."""
    import cv2

    first = _energy(a, inside) >= _energy(b, inside)
    sharp, soft = (a, b) if first else (b, a)
    best, best_rest, best_sigma = sharp, float("inf"), 0.0
    for sigma in _BLURS:
        tried = cv2.GaussianBlur(sharp, (0, 0), sigma) if sigma else sharp
        rest = float(np.square(tried - soft)[inside].mean(dtype=np.float64))
        if rest > best_rest:
            break
        best, best_rest, best_sigma = np.asarray(tried, np.float32), rest, sigma
    return (best, soft, best_sigma) if first else (soft, best, best_sigma)


def gradient(a: Grey, b: Grey, inside: Any, sigma: float = 1.0) -> float:
    """Correlation of the gradients of two images, in [-1, 1], after a blur of `sigma` pixels; 0 where there are none."""
    import cv2

    parts = [[cv2.Sobel(cv2.GaussianBlur(x, (0, 0), sigma), cv2.CV_32F, *d)[inside] for d in ((1, 0), (0, 1))] for x in (a, b)]
    product = sum(float((p * q).sum(dtype=np.float64)) for p, q in zip(*parts, strict=True))
    power = np.sqrt(np.prod([sum(float(np.square(p).sum(dtype=np.float64)) for p in side) for side in parts]))
    return product / float(power) if power > 1e-6 else 0.0


def _softened(x: Grey, sigma: float) -> Grey:
    import cv2

    return np.asarray(cv2.GaussianBlur(x, (0, 0), sigma), np.float32)


def _detail(a: Grey, b: Grey, inside: Any, window: int) -> tuple[Grey, Grey, Grey, Grey, float]:
    """Both images without what is coarser than three windows, their power in each window, and the power that is content."""
    import cv2

    area = inside.view(np.uint8)
    a, b = (cv2.subtract(x, cv2.blur(x, (3 * window, 3 * window))) for x in (a, b))
    va, vb = (np.maximum(cv2.blur(cv2.multiply(x, x), (window, window)), 0) for x in (a, b))
    typical = max(float(np.sqrt(cv2.mean(va, area)[0] * cv2.mean(vb, area)[0])), 1.0)
    return a, b, va, vb, 0.06 * typical + _NOISE / 2


def _shared(a: Grey, b: Grey, inside: Any, window: int, name: str) -> dict[str, float]:
    """Local similarity cs = (2 cov + n0) / (va + vb + n0) of the high-passed images, and where it is bad: on whose side."""
    import cv2

    a, b, va, vb, floor = _detail(a, b, inside, window)
    cov = cv2.blur(a * b, (window, window))
    similar = (2 * cov + _NOISE) / (va + vb + _NOISE)
    content = ((va > floor) | (vb > floor)) & inside
    area = max(int(content.sum()), 1)
    bad = content & (similar < _BAD)
    both = bad & (va > floor) & (vb > floor)
    on_a, on_b = bad & (va > 3 * vb), bad & (vb > 3 * va)
    shares = {"both": (both & ~on_a & ~on_b).sum() / area, "a": on_a.sum() / area, "b": on_b.sum() / area}
    least = min(shares["a"], shares["b"])
    _, _, stats, _ = cv2.connectedComponentsWithStats(bad.astype(np.uint8), connectivity=8)
    largest = float(stats[1:, 4].max()) / area if len(stats) > 1 else 0.0
    found = {
        f"both{name}": float(shares["both"]),
        f"one{name}": float(max(shares["a"], shares["b"])),
        f"mutual{name}": float(shares["both"] + least),
        f"largest{name}": largest,
    }
    if name:
        return found
    p01, p05, p20 = np.percentile(similar[content], [1, 5, 20]) if content.any() else (0.0, 0.0, 0.0)
    found |= {"other": float(least), "content": area / max(int(inside.sum()), 1), "ssim": float(similar[inside].mean())}
    return found | {"ssim_p01": float(p01), "ssim_p05": float(p05), "ssim_p20": float(p20)}


def _clash(a: Grey, b: Grey, inside: Any) -> dict[str, float]:
    """Where both images have content and disagree however they are moved by a pixel: another digit, another word.

    Fine strokes that lie a pixel apart are no disagreement, what only one of the two shows (a caption) is none either.
    """
    import cv2

    a, b, va, vb, floor = _detail(a, b, inside, _CELL)
    shared = (va > floor) & (vb > floor) & (va < 4 * vb) & (vb < 4 * va) & inside
    area = np.count_nonzero(shared)
    if area < 60:
        return {"clash": 0.0, "clash_share": 0.0, "clash_largest": 0.0, "near_p01": 0.0, "near_p05": 0.0, "near_p20": 0.0}
    # Of the lowest share of the rest in the power, 1 - share is the highest similarity; in place, for this is most of the work.
    unlike = np.full(a.shape, np.inf, np.float32)
    rest = np.full(a.shape, np.inf, np.float32)
    product, power = np.empty_like(a), np.empty_like(a)
    high, wide = a.shape
    twice, padded_b, padded_vb = a + a, *(cv2.copyMakeBorder(x, 1, 1, 1, 1, cv2.BORDER_REPLICATE) for x in (b, vb))
    for dy, dx in _STEPS:
        place = (slice(1 + dy, 1 + dy + high), slice(1 + dx, 1 + dx + wide))
        np.multiply(twice, padded_b[place], out=product)
        cv2.blur(product, (_CELL, _CELL), dst=product)
        np.add(va, padded_vb[place], out=power)
        np.subtract(power, product, out=product)
        np.minimum(rest, product, out=rest)
        power += np.float32(_NOISE)
        product /= power
        np.minimum(unlike, product, out=unlike)
    similar = 1 - unlike[shared]
    rest = rest[shared]
    usual = float(np.median(rest)) + _NOISE
    wrong = (shared & (unlike > 0.5)).view(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(wrong, connectivity=8)
    p01, p05, p20 = np.percentile(similar, [1, 5, 20])
    return {
        "clash": float(np.log(np.percentile(rest, 99.5) / usual + 1)),
        "clash_share": np.count_nonzero(wrong) / area,
        "clash_largest": float(stats[1:, 4].max()) / _CELL**2 if len(stats) > 1 else 0.0,
        "near_p01": float(p01),
        "near_p05": float(p05),
        "near_p20": float(p20),
    }


def _blocks(a: Grey, b: Grey, inside: Any) -> dict[str, float]:
    """Correlation in 8 x 8 blocks that have content: the worst, and the worst tenth."""
    import cv2

    size = (8, 8)
    weight = cv2.resize(inside.astype(np.float32), size, interpolation=cv2.INTER_AREA) + 1e-6

    def mean(x: Any) -> Any:
        return cv2.resize(np.asarray(x * inside, np.float32), size, interpolation=cv2.INTER_AREA) / weight

    ma, mb = mean(a), mean(b)
    va, vb = mean(a * a) - ma * ma, mean(b * b) - mb * mb
    zncc = (mean(a * b) - ma * mb + _NOISE) / (np.sqrt(np.maximum(va, 0) * np.maximum(vb, 0)) + _NOISE)
    used = (weight > 0.5) & (np.maximum(va, vb) > 0.05 * max(float(np.maximum(va, vb).mean()), 1.0))
    values = np.sort(zncc[used]) if used.any() else np.zeros(1)
    return {"block_worst": float(values[0]), "block_p10": float(values[len(values) // 10])}


def _rest(a: Grey, b: Grey, inside: Any) -> dict[str, float]:
    """What is left after tone and blur were matched, as a share of the contrast: everywhere, and where it is worst."""
    import cv2

    left = cv2.GaussianBlur(a - b, (0, 0), 0.8)
    local = np.sqrt(np.maximum(cv2.blur(left * left, (11, 11)), 0))[inside]
    spread = max(float(np.sqrt(b[inside].var() * 0.5 + a[inside].var() * 0.5)), 4.0)
    middle, p95, p99 = np.percentile(local, [50, 95, 99])
    return {
        "residual": float(middle) / spread,
        "residual_p95": float(p95) / spread,
        "residual_p99": float(p99) / spread,
        "residual_peak": float(local.max()) / spread,
        "peak_ratio": float(np.log((p99 + 1) / (middle + 1))),
    }


def _chroma(moved: Any, still: Any, inside: Any) -> dict[str, float]:
    """Colour that neither image predicts of the other.

    Each one's two colour differences are fitted as a linear function of the other's pixels (hue, saturation and tint are that);
    the smaller rest counts, so that a copy in grey is no difference.
    """
    import cv2

    scale = min(1.0, 64 / max(inside.shape))
    used = cv2.resize(inside.astype(np.uint8), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST) > 0
    count = np.count_nonzero(used)
    if count < 30:
        return {"hue": 1.0, "chroma": 0.0, "chroma_peak": 0.0, "colourless": 1.0}
    sides = []
    for rgb in (moved, still):
        small = cv2.resize(rgb, used.shape[1::-1], interpolation=cv2.INTER_AREA)[used].astype(np.float64)
        sides.append(np.stack([small[:, 0] - small[:, 1], (small[:, 0] + small[:, 1]) / 2 - small[:, 2]], axis=-1))
        sides.append(small)
    rests = []
    for target, source in ((sides[0], sides[3]), (sides[2], sides[1])):
        wanted, given = target - target.mean(axis=0), source - source.mean(axis=0)
        # Pixels of one tint span less than three directions: those left out are rounding.
        rest = wanted - given @ (np.linalg.pinv(given.T @ given, rcond=1e-13, hermitian=True) @ (given.T @ wanted))
        power = np.square(rest).sum(axis=1)
        whole = np.zeros(used.shape, np.float32)
        whole[used] = power
        spread = float(np.square(wanted).sum(axis=1).mean())
        peak = float(np.sqrt(max(cv2.blur(whole, (9, 9))[used].max(), 0)))
        rests.append((float(np.sqrt(power.mean())), peak, spread))
    least = min(rests)
    both = np.sqrt(np.square(sides[0]).sum() * np.square(sides[2]).sum()) / count
    # An edit turns all hues a little or takes them away; another product has other ones.
    hue = (float((sides[0] * sides[2]).sum()) / count + _FAINT) / (both + _FAINT)
    return {
        "hue": hue,
        "chroma": float(np.log1p(least[0])),
        "chroma_peak": float(np.log1p(min(r[1] for r in rests))),
        "colourless": float(min(r[2] for r in rests) < 25.0),
    }
