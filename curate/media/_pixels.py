"""What is kept and known of decoded pixels: thumbnails, hashes, facts; and the two ways to make an image smaller."""

from __future__ import annotations

import hashlib
import io

import numpy as np

from curate.errors import MediaError
from curate.geometry import Array32
from curate.media._decode import Decoded, decode
from curate.types import Facts, Pixels

THUMBNAIL_SIDE = 320
"""Longest side of a stored thumbnail, in pixels."""


def thumbnail(pixels: Pixels, side: int | None = THUMBNAIL_SIDE) -> bytes:
    """A JPEG of `pixels`, made smaller so that its long side is at most `side` (None: full size); quality 90, no chroma loss.

    Always by Pillow and the area mean: the same bytes with and without the optional extras.
    """
    from PIL import Image

    height, width = pixels.shape[:2]
    longest = max(height, width)
    if side is not None and longest > side:
        pixels = resize(pixels, max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="JPEG", quality=90, subsampling=0)
    return out.getvalue()


def read_thumbnail(data: bytes) -> Pixels:
    """The pixels of a stored thumbnail: uint8 (h, w, 3).  Raises MediaError."""
    return decode(data).pixels


def resize(pixels: Pixels, width: int, height: int) -> Pixels:
    """uint8 (h, w, 3) -> uint8 (height, width, 3): the area mean where it shrinks, linear where it grows."""
    import cv2

    if pixels.shape[:2] == (height, width):
        return np.ascontiguousarray(pixels)
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=_how(pixels, width, height)), dtype=np.uint8)


def area_mean(pixels: Pixels, width: int, height: int) -> Array32:
    """uint8 (h, w, 3) -> float32 (height, width, 3) in 0..255: every cell the mean of the area it covers, not rounded.

    Images smaller than the grid are interpolated linearly.
    """
    import cv2

    if pixels.size > 16_000_000:
        # Halving by exact means first keeps the float copy of a large image small.
        factor = max(1, min(pixels.shape[1] // (8 * width), pixels.shape[0] // (8 * height)))
        pixels = resize(pixels, max(width, pixels.shape[1] // factor), max(height, pixels.shape[0] // factor))
    wide = np.asarray(pixels, dtype=np.float32)
    return np.asarray(cv2.resize(wide, (width, height), interpolation=_how(pixels, width, height)), dtype=np.float32)


def _how(pixels: Pixels, width: int, height: int) -> int:
    import cv2

    shrinks = width <= pixels.shape[1] and height <= pixels.shape[0]
    return int(cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def pixel_hash(pixels: Pixels, width: int, height: int) -> str:
    """sha256 (hex) of upright full-resolution RGB pixels together with their size."""
    if pixels.shape != (height, width, 3):
        raise MediaError("undecodable", f"pixels of shape {pixels.shape} are not {width} x {height}")
    digest = hashlib.sha256(f"{width}x{height}:".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def facts(data: bytes, decoded: Decoded | None = None) -> Facts:
    """What is known of one row's bytes; without `decoded` (text) only their hash and size."""
    content = hashlib.sha256(data).hexdigest()
    if decoded is None:
        return Facts(size_bytes=len(data), content_hash=content)
    same = pixel_hash(decoded.pixels, decoded.width, decoded.height) if decoded.full else None
    return Facts(decoded.width, decoded.height, len(data), content, same)
