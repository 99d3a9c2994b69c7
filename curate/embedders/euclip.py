"""EuCLIP, MERU and CLIP checkpoints in open_clip's form: the six published files, a `.pt`, or a directory.

EuCLIP (Chou & Alam, arXiv 2409.13079): no final layer norm, embedding / sqrt(dim), not normalised, logit -d^2.
MERU (Desai et al., arXiv 2304.09172): embedding * exp(alpha), a tangent vector at the origin of the hyperboloid; logit minus
the Lorentz distance.
"""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Any

from curate.embedders import catalogue
from curate.embedders._clip import PROJECTED, Finish, TextTower, Towers, TwoTowers, two_towers
from curate.embedders._device import torch_module, transformers_module
from curate.embedders._hub import files_of, hf_home
from curate.embedders._images import Preprocess
from curate.embedders._open_clip import (
    CONFIG,
    LOGITS,
    META,
    WEIGHTS,
    Shape,
    build,
    geometry_of,
    read_meta,
    shape_from,
    shape_of,
)
from curate.embedders._request import Request
from curate.embedders._tokens import clip_tokens
from curate.embedders._torch import directions
from curate.embedders._weights import State, check_sha256, read_weights, revision_of
from curate.errors import EmbedderError
from curate.geometry import Geometry
from curate.types import EmbedderSpec

DEFAULT = "ViT-B-32-EuCLIP"


def load(request: Request) -> TwoTowers | TextTower:
    """The model of a published name, a checkpoint file, or a directory with `open_clip_config.json`.

    `meta.json` in the directory names the geometry, and where shared weights lie.  Without it the parameters decide.
    Options: `media`, `engine`.
    Raises EmbedderError for weights that are missing, cut short, changed (sha256), unsafe, or do not fit their configuration.
    """
    request.no_options("media", "engine")
    layer = request.layer_of(PROJECTED)
    torch_module(), transformers_module()
    source = request.source or DEFAULT
    if source in catalogue.MODELS:
        weights, revision = published(source, request), catalogue.MODELS[source].sha256[:16]
        folder, config, meta = None, None, {}
    else:
        folder = Path(source) if Path(source).is_dir() else Path(source).parent
        meta = read_meta(folder)
        weights = _weights_of(Path(source), meta)
        revision = revision_of(weights, CONFIG, META, folder=folder) if weights.is_file() else ""
        config = catalogue.read_json(folder / CONFIG) if (folder / CONFIG).is_file() else None
    state = read_weights(weights)
    shape = shape_of(config, folder / CONFIG) if config is not None and folder else shape_from(state, weights)
    eos = int(meta.get("eos_token_id", shape.vocabulary - 1))
    model = build(state, shape, eos=eos, origin=weights)
    geometry = str(meta.get("geometry") or geometry_of(state))
    space, image, text = _geometry(geometry, state, shape.embed_dim, weights)
    spec = EmbedderSpec(request.name, revision, layer, shape.embed_dim, space.label, preprocess=request.preprocess)
    towers = Towers(
        model,
        image,
        text,
        LOGITS[geometry],
        math.exp(_logit_scale(state, meta, shared=folder is not None and weights.resolve().parent != folder.resolve())),
        lambda: clip_tokens(folder, context=shape.context, vocabulary=shape.vocabulary, request=request),
    )
    return two_towers(spec, towers, request, preprocess=_preprocess(config or {}, shape, request))


def _weights_of(source: Path, meta: dict[str, Any]) -> Path:
    if source.is_file():
        return source
    at = source / str(meta.get("weights", WEIGHTS))
    if not at.is_file():
        raise EmbedderError(f"the weights {at} do not exist; put {WEIGHTS} into {source}")
    return at


def _logit_scale(state: State, meta: dict[str, Any], *, shared: bool) -> float:
    # Weights that lie elsewhere carry the scale of the model they belong to.
    own = meta.get("init_logit_scale") if shared else None
    return float(state["logit_scale"]) if own is None else float(own)


def _geometry(name: str, state: State, dim: int, origin: Path) -> tuple[Geometry, Finish, Finish]:
    """The space of the vectors, and how the projected outputs of the image and text tower become vectors of it."""
    if name == "clip":
        return Geometry("cosine"), directions, directions
    if name != "hyperbolic":
        # In the published code this division stands in the model's forward, not in encode_image.
        return Geometry("euclidean"), _times(dim**-0.5), _times(dim**-0.5)
    lacking = [scalar for scalar in ("alpha_img", "alpha_txt", "curvature") if scalar not in state]
    if lacking:
        raise EmbedderError(f"{origin} has no {', '.join(lacking)}: it is not a MERU checkpoint")
    curvature = min(max(math.exp(float(state["curvature"])), 0.1), 10.0)
    image, text = (_times(math.exp(float(state[alpha]))) for alpha in ("alpha_img", "alpha_txt"))
    return Geometry("lorentz", curvature), image, text


def _times(factor: float) -> Finish:
    return lambda x: x * x.dtype.type(factor)


def _preprocess(config: dict[str, Any], shape: Shape, request: Request) -> Preprocess:
    asked = config.get("preprocess_cfg", {})
    if asked.get("interpolation", "bicubic") != "bicubic" or asked.get("resize_mode", "shortest") != "shortest":
        raise EmbedderError(f"model {request.name!r} asks for another preprocessing than short side, bicubic, centre crop")
    plain = Preprocess(shape.image_size, shape.image_size, scaled=request.preprocess == "fast")
    mean, std = tuple(asked.get("mean", plain.mean)), tuple(asked.get("std", plain.std))
    return Preprocess(plain.short, plain.crop, mean, std, plain.scaled)


def converted(name: str) -> Path:
    """Where the safetensors form of a published file is kept."""
    return hf_home() / "curate" / "euclip" / f"{name}.safetensors"


def published(name: str, request: Request) -> Path:
    """The safetensors form of one of the six published files: fetched, checked by its sha256 and converted once.

    The published files are training checkpoints, three times as long as their weights.
    Raises EmbedderError that says which file to put where.
    """
    kept = converted(name)
    if kept.is_file():
        return kept
    model = catalogue.MODELS[name]
    folder = files_of(model.repo, (model.file,), revision=model.revision, request=request, name=name)
    checkpoint = folder / model.file
    check_sha256(checkpoint, model.sha256)
    state = read_weights(checkpoint)
    request.notify(f"keeping the weights of {name} as {kept}; {checkpoint} is needed no more")
    _save(state, kept)
    return kept


def _save(state: State, path: Path) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        save_file({name: value.contiguous().clone() for name, value in state.items()}, str(part))
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
