"""What is remembered of one image to align it with others: a small grey copy and keypoints; the pixels are read when needed."""

from __future__ import annotations

from collections.abc import Callable
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
LARGEST_SIDE, USUAL_SIDE = 400, 320
"""Images of more than 400 px on the longer side are shrunk to 320, as stored thumbnails are: more decides no better."""
COARSE = 128
_PERMUTED = (np.arange(128).reshape(4, 4, 8)[::-1][:, :, (-np.arange(8)) % 8]).ravel()


@dataclass(frozen=True)
class View:
    """One image, 160 to 400 px on its longer side (others are resized).

    load: gives the pixels, uint8 (h, w, 3).  size: (h, w).  points: (n, 2) float32, x and y.  descriptors: (n, 128) uint8 SIFT.
    small: the grey image at no more than 128 px, uint8.
    """

    load: Callable[[], Pixels]
    size: tuple[int, int]
    points: Grey
    descriptors: Pixels
    small: Pixels

    @cached_property
    def rgb(self) -> Pixels:
        """The pixels, resized where they are few or many."""
        return sized(self.load())

    @cached_property
    def luminance(self) -> Pixels:
        """Grey levels, uint8 (h, w)."""
        import cv2

        return np.asarray(cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)

    @cached_property
    def grey(self) -> Grey:
        """`luminance` as float32."""
        return self.luminance.astype(np.float32)

    @cached_property
    def flat(self) -> Grey:
        """Descriptors as rows whose product is 1 for equal ones (root of the share of each bin: Hellinger)."""
        return _rooted(self.descriptors)

    @cached_property
    def flat_mirrored(self) -> Grey:
        """`flat` of the mirror image: a mirror turns the order of the bins round, nothing else."""
        return np.take(self.flat, _PERMUTED, axis=1)

    def mirrored(self) -> View:
        """The mirror image, its keypoints carried over."""
        import cv2

        points = self.points.copy()
        points[:, 0] = self.size[1] - 1 - points[:, 0]
        small = np.asarray(cv2.flip(self.small, 1), np.uint8)
        load = self.load
        view = View(lambda: np.asarray(cv2.flip(load(), 1), np.uint8), self.size, points, self.descriptors, small)
        view.__dict__["flat"] = self.flat_mirrored
        return view

    def fresh(self) -> View:
        """The same view without what it has computed or read: for keeping many."""
        return View(self.load, self.size, self.points, self.descriptors, self.small)


def _rooted(descriptors: Pixels) -> Grey:
    wide = descriptors.astype(np.float32)
    # Whole numbers, so that their sum is exact; a row of zeros stays one.
    wide /= np.maximum(wide.sum(axis=1, keepdims=True), 1)
    return np.sqrt(wide, out=wide)


def sized(pixels: Pixels) -> Pixels:
    """Pixels with 160 to 400 on the longer side."""
    import cv2

    longer = max(pixels.shape[:2])
    scale = USUAL_SIDE / longer if longer > LARGEST_SIDE else max(1.0, SMALLEST / longer)
    if scale == 1:
        return np.ascontiguousarray(pixels)
    size = (max(8, round(pixels.shape[1] * scale)), max(8, round(pixels.shape[0] * scale)))
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return np.asarray(cv2.resize(np.ascontiguousarray(pixels), size, interpolation=how), dtype=np.uint8)


def bare(rgb: Pixels) -> View:
    """A view of pixels without keypoints."""
    none = np.zeros((0, 2), np.float32)
    return View(lambda: rgb, (rgb.shape[0], rgb.shape[1]), none, np.zeros((0, 128), np.uint8), np.zeros((0, 0), np.uint8))


def view_of(pixels: Pixels, load: Callable[[], Pixels] | None = None) -> View:
    """The view of uint8 (h, w, 3) pixels.  load: reads them again, so that they need not be kept."""
    import cv2

    rgb = sized(pixels)
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    scale = min(1.0, COARSE / max(grey.shape))
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    low, high = np.percentile(grey[::4, ::4], [1, 99])
    if 4 < high - low < 120:
        # Dark or faded copies keep their keypoints when the range is stretched first.
        grey = np.clip((grey.astype(np.float32) - low) * (200 / (high - low)), 0, 255).astype(np.uint8)
    create: Any = getattr(cv2, "SIFT_create")  # noqa: B009 - absent from the type stubs
    found, descriptors = create(nfeatures=POINTS, contrastThreshold=0.02).detectAndCompute(grey, None)
    points, codes = np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8)
    if descriptors is not None and len(found):
        points = np.array([p.pt for p in found], dtype=np.float32)
        # OpenCV lists equal responses in no fixed order.
        order = np.lexsort((points[:, 1], points[:, 0]))[: POINTS + 100]
        points, codes = points[order], np.clip(descriptors[order], 0, 255).astype(np.uint8)
    size = (grey.shape[0], grey.shape[1])
    return View(load or (lambda: rgb), size, points, codes, np.asarray(small, np.uint8))
