"""k-means on a GPU through torch: full passes where the CPU takes mini-batches."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from curate.ops._rows import CELLS, Rows
from curate.types import Vectors

PASSES = 50
STILL = 1e-4
"""Share of rows that may still change their centre when the passes end."""


def gpu() -> str | None:
    """The device "cuda" when torch is already at work here and sees one, else None; imports nothing by itself."""
    torch = sys.modules.get("torch")
    return "cuda" if torch is not None and torch.cuda.is_available() else None


def fit_on(x: Vectors, k: int, seed: int, device: str, *, start: Vectors | None = None) -> tuple[Vectors, Rows]:
    """Centres (k, d) and the nearest centre of every row (n,), by full passes of Lloyd's algorithm on `device`.

    x: (n, d) prepared.  start: (k, d), else k rows by k-means++ (Arthur & Vassilvitskii 2007, the best of a few draws a step).
    Sums are float64, so that their order does not matter; centres without rows move to the rows farthest from theirs.
    """
    import torch

    rows = torch.as_tensor(x, device=device)
    centres = torch.as_tensor(start, device=device) if start is not None else _spread(rows, k, seed)
    label = torch.full((len(rows),), -1, dtype=torch.int64, device=device)
    for _ in range(PASSES):
        fresh, distance = _assign(rows, centres)
        moved = int((fresh != label).sum())
        label = fresh
        if moved <= STILL * len(rows):
            break
        count = torch.bincount(label, minlength=k)
        total = torch.zeros((k, rows.shape[1]), dtype=torch.float64, device=device)
        step = _step(rows.shape[1])
        for at in range(0, len(rows), step):
            total.index_add_(0, label[at : at + step], rows[at : at + step].double())
        centres = (total / count.clamp(min=1)[:, None]).float()
        empty = torch.nonzero(count == 0)[:, 0]
        if len(empty):
            centres[empty] = rows[torch.topk(distance, len(empty)).indices]
    return centres.cpu().numpy(), label.cpu().numpy().astype(np.intp)


def _spread(rows: Any, k: int, seed: int) -> Any:
    import torch

    rng = np.random.default_rng(seed)
    chosen = [int(rng.integers(len(rows)))]
    left = _square(rows, rows[chosen[0]][None])[:, 0].double()
    trials = 2 + int(np.log(k))
    for _ in range(1, k):
        total = torch.cumsum(left, 0)
        points = torch.as_tensor(rng.random(trials) * float(total[-1]), dtype=total.dtype, device=total.device)
        drawn = torch.searchsorted(total, points).clamp(max=len(rows) - 1)
        after = torch.minimum(left[:, None], _square(rows, rows[drawn]).double())
        best = int(after.sum(0).argmin())
        chosen.append(int(drawn[best]))
        left = after[:, best]
    return rows[chosen].clone()


def _assign(rows: Any, centres: Any) -> tuple[Any, Any]:
    import torch

    label = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    distance = torch.empty(len(rows), dtype=rows.dtype, device=rows.device)
    step = _step(len(centres))
    for at in range(0, len(rows), step):
        distance[at : at + step], label[at : at + step] = _square(rows[at : at + step], centres).min(dim=1)
    return label, distance


def _square(rows: Any, centres: Any) -> Any:
    return ((rows * rows).sum(1)[:, None] + (centres * centres).sum(1)[None] - 2 * rows @ centres.T).clamp(min=0)


def _step(columns: int) -> int:
    return max(1, 8 * CELLS // max(1, columns))
