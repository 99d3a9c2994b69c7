"""What is remembered of one image to align it with others: a small grey copy and keypoints; the pixels are read when needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from curate.ops._percentiles import percentiles
from curate.ops._words import Codes, shipped_words
from curate.types import Pixels

Grey: TypeAlias = npt.NDArray[np.float32]
Affine: TypeAlias = npt.NDArray[np.float64]
Arms: TypeAlias = npt.NDArray[np.complex64]

SMALLEST = 160
LARGEST_SIDE, USUAL_SIDE = 400, 320
"""Images of more than 400 px on the longer side are shrunk to 320, as stored thumbnails are: more decides no better."""
POINTS, DETECTED = 256, 192
"""Keypoints of every image, and the pixels of the longer side on which they are sought (SIFT doubles them first).  Of 400
copies of photographs as many can be laid over their originals by these as by 400 points of 320 px, for half of the work."""
CLOSE_POINTS, CLOSE_DETECTED = 400, LARGEST_SIDE
"""The same where finer keypoints are sought: of fine textures, tables."""
COARSE = 128
_BRIGHT, _EDGES, _RIM = 24, 112, 2
"""Sides on which a frame's brightness and its edges are taken, and how much of the latter's border says nothing."""
_LONGEST = 4000
"""The square is less than 2**24, up to which float32 holds every whole number."""

T = TypeVar("T")


class Coded(NamedTuple):
    """Keypoints.

    points: (n, 2) float32, x and y.  arms: (n,) complex64, their size in pixels and their direction, x + iy.  codes: (n, m),
    see `Words.codes`.
    """

    points: Grey
    arms: Arms
    codes: Codes


class Frame(NamedTuple):
    """A whole image from afar, whatever its shape: brightness on 24 x 24, (576,) int16, and both parts of the gradient on
    108 x 108, (23 328,) int8.

    lengths: of both rows; the product with another's row over both lengths is their correlation.  Whole numbers of no more than
    `_LONGEST` in length, so that float32 adds the product up exactly, whatever stands beside it.
    """

    bright: npt.NDArray[np.int16]
    edges: npt.NDArray[np.int8]
    lengths: tuple[float, float]

    @property
    def mirrored(self) -> Frame:
        """Of the mirror image."""
        side = _EDGES - 2 * _RIM
        across, down = self.edges.reshape(2, side, side)[..., ::-1]
        turned = self.bright.reshape(_BRIGHT, _BRIGHT)[:, ::-1].ravel()
        return Frame(turned, np.concatenate([-across.ravel(), down.ravel()]), self.lengths)


class _once(Generic[T]):
    """A property that is worked out once.

    That of functools takes one lock for all instances before Python 3.12, and threads would wait for each other's images; here
    two threads may both work out the same.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __get__(self, view: View | None, owner: type[View]) -> T:
        if view is None:
            raise AttributeError(self._make.__name__)
        found = view.__dict__[self._make.__name__] = self._make(view)
        return found


@dataclass(frozen=True)
class View:
    """One image, 160 to 400 px on its longer side (others are resized).

    load: gives the pixels, uint8 (h, w, 3).  size: (h, w).  points, arms, and codes of the image and of its mirror image: see
    `Coded`.
    small: the grey image at no more than 128 px, uint8.  frame: all of it from afar.  close: whether its keypoints were sought
    on many pixels.
    """

    load: Callable[[], Pixels]
    size: tuple[int, int]
    points: Grey
    arms: Arms
    codes: tuple[Codes, Codes]
    small: Pixels
    frame: Frame
    close: bool = False

    @_once
    def rgb(self) -> Pixels:
        """The pixels, resized where they are few or many."""
        return sized(self.load())

    @_once
    def luminance(self) -> Pixels:
        """Grey levels, uint8 (h, w)."""
        import cv2

        return np.asarray(cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY), dtype=np.uint8)

    @_once
    def grey(self) -> Grey:
        """`luminance` as float32."""
        return self.luminance.astype(np.float32)

    @property
    def coded(self) -> Coded:
        """Its keypoints."""
        return Coded(self.points, self.arms, self.codes[0])

    @_once
    def _found_closer(self) -> View:
        """The same view with more keypoints."""
        points, arms, descriptors = keypoints(self.luminance, side=CLOSE_DETECTED, count=CLOSE_POINTS)
        view = View(self.load, self.size, points, arms, shipped_words().codes(descriptors), self.small, self.frame, close=True)
        view.__dict__.update({name: getattr(self, name) for name in ("rgb", "luminance")})
        return view

    @property
    def closer(self) -> View:
        """The view with keypoints that were sought on more pixels."""
        # Two properties, so that no view holds itself and all go as soon as they are let go.
        return self if self.close else self._found_closer

    @_once
    def mirrored(self) -> View:
        """The mirror image, its keypoints carried over."""
        import cv2

        points = self.points.copy()
        points[:, 0] = self.size[1] - 1 - points[:, 0]
        small = np.asarray(cv2.flip(self.small, 1), np.uint8)
        load = self.load

        def turned() -> Pixels:
            return np.asarray(cv2.flip(load(), 1), np.uint8)

        return View(turned, self.size, points, -self.arms.conj(), self.codes[::-1], small, self.frame.mirrored, self.close)

    def fresh(self) -> View:
        """The same view without what it has computed or read: for keeping many."""
        return View(self.load, self.size, self.points, self.arms, self.codes, self.small, self.frame, self.close)


