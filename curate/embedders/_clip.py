"""Two towers on transformers' CLIPModel: the embedder that CLIP, EuCLIP and MERU share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from curate.embedders._device import torch_module, transformers_module
from curate.embedders._images import Preprocess
from curate.embedders._request import Request
from curate.embedders._tokens import ClipTokens
from curate.embedders._torch import ImageEmbedder, Runner, TorchEmbedder, module_of, text_of
from curate.errors import EmbedderError
from curate.types import EmbedderSpec, Vectors

PROJECTED, POOLER = "projected", "pooler"

Finish = Callable[[Vectors], Vectors]


@dataclasses.dataclass(frozen=True, slots=True)
class Towers:
    """A CLIPModel and how its outputs become vectors.

    finish_image, finish_text: projected outputs -> vectors of the model's geometry.
    logit: "dot", "-d", "-d2" or "lorentz"; logit_scale: what it is multiplied with (after the exponential).
    tokens: makes the tokenizer; called when the first text comes.
    """

    model: Any
    finish_image: Finish
    finish_text: Finish
    logit: str
    logit_scale: float
    tokens: Callable[[], ClipTokens]


class TwoTowers(ImageEmbedder):
    """An image embedder that can also place texts among its images."""

    def __init__(self, spec: EmbedderSpec, towers: Towers, request: Request, *, preprocess: Preprocess) -> None:
        pooled = spec.layer == POOLER
        module = module_of(towers.model, preprocess=preprocess, image=_pooled_image if pooled else _image, text=_text)
        runner = Runner(module, request, key=f"{spec.fingerprint} {preprocess}")
        super().__init__(spec, runner, request, preprocess=preprocess, finish=towers.finish_image)
        self.logit, self.logit_scale = towers.logit, towers.logit_scale
        self._finish_text, self._make_tokens = towers.finish_text, towers.tokens
        self._tokens: ClipTokens | None = None
        self._notify = request.notify

    @property
    def truncated(self) -> int:
        """How many texts were longer than the context, and were cut as CLIP cuts them."""
        return self._tokens.truncated if self._tokens else 0

    def tokenize(self, texts: Sequence[str]) -> Any:
        """(n, context) token ids of texts.  Raises EmbedderError when the tokenizer is not on this machine."""
        if self._tokens is None:
            self._tokens = self._make_tokens()
        before = self._tokens.truncated
        ids = self._tokens(texts)
        cut = self._tokens.truncated - before
        if cut:
            self._notify(f"{cut} of {len(texts)} texts are longer than {self._tokens.context} tokens and were cut")
        return ids

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts in the same space as the images: (n, dim) float32; always computed in fp32."""
        self._needs_projection()
        return self.encode_tokens(self.tokenize(texts)) if len(texts) else np.zeros((0, self.spec.dim), np.float32)

    def encode_tokens(self, input_ids: Any) -> Vectors:
        """Vectors of token ids (n, context): (n, dim) float32."""
        self._needs_projection()
        ids = torch_module().as_tensor(np.asarray(input_ids, dtype=np.int64))
        return self._finish_text(self.runner(ids, "fp32", part="tokens"))

    def _needs_projection(self) -> None:
        if self.spec.layer != PROJECTED:
            raise EmbedderError(
                f"layer {self.spec.layer!r} of {self.spec.name!r} lies before the projection that images and texts share, so a "
                "text has no place among these vectors. Embed with --layer projected to search by text."
            )


class TextTower(TorchEmbedder):
    """The text tower of a two-tower model as an embedder of text rows."""

    def __init__(self, both: TwoTowers, request: Request) -> None:
        self._both = both
        super().__init__(
            dataclasses.replace(both.spec, media="text", preprocess="exact"),
            both.runner,
            request,
            stack=lambda texts: torch_module().as_tensor(both.tokenize(texts)),
            part="tokens",
            finish=both._finish_text,
        )

    def prepare(self, data: bytes) -> str:
        """The text of a row.  Raises MediaError."""
        return text_of(data)

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts: (n, dim) float32."""
        return self._both.embed_text(texts)


def two_towers(spec: EmbedderSpec, towers: Towers, request: Request, *, preprocess: Preprocess) -> TwoTowers | TextTower:
    """The embedder of images, or of text rows where the option `media = "text"` asks for it.  Raises EmbedderError."""
    both = TwoTowers(spec, towers, request, preprocess=preprocess)
    media = request.options.get("media", "image")
    if media not in ("image", "text"):
        raise EmbedderError(f"option media = {media!r} of model {request.name!r}: image or text")
    if media == "text":
        both._needs_projection()
        return TextTower(both, request)
    return both


def empty_model(config: Any) -> Any:
    """A CLIPModel without weights, to be filled: on the meta device, with sdpa attention."""
    transformers = transformers_module()
    config._attn_implementation = "sdpa"
    with torch_module().device("meta"):
        return transformers.CLIPModel(config)


def _pooled_image(model: Any, pixel_values: Any) -> Any:
    return model.vision_model(pixel_values=pixel_values).pooler_output


def _image(model: Any, pixel_values: Any) -> Any:
    # Not get_image_features, whose result is a tensor in transformers 4 and an object in 5.
    return model.visual_projection(_pooled_image(model, pixel_values))


def _text(model: Any, input_ids: Any) -> Any:
    return model.text_projection(model.text_model(input_ids=input_ids).pooler_output)
