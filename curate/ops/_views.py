"""What is remembered of one image to align it with others: a small grey copy and keypoints; the pixels are read when needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.ops._percentiles import percentiles
from curate.ops._words import shipped_words
from curate.types import Pixels

Grey: TypeAlias = npt.NDArray[np.float32]
Affine: TypeAlias = npt.NDArray[np.float64]
Half: TypeAlias = npt.NDArray[np.float16]

SMALLEST = 160
LARGEST_SIDE, USUAL_SIDE = 400, 320
"""Images of more than 400 px on the longer side are shrunk to 320, as stored thumbnails are: more decides no better."""
POINTS, DETECTED = 256, 192
"""Keypoints of every image, and the pixels of the longer side on which they are sought (SIFT doubles them first).  Of 400
copies of photographs as many can be laid over their originals by these as by 400 points of 320 px, for half of the work."""
CLOSE_POINTS, CLOSE_DETECTED = 400, LARGEST_SIDE
"""The same where finer keypoints are sought: of fine textures, tables."""
COARSE = 128
_BRIGHT, _EDGES = 24, 46


@dataclass(frozen=True)
class View:
    """One image, 160 to 400 px on its longer side (others are resized).

    load: gives the pixels, uint8 (h, w, 3).  size: (h, w).  points: (n, 2) float32, x and y.  codes: (n, m) float16, of
    their SIFT descriptors on the axes of `Words`, of the image and of its mirror image.
    small: the grey image at no more than 128 px, uint8.  frame: see `glance`.  close: whether its keypoints were sought on many
    pixels.
    """

    load: Callable[[], Pixels]
    size: tuple[int, int]
    points: Grey
    codes: tuple[Half, Half]
    small: Pixels
    frame: tuple[Half, Half]
    close: bool = False

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
    def near(self) -> tuple[Grey, Grey]:
        """Two matrices (n, m + 2) whose product with the other's, one of each, is the squared distance of all codes."""
        high, wide = self.codes[0].shape
        one, other = np.ones((2, high, wide + 2), np.float32)
        other[:, :wide] = self.codes[0]
        code = other[:, :wide]
        np.multiply(code, -2, out=one[:, :wide])
        one[:, wide] = other[:, wide + 1] = np.einsum("nd,nd->n", code, code)
        return one, other

    @cached_property
    def glance(self) -> tuple[Grey, Grey]:
        """The whole frame from afar, as rows whose product is their correlation: brightness on 24 x 24, edges on 48 x 48."""
        bright, edges = (row.astype(np.float32) for row in self.frame)
        return bright, edges

    @cached_property
    def _found_closer(self) -> View:
        """The same view with more keypoints."""
        points, descriptors = keypoints(self.luminance, side=CLOSE_DETECTED, count=CLOSE_POINTS)
        view = View(self.load, self.size, points, shipped_words().codes(descriptors), self.small, self.frame, close=True)
        view.__dict__.update({name: getattr(self, name) for name in ("rgb", "luminance")})
        return view

    @property
    def closer(self) -> View:
        """The view with keypoints that were sought on more pixels."""
        # Two properties, so that no view holds itself and all go as soon as they are let go.
        return self if self.close else self._found_closer

    @cached_property
    def mirrored(self) -> View:
        """The mirror image, its keypoints carried over."""
        import cv2

        points = self.points.copy()
        points[:, 0] = self.size[1] - 1 - points[:, 0]
        small = np.asarray(cv2.flip(self.small, 1), np.uint8)
        load, bright, edges = self.load, *self.frame
        across, down = edges.reshape(2, _EDGES, _EDGES)[..., ::-1]
        frame = bright.reshape(_BRIGHT, _BRIGHT)[:, ::-1].ravel(), np.concatenate([-across.ravel(), down.ravel()])

        def turned() -> Pixels:
            return np.asarray(cv2.flip(load(), 1), np.uint8)

        return View(turned, self.size, points, self.codes[::-1], small, frame, self.close)

    def fresh(self) -> View:
        """The same view without what it has computed or read: for keeping many."""
        return View(self.load, self.size, self.points, self.codes, self.small, self.frame, self.close)


def _framed(small: Pixels) -> tuple[Half, Half]:
    """The rows of `View.glance`, of a grey image."""
    import cv2

    sizes = (_BRIGHT, _EDGES + 2)
    bright, fine = (cv2.resize(small, (n, n), interpolation=cv2.INTER_AREA).astype(np.float32) for n in sizes)
    bright -= bright.mean()
    across, down = fine[1:-1, 2:] - fine[1:-1, :-2], fine[2:, 1:-1] - fine[:-2, 1:-1]
    return _direction(bright.ravel()), _direction(np.concatenate([across.ravel(), down.ravel()]))


def _direction(row: Grey) -> Half:
    """Of unit length; zeros where there is next to nothing."""
    return np.asarray(row / max(float(np.sqrt(row @ row)), 1.0), np.float16)


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
    none, half, nothing = np.zeros((0, 2), np.float32), np.zeros((0, 0), np.float16), np.zeros((0, 0), np.uint8)
    return View(lambda: rgb, (rgb.shape[0], rgb.shape[1]), none, (half, half), nothing, (half, half))


def view_of(pixels: Pixels, load: Callable[[], Pixels] | None = None) -> View:
    """The view of uint8 (h, w, 3) pixels.  load: reads them again, so that they need not be kept."""
    import cv2

    rgb = sized(pixels)
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    scale = min(1.0, COARSE / max(grey.shape))
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    points, descriptors = keypoints(grey)
    codes = shipped_words().codes(descriptors)
    small = np.asarray(small, np.uint8)
    return View(load or (lambda: rgb), (grey.shape[0], grey.shape[1]), points, codes, small, _framed(small))


def keypoints(grey: Pixels, *, side: int = DETECTED, count: int = POINTS) -> tuple[Grey, Pixels]:
    """SIFT keypoints (n, 2), in pixels of `grey`, and their descriptors (n, 128) uint8, by place.

    side: pixels of the longer side on which they are sought.  count: how many, about.
    """
    import cv2

    # Dark or faded copies keep their keypoints when the range is stretched first.
    some = grey[::4, ::4].ravel()
    low, high = (percentiles(some, (share,))[0] for share in (1, 99))
    scale = min(1.0, side / max(grey.shape))
    seen = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    if 4 < high - low < 120:
        seen = np.clip((seen.astype(np.float32) - low) * (200 / (high - low)), 0, 255).astype(np.uint8)
    create: Any = getattr(cv2, "SIFT_create")  # noqa: B009 - absent from the type stubs
    found, descriptors = create(nfeatures=count, contrastThreshold=0.02).detectAndCompute(seen, None)
    if descriptors is None or not len(found):
        return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8)
    grown = np.array(grey.shape[::-1]) / np.array(seen.shape[::-1])
    points = ((np.asarray(cv2.KeyPoint.convert(found)) + 0.5) * grown - 0.5).astype(np.float32)
    # OpenCV lists equal responses in no fixed order.
    order = np.lexsort((points[:, 1], points[:, 0]))[: count + 100]
    return points[order], np.clip(descriptors[order], 0, 255).astype(np.uint8)
