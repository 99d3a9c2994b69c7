"""tc:BITS, transform coding: principal axes, more bits where there is more variance, and the length.

Two ways to spend the bits: `_entropy.py`, and `_whole_bits.py` for segments of earlier versions and short vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curate.codecs._bound import Bound, measure_bound
from curate.codecs._checks import NORM_BYTES, Codes, check_codes, check_vectors, enough_rows, pack_norms
from curate.codecs._entropy import Entropy
from curate.codecs._frame import Frame, mean_error
from curate.codecs._header import pack_header
from curate.codecs._learn import learn_entropy
from curate.codecs._whole_bits import WholeBits
from curate.errors import ConfigError
from curate.geometry import Array, Geometry
from curate.types import Vectors

TRAIN_ROWS = 16_000
BLOCK = 2048


@dataclass(frozen=True)
class Transform:
    """Length and direction in `per_coordinate` bits a coordinate and four bytes, spent where the variance is.

    Few bits shorten differences along the axes that have none: at 1 to 3 bits duplicates are not decided on it.
    """

    per_coordinate: int
    frame: Frame | None = None
    scheme: Entropy | WholeBits | None = None
    bound: Bound | None = None
    error: float = 0.0
    stateless = False

    @property
    def name(self) -> str:
        """tc:BITS."""
        return f"tc:{self.per_coordinate}"

    @property
    def decides_duplicates(self) -> bool:
        """From 4 bits on."""
        return self.per_coordinate >= 4

    @property
    def dim(self) -> int | None:
        """Dimension of the vectors; None before `fit`."""
        return None if self.frame is None else len(self.frame.mean)

    def bytes_per_vector(self, dim: int) -> int:
        """`per_coordinate` bits a coordinate and four bytes."""
        return NORM_BYTES + (self.per_coordinate * dim + 7) // 8

    def fit(self, sample: Vectors, geometry: Geometry, rng: np.random.Generator) -> Transform:
        """Learns mean, axes and how to spend bits.  Raises ConfigError for fewer rows than 256 or twice the dimension."""
        x = check_vectors(sample)
        x = enough_rows(x, max(256, 2 * x.shape[1]), codec=self.name)
        # What a codec says about its error is measured on rows it did not learn from.
        order = rng.permutation(len(x))[:TRAIN_ROWS]
        held_out, x = x[np.sort(order[: len(order) // 4])], x[np.sort(order[len(order) // 4 :])]
        frame, length = Frame.of(x, geometry), pack_norms(x)[0]
        centred = frame.centre(x, length).astype(np.float64)
        variance, axes = _principal(centred)
        width = self.bytes_per_vector(x.shape[1])
        scheme: Entropy | WholeBits | None = learn_entropy(centred, length, variance, axes, width)
        if scheme is None:
            scheme = WholeBits.learn(centred, variance, axes, self.per_coordinate * x.shape[1])
        fitted = replace(self, frame=frame, scheme=scheme)

        def round_trip(rows: Vectors) -> Vectors:
            return fitted.decode(fitted.encode(rows))

        bound = measure_bound(round_trip, held_out, geometry, rng)
        return replace(fitted, bound=bound, error=mean_error(held_out, round_trip(held_out)))

    def encode(self, vectors: Vectors) -> Codes:
        """(n, d) float32 -> (n, bits d / 8 + 4) uint8."""
        frame, scheme = self._fitted()
        x = check_vectors(vectors, len(frame.mean))
        codes = np.zeros((len(x), self.bytes_per_vector(x.shape[1])), np.uint8)
        length, axes = pack_norms(x)[0], scheme.axes.astype(np.float64)
        for start in range(0, len(x), BLOCK):
            rows = slice(start, start + BLOCK)
            # float64, so that the shape of the batch moves no row across a cut.
            along = frame.centre(x[rows], length[rows]).astype(np.float64) @ axes
            codes[rows] = scheme.encode(along, length[rows], codes.shape[1])
        return codes

    def decode(self, codes: Codes) -> Vectors:
        """(n, bits d / 8 + 4) uint8 -> (n, d) float32 of the stored lengths."""
        frame, scheme = self._fitted()
        dim = len(frame.mean)
        held = check_codes(codes, self.bytes_per_vector(dim))
        back = scheme.axes.astype(np.float64).T
        x = np.empty((len(held), dim), np.float32)
        for start in range(0, len(held), BLOCK):
            along, length = scheme.decode(held[start : start + BLOCK])
            x[start : start + BLOCK] = frame.restore(np.asarray(along @ back, dtype=np.float32), length)
        return x

    def header(self) -> bytes:
        """Mean, axes, tables, bound and usual error."""
        frame, scheme = self._fitted()
        settings = {"codec": self.name, "dim": self.dim, "directions": frame.directions, "error": self.error}
        arrays: dict[str, np.ndarray[Any, Any]] = {"mean": frame.mean, **scheme.arrays()}
        if self.bound is not None:
            settings["geometry"] = self.bound.geometry
            arrays.update(self.bound.arrays())
        return pack_header(settings, arrays, version=2 if isinstance(scheme, Entropy) else 1)

    def _fitted(self) -> tuple[Frame, Entropy | WholeBits]:
        if self.frame is None or self.scheme is None:
            raise ConfigError(f"codec {self.name} must be fitted to a sample before it is used")
        return self.frame, self.scheme


def scheme_of(arrays: dict[str, np.ndarray[Any, Any]]) -> Entropy | WholeBits:
    """How the bits of a header's codec are spent.  Raises KeyError and ValueError for arrays that are missing or do not fit."""
    if "bits" in arrays:
        return WholeBits(arrays["axes"], arrays["bits"].astype(np.int64), arrays["levels"])
    return Entropy.from_arrays(arrays)


def _principal(centred: Array) -> tuple[Array, Array]:
    """Variances, largest first, and the axes they belong to: (d,), (d, d) columns."""
    variance, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    variance, axes = np.maximum(variance[::-1], 0), axes[:, ::-1]
    # An eigenvector's sign is arbitrary; fixed, so that another LAPACK learns the same codes.
    return variance, axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(len(axes))] < 0, -1.0, 1.0)
