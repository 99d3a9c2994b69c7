"""`curate compress --dims N`: the first N numbers of every vector, for models whose makers say that they stand alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.cli._session import Session
from curate.errors import ConfigError

if TYPE_CHECKING:
    from curate.cli._target import Target
    from curate.store import Store
    from curate.types import EmbedderSpec

KEY = "matryoshka"
"""The key of `[models.NAME]` that lists the sizes a model was trained for."""

CARD_KEY = "matryoshka_dimensions"
"""The key of a model's own config.json that does."""


def cut(session: Session, store: Store, target: Target, spec: EmbedderSpec, dims: int, codec: str) -> int:
    """Adds the set NAME-N beside the whole vectors, which stay.  Raises ConfigError where the model declares no such size."""
    from curate.codecs import matryoshka

    declared = _declared(session, spec)
    whole = store.embeddings(target.key, spec.fingerprint)
    try:
        vectors = matryoshka(whole.vectors, dims, declared=declared)
    except ConfigError as err:
        raise ConfigError(f"{spec.name}: {err} {_how(spec.name)}") from err
    small = replace(spec, name=f"{spec.name}-{dims}", dim=dims)
    store.import_vectors(target.key, small, list(whole.ids), vectors, codec=codec)
    model = {"name": small.name, "fingerprint": small.fingerprint, "dim": dims, "geometry": small.geometry}
    document = {"dataset": target.address, "model": model, "rows": len(whole), "of": spec.dim, "codec": codec}
    line = f"{small.name} holds the first {dims:,} of {spec.dim:,} numbers of {len(whole):,} vectors, as {codec}"
    more = f"the whole vectors of {spec.name} stay; go on with: curate duplicates --model {small.name}"
    session.emit(document, f"{line}; {more}")
    return 0


def _declared(session: Session, spec: EmbedderSpec) -> Sequence[int]:
    options = session.config.models.get(spec.name, {})
    if KEY in options:
        return _sizes(options[KEY], f"matryoshka of [models.{spec.name}] in {session.config.path}")
    card = Path(spec.name) / "config.json"
    if not card.is_file():
        return ()
    try:
        found = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise ConfigError(f"{card} cannot be read as JSON: {err}") from err
    sizes = found.get(CARD_KEY, ()) if isinstance(found, Mapping) else ()
    return _sizes(sizes, f"{CARD_KEY} of {card}")


def _sizes(found: Any, where: str) -> Sequence[int]:
    if not isinstance(found, list | tuple) or not all(type(size) is int and size > 0 for size in found):
        raise ConfigError(f"{where}: {found!r} is no list of sizes, such as [512, 256]")
    return found


def _how(name: str) -> str:
    return f'Where the makers of the model say otherwise, write under [models."{name}"] of curate.toml: {KEY} = [512, 256]'
