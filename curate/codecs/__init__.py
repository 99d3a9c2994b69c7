"""Compressed forms of vectors, and what they cost.

| name | bytes at d | learned | for |
|---|---|---|---|
| f32 | 4 d | nothing | exact |
| f16 | 2 d | nothing | as good as exact |
| int8 | d + 4 | nothing | what `curate compress` uses when no codec is named |
| int4 | d / 2 + 6 | the mean, one factor | half of int8; the last one to decide duplicates with |
| tc:BITS | BITS d / 8 + 4 | mean, axes, chances | 1 to 4 bits a coordinate: search and clusters in little space |
| binary | d / 8 + 4 | the mean | an index; never the only copy of a vector |

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

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from curate.codecs._binary import Binary, hamming
from curate.codecs._bound import Band, Bound, Split, measure_bound, split_pairs
from curate.codecs._checks import Codes
from curate.codecs._frame import Frame, mean_error
from curate.codecs._header import unpack_header
from curate.codecs._int4 import Int4
from curate.codecs._int8 import Int8
from curate.codecs._plain import Floats
from curate.codecs._transform import Transform, scheme_of
from curate.errors import ConfigError, Corrupt, UnknownName, WrongVersion
from curate.geometry import Geometry, norms
from curate.types import Vectors

if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "DEFAULT",
    "DRIFT",
    "NAMES",
    "Band",
    "Bound",
    "Codec",
    "Codes",
    "Split",
    "codec_from_header",
    "codec_named",
    "drift",
    "hamming",
    "matryoshka",
    "measure_bound",
    "split_pairs",
    "verify",
]

DEFAULT = "int8"
"""The codec of `curate compress` when none is named."""

NAMES = ("f32", "f16", "int8", "int4", "tc:4", "tc:3", "tc:2", "tc:1", "binary")

DRIFT = 1.5
"""From this `drift` on a learned codec no longer fits the vectors and is to be fitted anew."""


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
    """The codec of a `--codec` value, not yet fitted.  Raises UnknownName, and ConfigError for what is known to be wrong."""
    name = text.strip().lower()
    if name in ("f32", "f16"):
        return Floats(name)
    if name == "int8":
        return Int8()
    if name == "int4":
        return Int4()
    if name in ("binary", "binary-raw"):
        return Binary(centred=name == "binary")
    kind, _, bits = name.partition(":")
    if kind == "tc":
        if bits not in ("1", "2", "3", "4"):
            raise ConfigError(f"codec {text!r}: transform coding takes 1 to 4 bits a coordinate: tc:1, tc:2, tc:3 or tc:4")
        return Transform(int(bits))
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
    name, dim = str(settings["codec"]), settings["dim"]
    if name in ("f32", "f16"):
        return Floats(name, dim, bound)
    if name == "int8":
        return Int8(dim, bound, settings["seed"])
    if name not in (*NAMES, "binary-raw"):
        raise WrongVersion(f"codec {name!r} is not known here: the segment was written by a newer curate; upgrade curate")
    frame, error = Frame(arrays["mean"], settings["directions"]), settings["error"]
    if name == "int4":
        return Int4(frame, bound, error, settings["seed"], settings.get("shrink", 1.0))
    if name.startswith("binary"):
        return Binary(frame, settings["spread"], bound, error, settings["seed"], name == "binary")
    return Transform(int(name.partition(":")[2]), frame, scheme_of(arrays), bound, error)


def verify(codec: Codec, vectors: Vectors, codes: Codes) -> None:
    """Raises Corrupt unless `codes` are those of `vectors`: decoded, as near as the codec gets, and as long to 0.2 %.

    vectors: (n, d) float32; codes: (n, w).
    """
    decoded, again = codec.decode(codes), codec.decode(codec.encode(vectors))
    if decoded.shape != again.shape:
        raise Corrupt(f"codec {codec.name}: {decoded.shape} decoded where {again.shape} were encoded")
    wide, length = np.asarray(vectors, np.float64), norms(vectors)
    slack = 1e-6 * length + 1e-30
    far = np.flatnonzero(~(norms(wide - decoded) <= norms(wide - again) * 1.001 + slack))
    off = np.flatnonzero(~(np.abs(norms(decoded) - length) <= 0.002 * length + slack))
    for rows, what in ((far, "further from its vector than the codec puts it"), (off, "not as long as its vector")):
        if rows.size:
            raise Corrupt(f"codec {codec.name}: decoded row {int(rows[0])} is {what}; the codes are not those of these vectors")


def drift(codec: Codec, vectors: Vectors) -> float:
    """How much worse a learned codec serves these vectors than those it learned from: the ratio of mean squared errors.

    About 1 for the same kind of vectors; from `DRIFT` on, fit it anew.  1 for codecs that learn nothing.
    """
    usual = getattr(codec, "error", 0.0)
    if codec.stateless or not len(vectors):
        return 1.0
    return mean_error(np.asarray(vectors), codec.decode(codec.encode(vectors))) / max(float(usual), 1e-12)


def matryoshka(vectors: Vectors, dim: int, *, declared: Sequence[int]) -> Vectors:
    """The first `dim` coordinates, for a model trained so that they stand alone; lengths change with them.

    declared: the dimensions that the model's card declares.  Raises ConfigError for any other: cutting a model that was not
    trained for it loses more than any codec of that size (recall@10 0.71 at half of all-MiniLM-L6-v2, where int4 keeps 0.95).
    """
    if dim not in declared:
        known = ", ".join(str(d) for d in sorted(declared)) or "none"
        raise ConfigError(
            f"the model declares no Matryoshka dimension {dim} (declared: {known}); its first {dim} coordinates are not "
            "an embedding. Use int4 or tc:BITS for small vectors."
        )
    if dim > np.shape(vectors)[1]:
        raise ConfigError(f"vectors have {np.shape(vectors)[1]} dimensions, fewer than {dim}")
    return np.ascontiguousarray(vectors[:, :dim], dtype=np.float32)
