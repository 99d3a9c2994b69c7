"""Checkpoints in open_clip's form: their configuration, their variant, and their parameters under transformers' names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.embedders._clip import empty_model
from curate.embedders._device import torch_module, transformers_module
from curate.embedders._weights import State, fill
from curate.errors import EmbedderError

CONFIG, WEIGHTS, META = "open_clip_config.json", "open_clip_model.safetensors", "meta.json"
MERU_SCALARS = ("alpha_img", "alpha_txt", "curvature")
LOGITS = {"clip": "dot", "euclidean-squared": "-d2", "euclidean": "-d", "hyperbolic": "lorentz"}
"""Geometry as the authors call it -> how a logit is made."""

_VISION_KEYS = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio", "final_layernorm", "patch_dropout"}
_TEXT_KEYS = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "final_layernorm"}
_HEAD_WIDTH = 64
_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
}
_NORMS = {
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "ln_final": "text_model.final_layer_norm",
}
_PROJECTIONS = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of both towers, as the configuration or the parameters give them."""

    embed_dim: int
    image_size: int
    patch: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    vision_mlp: int
    text_width: int
    text_layers: int
    text_heads: int
    text_mlp: int
    context: int
    vocabulary: int
    quick_gelu: bool = False


def shape_of(config: Mapping[str, Any], origin: Path) -> Shape:
    """The sizes in an `open_clip_config.json` (bare, or under "model_cfg").

    Raises EmbedderError for a configuration without image tower, or with a part that is not a plain CLIP.
    """
    model = config.get("model_cfg", config)
    vision, text = model.get("vision_cfg"), model.get("text_cfg")
    if not isinstance(vision, Mapping) or not isinstance(vision.get("layers"), int) or "width" not in vision:
        raise EmbedderError(f"{origin} has no image tower (a vision transformer under vision_cfg): it cannot embed images")
    if not isinstance(text, Mapping):
        raise EmbedderError(f"{origin} has no text tower under text_cfg")
    for part, keys, known in (("vision_cfg", vision, _VISION_KEYS), ("text_cfg", text, _TEXT_KEYS)):
        odd = sorted(set(keys) - known)
        if odd:
            raise EmbedderError(f"{origin}: {part} has {', '.join(odd)}, which a plain CLIP has not")
    try:
        width, text_width = int(vision["width"]), int(text["width"])
        return Shape(
            embed_dim=int(model["embed_dim"]),
            image_size=int(vision["image_size"]),
            patch=int(vision["patch_size"]),
            vision_width=width,
            vision_layers=int(vision["layers"]),
            vision_heads=width // int(vision.get("head_width", _HEAD_WIDTH)),
            vision_mlp=int(width * float(vision.get("mlp_ratio", 4.0))),
            text_width=text_width,
            text_layers=int(text["layers"]),
            text_heads=int(text["heads"]),
            text_mlp=int(text_width * float(text.get("mlp_ratio", 4.0))),
            context=int(text.get("context_length", 77)),
            vocabulary=int(text.get("vocab_size", 49408)),
            quick_gelu=bool(model.get("quick_gelu", False)),
        )
    except (KeyError, TypeError, ValueError) as err:
        raise EmbedderError(f"{origin} is incomplete: {type(err).__name__} {err}") from err


def shape_from(state: State, origin: Path) -> Shape:
    """The sizes of a checkpoint without configuration, from its parameters; heads are 64 wide, as in all published ones."""
    need = (
        "visual.conv1.weight",
        "visual.proj",
        "visual.positional_embedding",
        "token_embedding.weight",
        "positional_embedding",
    )
    lacking = [name for name in need if name not in state]
    if lacking:
        raise EmbedderError(f"{origin} has no image tower in open_clip's form: {', '.join(lacking)} missing")
    conv, table = state["visual.conv1.weight"], state["token_embedding.weight"]
    side = round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
    vision, text = int(conv.shape[0]), int(table.shape[1])
    if vision % _HEAD_WIDTH or text % _HEAD_WIDTH:
        raise EmbedderError(f"{origin}: widths {vision} and {text} are no multiples of 64; put its {CONFIG} beside it")
    mlp = [state.get(f"{tower}transformer.resblocks.0.mlp.c_fc.weight") for tower in ("visual.", "")]
    if mlp[0] is None or mlp[1] is None:
        raise EmbedderError(f"{origin} has no transformer blocks in open_clip's form")
    return Shape(
        embed_dim=int(state["visual.proj"].shape[1]),
        image_size=side * int(conv.shape[-1]),
        patch=int(conv.shape[-1]),
        vision_width=vision,
        vision_layers=_layers(state, "visual.transformer.resblocks."),
        vision_heads=vision // _HEAD_WIDTH,
        vision_mlp=int(mlp[0].shape[0]),
        text_width=text,
        text_layers=_layers(state, "transformer.resblocks."),
        text_heads=text // _HEAD_WIDTH,
        text_mlp=int(mlp[1].shape[0]),
        context=len(state["positional_embedding"]),
        vocabulary=len(table),
    )


