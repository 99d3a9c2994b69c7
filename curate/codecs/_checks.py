"""What every codec refuses before it looks at a number."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from curate.errors import ConfigError, Corrupt, EmbedderError
from curate.geometry import Array, norms
from curate.types import Vectors

Codes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]

LARGEST = float(np.finfo(np.float32).max)
NORM_BYTES = 4


def check_vectors(vectors: Vectors, dim: int | None = None) -> Vectors:
    """`vectors` as (n, d) float32.

    Raises EmbedderError, naming the row, for NaN and infinities, a wrong shape, and rows longer than a float32 can say.
    """
    x = np.asarray(vectors, dtype=np.float32)
    if x.ndim != 2 or x.shape[1] == 0:
        raise EmbedderError(f"vectors must be (rows, dim) with dim >= 1; these are {x.shape}")
    if dim is not None and x.shape[1] != dim:
        raise EmbedderError(f"vectors have {x.shape[1]} dimensions, the codec was made for {dim}")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if bad.size:
        raise EmbedderError(f"row {int(bad[0])} holds NaN or infinity ({bad.size} such rows)")
    return x


def check_codes(codes: Codes, width: int) -> Codes:
    """`codes` as (n, width) uint8; raises Corrupt for another width."""
    held = np.asarray(codes)
    if held.dtype != np.uint8 or held.ndim != 2 or held.shape[1] != width:
        raise Corrupt(f"codes are {held.dtype} {held.shape}, expected uint8 (rows, {width})")
    return held


def enough_rows(sample: Vectors, need: int, *, codec: str) -> Vectors:
    """`sample` if it can train `codec`; raises ConfigError with what would work instead."""
    x = check_vectors(sample)
    if len(x) < need:
        raise ConfigError(
            f"codec {codec} learns from the vectors and needs at least {need} rows of {x.shape[1]} dimensions; "
            f"there are {len(x)}. int8 needs none."
        )
    return x


def pack_norms(x: Vectors) -> tuple[Array, Codes]:
    """Lengths of the rows as float64 and as 4 bytes each (little-endian float32).  Raises EmbedderError when one overflows."""
    length = norms(x)
    over = np.flatnonzero(length > LARGEST)
    if over.size:
        raise EmbedderError(f"row {int(over[0])} is longer than a float32 can say ({length[over[0]]:.3g})")
    return length, float_bytes(length)


def float_bytes(length: Array) -> Codes:
    """Lengths as 4 bytes each, little-endian float32: (n,) -> (n, 4)."""
    return length.astype("<f4").view(np.uint8).reshape(len(length), NORM_BYTES)


def unpack_norms(codes: Codes) -> Vectors:
    """Lengths from the first 4 bytes of every code: (n, w) -> (n, 1) float32.  Raises Corrupt for NaN or a negative length."""
    length = np.ascontiguousarray(codes[:, :NORM_BYTES]).view("<f4").astype(np.float32)
    if not (np.isfinite(length) & (length >= 0)).all():
        raise Corrupt("codes: a stored length is not a finite number >= 0")
    return length


def scaled(x: Vectors) -> Vectors:
    """Rows divided by the power of two above their largest entry: exact, and out of reach of overflow and underflow."""
    peak = np.abs(x).max(axis=1, keepdims=True)
    _, exponent = np.frexp(peak)
    return np.asarray(np.ldexp(x, -exponent), dtype=np.float32)


def at_length(y: Vectors, length: Vectors) -> Vectors:
    """Rows of the lengths that were stored: (n, d), (n, 1) -> (n, d) float32, finite; zero rows stay zero."""
    have = norms(y)[:, None]
    factor = np.divide(length, have, out=np.zeros(have.shape), where=have > 0)
    # Near the end of float32 the factor, or a product that is rounded up, may lie past it though the row does not.
    near_end = np.maximum(factor, length) > LARGEST / 2
    made = np.asarray(y * np.where(near_end, 0, factor).astype(np.float32), dtype=np.float32)
    some = np.flatnonzero(near_end)
    made[some] = np.clip(y[some].astype(np.float64) * factor[some], -LARGEST, LARGEST)
    return made
