"""What was worked out for content that has been seen before, kept between runs in a few hundred JSON values."""

from __future__ import annotations

import base64
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

VERSION = "v7"
"""Raised whenever descriptions, features or models change: what was remembered is then worked out again."""


class Remembered:
    """Values by content key (hex digits), in 256 values of the store by the key's first two digits.

    cached, keep: those of the context.  kind: what is remembered.  `flush` writes what is new.
    """

    def __init__(self, cached: Callable[[str], Any], keep: Callable[[str, Any], None], kind: str) -> None:
        self._cached, self._keep, self._kind = cached, keep, kind
        self._held: dict[str, dict[str, Any]] = {}
        self._changed: set[str] = set()
        self._lock = Lock()

    def _bucket(self, key: str) -> dict[str, Any]:
        place = key[:2]
        with self._lock:
            if place not in self._held:
                self._held[place] = dict(self._cached(f"duplicates/{VERSION}/{self._kind}/{place}") or {})
            return self._held[place]

    def get(self, key: str) -> Any:
        """The value of a key, or None."""
        return self._bucket(key).get(key)

    def put(self, key: str, value: Any) -> None:
        """Remembers a JSON value."""
        self._bucket(key)[key] = value
        self._changed.add(key[:2])

    def flush(self) -> None:
        """Hands what changed to the store."""
        for place in sorted(self._changed):
            self._keep(f"duplicates/{VERSION}/{self._kind}/{place}", self._held[place])
        self._changed.clear()


def packed(rows: list[npt.NDArray[np.float32]]) -> str:
    """Vectors of components in [-1, 1] as text, one byte a component on a scale of its own."""
    parts = [top.tobytes() + codes.tobytes() for top, codes in map(_coded, rows)]
    return base64.b85encode(b"".join(parts)).decode("ascii")


def rounded(rows: list[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
    """What `unpacked` gives of what `packed` made of the rows."""
    return [_decoded(top, codes) for top, codes in map(_coded, rows)]


def _coded(row: npt.NDArray[np.float32]) -> tuple[np.float32, npt.NDArray[np.int8]]:
    top = float(np.abs(row).max(initial=0.0))
    return np.float32(top), np.round(row * (127 / top)).astype(np.int8) if top else np.zeros(len(row), np.int8)


def _decoded(top: np.float32, codes: npt.NDArray[np.int8]) -> npt.NDArray[np.float32]:
    return (codes.astype(np.float32) * np.float32(float(top) / 127)).astype(np.float32)


def unpacked(text: str, lengths: tuple[int, ...]) -> list[npt.NDArray[np.float32]]:
    """The inverse of `packed`, with its rounding."""
    data = base64.b85decode(text)
    rows, at = [], 0
    for length in lengths:
        rows.append(_decoded(np.frombuffer(data, np.float32, 1, at)[0], np.frombuffer(data, np.int8, length, at + 4)))
        at += 4 + length
    return rows
