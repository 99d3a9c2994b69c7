"""Small images (64 px and less) laid over each other: every shift and some scales at once.

Keypoints need more pixels than these have.  Each image is brought to 32 x 32; at half that size the middle of one, at five
scales, is correlated with every window of the other, straight and mirrored, by one matrix product; the best place is then set
to the pixel, and the two windows are compared closely.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from curate.ops._groups import Rows
from curate.ops._views import Grey
from curate.types import Pixels

LARGEST = 64
SIDE = 32
WINDOW = 24
SCALES = (0.8, 0.9, 1.0, 1.11, 1.25)
_PLACES = (SIDE - WINDOW) // 2 + 1
_HALF = WINDOW // 2
_BLOCK = 4_096
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)

SMALL_COLUMNS = (
    "zncc", "gradient", "fine", "block_worst", "block_second", "block_mean", "chroma", "colourless", "gain", "offset",
    "residual", "residual_peak", "contrast", "shift", "scale", "mirrored", "usual", "above",
)  # fmt: skip
"""Names of the features of a small pair, in order."""


class Laid(NamedTuple):
    """Where `b` images lie on `a` images, each (m,): correlation, number of the scale, window (y, x), mirrored."""

    score: Grey
    scale: Rows
    y: Rows
    x: Rows
    mirrored: npt.NDArray[np.bool_]

    def only(self, rows: Any) -> Laid:
        """Some of the places."""
        return Laid(self.score[rows], self.scale[rows], self.y[rows], self.x[rows], self.mirrored[rows])


class SmallImages:
    """Small images ready to be laid over each other.  pixels: uint8 (h, w, 3) each."""

    def __init__(self, pixels: Sequence[Pixels]) -> None:
        import cv2

        self.rgb = np.stack([cv2.resize(p, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for p in pixels]).astype(np.uint8)
        self.grey = np.stack([cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in self.rgb]).astype(np.float32)
        small = self.grey.reshape(-1, SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4))
        self.templates = _directions(_halved_middles(self.grey)).astype(np.float32)
        view = np.lib.stride_tricks.sliding_window_view(small, (_HALF, _HALF), axis=(1, 2))
        self._view = view

    def laid(self, i: Rows, j: Rows) -> Laid:
        """The best place of every `j` on its `i`, to two pixels; quickest where pairs are sorted by `i`."""
        best = np.zeros((4, len(i)), dtype=np.int64)
        score = np.zeros(len(i), dtype=np.float32)
        cuts = np.flatnonzero(np.diff(i, prepend=-1, append=-1)) if len(i) else np.zeros(0, np.int64)
        for start, stop in itertools.pairwise(cuts):
            windows = self._windows(int(i[start]))
            product = (self.templates[j[start:stop]].reshape(-1, _HALF * _HALF) @ windows.T).reshape(stop - start, -1)
            place = product.argmax(axis=1)
            score[start:stop] = product[np.arange(len(place)), place]
            scale, rest = np.divmod(place, 2 * _PLACES**2)
            mirrored, at = np.divmod(rest, _PLACES**2)
            best[:, start:stop] = scale, *(2 * v for v in np.divmod(at, _PLACES)), mirrored
        return Laid(score, best[0], best[1], best[2], best[3].astype(bool))

    def _windows(self, image: int) -> Grey:
        """Every window of an image, and of its mirror image within the window: (2 * 25, 144), half size."""
        straight = _directions(self._view[image].reshape(-1, _HALF * _HALF))
        turned = straight.reshape(-1, _HALF, _HALF)[:, :, ::-1].reshape(-1, _HALF * _HALF)
        return np.concatenate([straight, turned])

    def features(self, i: Rows, j: Rows, laid: Laid, usual: Grey) -> Grey:
        """(m, d) features of SMALL_COLUMNS.  usual: what the candidates of these images score, (m,)."""
        parts = [
            self._block(i[s], j[s], laid.only(s), usual[s]) for s in (slice(at, at + _BLOCK) for at in range(0, len(i), _BLOCK))
        ]
        return np.concatenate([np.zeros((0, len(SMALL_COLUMNS)), np.float32), *parts])

    def _block(self, i: Rows, j: Rows, laid: Laid, usual: Grey) -> Grey:
        import cv2

        moved = np.empty((len(i), WINDOW, WINDOW, 3), np.float32)
        for n, (b, s, turn) in enumerate(zip(j, laid.scale, laid.mirrored, strict=True)):
            part = cv2.warpAffine(
                self.rgb[b], _middle(SCALES[s]), (WINDOW, WINDOW), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
            )
            moved[n] = part[:, ::-1] if turn else part
        still, y, x = self._set_to_the_pixel(i, moved, laid)
        found = _compared(moved, still)
        reach = (SIDE - WINDOW) / 2
        found["shift"] = np.hypot(y - reach, x - reach)
        found["scale"] = np.abs(np.log(np.array(SCALES)[laid.scale]))
        found["mirrored"] = laid.mirrored.astype(np.float64)
        found["usual"], found["above"] = usual, laid.score - usual
        return np.stack([found[name] for name in SMALL_COLUMNS], axis=1).astype(np.float32)

    def _set_to_the_pixel(self, i: Rows, moved: Grey, laid: Laid) -> tuple[Grey, Rows, Rows]:
        """The windows of `i` that agree best with `moved` within a pixel of where it was laid, and their corners."""
        asked = _directions((moved @ _LUMINANCE).reshape(len(i), -1))
        best = np.full(len(i), -2.0)
        y, x = laid.y.copy(), laid.x.copy()
        steps = np.arange(WINDOW)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                at_y, at_x = (np.clip(v + d, 0, SIDE - WINDOW) for v, d in ((laid.y, dy), (laid.x, dx)))
                window = self.grey[i[:, None, None], at_y[:, None, None] + steps[:, None], at_x[:, None, None] + steps]
                score = np.einsum("ij,ij->i", _directions(window.reshape(len(i), -1)), asked)
                better = score > best
                best[better], y[better], x[better] = score[better], at_y[better], at_x[better]
        rgb = self.rgb[i[:, None, None], y[:, None, None] + steps[:, None], x[:, None, None] + steps]
        return rgb.astype(np.float32), y, x


def _compared(moved: Grey, still: Grey) -> dict[str, Any]:
    """Features of two stacks (m, 24, 24, 3) that lie over each other."""
    a, b = (x @ _LUMINANCE for x in (moved, still))
    found: dict[str, Any] = {"zncc": _zncc(a, b)}
    for name, step in (("gradient", 2), ("fine", 1)):
        parts = [
            np.concatenate(
                [(x[:, step:, :] - x[:, :-step, :])[:, :, step:], (x[:, :, step:] - x[:, :, :-step])[:, step:]], axis=2
            )
            for x in (a, b)
        ]
        top = np.einsum("nij,nij->n", *parts)
        found[name] = top / np.sqrt(np.maximum(np.prod([np.einsum("nij,nij->n", p, p) for p in parts], axis=0), 1.0))
    blocks = [x.reshape(-1, 4, 6, 4, 6).transpose(0, 1, 3, 2, 4).reshape(len(x), 16, 36) for x in (a, b)]
    centred = [x - x.mean(axis=2, keepdims=True) for x in blocks]
    cov = (centred[0] * centred[1]).mean(axis=2)
    power = np.sqrt((centred[0] ** 2).mean(axis=2) * (centred[1] ** 2).mean(axis=2))
    local = np.sort((cov + 25) / (power + 25), axis=1)
    found["block_worst"], found["block_second"], found["block_mean"] = local[:, 0], local[:, 1], local.mean(axis=1)
    va, vb = a.var(axis=(1, 2)), b.var(axis=(1, 2))
    slope = ((a - a.mean(axis=(1, 2), keepdims=True)) * b).mean(axis=(1, 2)) / np.maximum(va, 1)
    rest = b - b.mean(axis=(1, 2), keepdims=True) - slope[:, None, None] * (a - a.mean(axis=(1, 2), keepdims=True))
    spread = np.sqrt(np.maximum(vb, 16))
    found["residual"] = np.sqrt(np.square(rest).mean(axis=(1, 2))) / spread
    found["residual_peak"] = np.sqrt(np.square(rest).reshape(-1, 4, 6, 4, 6).mean(axis=(2, 4)).max(axis=(1, 2))) / spread
    found["gain"] = np.abs(np.log(np.maximum(vb, 1) / np.maximum(va, 1))) / 2
    found["offset"] = np.abs(a.mean(axis=(1, 2)) - b.mean(axis=(1, 2))) / 255
    found["contrast"] = np.log(1 + np.minimum(va, vb))
    found |= _colour(moved, still)
    return found


def _colour(moved: Grey, still: Grey) -> dict[str, Any]:
    """Correlation of the colour differences, and whether one of the two has next to none."""
    sides = []
    for x in (moved, still):
        small = x.reshape(-1, 6, 4, 6, 4, 3).mean(axis=(2, 4))
        planes = np.stack([small[..., 0] - small[..., 1], (small[..., 0] + small[..., 1]) / 2 - small[..., 2]], axis=1)
        sides.append((planes - planes.mean(axis=(2, 3), keepdims=True)).reshape(len(x), -1))
    power = [np.square(s).mean(axis=1) for s in sides]
    chroma = ((sides[0] * sides[1]).mean(axis=1) + 4) / (np.sqrt(power[0] * power[1]) + 4)
    return {"chroma": chroma, "colourless": (np.minimum(*power) < 8).astype(np.float64)}


def _zncc(a: Grey, b: Grey) -> Any:
    a, b = (x - x.mean(axis=(1, 2), keepdims=True) for x in (a, b))
    power = np.sqrt(np.einsum("nij,nij->n", a, a) * np.einsum("nij,nij->n", b, b))
    return np.einsum("nij,nij->n", a, b) / np.maximum(power, 1.0)


def _middle(scale: float) -> Any:
    """The affine map that brings the middle of an image, scaled, to a window."""
    shift = WINDOW / 2 - scale * SIDE / 2 + (scale - 1) / 2
    return np.array([[scale, 0, shift], [0, scale, shift]])


def _halved_middles(grey: Grey) -> Grey:
    """(n, scales, 144): the middle of each image at each scale, half size."""
    import cv2

    found = np.empty((len(grey), len(SCALES), _HALF * _HALF), np.float32)
    for row, image in enumerate(grey):
        for n, scale in enumerate(SCALES):
            part = cv2.warpAffine(
                image, _middle(scale), (WINDOW, WINDOW), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
            )
            found[row, n] = cv2.resize(part, (_HALF, _HALF), interpolation=cv2.INTER_AREA).ravel()
    return found


def _directions(rows: Grey) -> Grey:
    """(..., d) without their mean and of unit length."""
    centred = rows - rows.mean(axis=-1, keepdims=True)
    power = np.einsum("...i,...i->...", centred, centred)
    return np.asarray(centred / np.sqrt(np.maximum(power, 1e-6))[..., None], dtype=np.float32)


def usual_scores(i: Rows, j: Rows, score: Grey, count: int) -> Grey:
    """What the candidates of each pair's two images score in the middle, the larger of the two: (m,)."""
    rows = np.concatenate([i, j])
    values = np.concatenate([score, score])
    order = np.lexsort((values, rows))
    rows, values = rows[order], values[order]
    first = np.searchsorted(rows, np.arange(count))
    number = np.searchsorted(rows, np.arange(count), side="right") - first
    middle = np.zeros(count, dtype=np.float32)
    some = number > 0
    middle[some] = values[first[some] + (number[some] - 1) // 2]
    return np.maximum(middle[i], middle[j])


def paired(images: SmallImages, near: Rows, *, least: float) -> tuple[Rows, Rows, Grey, Laid]:
    """Candidate rows -> pairs i < j that correlate by `least` or more somewhere, with features and places.

    near: (n, k) candidates of every image (itself among them or not).
    """
    i = np.repeat(np.arange(len(near)), near.shape[1])
    j = near.ravel()
    key = np.unique(np.minimum(i, j)[i != j] * len(near) + np.maximum(i, j)[i != j])
    i, j = np.divmod(key, len(near))
    return kept_pairs(images, i, j, least=least)


def kept_pairs(images: SmallImages, i: Rows, j: Rows, *, least: float) -> tuple[Rows, Rows, Grey, Laid]:
    """The pairs (sorted by i) that correlate by `least` or more somewhere, with features and places."""
    laid = images.laid(i, j)
    usual = usual_scores(i, j, laid.score, len(images.grey))
    keep = laid.score >= least
    i, j, laid = i[keep], j[keep], laid.only(keep)
    return i, j, images.features(i, j, laid, usual[keep]), laid
