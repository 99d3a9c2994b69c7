"""CLIP in the form of Hugging Face: a hub name or a local directory."""

from __future__ import annotations

import math
from pathlib import Path

from curate.embedders import catalogue
from curate.embedders._clip import POOLER, PROJECTED, TextTower, Towers, TwoTowers, empty_model, two_towers
from curate.embedders._device import torch_module, transformers_module
from curate.embedders._hub import WEIGHTS, files_of
from curate.embedders._images import Preprocess, from_config
from curate.embedders._request import Request
from curate.embedders._tokens import clip_tokens
from curate.embedders._torch import directions
from curate.embedders._weights import fill, read_weights, revision_of, weights_in
from curate.errors import EmbedderError
from curate.types import EmbedderSpec

DEFAULT = "openai/clip-vit-base-patch32"
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
_OPTIONAL = (PREPROCESSOR, "tokenizer.json", "vocab.json", "merges.txt")


def folder_of(request: Request, default: str) -> tuple[Path, str]:
    """The local directory of a model, and the revision of its weights: the hub's commit, or the sha256 of a local file.

    The option `revision` pins a commit of the hub.
    """
    source = request.source or default
    if Path(source).is_dir():
        folder = Path(source)
        return folder, ""
    revision = str(request.options.get("revision", ""))
    folder = files_of(source, (CONFIG,), choice=WEIGHTS, optional=_OPTIONAL, revision=revision, request=request)
    return folder, folder.name if folder.parent.name == "snapshots" else ""


def load(request: Request) -> TwoTowers | TextTower:
    """The CLIP model of a hub name or Hugging Face directory.

    layer: "projected" (the default), or "pooler", the output before the projection, which has no texts.
    Options: `revision`, `media`, `engine` ("auto", "torch", "openvino").
    Raises EmbedderError for a directory without image tower, weights that do not fit, an unknown layer.
    """
    request.no_options("revision", "media", "engine")
    layer = request.layer_of(PROJECTED, POOLER)
    torch_module(), transformers_module()
    folder, commit = folder_of(request, DEFAULT)
    raw = catalogue.read_json(folder / CONFIG)
    if raw.get("model_type") != "clip" or not (raw.get("vision_config") or raw.get("vision_config_dict")):
        raise EmbedderError(f"{folder / CONFIG} has no image tower (a CLIP with vision_config): it cannot embed images")
    config = transformers_module().CLIPConfig.from_dict(raw)
    weights = weights_in(folder)
    model = fill(empty_model(config), read_weights(weights), origin=weights, ignore=("position_ids",))
    preprocess = _preprocess(folder, config.vision_config.image_size, request)
    text = config.text_config
    spec = EmbedderSpec(
        request.name,
        commit or revision_of(weights, CONFIG, PREPROCESSOR),
        layer,
        config.projection_dim if layer == PROJECTED else config.vision_config.hidden_size,
        "cosine",
        preprocess=request.preprocess,
    )
    towers = Towers(
        model,
        directions,
        directions,
        "dot",
        math.exp(float(model.logit_scale)),
        lambda: clip_tokens(folder, context=text.max_position_embeddings, vocabulary=text.vocab_size, request=request),
    )
    return two_towers(spec, towers, request, preprocess=preprocess)


def _preprocess(folder: Path, size: int, request: Request) -> Preprocess:
    asked = catalogue.read_json(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
    made = from_config(asked, size=size, fast=request.preprocess == "fast", family="clip")
    if made.crop != size:
        raise EmbedderError(f"{folder / PREPROCESSOR} crops to {made.crop}, but the model takes {size}")
    return made
