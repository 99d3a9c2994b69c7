"""Preprocessing as published: short side by bicubic with antialias, centre crop, from the original size; never a squash."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.errors import EmbedderError
from curate.media import THUMBNAIL_SIDE, Decoded
from curate.types import Pixels

OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LONGEST_WHOLE = 4


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How an image becomes what a model sees.

    short: the short side after the resize.  crop: side of the square cut from the middle.  mean, std: of RGB in 0..1.
    scaled: whether large JPEGs may be decoded at 1/2, 1/4 or 1/8, keeping twice `short` ("fast"); else in full ("exact",
    within 1 level of the Hugging Face image processor).
    """

    short: int
    crop: int
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD
    scaled: bool = True

    @property
    def at_least(self) -> int | None:
        """Pixels the short side of a scaled decode must keep; None for a full decode."""
        return max(2 * self.short, THUMBNAIL_SIDE) if self.scaled else None

    def view(self, decoded: Decoded) -> Pixels:
        """uint8 (crop, crop, 3): where the published preprocessing would cut, at the published scale."""
        width, height = decoded.width, decoded.height
        if width <= height:
            new_width, new_height = self.short, int(self.short * height / width)
        else:
            new_width, new_height = int(self.short * width / height), self.short
        left, top = (new_width - self.crop) // 2, (new_height - self.crop) // 2
        if not self.scaled or max(new_width, new_height) > _LONGEST_WHOLE * self.short:
            return self._cut_first(decoded.pixels, new_width, new_height, left, top)
        return self._resize_first(decoded.pixels, new_width, new_height, left, top)

    def _resize_first(self, pixels: Pixels, width: int, height: int, left: int, top: int) -> Pixels:
        """By torch, on integers: three times as fast as Pillow, and rarely 2 levels away from it."""
        import torch

        planes = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())[None].permute(0, 3, 1, 2)
        if pixels.shape[:2] != (height, width):
            _one_thread()
            planes = torch.nn.functional.interpolate(planes, size=(height, width), mode="bicubic", antialias=True)
        rows = planes[0].permute(1, 2, 0).numpy()
        return np.ascontiguousarray(rows[top : top + self.crop, left : left + self.crop])

    def _cut_first(self, pixels: Pixels, width: int, height: int, left: int, top: int) -> Pixels:
        """By Pillow, whose filter is the reference, on the cut alone: a very long image as a whole would not fit in memory."""
        from PIL import Image

        down, across = pixels.shape[0] / height, pixels.shape[1] / width
        box = (left * across, top * down, (left + self.crop) * across, (top + self.crop) * down)
        image = Image.fromarray(pixels).resize((self.crop, self.crop), Image.Resampling.BICUBIC, box=box)
        return np.array(image, dtype=np.uint8)


def _one_thread() -> None:
    """Takes the calling thread out of torch's teams; the main thread keeps what the program chose.

    Decoder threads are many already: a team of OpenMP threads for each would take the cores from the model.  Once for each
    thread, for a change makes torch build its pools anew.
    """
    import torch

    if threading.current_thread() is not threading.main_thread() and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


def from_config(config: Mapping[str, Any], *, size: int, fast: bool, family: str) -> Preprocess:
    """The preprocessing that a `preprocessor_config.json` asks for; an empty one gives the family's published default.

    family: "clip" (short side = crop, OpenAI's mean) or "resnet" (short side = crop / 0.875, ImageNet's mean).
    Raises EmbedderError for one that is not of this form (a squash, no crop, another filter).
    """
    resnet = family == "resnet"
    mean = _three(config.get("image_mean"), IMAGENET_MEAN if resnet else OPENAI_MEAN)
    std = _three(config.get("image_std"), IMAGENET_STD if resnet else OPENAI_STD)
    short = _side(config.get("size", size), "shortest_edge")
    if config.get("resample", 3) != 3 or config.get("rescale_factor", 1 / 255) != 1 / 255:
        raise EmbedderError(
            "preprocessor_config.json asks for another filter than bicubic (resample 3) or another scale than 1/255"
        )
    if not all(config.get(key, True) for key in ("do_resize", "do_center_crop", "do_rescale", "do_normalize")):
        raise EmbedderError("preprocessor_config.json switches a step off (resize, centre crop, rescale, normalise)")
    if resnet:
        if short >= 384:
            raise EmbedderError(f"preprocessor_config.json asks for a squash to {short} x {short}, which is not supported")
        return Preprocess(int(short / float(config.get("crop_pct") or 0.875)), short, mean, std, fast)
    crop = _side(config.get("crop_size", short), "height")
    if crop > short:
        raise EmbedderError(f"preprocessor_config.json crops {crop} out of a short side of {short}")
    return Preprocess(short, crop, mean, std, fast)


def _side(value: Any, key: str) -> int:
    if isinstance(value, Mapping):
        if key not in value or value.get("width", value[key]) != value[key]:
            raise EmbedderError(
                f"preprocessor_config.json has the size {dict(value)}; only a short side and a square crop are known"
            )
        value = value[key]
    return int(value)


def _three(value: Any, default: tuple[float, float, float]) -> tuple[float, float, float]:
    if value is None:
        return default
    red, green, blue = (float(v) for v in value)
    return red, green, blue
