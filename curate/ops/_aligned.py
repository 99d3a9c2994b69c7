"""Two images laid over each other, and what they do not share.

Matching keypoints prove a shared template, not a copy.  So: align (SIFT with an affine RANSAC, or the whole frame), refine
(ECC), bring both to the coarser one's pixels, match tone and blur, and look at the rest.  An edit adds content one way; another
picture differs both ways ("mutual").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from curate.ops._matched import matches
from curate.ops._residual import correlation, edges, residuals, shared_gradient
from curate.ops._strips import lone_strips, strips
from curate.ops._views import COARSE, Affine, Frame, Grey, View, bare

COLUMNS = (
    "inliers", "inlier_share", "keypoint_gap", "overlap", "overlap_least", "scale", "turn", "stretch", "zncc", "gradient",
    "ssim", "ssim_p01", "ssim_p05", "ssim_p20", "block_worst", "block_p10", "both", "one", "other", "mutual", "largest",
    "content", "both_wide", "mutual_wide", "one_wide", "largest_wide", "residual", "residual_p95", "residual_p99",
    "residual_peak", "peak_ratio", "blur", "tone", "chroma", "chroma_peak", "colourless", "detail",
    "clash", "clash_share", "clash_largest", "near_p01", "near_p05", "near_p20", "hue",
    "hue_turn", "hue_kept", "apart", "band_share", "beside_p99", "beside_p998", "beside_peak", "beside_mutual", "beside_one",
    "beside_largest", "beside_both_p99", "beside_both_p998", "beside_both_peak", "beside_both_mutual", "beside_both_one",
    "beside_both_largest", "beside_clash", "beside_clash_share", "beside_clash_largest", "beside_near_p01", "beside_near_p05",
    "beside_near_p20",
)  # fmt: skip
"""Names of the features of a large pair, in order."""

_REFINE = 200
_FAR, _FAR_EDGES = 0.2, 0.09
"""Least agreement of whole frames from afar (`View.frame`), of brightness and of edges: of 2,347 copies that can be laid frame
on frame and reach the first none has less edges than 0.1."""
_SYMMETRIC = 0.25
"""A mirror image that is worth so much less than the straight one (`Fit.worth`) is not laid over it closely."""
_ROUGHLY, _USUALLY, _SURELY, _MANY = 0.12, (0.16, 0.2, 0.2), (0.13, 0.15, -1.0), 30
"""Least agreement of edges: on small copies; on larger ones before refining, after it, and at full size; the latter three where
so many keypoints agree that next to no stranger is meant.  Of 2,875 copies of photographs and of sheets of look-alikes that
reach 0.13 and 0.15 none has less than 0.19, 0.21 and 0.23; night pictures with a white bar and 8 of 4,685 others have, and more
than 30 keypoints; of strangers that reach 0.13 and 0.15 a third reach all three."""
_BETTER = 1e-4
"""By how much one alignment must agree better than another to be preferred: sums of floats differ by less with where in memory
an image lies, and the same two images must be laid the same way in every run."""
_FEWEST = 5
"""Keypoints that must agree."""
_WHERE_IT_LIES = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


class Fit(NamedTuple):
    """An alignment a -> b: 2x3 matrix, matched keypoints that agree with it, their share of the matches, their mean error.

    score: agreement of small copies laid over each other, in [-1, 1].  sure: whether so many keypoints agree on an alignment of
    the two, this or another, that next to no stranger is meant.
    """

    matrix: Affine
    inliers: int
    share: float
    gap: float
    score: float = 0.0
    sure: bool = False

    @property
    def worth(self) -> float:
        """What two alignments are compared by: agreement, and keypoints up to a point."""
        return self.score + 0.3 * min(self.inliers, 30) / 30


class Way(NamedTuple):
    """How an image is laid over another.

    straight, mirrors: whether it as it is and its mirror image are tried, or only the other.  kin: whether their descriptions
    are so alike that, where the keypoints at hand lead nowhere, it is worth seeking finer ones.
    """

    straight: bool = True
    mirrors: bool = True
    kin: bool = False


def compare(a: View, b: View, way: Way | None = None) -> tuple[Grey | None, bool]:
    """The features of COLUMNS for two views, and whether `b` had to be mirrored.

    None instead of features: the two cannot be laid over each other, which next to no copy escapes.
    """
    return compare_all(a, [b], [way or Way()])[0]


def compare_all(a: View, others: Sequence[View], ways: Sequence[Way]) -> list[tuple[Grey | None, bool]]:
    """`compare` with each of several others: sooner than one by one."""
    straight = {n: others[n] for n, way in enumerate(ways) if way.straight}
    mirrored = {n: others[n].mirrored for n, way in enumerate(ways) if way.mirrors}
    fits = _alignments(a, [*straight.values(), *mirrored.values()])
    straight_fits = dict(zip(straight, fits[: len(straight)], strict=True))
    mirrored_fits = dict(zip(mirrored, fits[len(straight) :], strict=True))
    found = [_compared(a, b, straight_fits.get(n), mirrored_fits.get(n)) for n, b in enumerate(others)]
    for n, way in enumerate(ways):
        if way.kin and found[n][0] is None:
            found[n] = compare(a.closer, others[n].closer, way._replace(kin=False))
    return found


def _compared(a: View, b: View, fit: Fit | None, mirrored: Fit | None) -> tuple[Grey | None, bool]:
    """By the alignments with `b` and with its mirror image."""
    row = None if fit is None else _features(a, b, fit)
    if mirrored is None or (fit is not None and mirrored.worth < fit.worth - _SYMMETRIC):
        return row, False
    other = _features(a, b.mirrored, mirrored)
    # What is nearly symmetric fits both ways at first; laid over each other closely it fits one way only.
    return (other, True) if _closeness(other) > _closeness(row) + _BETTER else (row, False)


def _closeness(row: Grey | None) -> float:
    return -2.0 if row is None else float(row[COLUMNS.index("gradient")])


def _features(a: View, b: View, fit: Fit) -> Grey | None:
    if _shared_edges(a, b, fit.matrix, COARSE, 0.5) < _ROUGHLY:
        return None
    nearly, closely, fully = _SURELY if fit.sure else _USUALLY
    agree = _shared_edges(a, b, fit.matrix, _REFINE, 1.0)
    if agree < nearly:
        return None
    matrix, agree = _refined(a, b, fit.matrix, agree)
    if agree < closely:
        return None
    pair = _overlaid(a, b, matrix)
    if pair is None:
        return None
    rest = residuals(*pair, least=fully)
    if rest is None:
        return None
    row = {"inliers": np.log1p(fit.inliers), "inlier_share": fit.share, "keypoint_gap": fit.gap, **_shape(a, b, matrix), **rest}
    return np.array([row[name] for name in COLUMNS], dtype=np.float32)


def _iterations(matches: int) -> int:
    """Draws of three matches that find five right ones among them 99 times in 100, at most 1,000."""
    right = min(1.0, (_FEWEST / matches) ** 3)
    return 1 if right == 1 else min(1_000, int(np.ceil(np.log(0.01) / np.log1p(-right))))


def _keypoint_fit(source: Grey, target: Grey) -> Fit | None:
    """The affine map that most matched keypoints (n, 2) agree with."""
    import cv2

    if len(source) < _FEWEST:
        return None
    matrix, inside = cv2.estimateAffine2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=3.0, maxIters=_iterations(len(source))
    )
    if matrix is None or not _plausible(matrix):
        return None
    good = inside.ravel().astype(bool)
    count = int(np.count_nonzero(good))
    if count < _FEWEST:
        return None
    moved = source[good] @ matrix[:, :2].T + matrix[:, 2]
    gap = float(np.abs(moved - target[good]).mean())
    return Fit(np.asarray(matrix, np.float64), count, count / len(source), gap, sure=count >= _MANY)


def _stretches(matrix: Affine) -> tuple[float, float]:
    """The largest and the least factor by which an affine map stretches (its singular values; the least below 0: mirrored)."""
    (p, q), (r, s) = matrix[:, :2].tolist()
    whole, part = float(np.hypot(p + s, q - r)), float(np.hypot(p - s, q + r))
    return (whole + part) / 2, (whole - part) / 2


def _plausible(matrix: Affine) -> bool:
    most, least = _stretches(matrix)
    return least > 0.2 and most < 5 and most < 2.2 * least


def _frame_fit(a: View, b: View, bright: float, by_edges: float) -> Fit | None:
    """The whole frame on the whole frame; None where the two do not even agree from afar (`bright`, `by_edges`)."""
    if bright < _FAR or by_edges < _FAR_EDGES:
        return None
    (ha, wa), (hb, wb) = a.size, b.size
    sx, sy = wb / wa, hb / ha
    return Fit(np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2]]), 0, 0.0, 0.0, bright)


def _alignments(a: View, others: Sequence[View]) -> list[Fit | None]:
    """With each of the others the alignment that agrees best on small copies; None where none agrees at all."""
    if not others:
        return []
    matched = matches(a.coded, [b.coded for b in others])
    frames = zip(*_far(a.frame, [b.frame for b in others]), strict=True)
    return [
        _better(a, b, _keypoint_fit(*pair), _frame_fit(a, b, *far))
        for b, pair, far in zip(others, matched, frames, strict=True)
    ]


def _far(a: Frame, others: Sequence[Frame]) -> tuple[list[float], list[float]]:
    """How far whole frames agree with each of others in brightness and in edges, in [-1, 1]."""
    bright = np.stack([b.bright for b in others]).astype(np.float32) @ a.bright.astype(np.float32)
    by_edges = np.stack([b.edges for b in others]).astype(np.float32) @ a.edges.astype(np.float32)
    lengths = np.array([b.lengths for b in others]) * a.lengths
    return (bright / lengths[:, 0]).tolist(), (by_edges / lengths[:, 1]).tolist()


def _better(a: View, b: View, points: Fit | None, frame: Fit | None) -> Fit | None:
    """Of an alignment by keypoints and one by frames the one that agrees better; None where it hardly agrees."""
    if points is None:
        return frame
    best = points._replace(score=_coarse_agreement(a, b, points.matrix))
    if frame is not None:
        score = _coarse_agreement(a, b, frame.matrix)
        best = frame._replace(score=score, sure=points.sure) if score > best.score + _BETTER else best
    return best if best.score >= 0.25 or best.inliers >= 12 else None


def _scaled(matrix: Affine, by_a: float, by_b: float) -> Affine:
    """The same alignment between copies shrunk by `by_a` and `by_b` (pixel centres at half integers)."""
    grow = np.array([[1 / by_a, 0, (1 / by_a - 1) / 2], [0, 1 / by_a, (1 / by_a - 1) / 2], [0, 0, 1]])
    shrink = np.array([[by_b, 0, (by_b - 1) / 2], [0, by_b, (by_b - 1) / 2], [0, 0, 1]])
    whole = np.vstack([matrix, [0, 0, 1]])
    return np.asarray((shrink @ whole @ grow)[:2], np.float64)


def _shrunk(view: View, side: int) -> tuple[Grey, float]:
    """The grey image at no more than `side` px, and how much it was shrunk; 128 px need no pixels read."""
    import cv2

    key = f"_grey{side}"
    if key not in view.__dict__:
        if side == COARSE and view.small.size:
            small = view.small.astype(np.float32)
        else:
            scale = min(1.0, side / max(view.size))
            small = cv2.resize(view.grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else view.grey
        view.__dict__[key] = (np.asarray(small, np.float32), small.shape[1] / view.size[1])
    found: tuple[Grey, float] = view.__dict__[key]
    return found


def _edges(view: View, side: int, sigma: float) -> tuple[Grey, Grey]:
    """`edges` of the image at no more than `side` px."""
    key = f"_edges{side}:{sigma}"
    if key not in view.__dict__:
        view.__dict__[key] = edges(_shrunk(view, side)[0], sigma)
    found: tuple[Grey, Grey] = view.__dict__[key]
    return found


def _bars(view: View) -> Any:
    """`strips` of the image; None where it has none."""
    if "_bars" not in view.__dict__:
        mask = strips(view.grey)
        view.__dict__["_bars"] = mask if mask.any() else None
    return view.__dict__["_bars"]


def _moved(small_a: Grey, matrix: Affine, small_b: Grey) -> tuple[Grey, Any]:
    """`small_a` on the pixels of `small_b`, and 1 where it covers them (uint8)."""
    import cv2

    size = small_b.shape[1::-1]
    moved = np.asarray(cv2.warpAffine(small_a, matrix, size, flags=cv2.INTER_LINEAR), np.float32)
    return moved, cv2.warpAffine(np.ones(small_a.shape, np.uint8), matrix, size, flags=cv2.INTER_NEAREST)


def _coarse_agreement(a: View, b: View, matrix: Affine) -> float:
    (small_a, by_a), (small_b, by_b) = _shrunk(a, COARSE), _shrunk(b, COARSE)
    m = _scaled(matrix, by_a, by_b)
    if small_a.shape == small_b.shape and np.array_equal(m, _WHERE_IT_LIES):
        return correlation(small_a, small_b, np.ones(small_b.shape, dtype=bool))
    moved, area = _moved(small_a, m, small_b)
    covered = np.count_nonzero(area)
    if covered < 0.12 * area.size:
        return -1.0
    return correlation(moved, small_b, area.view(bool)) * float(min(1.0, 0.6 + covered / area.size))


def _shared_edges(a: View, b: View, matrix: Affine, side: int, sigma: float) -> float:
    """Correlation of the gradients of small copies laid over each other, in [-1, 1]: cheap, and near 0 for strangers."""
    import cv2

    (small_a, by_a), (small_b, by_b) = _shrunk(a, side), _shrunk(b, side)
    moved, area = _moved(small_a, _scaled(matrix, by_a, by_b), small_b)
    inside = cv2.erode(area, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return shared_gradient(edges(moved, sigma), _edges(b, side, sigma), np.asarray(inside).view(bool))


def _refined(a: View, b: View, matrix: Affine, agree: float) -> tuple[Affine, float]:
    """The alignment refined, and how far edges agree there; the given ones where that is no better, or it wanders off.

    agree: how far they agree at `matrix`.
    """
    refined = _ecc(a, b, matrix)
    if refined is None:
        return matrix, agree
    # What was pasted over one of them, such as a caption's bar, can draw the refinement away from where edges agree.
    closer = _shared_edges(a, b, refined, _REFINE, 1.0)
    return (refined, closer) if closer > agree + _BETTER else (matrix, agree)


def _ecc(a: View, b: View, matrix: Affine) -> Affine | None:
    """Enhanced correlation (Evangelidis and Psarakis 2008) on copies of at most 200 px; None where it does not converge."""
    import cv2

    (small_a, by_a), (small_b, by_b) = _shrunk(a, _REFINE), _shrunk(b, _REFINE)
    start = _scaled(matrix, by_a, by_b)
    inverse = cv2.invertAffineTransform(start).astype(np.float32)
    # The mask lies on `a`, the image that is moved; OpenCV leaves out by itself what `a` does not cover of `b`.
    inside = np.zeros(small_a.shape, np.uint8)
    inside[1:-1, 1:-1] = 255
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 25, 5e-4)
    try:
        _, warp = cv2.findTransformECC(small_b, small_a, inverse, cv2.MOTION_AFFINE, stop, inside, 3)
    except cv2.error:
        return None
    back = _scaled(cv2.invertAffineTransform(warp.astype(np.float64)), 1 / by_a, 1 / by_b)
    corners = np.array([[0, 0], [a.size[1], 0], [0, a.size[0]], a.size[::-1]], dtype=np.float64)
    shift = np.abs(corners @ (back - matrix)[:, :2].T + (back - matrix)[:, 2]).max()
    return back if _plausible(back) and shift < 0.15 * max(b.size) else None


def _overlaid(a: View, b: View, matrix: Affine) -> tuple[View, Any, View] | None:
    """(moved, inside, still): the finer image on the pixels of the coarser one, the common area as a mask."""
    import cv2

    most, least = _stretches(matrix)
    scale = float(np.sqrt(most * least))
    if scale > 1:
        a, b, matrix, scale = b, a, cv2.invertAffineTransform(matrix), 1 / scale
    size = b.rgb.shape[1::-1]
    rgb = a.rgb
    if scale < 0.75:
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.45 / scale), np.uint8)
    moved = cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    inside = cv2.warpAffine(np.full(a.rgb.shape[:2], 255, np.uint8), matrix, size, flags=cv2.INTER_NEAREST)
    inside = cv2.erode(inside, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    bars = _bars(a), _bars(b)
    if bars[0] is not None or bars[1] is not None:
        of_a, of_b = (np.zeros(v.size, np.uint8) if bar is None else bar for v, bar in zip((a, b), bars, strict=True))
        inside[lone_strips(of_a, of_b, matrix)] = 0
    if np.count_nonzero(inside) < 0.1 * inside.size or np.count_nonzero(inside) < 600:
        return None
    return bare(np.asarray(moved, np.uint8)), inside > 0, b


def _shape(a: View, b: View, matrix: Affine) -> dict[str, float]:
    most, least = _stretches(matrix)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * a.size[::-1]
    import cv2

    moved = (corners @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    frame = (np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * b.size[::-1]).astype(np.float32)
    common = float(cv2.intersectConvexConvex(moved, frame)[0])
    of_b = common / (b.size[0] * b.size[1])
    of_a = common / (a.size[0] * a.size[1] * most * least)
    return {
        "overlap": max(of_a, of_b),
        "overlap_least": min(of_a, of_b),
        "scale": abs(float(np.log(most * least) / 2)),
        "turn": abs(float(np.arctan2(matrix[1, 0], matrix[0, 0]))),
        "stretch": float(np.log(most / least)),
    }
