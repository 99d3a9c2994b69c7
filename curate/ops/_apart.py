"""Where two aligned images are apart, and what is left of that beside its worst band.

A caption, a bar or a logo lies in one band of a picture, and beside it a copy agrees everywhere; look-alikes differ here and
there.  Apart: one image leaves the range that the other has within a pixel, so that neither a shift of one pixel nor a soft
edge counts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate.ops._percentiles import largest, percentiles
from curate.ops._views import Grey

_BAND = 0.2
"""Height of the band, as a share of the common area's: writing over a picture is rarely higher."""
_MARGIN = 2
"""Lines on either side of the band that smoothing reaches into."""
_FAINT = 12.0
"""Grey levels of contrast below which an image counts as having this much, so that noise on a flat one is not all apart."""
_CLEARLY = 0.1
"""Share of the contrast by which two images are clearly apart."""
_SMOOTH = 5
"""Pixels over which it is meaned."""
_EMPTY = 30.0
"""Power of fine content (squared levels) that noise has: added to both sides of a ratio."""
_LEAST = 200
"""Pixels below which an area beside the band says nothing."""
_CELL = 9
"""Pixels of a cell: largest parts are given in its area."""

Mask = npt.NDArray[np.bool_]


class Apart(NamedTuple):
    """How far two images are apart around each pixel, as a share of the contrast: either beyond the other's range, and both.

    usual: what nine tenths of the pixels stay below.
    """

    either: Grey
    both: Grey
    usual: float


def apart(a: Grey, b: Grey, inside: Mask) -> Apart:
    """Of two grey images (h, w) float32, of one tone and sharpness, where the mask `inside` (h, w), not empty, is true.

    Outside of it nothing is apart.
    """
    import cv2

    near = np.ones((3, 3), np.uint8)
    area = inside.view(np.uint8)
    beyond = [
        cv2.max(cv2.max(cv2.subtract(x, cv2.dilate(y, near)), cv2.subtract(cv2.erode(y, near), x)), 0.0)
        for x, y in ((a, b), (b, a))
    ]
    contrast = max(min(_contrast(x[inside][::4]) for x in (a, b)), _FAINT)
    either, both = (
        np.asarray(cv2.blur(cv2.copyTo(x, area), (_SMOOTH, _SMOOTH)) * np.float32(1 / contrast), np.float32)
        for x in (cv2.max(*beyond), cv2.min(*beyond))
    )
    return Apart(either, both, percentiles(either[inside], (90,))[0])


def _contrast(values: Grey) -> float:
    return percentiles(values, (98,))[0] - percentiles(values, (2,))[0]


def beside_band(found: Apart, inside: Mask) -> tuple[Mask, dict[str, float]]:
    """The area without the band of lines in which the two are most apart; how much of it all lies in there."""
    clear = np.where(inside & (found.either > found.usual + _CLEARLY), found.either, np.float32(0))
    lines = np.flatnonzero(inside.any(axis=1))
    first, last = int(lines[0]), int(lines[-1])
    height = max(8, int(_BAND * (last + 1 - first)))
    total = np.concatenate([[0.0], np.cumsum(clear.sum(axis=1, dtype=np.float64))])
    tops = np.arange(first, max(first + 1, last + 2 - height))
    held = total[np.minimum(tops + height, len(clear))] - total[tops]
    top = int(tops[held.argmax()])
    rest = inside.copy()
    rest[max(top - _MARGIN, 0) : top + height + _MARGIN] = False
    row = {
        "band_share": float(held.max() / total[-1]) if total[-1] > 0 else 1.0,
        "apart": float(total[-1]) / int(np.count_nonzero(inside)),
    }
    return (rest if np.count_nonzero(rest) >= _LEAST else inside), row


def beside(found: Apart, rest: Mask, va: Grey, vb: Grey) -> dict[str, float]:
    """What is apart in the area `rest`, and whose content that is.

    va, vb: power of what is fine in each image around each pixel: where one's is twice the other's, it is that one's content.
    Both sides having some ("mutual") is another picture; one side is an edit.
    """
    area = int(np.count_nonzero(rest))
    of_a, of_b = va + _EMPTY > 2 * (vb + _EMPTY), vb + _EMPTY > 2 * (va + _EMPTY)
    row: dict[str, float] = {}
    for name, far, usual in (("beside", found.either, found.usual), ("beside_both", found.both, 0.0)):
        seen = far[rest]
        bad = rest & (far > usual + _CLEARLY)
        p99, p998 = percentiles(seen, (99, 99.8))
        share_a, share_b, share = (int(np.count_nonzero(m)) / area for m in (bad & of_a, bad & of_b, bad & ~(of_a | of_b)))
        row |= {
            f"{name}_p99": p99,
            f"{name}_p998": p998,
            f"{name}_peak": float(seen.max()),
            f"{name}_mutual": share + min(share_a, share_b),
            f"{name}_one": max(share_a, share_b),
            f"{name}_largest": largest(bad) / _CELL**2,
        }
    return row
