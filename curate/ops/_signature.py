"""Short descriptions of an image by which candidates are found, whatever the embedding model.

Keypoint signature: residuals of SIFT descriptors to a few shipped words, summed per word (VLAD: Jegou et al. 2010, on RootSIFT,
each word's part and the whole of unit length); finds crops, turned and mirrored copies.  Small picture: 12 x 12 brightness and
6 x 6 colour, contrast taken out; finds what has no keypoints.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from curate.geometry import norms
from curate.ops._views import Grey, View
from curate.ops._words import UNIT, Words
from curate.types import Pixels

GRID = 12


def signatures(view: View, words: Words) -> tuple[Grey, Grey]:
    """Keypoint signatures of a view and of its mirror image: each (length,) float32 of unit length, zeros without keypoints."""
    straight, turned = (_vlad(code.astype(np.float32) / np.float32(UNIT), words) for code in view.codes)
    return straight, turned


def _vlad(low: Grey, words: Words) -> Grey:
    if not len(low):
        return np.zeros(words.length, np.float32)
    nearest = (low @ words.centres.T - np.square(words.centres).sum(axis=1) / 2).argmax(axis=1)
    total = np.zeros(words.centres.shape, np.float32)
    np.add.at(total, nearest, low - words.centres[nearest])
    return _unit_or_zero(_unit_rows(total).ravel())


def small_picture(pixels: Pixels) -> Grey:
    """(216,) float32 of unit length or zero: brightness on 12 x 12 cells, two colour differences on 6 x 6."""
    import cv2

    small = cv2.resize(pixels, (2 * GRID, 2 * GRID), interpolation=cv2.INTER_AREA).astype(np.float32)
    bright = cv2.resize(small.mean(axis=2), (GRID, GRID), interpolation=cv2.INTER_AREA)
    half = cv2.resize(small, (GRID // 2, GRID // 2), interpolation=cv2.INTER_AREA)
    colour = np.stack([half[..., 0] - half[..., 1], (half[..., 0] + half[..., 1]) / 2 - half[..., 2]])
    parts = [(bright - bright.mean()).ravel(), 0.5 * (colour - colour.mean(axis=(1, 2), keepdims=True)).ravel()]
    return _unit_or_zero(np.concatenate(parts))


def small_picture_length() -> int:
    """Numbers in a small picture."""
    return GRID * GRID + 2 * (GRID // 2) ** 2


def mirrored_picture(rows: Grey) -> Grey:
    """`small_picture` of the mirror images, from those of the images: (n, d) -> (n, d)."""
    half = GRID // 2
    bright = rows[:, : GRID * GRID].reshape(-1, GRID, GRID)[:, :, ::-1].reshape(len(rows), -1)
    colour = rows[:, GRID * GRID :].reshape(-1, 2, half, half)[..., ::-1].reshape(len(rows), -1)
    return np.concatenate([bright, colour], axis=1)


def _unit_rows(x: Grey) -> Grey:
    length = norms(x)[:, None]
    return np.asarray(np.divide(x, length, out=np.zeros_like(x, dtype=np.float64), where=length > 1e-6), dtype=np.float32)


def _unit_or_zero(x: Any) -> Grey:
    return np.asarray(_unit_rows(np.asarray(x, np.float32)[None])[0], dtype=np.float32)
