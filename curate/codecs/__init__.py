"""Compressed forms of vectors, and what they cost.

| name | bytes at d | learned | for |
|---|---|---|---|
| f32 | 4 d | nothing | exact |
| f16 | 2 d | nothing | as good as exact |
| int8 | d + 4 | nothing | what `curate compress` uses when no codec is named |

How a store uses one:

    codec = codec_named("int8").fit(sample, geometry, rng)    # a fitted copy; also measures its distance error
    codes = codec.encode(vectors)                             # (n, d) float32 -> (n, codec.bytes_per_vector(d)) uint8
    verify(codec, vectors, codes)                             # raises Corrupt unless the codes say what the vectors said
    codec = codec_from_header(codec.header())                 # JSON and arrays as bytes: all that decoding needs
    vectors = codec.decode(codes)                             # float32, lengths as they were

`codec.stateless`: the codes depend on nothing learned, so that `fit` may be skipped and segments of different headers hold
the same bytes.  `codec.decides_duplicates`: whether duplicates may be decided on its decoded vectors at all (4 bits and more).
`codec.bound`: None, or the measured error of distances; `codec.bound.band(radius)` is the range of decoded distances in which
a pair is borderline, `split_pairs(distances, band)` the split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from curate.codecs._bound import Band, Bound, Split, measure_bound, split_pairs
from curate.codecs._checks import Codes
from curate.codecs._header import unpack_header
from curate.codecs._int8 import Int8
from curate.codecs._plain import Floats
from curate.errors import Corrupt, UnknownName
from curate.geometry import Geometry, norms
from curate.types import Vectors

if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "DEFAULT",
    "NAMES",
    "Band",
    "Bound",
    "Codec",
    "Codes",
    "Split",
    "codec_from_header",
    "codec_named",
    "measure_bound",
    "split_pairs",
    "verify",
]

DEFAULT = "int8"
"""The codec of `curate compress` when none is named."""

NAMES = ("f32", "f16", "int8")


class Codec(Protocol):
    """What every codec here offers; see the module."""

    @property
    def name(self) -> str:
        """As in `--codec`."""
        ...

    @property
    def dim(self) -> int | None:
        """Dimension of the vectors; None before `fit`."""
        ...

    @property
    def bound(self) -> Bound | None:
        """The measured error of distances; None for f32 and before `fit`."""
        ...

    @property
    def stateless(self) -> bool:
        """Whether codes depend on nothing learned."""
        ...

    @property
    def decides_duplicates(self) -> bool:
        """Whether duplicates may be decided on decoded vectors."""
        ...

    def bytes_per_vector(self, dim: int) -> int:
        """Bytes of one code."""
        ...

    def relative_error(self, dim: int) -> float:
        """No row lies further than this times its length from its decoded form."""
        ...

    def fit(self, sample: Vectors, geometry: Geometry, rng: np.random.Generator) -> Codec:
        """A fitted copy.  Raises ConfigError where the sample cannot train it."""
        ...

    def header(self) -> bytes:
        """All that decoding needs, for `codec_from_header`."""
        ...

    def encode(self, vectors: Vectors) -> Codes:
        """(n, d) float32 -> (n, bytes_per_vector) uint8.  Raises EmbedderError for NaN, infinities and wrong dimensions."""
        ...

    def decode(self, codes: Codes) -> Vectors:
        """(n, bytes_per_vector) uint8 -> (n, d) float32.  Raises Corrupt for codes of another width."""
        ...


def codec_named(text: str) -> Codec:
    """The codec of a `--codec` value, not yet fitted.  Raises UnknownName."""
    name = text.strip().lower()
    if name in ("f32", "f16"):
        return Floats(name)
    if name == "int8":
        return Int8()
    raise UnknownName("codec", text, NAMES)


def codec_from_header(data: bytes) -> Codec:
    """The fitted codec that wrote a header.  Raises Corrupt, or WrongVersion for a header or codec of a newer curate."""
    settings, arrays = unpack_header(data)
    try:
        return _rebuilt(settings, arrays)
    except (KeyError, TypeError, ValueError) as err:
        raise Corrupt(f"codec header: {settings.get('codec')!r} without {err}") from err


def _rebuilt(settings: dict[str, Any], arrays: dict[str, np.ndarray[Any, Any]]) -> Codec:
    bound = Bound.from_arrays(settings["geometry"], arrays["bound"]) if "bound" in arrays else None
    name, dim = settings["codec"], settings["dim"]
    if name in ("f32", "f16"):
        return Floats(name, dim, bound)
    if name == "int8":
        return Int8(dim, bound, settings["seed"])
    raise UnknownName("codec", str(name), NAMES, "The segment was written by a newer curate: upgrade.")


def verify(codec: Codec, vectors: Vectors, codes: Codes) -> None:
    """Raises Corrupt unless `codes` decode to `vectors` within what the codec states.

    Lengths within 0.2 %, every row within `codec.relative_error` of its length.  vectors: (n, d); codes: (n, w).
    """
    decoded = codec.decode(codes)
    if decoded.shape != np.shape(vectors):
        raise Corrupt(f"codec {codec.name}: {decoded.shape} decoded where {np.shape(vectors)} were encoded")
    length = norms(vectors)
    gap = norms(np.asarray(vectors, np.float64) - decoded)
    far = np.flatnonzero(gap > length * codec.relative_error(decoded.shape[1]) * (1 + 1e-5) + 1e-30)
    off = np.flatnonzero(np.abs(norms(decoded) - length) > 0.002 * length + 1e-30)
    for rows, what in ((far, "further from its vector than it may be"), (off, "not as long as its vector")):
        if rows.size:
            raise Corrupt(f"codec {codec.name}: decoded row {int(rows[0])} is {what}; the codes are not those of these vectors")