def _framed(small: Pixels) -> Frame:
    import cv2

    bright = cv2.resize(small, (_BRIGHT, _BRIGHT), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    bright -= bright.mean()
    fine = cv2.GaussianBlur(cv2.resize(small, (_EDGES, _EDGES), interpolation=cv2.INTER_AREA).astype(np.float32), (0, 0), 0.5)
    inner = slice(_RIM, -_RIM)
    edges = np.stack([cv2.Sobel(fine, cv2.CV_32F, *way)[inner, inner] for way in ((1, 0), (0, 1))]).ravel()
    most = 127 / max(float(np.abs(edges).max()), 1.0)
    bright, edges = (np.rint(row * min(limit, _LONGEST / _length(row))) for row, limit in ((bright, np.inf), (edges, most)))
    return Frame(bright.astype(np.int16), edges.astype(np.int8), (_length(bright), _length(edges)))


def _length(row: Grey) -> float:
    """At least 1, so that what has next to nothing is like nothing."""
    return max(float(np.sqrt(row @ row)), 1.0)


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
    points, arms, codes = np.zeros((0, 2), np.float32), np.zeros(0, np.complex64), np.zeros((0, 0), np.int16)
    nothing, frame = np.zeros((0, 0), np.uint8), Frame(np.zeros(0, np.int16), np.zeros(0, np.int8), (1.0, 1.0))
    return View(lambda: rgb, (rgb.shape[0], rgb.shape[1]), points, arms, (codes, codes), nothing, frame)


def view_of(pixels: Pixels, load: Callable[[], Pixels] | None = None) -> View:
    """The view of uint8 (h, w, 3) pixels.  load: reads them again, so that they need not be kept."""
    import cv2

    rgb = sized(pixels)
    grey = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    scale = min(1.0, COARSE / max(grey.shape))
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    points, arms, descriptors = keypoints(grey)
    codes = shipped_words().codes(descriptors)
    small = np.asarray(small, np.uint8)
    return View(load or (lambda: rgb), (grey.shape[0], grey.shape[1]), points, arms, codes, small, _framed(small))


def keypoints(grey: Pixels, *, side: int = DETECTED, count: int = POINTS) -> tuple[Grey, Arms, Pixels]:
    """SIFT keypoints, in pixels of `grey`: points and arms as in `Coded`, and descriptors (n, 128) uint8, by place.

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
        return np.zeros((0, 2), np.float32), np.zeros(0, np.complex64), np.zeros((0, 128), np.uint8)
    grown = np.array(grey.shape[::-1]) / np.array(seen.shape[::-1])
    points = ((np.asarray(cv2.KeyPoint.convert(found)) + 0.5) * grown - 0.5).astype(np.float32)
    # OpenCV lists equal responses in no fixed order.
    order = np.lexsort((points[:, 1], points[:, 0]))[: count + 100]
    sizes, angles = np.array([(found[n].size, found[n].angle) for n in order.tolist()], np.float32).T
    arms = sizes * grown.astype(np.float32).mean() * np.exp(1j * np.deg2rad(angles))
    return points[order], arms.astype(np.complex64), np.clip(descriptors[order], 0, 255).astype(np.uint8)
