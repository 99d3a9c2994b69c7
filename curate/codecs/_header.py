"""The header of a segment: what a codec learned, as one block of bytes that any later version can read.

Layout: `CURC`, one version byte, the length of the JSON (uint32, little endian), the JSON, then the arrays back to back.
The JSON holds the settings and, under "arrays", name, dtype and shape of every array, in order.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from curate.errors import Corrupt, WrongVersion

MAGIC = b"CURC"
VERSION = 2
"""The newest layout read here; 2 has the same frame, and says that a codec is of a kind that version 1 did not know."""
_PREFIX = struct.Struct("<4sBI")


def pack_header(
    settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]] | None = None, *, version: int = 1
) -> bytes:
    """Settings (JSON values) and arrays as bytes; equal input gives equal bytes.  version: of the oldest reader that can."""
    held = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    table = [[name, array.dtype.newbyteorder("<").str, list(array.shape)] for name, array in held.items()]
    text = json.dumps({**settings, "arrays": table}, sort_keys=True, separators=(",", ":")).encode()
    body = b"".join(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() for array in held.values())
    return _PREFIX.pack(MAGIC, version, len(text)) + text + body


def unpack_header(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """The inverse of `pack_header`.  Raises Corrupt for bytes that are none, WrongVersion for a newer layout."""
    if len(data) < _PREFIX.size or data[:4] != MAGIC:
        raise Corrupt("codec header: these bytes are not a codec header")
    _, version, length = _PREFIX.unpack_from(data)
    if version > VERSION:
        raise WrongVersion(f"codec header has version {version}; this curate reads up to {VERSION}: upgrade curate")
    try:
        settings = json.loads(data[_PREFIX.size : _PREFIX.size + length])
        arrays, at = {}, _PREFIX.size + length
        for name, dtype, shape in settings.pop("arrays"):
            count = int(np.prod(shape, dtype=np.int64))
            arrays[name] = np.frombuffer(data, dtype=np.dtype(dtype), count=count, offset=at).reshape(shape)
            at += arrays[name].nbytes
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise Corrupt(f"codec header: cut short or damaged ({err})") from err
    if at != len(data):
        raise Corrupt(f"codec header: {len(data)} bytes where {at} are described")
    return settings, arrays
