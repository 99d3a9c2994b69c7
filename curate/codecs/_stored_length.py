"""The length of a row in an entropy code: next to nothing for the one that most rows have, else three bytes and a little."""

from __future__ import annotations

from typing import Any

import numpy as np

from curate.codecs._rans import WHOLE, Reader, Writer
from curate.errors import Corrupt
from curate.geometry import Array
from curate.types import Vectors

MANTISSA = 8
"""Low bits of a float32 that a stored length does without: it is right to 2**-16, or 2**-142 where that is more."""
LENGTH_BITS = 32 - MANTISSA
SAME = 2.0**-17


def is_usual(length: Array, usual: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which lengths are the usual one to 2**-17: (n,)."""
    return np.asarray(np.abs(length - usual) <= SAME * usual)


def write_length(writer: Writer, length: Array, usual: float, usual_chance: int) -> None:
    """Pushes the length of every row: (n,).  usual_chance: of the usual one, in 2**-14."""
    same = is_usual(length, usual)
    held = length.astype(np.float32).view(np.uint32).astype(np.uint64)
    held = np.minimum(held + (1 << (MANTISSA - 1)), np.uint64(0x7F7FFFFF)) >> np.uint64(MANTISSA)
    chance = np.where(same, WHOLE, 4).astype(np.uint64)
    for part in (held & np.uint64(0xFFF), held >> np.uint64(12)):
        writer.push(np.where(same, np.uint64(0), part << np.uint64(2)), chance)
    often = np.uint64(usual_chance)
    writer.push(np.where(same, np.uint64(0), often), np.where(same, often, np.uint64(WHOLE) - often))


def read_length(reader: Reader, usual: float, usual_chance: int) -> Vectors:
    """The inverse: (n, 1).  Raises Corrupt for what is no length."""
    often = np.uint64(usual_chance)
    same = reader.slot < often
    reader.drop(np.where(same, np.uint64(0), often), np.where(same, often, np.uint64(WHOLE) - often))
    chance, held = np.where(same, WHOLE, 4).astype(np.uint64), np.zeros(len(same), np.uint64)
    for _ in range(2):
        part = reader.slot >> np.uint64(2)
        reader.drop(np.where(same, np.uint64(0), part << np.uint64(2)), chance)
        held = held << np.uint64(12) | part
    length = (held << np.uint64(MANTISSA)).astype(np.uint32).view(np.float32)
    length = np.where(same, np.float32(usual), length)
    if not (np.isfinite(length) & (length >= 0)).all():
        raise Corrupt("codes: a stored length is not a finite number >= 0")
    return np.asarray(length[:, None], dtype=np.float32)
