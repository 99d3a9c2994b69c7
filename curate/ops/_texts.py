"""Near duplicate texts: shared word shingles, found by MinHash and decided by the exact Jaccard similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from curate.errors import MissingExtra
from curate.geometry import Array
from curate.ops._groups import Rows

LEAST = 0.7
"""Texts that share this part of their shingles are copies."""

_WORDS = 3
_PERMUTATIONS = 128


def shingles(text: str) -> frozenset[str]:
    """Runs of three words, lower case; a shorter text is one shingle."""
    words = text.lower().split()
    return frozenset(" ".join(words[n : n + _WORDS]) for n in range(max(1, len(words) - _WORDS + 1)))


def similar_texts(texts: Sequence[str | None], *, least: float = LEAST) -> tuple[Rows, Rows, Array]:
    """Pairs i < j of texts whose shingles overlap by `least` or more (Jaccard), with that share; None is like nothing.

    Candidates come from datasketch's MinHash LSH at a lower threshold.  Raises MissingExtra without datasketch.
    """
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as err:
        raise MissingExtra("datasketch", "text", "comparing texts") from err
    index: Any = MinHashLSH(threshold=0.7 * least, num_perm=_PERMUTATIONS)
    sets = [shingles(t) if t and t.strip() else None for t in texts]
    found: list[tuple[int, int, float]] = []
    for row, parts in enumerate(sets):
        if parts is None:
            continue
        hashed: Any = MinHash(num_perm=_PERMUTATIONS, seed=1)
        hashed.update_batch([p.encode() for p in sorted(parts)])
        for other in index.query(hashed):
            held = sets[int(other)] or frozenset()
            share = len(parts & held) / len(parts | held)
            if share >= least:
                found.append((int(other), row, share))
        index.insert(str(row), hashed)
    found.sort()
    i, j = (np.array([pair[side] for pair in found], dtype=np.int64) for side in (0, 1))
    return i, j, np.array([pair[2] for pair in found], dtype=np.float64)
