"""What a model is asked for: the flags of the command line, as a loader takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from curate.errors import ConfigError, EmbedderError
from curate.media import MAX_PIXELS

DTYPES = ("auto", "fp32", "bf16", "fp16")
PREPROCESS = ("exact", "fast")


@dataclass(frozen=True, slots=True)
class Request:
    """A model by name, with everything that was chosen about it.

    name: as the user wrote it, and as `EmbedderSpec.name` records it.  source: catalogue name, path or hub id of the weights
    ("" for the loader's own default).  device: "auto", "cpu", "cuda", "cuda:1", "mps".  dtype: one of `DTYPES`.
    preprocess: "exact" or "fast".  layer: "" for the model's default.  offline: no network.
    options: its `[models.NAME]` table.  notify: where a line for people goes.
    """

    name: str
    source: str = ""
    device: str = "auto"
    dtype: str = "auto"
    preprocess: str = "fast"
    layer: str = ""
    offline: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    max_pixels: int = MAX_PIXELS
    notify: Callable[[str], None] = lambda _line: None

    def check(self) -> None:
        """Raises ConfigError for a dtype or preprocess that does not exist."""
        if self.dtype not in DTYPES:
            raise ConfigError(f"unknown dtype {self.dtype!r}; known: {', '.join(DTYPES)}")
        if self.preprocess not in PREPROCESS:
            raise ConfigError(f"unknown preprocess {self.preprocess!r}; known: {', '.join(PREPROCESS)}")

    def layer_of(self, *known: str) -> str:
        """The layer asked for, the first of `known` by default.  Raises EmbedderError for another one."""
        if self.layer and self.layer not in known:
            raise EmbedderError(f"model {self.name!r} has no layer {self.layer!r}; known: {', '.join(known)}")
        return self.layer or known[0]

    def no_options(self, *known: str) -> None:
        """Raises ConfigError for an option that the model does not have."""
        for key in self.options:
            if key not in known:
                raise ConfigError(f"model {self.name!r} has no option {key!r}; known: {', '.join(known) or 'none'}")
