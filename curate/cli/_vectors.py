"""From what a user points at (rows, files, words) to vectors of the stored model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.cli._session import Session
from curate.errors import ConfigError, EmbedderError, MediaError
from curate.types import EmbedderSpec, Embeddings, Vectors

if TYPE_CHECKING:
    from curate.protocols import Embedder


def model_of(session: Session, spec: EmbedderSpec) -> Embedder:
    """The model behind stored vectors, loaded.  Raises ConfigError where it gives other vectors now."""
    from curate import embedders

    def load(**flags: Any) -> Embedder:
        return embedders.load(
            spec.name,
            device=session["device"],
            offline=bool(session["offline"]),
            options=session.model_options(spec.name),
            **flags,
        )

    layer = spec.layer if session.is_set("layer") else ""
    try:
        preprocess = spec.preprocess if spec.preprocess in ("exact", "fast") else "exact"
        embedder = load(layer=layer, dtype=spec.dtype, preprocess=preprocess)
    except ConfigError:
        # A third party's model may have neither flag; the fingerprint below tells whether it is the same one.
        embedder = load(layer=layer)
    if embedder.spec.fingerprint != spec.fingerprint:
        differs = [name for name, value in spec.as_dict().items() if embedder.spec.as_dict()[name] != value]
        raise ConfigError(
            f"the model {spec.name!r} loads with another {', '.join(differs)} than the stored vectors were made with; "
            f"compute them again with: curate embed --model {spec.name}"
        )
    return embedder


def vector_of_file(model: Embedder, path: Path) -> Vectors:
    """The vector (d,) of an image file.  Raises ConfigError naming a file that is no image."""
    try:
        return np.asarray(model.embed([model.prepare(path.read_bytes())])[0], np.float32)
    except MediaError as err:
        raise ConfigError(f"{path}: {err}") from err


def vectors_like(session: Session, embeddings: Embeddings, like: Sequence[str], texts: Sequence[str]) -> Vectors | None:
    """One vector for each row id or file of `like`, and each text; None when nothing is given.

    Raises ConfigError for a name that is neither a row nor a file, EmbedderError for texts and a model without a text tower.
    """
    place = {item: row for row, item in enumerate(embeddings.ids)}
    found: list[Vectors] = []
    model: Embedder | None = None
    for name in like:
        if name in place:
            found.append(embeddings.vectors[place[name]][None])
            continue
        if not Path(name).is_file():
            raise ConfigError(f"--like {name!r} is neither a row with a vector nor a file")
        model = model or model_of(session, embeddings.spec)
        found.append(vector_of_file(model, Path(name))[None])
    if texts:
        model = model or model_of(session, embeddings.spec)
        embed_text = getattr(model, "embed_text", None)
        if embed_text is None:
            raise EmbedderError(f"--text needs a model with a text tower (CLIP, EuCLIP, MERU); {embeddings.spec.name} has none")
        found.append(np.asarray(embed_text(list(texts)), np.float32))
    return np.concatenate(found) if found else None
