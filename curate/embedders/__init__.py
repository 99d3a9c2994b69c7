"""Models by name: entry points, the catalogue, local files, `module:Class`, hub ids."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import numpy as np

from curate.embedders._request import Request
from curate.errors import ConfigError, CurateError, EmbedderError, UnknownName
from curate.media import MAX_PIXELS
from curate.protocols import Embedder
from curate.types import EmbedderSpec, Vectors

GROUP = "curate.embedders"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def load(
    name: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    preprocess: str = "fast",
    layer: str = "",
    offline: bool = False,
    options: Mapping[str, Any] | None = None,
    max_pixels: int | None = None,
    notify: Callable[[str], None] = lambda _line: None,
) -> Embedder:
    """The model of a name, ready to embed.

    name: looked up as an entry point of the group `curate.embedders`, a catalogue name (`curate models`), an existing path,
    `module:Class`, and a hub id ("owner/model"), in this order.
    options: what a `[models.NAME]` table says; given to the class of a third party by keyword.
    Raises UnknownName with the nearest name, ConfigError for a flag the model does not have, EmbedderError for files that
    cannot be used (missing offline, truncated, wrong checksum), MissingExtra for the package that is missing.
    """
    from curate.embedders import catalogue

    request = Request(
        name,
        device=device,
        dtype=dtype,
        preprocess=preprocess,
        layer=layer,
        offline=offline,
        options=dict(options or {}),
        max_pixels=MAX_PIXELS if max_pixels is None else max_pixels,
        notify=notify,
    )
    request.check()
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name in points:
        return _built(_imported(points[name], name), request)
    if name in catalogue.MODELS:
        return catalogue.load(request)
    if Path(name).exists():
        return catalogue.load_path(request, Path(name))
    module, colon, attribute = name.partition(":")
    if colon and all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
        _see_working_folder()
        return _built(_imported(EntryPoint(name, name, GROUP), name), request)
    if _HUB_ID.fullmatch(name) and not (name.startswith(".") or name.count("/") > 1):
        return catalogue.load_hub(request)
    raise UnknownName("model", name, [*points, *catalogue.MODELS], "A path, module:Class or hub id (owner/model) works too.")


def _see_working_folder() -> None:
    """Makes modules of the working folder importable, last in line: a console script, unlike python -m, does not see them."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def _imported(point: EntryPoint, name: str) -> Any:
    try:
        return point.load()
    except CurateError:
        raise
    except (ImportError, AttributeError) as err:
        raise ConfigError(f"the model {name!r} ({point.value}) cannot be imported: {err}") from err


def _built(factory: Any, request: Request) -> Embedder:
    """Calls a loader: ours takes the `Request`; a third party's takes its options, and the flags it has parameters for."""
    if not callable(factory):
        raise ConfigError(f"the model {request.name!r} is {factory!r}, which cannot be called")
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        parameters = inspect.signature(lambda: None).parameters
    ours = list(parameters) == ["request"]
    made = factory(request) if ours else factory(**_arguments(request, parameters))
    if not isinstance(made, Embedder):
        missing = [part for part in ("spec", "prepare", "embed") if not hasattr(made, part)]
        raise EmbedderError(f"the model {request.name!r} is no embedder: it lacks {', '.join(missing)}")
    return made


def _arguments(request: Request, parameters: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unset = Request("")
    arguments = dict(request.options)
    for flag in ("device", "dtype", "preprocess", "layer", "offline", "max_pixels", "notify"):
        value = getattr(request, flag)
        if flag in parameters:
            arguments.setdefault(flag, value)
        elif flag in ("dtype", "preprocess", "layer") and value != getattr(unset, flag):
            raise ConfigError(f"the model {request.name!r} has no --{flag}")
    for key in arguments:
        if key not in parameters and not anything:
            raise ConfigError(f"the model {request.name!r} has no option {key!r}; known: {', '.join(parameters) or 'none'}")
    needed = [p.name for p in parameters.values() if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    for key in needed:
        if key not in arguments:
            raise ConfigError(f"the model {request.name!r} needs the option {key!r}, in its [models] table of curate.toml")
    return arguments


def load_as(
    spec: EmbedderSpec,
    *,
    device: str = "auto",
    offline: bool = False,
    options: Mapping[str, Any] | None = None,
    max_pixels: int | None = None,
    notify: Callable[[str], None] = lambda _line: None,
) -> Embedder:
    """The model that made stored vectors, set up as it was then.

    Raises EmbedderError naming what differs when the model of that name would give other vectors today.
    """

    def loaded(**flags: str) -> Embedder:
        made = load(spec.name, device=device, offline=offline, options=options, max_pixels=max_pixels, notify=notify, **flags)
        if getattr(made, "unsettled", False):
            made.settle((), stored=(spec.fingerprint,))  # type: ignore[attr-defined]
        return made

    made = loaded()
    if made.spec != spec:
        same = {
            name: getattr(spec, name)
            for name in ("layer", "preprocess", "dtype")
            if getattr(made.spec, name) != getattr(spec, name)
        }
        made = loaded(**same) if same else made
    if made.spec != spec:
        now, then = made.spec.as_dict(), spec.as_dict()
        differs = ", ".join(f"{name} is {now[name]!r}, was {then[name]!r}" for name in then if now[name] != then[name])
        raise EmbedderError(f"model {spec.name!r} is not the one that made the stored vectors: {differs}. Embed again.")
    return made


def query_vector(embedder: Embedder, *, text: str | None = None, image: bytes | None = None) -> Vectors:
    """The vector (dim,) of a query.  Raises EmbedderError for a text where the model has no place for texts, MediaError."""
    if text is not None:
        place = getattr(embedder, "embed_text", None)
        if place is None:
            raise EmbedderError(
                f"model {embedder.spec.name!r} has no text tower: search it with --image, or embed with CLIP or EuCLIP"
            )
        return np.asarray(place([text])[0], dtype=np.float32)
    if image is None or embedder.spec.media != "image":
        raise EmbedderError(f"model {embedder.spec.name!r} takes {embedder.spec.media} rows: search it with --text")
    return np.asarray(embedder.embed([embedder.prepare(image)])[0], dtype=np.float32)
