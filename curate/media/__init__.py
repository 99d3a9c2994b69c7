"""Bytes in, pixels out: fetching by HTTP behind an address guard, and decoding to upright RGB within limits."""

from __future__ import annotations

from curate.media._decode import MAX_PIXELS, Decoded, decode
from curate.media._fetch import MAX_BYTES, fetch
from curate.media._pixels import THUMBNAIL_SIDE, area_mean, facts, pixel_hash, read_thumbnail, resize, thumbnail
from curate.media._sniff import sniff

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "THUMBNAIL_SIDE",
    "Decoded",
    "area_mean",
    "decode",
    "facts",
    "fetch",
    "pixel_hash",
    "read_thumbnail",
    "resize",
    "sniff",
    "thumbnail",
]
