"""int8 and two bits more a coordinate: what search needs to rank close neighbours as their floats do.

On clustered 512-d vectors int8 alone gives recall@10 of 0.987 for a query by id; with its residual in two bits 0.996.
"""

from __future__ import annotations

import math

import numpy as np

from curate.codecs import Codes, codec_named
from curate.geometry import norms
from curate.types import Vectors

NAME = "int8+2"
LEVELS = np.array([-1.51, -0.4528, 0.4528, 1.51], np.float32)
"""The four levels with the least squared error for normal numbers (Max 1960, table I)."""
CUTS = np.array([-0.9816, 0.0, 0.9816], np.float32)
SCALE_BYTES = 4
BLOCK = 8_192


class Fine:
    """The code of int8, then the residual: its scale (float32) and two bits a coordinate."""

    name = NAME

    def __init__(self) -> None:
        self._coarse = codec_named("int8")

    def bytes_per_vector(self, dim: int) -> int:
        """Bytes of one code."""
        return self._coarse.bytes_per_vector(dim) + SCALE_BYTES + -(-dim // 4)

    def encode(self, vectors: Vectors) -> Codes:
        """(n, d) float32 -> (n, bytes) uint8.  Raises EmbedderError for NaN and infinities."""
        dim = vectors.shape[1]
        codes = np.empty((len(vectors), self.bytes_per_vector(dim)), np.uint8)
        wide = self._coarse.bytes_per_vector(dim)
        for start in range(0, len(vectors), BLOCK):
            x = np.asarray(vectors[start : start + BLOCK], np.float32)
            coarse = self._coarse.encode(x)
            rest = x - self._coarse.decode(coarse)
            scale = np.asarray(norms(rest) / math.sqrt(dim), np.float32)
            steps = np.searchsorted(CUTS, rest / np.where(scale > 0, scale, 1)[:, None]).astype(np.uint8)
            steps = np.pad(steps, ((0, 0), (0, -dim % 4))).reshape(len(x), -1, 4)
            rows = slice(start, start + len(x))
            codes[rows, :wide] = coarse
            codes[rows, wide : wide + SCALE_BYTES] = scale.astype("<f4")[:, None].view(np.uint8)
            codes[rows, wide + SCALE_BYTES :] = steps[..., 0] | steps[..., 1] << 2 | steps[..., 2] << 4 | steps[..., 3] << 6
        return codes

    def decode(self, codes: Codes) -> Vectors:
        """(n, bytes) uint8 -> (n, d) float32; d is the only one that gives codes of this width and is told by `dim_of`."""
        dim = self.dim_of(codes.shape[1])
        wide = self._coarse.bytes_per_vector(dim)
        vectors = np.empty((len(codes), dim), np.float32)
        for start in range(0, len(codes), BLOCK):
            some = np.ascontiguousarray(codes[start : start + BLOCK])
            scale = np.ascontiguousarray(some[:, wide : wide + SCALE_BYTES]).view("<f4")
            packed = some[:, wide + SCALE_BYTES :]
            steps = np.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], axis=-1).reshape(len(some), -1)[:, :dim]
            vectors[start : start + len(some)] = self._coarse.decode(some[:, :wide]) + LEVELS[steps] * scale
        return vectors

    def dim_of(self, width: int) -> int:
        """The dimension whose codes have this width: widths grow with every dimension, so there is one at most."""
        guess = (width - SCALE_BYTES - self._coarse.bytes_per_vector(0)) * 4 // 5
        return next(dim for dim in range(max(guess - 2, 0), guess + 3) if self.bytes_per_vector(dim) == width)
