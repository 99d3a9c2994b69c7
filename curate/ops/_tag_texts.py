"""Vectors of a taxonomy's texts, kept between runs: a text tower is slow, and the texts seldom change."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence

import numpy as np

from curate.errors import EmbedderError
from curate.ops._leaf_scores import text_vectors
from curate.protocols import Context
from curate.taxonomy import Facet
from curate.types import EmbedderSpec, Vectors

LARGEST_KEPT = 4 * 1024 * 1024
"""Bytes of vectors above which they are not kept: the store's cache is for small values."""


def cached_text_vectors(facet: Facet, tags: Sequence[int], spec: EmbedderSpec, context: Context) -> Vectors:
    """One vector for each of `tags`, from the cache where model and texts are the same.  (tags, dim) float32.

    Raises EmbedderError where the text tower gives vectors of another length than the images have.
    """
    if context.embed_text is None:
        raise EmbedderError(f"model {spec.name!r} has no text tower")
    content = json.dumps([spec.fingerprint, [facet.texts(v) for v in tags]])
    key = f"tag-texts:{hashlib.sha256(content.encode()).hexdigest()}"
    kept = context.cached(key)
    if kept:
        return np.frombuffer(base64.b64decode(kept), dtype="<f4").reshape(len(tags), spec.dim).astype(np.float32)
    vectors = text_vectors(facet, tags, spec.space, context.embed_text)
    if vectors.shape[1] != spec.dim:
        raise EmbedderError(
            f"the texts of model {spec.name!r} have {vectors.shape[1]} dimensions and its stored images {spec.dim}: tagging "
            "needs the projected layer (--layer projected)"
        )
    if vectors.nbytes <= LARGEST_KEPT:
        context.keep(key, base64.b64encode(vectors.astype("<f4").tobytes()).decode())
    return vectors
