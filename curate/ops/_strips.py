"""Strips pasted over the edge of a picture: a caption's bar, a letterbox.

What lies under such a bar is gone, as if it had been cropped away, so it is no evidence against a copy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from curate.ops._views import Affine, Grey

_NEAR = 6.0
_LEAST, _MOST = 0.04, 0.35
_INSIDE, _DROP = 0.55, 0.3
_SHARP = 3


def strips(grey: Grey) -> npt.NDArray[np.uint8]:
    """Mask (h, w), 1 on the bars of one tone along an edge of a grey image (h, w), whatever is written on them.

    A bar is 4 to 35 % of the side, more than half of each of its lines is of its tone, and where it ends that share falls by
    a third of the line or more within three lines: the border of a dark picture may go on in the bar's own tone.
    """
    mask = np.zeros(grey.shape, np.uint8)
    for turn in range(4):
        # np.rot90 gives views: the bar is always sought along the first lines.
        depth = _depth(np.rot90(grey, turn))
        np.rot90(mask, turn)[:depth] = 1
    return mask


def _depth(grey: Any) -> int:
    most = int(_MOST * len(grey))
    tone = float(np.median(grey[: max(2, len(grey) // 50)]))
    alike = (np.abs(grey[: most + _SHARP + 1] - tone) <= _NEAR).mean(axis=1)
    ends = np.arange(max(1, int(_LEAST * len(grey))), most + 1)
    ends = ends[np.minimum.accumulate(alike)[ends - 1] >= _INSIDE]
    if not len(ends):
        return 0
    beyond = np.lib.stride_tricks.sliding_window_view(alike, _SHARP).min(axis=1)[ends]
    sharp = ends[alike[ends - 1] - beyond >= _DROP]
    # A line of writing makes such a drop too; the last one is where the bar ends.
    return int(sharp[-1]) + 1 if len(sharp) else 0


def lone_strips(a: Any, b: Any, matrix: Affine) -> npt.NDArray[np.bool_]:
    """Mask on `b`'s pixels (h, w): under a bar that one of two images has and the other has not.

    Bars that both have (the heads of two forms) are compared like everything else.
    a, b: `strips` of both images.  matrix: 2x3, from the pixels of `a` to those of `b`.
    """
    import cv2

    sides = [cv2.warpAffine(a, matrix, b.shape[1::-1], flags=cv2.INTER_NEAREST) > 0, b > 0]
    found = np.zeros(b.shape, dtype=bool)
    for mine, other in (sides, sides[::-1]):
        count, labels = cv2.connectedComponents(mine.astype(np.uint8))
        for part in range(1, count):
            here = labels == part
            if other[here].mean() < 0.1:
                found |= here
    if found.any():
        found = cv2.dilate(found.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return found
