"""Vectors without a network: a small grid of luminance and colour, and the flattened 28 x 28 greyscale of the MNIST example.

`pixels` is good enough to propose copies of a photograph (re-encoded, resized, brightened, blurred, lightly cropped) for the
exact check on pixels, and to cluster simple images; it knows nothing of what is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from curate.embedders._request import Request
from curate.errors import ConfigError
from curate.geometry import Array32, Floats, norms
from curate.media import THUMBNAIL_SIDE, Decoded, decode, resize
from curate.types import EmbedderSpec, Pixels, Vectors

SIDE = 64
GRID = 8
COARSE = 4
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_WEIGHT_SHAPE, _WEIGHT_LIGHT, _WEIGHT_COLOUR = 1.0, 0.3, 3.0
_NOISE = 0.04


class PixelEmbedder:
    """Images to vectors by arithmetic on a small version of them.

    side: images are brought to side x side first.  at_least: pixels the short side of a scaled JPEG decode must keep, or None
    for a full decode.  describe: uint8 (n, side, side, 3) -> float32 (n, dim).
    """

    batch_size = 64

    def __init__(
        self,
        spec: EmbedderSpec,
        side: int,
        describe: Callable[[Pixels], Array32],
        *,
        at_least: int | None,
        max_pixels: int,
    ) -> None:
        self.spec, self.side, self.at_least, self.max_pixels = spec, side, at_least, max_pixels
        self._describe = describe

    def prepare(self, data: bytes) -> Pixels:
        """uint8 (side, side, 3) of the bytes of an image.  Raises MediaError."""
        return self.view(decode(data, max_pixels=self.max_pixels, at_least=self.at_least))

    def view(self, decoded: Decoded) -> Pixels:
        """uint8 (side, side, 3) of a decoded image: the area mean, the whole image, its proportions ignored."""
        return resize(decoded.pixels, self.side, self.side)

    def embed(self, batch: Sequence[Pixels]) -> Vectors:
        """Vectors of prepared images: (n, dim) float32."""
        if not len(batch):
            return np.zeros((0, self.spec.dim), dtype=np.float32)
        return self._describe(np.stack(batch))

    def embed_pixels(self, images: Sequence[Pixels]) -> Vectors:
        """Vectors of images that are decoded already, uint8 (h, w, 3) of any size: (n, dim) float32."""
        return self.embed([self.view(Decoded(image, image.shape[1], image.shape[0])) for image in images])


def grid(images: Pixels) -> Array32:
    """Light, shape and colour of images: uint8 (n, 64, 64, 3) -> float32 (n, 112).

    64 values: luminance on 8 x 8 cells, minus its mean, over its standard deviation + 0.04 (so brightness and contrast count
    for little); 16: plain luminance on 4 x 4 cells; 2 x 16: blue and red minus luminance on 4 x 4 cells.  Each part is a mean
    over its cells, weighted 1, 0.3 and 3.  A black image is the zero vector.
    """
    colour = np.asarray(images.astype(np.float32) / 255, dtype=np.float32)
    light = np.asarray(colour @ _LUMA, dtype=np.float32)
    cells = _cells(light, GRID)
    shape = cells - cells.mean(axis=1, keepdims=True)
    contrast = (norms(shape) / GRID + _NOISE).astype(np.float32)
    parts = [
        shape / contrast[:, None] * (_WEIGHT_SHAPE / GRID),
        _cells(light, COARSE) * (_WEIGHT_LIGHT / COARSE),
        _cells(colour[..., 2] - light, COARSE) * (_WEIGHT_COLOUR / COARSE),
        _cells(colour[..., 0] - light, COARSE) * (_WEIGHT_COLOUR / COARSE),
    ]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _cells(plane: Floats, count: int) -> Array32:
    size = plane.shape[1] // count
    mean = plane.reshape(-1, count, size, count, size).mean(axis=(2, 4))
    return np.asarray(mean.reshape(len(plane), -1), dtype=np.float32)


def flat_grey(images: Pixels) -> Array32:
    """Luminance of every pixel in [0, 1]: uint8 (n, 28, 28, 3) -> float32 (n, 784)."""
    grey = images.astype(np.float32) @ _LUMA / 255
    return np.asarray(grey.reshape(len(images), -1), dtype=np.float32)


def load(request: Request) -> PixelEmbedder:
    """The embedder "pixels" or "pixels-784".  Raises ConfigError for a device or dtype that means nothing here."""
    if request.device not in ("auto", "cpu"):
        raise ConfigError(f"model {request.name!r} runs on the cpu only, not on {request.device!r}")
    if request.dtype not in ("auto", "fp32"):
        raise ConfigError(f"model {request.name!r} computes in fp32 only, not in {request.dtype!r}")
    request.no_options()
    flat = request.name == "pixels-784"
    layer = request.layer_of("grey" if flat else "grid")
    dim = 28 * 28 if flat else GRID * GRID + 3 * COARSE * COARSE
    spec = EmbedderSpec(request.name, "1", layer, dim, "euclidean", preprocess=request.preprocess)
    at_least = THUMBNAIL_SIDE if request.preprocess == "fast" else None
    side, describe = (28, flat_grey) if flat else (SIDE, grid)
    return PixelEmbedder(spec, side, describe, at_least=at_least, max_pixels=request.max_pixels)
