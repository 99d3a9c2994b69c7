"""binary: one sign a coordinate of the centred, rotated vector, and the length; an index, never the only copy of a vector."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.codecs._bound import Bound, measure_bound
from curate.codecs._checks import NORM_BYTES, Codes, check_codes, check_vectors, enough_rows, pack_norms, unpack_norms
from curate.codecs._frame import Frame, mean_error
from curate.codecs._header import pack_header
from curate.codecs._rotation import Rotation, in_blocks
from curate.errors import ConfigError
from curate.geometry import Array, Geometry, norms
from curate.types import Vectors

NEED = 32


@dataclass(frozen=True)
class Binary:
    """Length (float32), then a bit a coordinate: whether the centred, rotated row is positive there.

    Decoding gives every coordinate the usual spread of the sample.  centred False means raw signs of the coordinates
    themselves, neither centred nor rotated; `fit` refuses them where no entries are negative (all bits would be 1).
    """

    frame: Frame | None = None
    spread: float = 0.0
    bound: Bound | None = None
    error: float = 0.0
    seed: int = 0
    centred: bool = True
    stateless = False
    decides_duplicates = False

    @property
    def name(self) -> str:
        """Of the two kinds: "binary", or "binary-raw" for signs as they come."""
        return "binary" if self.centred else "binary-raw"

    @property
    def dim(self) -> int | None:
        """Dimension of the vectors; None before `fit`."""
        return None if self.frame is None else len(self.frame.mean)

    def bytes_per_vector(self, dim: int) -> int:
        """An eighth of a byte a coordinate and four bytes."""
        return NORM_BYTES + (dim + 7) // 8

    def fit(self, sample: Vectors, geometry: Geometry, rng: np.random.Generator) -> Binary:
        """Learns the mean and the spread about it.

        Raises ConfigError for fewer than 32 rows, and for raw signs of vectors without a negative entry.
        """
        x = enough_rows(sample, NEED, codec=self.name)
        frame = Frame.of(x, geometry)
        if not self.centred:
            negative = float((x < 0).mean())
            if negative < 0.01:
                raise ConfigError(
                    f"codec {self.name}: {negative:.1%} of the entries are negative (features after a ReLU), so that nearly "
                    "every sign is the same and no order is left (recall@10 0.008 measured): use binary, which centres"
                )
            frame = replace(frame, mean=np.zeros_like(frame.mean))
        spread = float(norms(frame.centre(x, norms(x))).mean() * x.shape[1] ** -0.5)
        fitted = replace(self, frame=frame, spread=spread)

        def round_trip(rows: Vectors) -> Vectors:
            return fitted.decode(fitted.encode(rows))

        return replace(fitted, bound=measure_bound(round_trip, x, geometry, rng), error=mean_error(x, round_trip(x)))

    def encode(self, vectors: Vectors) -> Codes:
        """(n, d) float32 -> (n, d / 8 + 4) uint8."""
        frame = self._fitted()
        x = check_vectors(vectors, len(frame.mean))
        codes = np.empty((len(x), self.bytes_per_vector(x.shape[1])), np.uint8)
        length, codes[:, :NORM_BYTES] = pack_norms(x)
        for rows in in_blocks(len(x)):
            codes[rows, NORM_BYTES:] = np.packbits(self._turned(frame.centre(x[rows], length[rows])) > 0, axis=1)
        return codes

    def decode(self, codes: Codes) -> Vectors:
        """(n, d / 8 + 4) uint8 -> (n, d) float32 of the stored lengths; directions are rough."""
        frame = self._fitted()
        dim = len(frame.mean)
        held = check_codes(codes, self.bytes_per_vector(dim))
        length = unpack_norms(held)
        x = np.empty((len(held), dim), np.float32)
        for rows in in_blocks(len(held)):
            bits = np.unpackbits(held[rows, NORM_BYTES:], axis=1, count=dim)
            y = (2 * bits.astype(np.float32) - 1) * np.float32(self.spread)
            back = Rotation(dim, self.seed).inverse(y) if self.centred else y
            x[rows] = frame.restore(back, length[rows])
        return x

    def header(self) -> bytes:
        """Mean, spread, frame, seed, bound and usual error."""
        frame = self._fitted()
        settings: dict[str, Any] = {"codec": self.name, "dim": self.dim, "seed": self.seed, "directions": frame.directions}
        settings |= {"error": self.error, "spread": self.spread}
        arrays: dict[str, Array | Vectors] = {"mean": frame.mean}
        if self.bound is not None:
            settings["geometry"] = self.bound.geometry
            arrays.update(self.bound.arrays())
        return pack_header(settings, arrays)

    def _turned(self, centred: Vectors) -> Vectors:
        return Rotation(centred.shape[1], self.seed).forward(centred) if self.centred else centred

    def _fitted(self) -> Frame:
        if self.frame is None:
            raise ConfigError(f"codec {self.name} must be fitted to a sample before it is used")
        return self.frame


def hamming(a: Codes, b: Codes) -> Array:
    """Differing bits of every pair of binary codes: (n, w), (m, w) -> (n, m), the lengths left out."""
    left, right = a[:, NORM_BYTES:], b[:, NORM_BYTES:]
    out = np.zeros((len(left), len(right)))
    for byte in range(left.shape[1]):
        out += np.bitwise_count(left[:, byte][:, None] ^ right[:, byte][None, :])
    return out
