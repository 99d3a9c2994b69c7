"""A range coder (rANS) for many rows at once: what is likely costs few bits, and a row's code is one number of fixed width.

J. Duda, "Asymmetric numeral systems", arXiv 1311.2540; streamed in words of 32 bits as in F. Giesen, arXiv 1402.3392.  The
last symbol in is the first out.  Integers only: the same on any machine.  The state starts at 0, so that no bits go into it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from curate.codecs._checks import Codes

Words: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]

PRECISION = 14
"""Chances are in units of 2**-14."""
WHOLE = 1 << PRECISION
SLACK = PRECISION + 1
"""Bits by which a code may be longer than the sum of -log2(chance): the state plus 2**14 grows by 1 / chance at most."""

_SPARE = 4
_WORD, _LOW, _GROWN = np.uint64(32), np.uint64(0xFFFFFFFF), np.uint64(1 << 31)
_BITS, _MASK, _WHOLE, _ROOM = np.uint64(PRECISION), np.uint64(WHOLE - 1), np.uint64(WHOLE), np.uint64(63 - PRECISION)


class Writer:
    """Codes of `rows` rows, `width` bytes each."""

    def __init__(self, rows: int, width: int) -> None:
        self._width = width
        self._words = np.zeros((rows, -(-width // 4) + _SPARE), np.uint32)
        self._at = np.full(rows, self._words.shape[1], np.int64)
        self._state = np.zeros(rows, np.uint64)

    def push(self, start: Words, chance: Words) -> None:
        """One symbol of every row, which owns start..start + chance of 0..2**14; chance: 1..2**14.  (rows,) both."""
        full = np.flatnonzero(self._state >= chance << _ROOM)
        if full.size:
            self._put(full, self._state[full] & _LOW)
            self._state[full] >>= _WORD
        # (state // chance) * 2**14 + state % chance + start, with one division.
        self._state += self._state // chance * (_WHOLE - chance) + start

    def finish(self) -> tuple[Codes, np.ndarray[Any, np.dtype[np.bool_]]]:
        """(rows, width) uint8, and which rows were not too long for it: (rows,)."""
        rows = np.arange(len(self._state))
        self._put(rows, self._state & _LOW)
        self._put(rows, self._state >> _WORD)
        held = self._words.astype(">u4").view(np.uint8).reshape(len(rows), -1)
        return held[:, -self._width :], (self._at >= 0) & ~held[:, : -self._width].any(axis=1)

    def _put(self, rows: np.ndarray[Any, np.dtype[np.int64]], words: Words) -> None:
        self._at[rows] -= 1
        self._words[rows, np.maximum(self._at[rows], 0)] = words


class Reader:
    """What a `Writer` wrote, last symbol first.  Any bytes can be read; those that nobody wrote say nothing."""

    def __init__(self, codes: Codes) -> None:
        rows, width = codes.shape
        count = -(-width // 4)
        held = np.zeros((rows, 4 * count), np.uint8)
        held[:, 4 * count - width :] = codes
        # Word by word, so that where a row is read next is past the end as soon as it has none left.
        self._words = held.view(">u4").T.astype(np.uint64).ravel()
        self._at = np.arange(rows)
        self._state = np.zeros(rows, np.uint64)
        self.slot = np.zeros(rows, np.uint64)
        """The number below 2**14 that the next symbol of every row owns."""
        for _ in range(count):
            self._fill()

    def drop(self, start: Words, chance: Words) -> None:
        """Takes the symbol that was pushed with these."""
        self._state >>= _BITS
        self._state *= chance
        self._state += self.slot
        self._state -= start
        self._fill()

    def _fill(self) -> None:
        low = np.flatnonzero(self._state < _GROWN)
        at = self._at[low]
        if at.size and at.max() >= len(self._words):
            some = at < len(self._words)
            low, at = low[some], at[some]
        if low.size:
            self._state[low] = self._state[low] << _WORD | self._words[at]
            self._at[low] = at + len(self._state)
        np.bitwise_and(self._state, _MASK, out=self.slot)
