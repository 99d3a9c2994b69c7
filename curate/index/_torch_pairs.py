"""Candidates by bfloat16 products in torch, on a CPU that multiplies them quickly or on a CUDA device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from curate.errors import ConfigError
from curate.index._products import ROUND, Rows
from curate.types import Vectors

_HALF_UNIT = 2.0**-9
"""What rounding to bfloat16 moves a number by at most, as a share of it."""
_PIECE = 1 << 18


def torch_candidates(x: Vectors, reach: float, device: str) -> Iterator[tuple[Rows, Rows]]:
    """Rows i < j that bfloat16 products cannot rule out, refined in float32 on the same device.

    x: (n, d) rows.  device: "cpu" or "cuda".  With a = a' + e rounded, |a.b - a'.b'| <= |e_a||b| + |a'||e_b|; the lengths of
    the rounding errors are taken from the rows themselves.  The product is rounded once more; squares stay in float32.
    """
    try:
        import torch
    except ImportError as err:
        raise ConfigError(f"strategy needs torch ({device}): pip install 'curate-vision[models]'; or use 'projection'") from err
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("strategy 'gpu' needs a CUDA device, and torch sees none; use 'auto'")
    full = torch.from_numpy(np.ascontiguousarray(x)).to(device)
    half = full.to(torch.bfloat16)
    square = full.square().sum(dim=1) / 2
    length = (2 * square).sqrt()
    worst = float(length.max()) if len(x) else 0.0
    # Each row's own share of what may be lost, folded into its half square: sharper than one bound for all.
    lost = (full - half.float()).square().sum(dim=1).sqrt() * (1 + _HALF_UNIT) * worst
    lost += (_HALF_UNIT / 2 + x.shape[1] * ROUND * 2) * 1.01 * length * worst
    offset = square - lost
    cut = -(reach**2) / 2 - 8 * ROUND * worst**2
    limit = reach**2 * (1 + 64 * ROUND * x.shape[1]) + 1e-30
    tall, wide = (1_024, 2_048) if device == "cpu" else (16_384, 32_768)
    for start in range(0, len(x), tall):
        stop = min(start + tall, len(x))
        for at in range(start, len(x), wide):
            until = min(at + wide, len(x))
            product = (half[start:stop] @ half[at:until].T).float()
            product -= offset[at:until]
            product -= offset[start:stop, None]
            i, j = _hits(torch, product, cut)
            i, j = i + start, j + at
            upper = i < j
            i, j = i[upper], j[upper]
            for piece in range(0, len(i), _PIECE):
                a, b = i[piece : piece + _PIECE], j[piece : piece + _PIECE]
                near = (full[a] - full[b]).square().sum(dim=1) <= limit
                if bool(near.any()):
                    yield a[near].cpu().numpy(), b[near].cpu().numpy()


def _hits(torch: Any, product: Any, cut: float) -> tuple[Any, Any]:
    rows = torch.nonzero(product.amax(dim=1) >= cut)[:, 0]
    inner, j = torch.nonzero(product[rows] >= cut, as_tuple=True)
    return rows[inner], j