def _layers(state: State, prefix: str) -> int:
    return 1 + max(int(name[len(prefix) :].split(".")[0]) for name in state if name.startswith(prefix))


def geometry_of(state: State) -> str:
    """The authors' name of the geometry, from what parameters there are: the checkpoint itself does not say."""
    if "curvature" in state:
        return "hyperbolic"
    bare = "visual.ln_post.weight" not in state and "ln_final.weight" not in state
    return "euclidean-squared" if bare else "clip"


def read_meta(folder: Path) -> dict[str, Any]:
    """What a `meta.json` beside the weights says, {} without one.  Raises EmbedderError for a geometry nobody knows."""
    path = folder / META
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise EmbedderError(f"{path} cannot be read as JSON: {err}") from err
    if not isinstance(found, dict) or found.get("geometry", "clip") not in LOGITS:
        raise EmbedderError(f"{path} names a geometry that is not known; known: {', '.join(LOGITS)}")
    return found


def build(state: State, shape: Shape, *, eos: int, origin: Path) -> Any:
    """A CLIPModel with the parameters of an open_clip checkpoint; final norms that it has not are Identity."""
    torch = torch_module()
    model = empty_model(_config(shape, eos))
    if "visual.ln_post.weight" not in state:
        model.vision_model.post_layernorm = torch.nn.Identity()
    if "ln_final.weight" not in state:
        model.text_model.final_layer_norm = torch.nn.Identity()
    return fill(model, renamed(state), origin=origin)


def _config(shape: Shape, eos: int) -> Any:
    act = "quick_gelu" if shape.quick_gelu else "gelu"
    vision = {
        "hidden_size": shape.vision_width,
        "intermediate_size": shape.vision_mlp,
        "num_hidden_layers": shape.vision_layers,
        "num_attention_heads": shape.vision_heads,
        "image_size": shape.image_size,
        "patch_size": shape.patch,
    }
    text = {
        "hidden_size": shape.text_width,
        "intermediate_size": shape.text_mlp,
        "num_hidden_layers": shape.text_layers,
        "num_attention_heads": shape.text_heads,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.context,
        "eos_token_id": eos,
        "bos_token_id": eos - 1,
        "pad_token_id": 0,
    }
    same = {"hidden_act": act, "layer_norm_eps": 1e-5, "projection_dim": shape.embed_dim}
    return transformers_module().CLIPConfig(
        vision_config={**vision, **same}, text_config={**text, **same}, projection_dim=shape.embed_dim
    )


def renamed(state: State) -> State:
    """open_clip's names -> transformers' names; MERU's scalars and anything else that is no parameter of a tower fall away.

    Names that are not known are kept as they are, so that `fill` reports them.
    """
    out: State = {}
    for name, value in state.items():
        if name in MERU_SCALARS or name == "attn_mask":
            continue
        if name in _NAMES:
            out[_NAMES[name]] = value
        elif name in _PROJECTIONS:
            out[_PROJECTIONS[name]] = value.T.contiguous()
        elif name.rpartition(".")[0] in _NORMS:
            out[f"{_NORMS[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}"] = value
        else:
            out.update(_block(name, value))
    return out


def _block(name: str, value: Any) -> State:
    tower = "vision_model" if name.startswith("visual.") else "text_model"
    head, _, rest = name.removeprefix("visual.").partition("resblocks.")
    number, _, part = rest.partition(".")
    base = f"{tower}.encoder.layers.{number}"
    if head != "transformer." or not number.isdigit():
        return {name: value}
    if part in ("attn.in_proj_weight", "attn.in_proj_bias"):
        kind = part.rpartition("_")[2]
        return {
            f"{base}.self_attn.{which}_proj.{kind}": piece for which, piece in zip("qkv", value.chunk(3, dim=0), strict=True)
        }
    module, _, kind = part.rpartition(".")
    return {f"{base}.{_BLOCK[module]}.{kind}": value} if module in _BLOCK else {name: value}
