"""An op's context over images in memory, as the command line gives one over the store."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

from curate.errors import ConfigError
from curate.protocols import Context
from curate.types import EmbedderSpec, Embeddings


def thumb(image, side=320, quality=90):
    """JPEG bytes as the embedding stage keeps them."""
    scale = min(1.0, side / max(image.shape[:2]))
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def context_of(ids, thumbs, *, fields=None, sizes=None, memory=None, widths=None, heights=None, embed_pixels=None):
    """thumbs: id -> JPEG bytes.  fields: name -> values.  memory: a dict that is kept between runs."""
    fields, memory = fields or {}, {} if memory is None else memory
    facts = {
        "content_hash": [hashlib.sha256(thumbs[i]).hexdigest() if i in thumbs else "" for i in ids],
        "size_bytes": sizes or [len(thumbs.get(i, b"")) for i in ids],
        "width": widths or [],
        "height": heights or [],
    }

    def field(name):
        if name not in fields:
            raise ConfigError(f"no row has a field {name!r}")
        return fields[name]

    def pixels(item):
        data = thumbs.get(item)
        if data is None:
            return None
        return np.ascontiguousarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1])

    return Context(
        rng=np.random.default_rng(0),
        pixels=pixels,
        field=field,
        fact=lambda name: facts.get(name, ()),
        embed_pixels=embed_pixels,
        cached=memory.get,
        keep=memory.__setitem__,
    )


def embeddings_of(ids, vectors, geometry="cosine", name="benchmark"):
    vectors = np.asarray(vectors, dtype=np.float32)
    return Embeddings(list(ids), vectors, EmbedderSpec(name, "", "", vectors.shape[1], geometry))
