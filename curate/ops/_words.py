"""The words of keypoints: principal axes of SIFT descriptors, in which they are matched and described, and centres on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.types import Pixels, Vectors

Codes: TypeAlias = npt.NDArray[np.int16]

UNIT = 1024
"""What 1 is in a code: whole numbers, whose squared distances (4 at most) float32 holds without rounding, in whatever order and
among whatever others they are added up."""
_PERMUTED = (np.arange(128).reshape(4, 4, 8)[::-1][:, :, (-np.arange(8)) % 8]).ravel()


@dataclass(frozen=True)
class Words:
    """axes: (128, m) projection of descriptors.  middle: (128,).  centres: (k, m)."""

    axes: Vectors
    middle: Vectors
    centres: Vectors

    @property
    def length(self) -> int:
        """Numbers in a signature."""
        return int(self.centres.size)

    def codes(self, descriptors: Pixels) -> tuple[Codes, Codes]:
        """SIFT descriptors (n, 128) uint8 on the axes, (n, m) int16 in `UNIT`s, and those of the mirror image.

        Of 550 pairs of copies, look-alikes' among them, as many can be laid over each other by 24 axes as by all 128 numbers.
        """
        flat = rooted(descriptors)
        # A mirror turns the order of the bins round, nothing else.
        straight, turned = ((x - self.middle) @ self.axes for x in (flat, np.take(flat, _PERMUTED, axis=1)))
        return np.rint(straight * UNIT).astype(np.int16), np.rint(turned * UNIT).astype(np.int16)


@cache
def shipped_words() -> Words:
    """The words that come with the package, made by `benchmarks/train_duplicates.py`."""
    with resources.files("curate.ops").joinpath("data/words.npz").open("rb") as file, np.load(file, allow_pickle=False) as held:
        return Words(*(held[name].astype(np.float32) for name in ("axes", "middle", "centres")))


def rooted(descriptors: Pixels) -> Vectors:
    """Descriptors as rows whose product is 1 for equal ones (root of the share of each bin: Hellinger)."""
    wide = descriptors.astype(np.float32)
    # Whole numbers, so that their sum is exact; a row of zeros stays one.
    wide /= np.maximum(wide.sum(axis=1, keepdims=True), 1)
    found: Any = np.sqrt(wide, out=wide)
    return np.asarray(found, np.float32)
