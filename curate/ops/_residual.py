"""What two images that lie over each other do not share."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from curate.ops._apart import apart, beside, beside_band
from curate.ops._percentiles import largest, percentiles
from curate.ops._views import Grey, View
from curate.types import Pixels

_BLURS = (0.0, 0.6, 1.0, 1.6, 2.5, 4.0)
_NOISE = 30.0
_BAD = 0.35
_STEPS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))
_CELL = 11
"""Pixels of a cell in which two images clash: about a letter."""
_FAINT = 40.0
"""Power of colour (squared levels) below which hue says little: added to both sides of its ratio."""


def residuals(moved: View, inside: Any, still: View, *, least: float = -1.0) -> dict[str, float] | None:
    """Features of the area `inside` that both images cover, see `_aligned.COLUMNS`.

    None where gradients correlate less than `least`.
    """
    a, b, tone = _toned(moved.luminance, still.luminance, inside)
    a, b, blur = _equally_sharp(a, b, inside)
    row = {"tone": tone, "blur": blur, "zncc": correlation(a, b, inside), "gradient": gradient(a, b, inside)}
    if row["gradient"] < least:
        return None
    soft_a, soft_b = _softened(a, 0.7), _softened(b, 0.7)
    fine = _detail(soft_a, soft_b, inside, 9)
    row.update(_shared(fine, inside, 9, ""))
    row.update(_shared(_detail(_softened(a, 1.6), _softened(b, 1.6), inside, 19), inside, 19, "_wide"))
    clash = _clash(_detail(soft_a, soft_b, inside, _CELL), inside)
    row.update(_clashes(clash, clash.shared, ""))
    far = apart(soft_a, soft_b, inside)
    rest, band = beside_band(far, inside)
    row.update(band | beside(far, rest, fine.power_a, fine.power_b) | _clashes(clash, clash.shared & rest, "beside_"))
    row.update(_blocks(a, b, inside))
    row.update(_rest(a, b, inside))
    row.update(_chroma(moved.rgb, still.rgb, inside))
    row["detail"] = float(np.log1p(_energy(b, inside)))
    return row


def correlation(a: Grey, b: Grey, inside: Any) -> float:
    """Zero-mean correlation of two grey images (float32) where the mask `inside` is true, in [-1, 1]; 0 where there is none."""
    import cv2

    area = inside.view(np.uint8)
    # What a masked difference leaves out is 0, so that products over all pixels are those of the area.
    x, y = (cv2.subtract(s, cv2.mean(s, area)[0], mask=area, dtype=cv2.CV_32F) for s in (a, b))
    power = float(np.sqrt(_product(x, x) * _product(y, y)))
    return _product(x, y) / power if power > 1e-6 else 0.0


def _product(x: Grey, y: Grey) -> float:
    """Sum of the products of two images, added up in float64."""
    import cv2

    return float(cv2.sumElems(cv2.multiply(x, y))[0])


def _mean_square(x: Grey, area: Any) -> float:
    """Of an image where the uint8 mask `area` is not 0."""
    import cv2

    return float(cv2.mean(cv2.multiply(x, x), area)[0])


_LEVELS = np.arange(256, dtype=np.float64)


def _toned(a: Pixels, b: Pixels, inside: Any) -> tuple[Grey, Grey, float]:
    """`a` with the tones of `b` (a quadratic of the brightness), and the share of the variance that it explains.

    a, b: uint8 (h, w).  Everything is a sum over the 256 levels of `a`.
    """
    import cv2

    x, y = a[inside][::3], b[inside][::3]
    count = np.bincount(x, minlength=256).astype(np.float64)
    total = np.bincount(x, weights=y, minlength=256)
    n, square = float(len(x)), float(np.bincount(y, minlength=256) @ np.square(_LEVELS))
    centre, mean = float(count @ _LEVELS) / n, float(total.sum()) / n
    width, power = float(np.sqrt(count @ np.square(_LEVELS - centre) / n)), square / n - mean * mean
    if width < 1 or power < 1:
        return a.astype(np.float32), b.astype(np.float32), 0.0
    z = (_LEVELS - centre) / width
    basis = np.stack([np.ones_like(z), z, z * z], axis=1)
    # Two levels only cannot tell a bend: as least squares do, the least weights then.
    weights = np.linalg.lstsq(basis.T @ (basis * count[:, None]), basis.T @ total, rcond=1e-13)[0]
    # Falling or collapsing tones are no tone curve of a copy: fall back to gain and offset.
    low, high = ((percentiles(x, (share,))[0] - centre) / width for share in (2, 98))
    if min(weights[1] + 2 * weights[2] * low, weights[1] + 2 * weights[2] * high) <= 0.05 * abs(weights[1]):
        weights = np.array([mean, np.sign(z @ (total - mean * count)) * np.sqrt(power), 0.0])
    fitted = basis @ weights
    rest = (square - 2 * float(fitted @ total) + float(np.square(fitted) @ count)) / n
    curve = (np.arange(256, dtype=np.float32) - np.float32(centre)) / np.float32(width)
    curve = (weights[0] + weights[1] * curve + weights[2] * curve * curve).astype(np.float32)
    return np.asarray(cv2.LUT(a, curve)), b.astype(np.float32), float(1 - rest / max(power, 1e-6))


def _energy(x: Grey, inside: Any) -> float:
    import cv2

    bends = cv2.Laplacian(x, cv2.CV_32F, ksize=3)
    return _mean_square(bends, inside.view(np.uint8))


def _equally_sharp(a: Grey, b: Grey, inside: Any) -> tuple[Grey, Grey, float]:
    """The sharper one blurred until the rest is smallest; the blur (pixels) that did it."""
    import cv2

    area = inside.view(np.uint8)
    first = _energy(a, inside) >= _energy(b, inside)
    sharp, soft = (a, b) if first else (b, a)
    best, best_rest, best_sigma = sharp, float("inf"), 0.0
    for sigma in _BLURS:
        tried = _softened(sharp, sigma) if sigma else sharp
        rest = _mean_square(cv2.subtract(tried, soft), area)
        if rest > best_rest:
            break
        best, best_rest, best_sigma = tried, rest, sigma
    return (best, soft, best_sigma) if first else (soft, best, best_sigma)


def edges(x: Grey, sigma: float) -> tuple[Grey, Grey]:
    """Both parts of the gradient of a grey image, float32 (h, w), after a blur of `sigma` pixels."""
    import cv2

    soft = _softened(x, sigma)
    return np.asarray(cv2.Sobel(soft, cv2.CV_32F, 1, 0)), np.asarray(cv2.Sobel(soft, cv2.CV_32F, 0, 1))


def gradient(a: Grey, b: Grey, inside: Any, sigma: float = 1.0) -> float:
    """Correlation of the gradients of two images, in [-1, 1], after a blur of `sigma` pixels; 0 where there are none."""
    return shared_gradient(edges(a, sigma), edges(b, sigma), inside)


def shared_gradient(a: tuple[Grey, Grey], b: tuple[Grey, Grey], inside: Any) -> float:
    """As `gradient`, of the `edges` of two images."""
    import cv2

    area = inside.view(np.uint8)
    product, of_a, of_b = 0.0, 0.0, 0.0
    for p, q in zip(a, b, strict=True):
        seen, other = cv2.copyTo(p, area), cv2.copyTo(q, area)
        product += _product(seen, other)
        of_a += _product(seen, seen)
        of_b += _product(other, other)
    power = float(np.sqrt(of_a * of_b))
    return product / power if power > 1e-6 else 0.0


def _softened(x: Grey, sigma: float) -> Grey:
    import cv2

    return np.asarray(cv2.GaussianBlur(x, (0, 0), sigma), np.float32)


class _Detail(NamedTuple):
    """Both images without what is coarser than three windows, their power in each window, and the power that is content."""

    a: Grey
    b: Grey
    power_a: Grey
    power_b: Grey
    floor: float


def _detail(a: Grey, b: Grey, inside: Any, window: int) -> _Detail:
    import cv2

    area = inside.view(np.uint8)
    a, b = (cv2.subtract(x, cv2.blur(x, (3 * window, 3 * window))) for x in (a, b))
    va, vb = (np.maximum(cv2.blur(cv2.multiply(x, x), (window, window)), 0) for x in (a, b))
    typical = max(float(np.sqrt(cv2.mean(va, area)[0] * cv2.mean(vb, area)[0])), 1.0)
    return _Detail(a, b, va, vb, 0.06 * typical + _NOISE / 2)


def _shared(detail: _Detail, inside: Any, window: int, name: str) -> dict[str, float]:
    """Local similarity cs = (2 cov + n0) / (va + vb + n0) of the high-passed images, and where it is bad: on whose side."""
    import cv2

    a, b, va, vb, floor = detail
    cov = cv2.blur(cv2.multiply(a, b), (window, window))
    similar = (2 * cov + np.float32(_NOISE)) / (va + vb + np.float32(_NOISE))
    full_a, full_b = va > floor, vb > floor
    content = (full_a | full_b) & inside
    area = max(int(np.count_nonzero(content)), 1)
    bad = content & (similar < _BAD)
    on_a, on_b = bad & (va > 3 * vb), bad & (vb > 3 * va)
    both = bad & full_a & full_b & ~on_a & ~on_b
    share_both, share_a, share_b = (int(np.count_nonzero(mask)) / area for mask in (both, on_a, on_b))
    least = min(share_a, share_b)
    found = {
        f"both{name}": share_both,
        f"one{name}": max(share_a, share_b),
        f"mutual{name}": share_both + least,
        f"largest{name}": largest(bad) / area,
    }
    if name:
        return found
    p01, p05, p20 = percentiles(similar[content], (1, 5, 20)) if content.any() else (0.0, 0.0, 0.0)
    found |= {"other": least, "content": area / max(int(np.count_nonzero(inside)), 1)}
    found["ssim"] = float(cv2.mean(similar, inside.view(np.uint8))[0])
    return found | {"ssim_p01": p01, "ssim_p05": p05, "ssim_p20": p20}


class _Clash(NamedTuple):
    """Where both images have content (mask `shared`), and how they disagree there however they are moved by a pixel.

    unlike: 1 - the highest similarity.  rest: the least power of the difference.
    """

    shared: Any
    unlike: Grey
    rest: Grey


def _clash(detail: _Detail, inside: Any) -> _Clash:
    """Another digit, another word: fine strokes that lie a pixel apart, and what only one of the two shows, are none."""
    import cv2

    a, b, va, vb, floor = detail
    shared = (va > floor) & (vb > floor) & (va < 4 * vb) & (vb < 4 * va) & inside
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
    return _Clash(shared, unlike, rest)


def _clashes(clash: _Clash, shared: Any, name: str) -> dict[str, float]:
    """Figures of the part `shared` of a clash; 0 each where next to nothing is shared."""
    area = int(np.count_nonzero(shared))
    names = [f"{name}{n}" for n in ("clash", "clash_share", "clash_largest", "near_p01", "near_p05", "near_p20")]
    if area < 60:
        return dict.fromkeys(names, 0.0)
    rest, wrong = clash.rest[shared], shared & (clash.unlike > 0.5)
    usual = percentiles(rest, (50,))[0] + _NOISE
    peak = float(np.log(percentiles(rest, (99.5,))[0] / usual + 1))
    similar = percentiles(1 - clash.unlike[shared], (1, 5, 20))
    return dict(
        zip(names, (peak, int(np.count_nonzero(wrong)) / area, largest(wrong) / _CELL**2, *similar), strict=True)
    )


def _blocks(a: Grey, b: Grey, inside: Any) -> dict[str, float]:
    """Correlation in 8 x 8 blocks that have content: the worst, and the worst tenth."""
    import cv2

    size = (8, 8)
    seen = inside.astype(np.float32)
    weight = cv2.resize(seen, size, interpolation=cv2.INTER_AREA) + 1e-6
    a, b = cv2.multiply(a, seen), cv2.multiply(b, seen)

    def mean(x: Any) -> Any:
        return cv2.resize(x, size, interpolation=cv2.INTER_AREA) / weight

    ma, mb = mean(a), mean(b)
    va, vb = mean(cv2.multiply(a, a)) - ma * ma, mean(cv2.multiply(b, b)) - mb * mb
    zncc = (mean(cv2.multiply(a, b)) - ma * mb + _NOISE) / (np.sqrt(np.maximum(va, 0) * np.maximum(vb, 0)) + _NOISE)
    used = (weight > 0.5) & (np.maximum(va, vb) > 0.05 * max(float(np.maximum(va, vb).mean()), 1.0))
    values = np.sort(zncc[used]) if used.any() else np.zeros(1)
    return {"block_worst": float(values[0]), "block_p10": float(values[len(values) // 10])}


def _rest(a: Grey, b: Grey, inside: Any) -> dict[str, float]:
    """What is left after tone and blur were matched, as a share of the contrast: everywhere, and where it is worst."""
    import cv2

    left = cv2.GaussianBlur(cv2.subtract(a, b), (0, 0), 0.8)
    local = np.maximum(cv2.blur(cv2.multiply(left, left), (11, 11)), 0)[inside]
    area = inside.view(np.uint8)
    power = sum(float(cv2.meanStdDev(x, mask=area)[1][0, 0]) ** 2 for x in (a, b))
    spread = max(float(np.sqrt(power / 2)), 4.0)
    np.sqrt(local, out=local)
    middle, p95, p99 = percentiles(local, (50, 95, 99))
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
        return {"hue_turn": 0.0, "hue_kept": 1.0, "hue": 1.0, "chroma": 0.0, "chroma_peak": 0.0, "colourless": 1.0}
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
    return _hues(*sides[::2]) | {
        "hue": hue,
        "chroma": float(np.log1p(least[0])),
        "chroma_peak": float(np.log1p(min(r[1] for r in rests))),
        "colourless": float(min(r[2] for r in rests) < 25.0),
    }


def _hues(a: Any, b: Any) -> dict[str, float]:
    """By what angle (radians) all hues are turned, and whether they all are by the same: an edit turns all alike.

    a, b: (n, 2) colour differences R - G and (R + G) / 2 - B of the same pixels.
    """
    first, second = (np.sqrt(0.75) * x[:, 0] - 1j * x[:, 1] for x in (a, b))
    product = first * np.conj(second)
    faint = _FAINT / 2 * len(product)
    return {
        "hue_turn": float(abs(np.angle(product.sum() + faint))),
        "hue_kept": float((abs(product.sum()) + faint) / (np.abs(product).sum() + faint)),
    }
