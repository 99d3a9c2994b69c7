"""How strongly the light of an image changes in which direction, on a small grid."""

import numpy as np

from curate.errors import ConfigError
from curate.media import MAX_PIXELS, decode, resize
from curate.types import EmbedderSpec

SIDE, CELLS = 64, 4


class Gradients:
    """Histograms of gradient directions; bins: directions a cell.  Euclidean: a flat image is the zero vector."""

    at_least = SIDE  # with `view`, curate decodes an image once for vector and thumbnail

    def __init__(self, bins=8, max_pixels=MAX_PIXELS):
        if not 2 <= bins <= 64:
            raise ConfigError(f"bins = {bins}: from 2 to 64 directions")
        self.bins, self.max_pixels = bins, max_pixels
        self.spec = EmbedderSpec("gradients", f"1-{bins}", "histogram", CELLS * CELLS * bins, "euclidean")

    def prepare(self, data):
        return self.view(decode(data, max_pixels=self.max_pixels, at_least=self.at_least))

    def view(self, decoded):
        return resize(decoded.pixels, SIDE, SIDE)

    def embed(self, batch):
        return np.array([self._histograms(image) for image in batch], np.float32).reshape(len(batch), self.spec.dim)

    def _histograms(self, image):
        down, right = np.gradient(image.astype(np.float64).mean(axis=2) / 255)
        direction = (np.arctan2(down, right) / (2 * np.pi) * self.bins).astype(int) % self.bins
        cell = np.arange(SIDE) * CELLS // SIDE
        place = (cell[:, None] * CELLS + cell[None, :]) * self.bins + direction
        return np.bincount(place.ravel(), weights=np.hypot(down, right).ravel(), minlength=self.spec.dim)
