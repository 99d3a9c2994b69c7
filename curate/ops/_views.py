"""What is remembered of one image to align it with others: grey pixels and keypoints."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.types import Pixels

Grey: TypeAlias = npt.NDArray[np.float32]
Affine: TypeAlias = npt.NDArray[np.float64]

POINTS = 400
SMALLEST = 160
_PERMUTED = (np.arange(128).reshape(4, 4, 8)[::-1][:, :, (-np.arange(8)) % 8]).ravel()


@dataclass(frozen=True)
class View:
    """One image, at least 160 px on its longer side (smaller ones are enlarged).

    rgb: uint8 (h, w, 3).  points: (n, 2) float32, x and y.  descriptors: (n, 128) uint8 SIFT.
    """

    rgb: Pixels
    points: Grey
    descriptors: Pixels

    @cached_property
    def grey(self) -> Grey:
        """Luminance, float32 in [0, 255]."""
        import cv2

        return np.asarray(cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY), dtype=np.float32)

    @cached_property
    def flat(self) -> Grey:
        """Descriptors as rows whose product is 1 for equal ones (root of the share of each bin: Hellinger)."""
        return _rooted(self.descriptors)

    @cached_property
    def flat_mirrored(self) -> Grey:
        """`flat` of the mirror image: a mirror turns the order of the bins round, nothing else."""
        return _rooted(self.descriptors[:, _PERMUTED])

    def mirrored(self) -> View:
        """The mirror image, its keypoints carried over."""
        points = self.points.copy()
        points[:, 0] = self.rgb.shape[1] - 1 - points[:, 0]
        view = View(np.ascontiguousarray(self.rgb[:, ::-1]), points, self.descriptors)
        view.__dict__["flat"] = self.flat_mirrored
        return view


def _rooted(descriptors: Pixels) -> Grey:
    wide = descriptors.astype(np.float32)
    total = wide.sum(axis=1, keepdims=True)
    return np.asarray(np.sqrt(np.divide(wide, total, out=np.zeros_like(wide), where=total > 0)), dtype=np.float32)


def view_of(pixels: Pixels) -> View:
    """The view of uint8 (h, w, 3) pixels."""
    import cv2

    rgb = np.ascontiguousarray(pixels)
    scale = SMALLEST / max(rgb.shape[:2])
    if scale > 1:
        size = (max(8, round(rgb.shape[1] * scale)), max(8, round(rgb.shape[0] * scale)))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    low, high = np.percentile(grey[::4, ::4], [1, 99])
    if 4 < high - low < 120:
        # Dark or faded copies keep their keypoints when the range is stretched first.
        grey = np.clip((grey.astype(np.float32) - low) * (200 / (high - low)), 0, 255).astype(np.uint8)
    create: Any = getattr(cv2, "SIFT_create")  # noqa: B009 - absent from the type stubs
    sift = create(nfeatures=POINTS, contrastThreshold=0.02)
    found, descriptors = sift.detectAndCompute(grey, None)
    if descriptors is None or not len(found):
        return View(rgb, np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
    points = np.array([p.pt for p in found], dtype=np.float32)
    # OpenCV lists equal responses in no fixed order.
    order = np.lexsort((points[:, 1], points[:, 0]))[: 2 * POINTS]
    return View(rgb, points[order], np.clip(descriptors[order], 0, 255).astype(np.uint8))
