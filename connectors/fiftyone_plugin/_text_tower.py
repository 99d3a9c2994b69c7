"""The text tower of the model that made a run's vectors, as FiftyOne wants it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from connectors.fiftyone_plugin._sidecar import Sidecar
from curate.errors import EmbedderError
from curate.types import EmbedderSpec, Vectors


class TextTower:
    """The model of a run as FiftyOne wants it for text queries: a context with `embed_prompts`."""

    can_embed_prompts = True

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar
        self._model: Any = None

    def __enter__(self) -> TextTower:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def embed_prompts(self, prompts: Iterable[str]) -> Vectors:
        """Vectors (n, dim) of texts.  Raises EmbedderError when the model that made the vectors cannot be loaded as it was."""
        if self._model is None:
            self._model = load_model(self._sidecar.spec, Path(self._sidecar.cwd))
        place = getattr(self._model, "embed_text", None)
        if place is None:
            raise EmbedderError(f"model {self._sidecar.spec.name!r} has no text tower: search by an image, or embed with CLIP")
        return cast(Vectors, place(list(prompts)))

    def embed_prompt(self, prompt: str) -> Vectors:
        """Vector (dim,) of one text."""
        return cast(Vectors, self.embed_prompts([prompt])[0])


def load_model(spec: EmbedderSpec, cwd: Path) -> Any:
    """The model that made vectors of `spec`, named in the working directory `cwd`.  Raises EmbedderError or ConfigError."""
    from dataclasses import replace

    from curate.embedders import load_as

    if not Path(spec.name).exists() and (cwd / spec.name).exists():
        return load_as(replace(spec, name=str(cwd / spec.name)))
    return load_as(spec)
