"""ResNet in the form of Hugging Face: the adaptive average pool of the last hidden state, ready for cosine distance."""

from __future__ import annotations

from typing import Any

from curate.embedders import catalogue
from curate.embedders._device import torch_module, transformers_module
from curate.embedders._images import from_config
from curate.embedders._request import Request
from curate.embedders._torch import ImageEmbedder, Runner, directions, module_of
from curate.embedders._weights import State, fill, read_weights, revision_of, weights_in
from curate.embedders.clip import CONFIG, PREPROCESSOR, folder_of
from curate.errors import EmbedderError
from curate.types import EmbedderSpec

DEFAULT = "microsoft/resnet-50"
_SIZE = 224


def load(request: Request) -> ImageEmbedder:
    """The ResNet of a hub name or Hugging Face directory; with or without its classifier, which is not used.

    Options: `revision`, `engine`.  Raises EmbedderError for a directory of another kind or weights that do not fit.
    """
    request.no_options("revision", "engine")
    layer = request.layer_of("pool")
    torch_module(), transformers_module()
    folder, commit = folder_of(request, DEFAULT)
    raw = catalogue.read_json(folder / CONFIG)
    if raw.get("model_type") != "resnet":
        raise EmbedderError(f"{folder / CONFIG} is of type {raw.get('model_type')!r}, not resnet")
    config = transformers_module().ResNetConfig.from_dict(raw)
    weights = weights_in(folder)
    with torch_module().device("meta"):
        empty = transformers_module().ResNetModel(config)
    model = fill(empty, _backbone(read_weights(weights)), origin=weights)
    model = model.to(memory_format=torch_module().channels_last)
    asked = catalogue.read_json(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else {}
    preprocess = from_config(asked, size=_SIZE, fast=request.preprocess == "fast", family="resnet")
    spec = EmbedderSpec(
        request.name,
        commit or revision_of(weights, CONFIG, PREPROCESSOR),
        layer,
        int(config.hidden_sizes[-1]),
        "cosine",
        preprocess=request.preprocess,
    )
    module = module_of(model, preprocess=preprocess, image=_pooled)
    runner = Runner(module, request, key=f"{spec.fingerprint} {preprocess}")
    return ImageEmbedder(spec, runner, request, preprocess=preprocess, finish=directions)


def _backbone(state: State) -> State:
    return {name.removeprefix("resnet."): value for name, value in state.items() if not name.startswith("classifier.")}


def _pooled(model: Any, pixel_values: Any) -> Any:
    last = model(pixel_values.contiguous(memory_format=torch_module().channels_last)).last_hidden_state
    return torch_module().nn.functional.adaptive_avg_pool2d(last, 1).flatten(1)
