"""A model with texts that knows one thing: colours.  Images and words are points in the colour cube."""

import cv2
import numpy as np

from curate.types import EmbedderSpec

WORDS = {
    "red": (0.9, 0.1, 0.1), "orange": (0.9, 0.5, 0.1), "green": (0.1, 0.7, 0.2), "blue": (0.1, 0.2, 0.9),
    "warm": (0.7, 0.35, 0.2), "cold": (0.2, 0.4, 0.5), "colour": (0.3, 0.3, 0.3),
}  # fmt: skip


class Colours:
    logit, logit_scale, batch_size = "-d2", 12.0, 8

    def __init__(self):
        self.spec = EmbedderSpec("tests.cli.colours:Colours", "1", "projected", 3, "euclidean", preprocess="own")

    def prepare(self, data):
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return bgr[:, :, ::-1]

    def embed(self, batch):
        return np.array([pixels.mean(axis=(0, 1)) / 255 for pixels in batch], np.float32).reshape(-1, 3)

    def embed_text(self, texts):
        return np.array([next(c for w, c in WORDS.items() if w in text) for text in texts], np.float32)


class Blind(Colours):
    """The same without words."""

    embed_text = None

    def __init__(self):
        super().__init__()
        self.spec = EmbedderSpec("tests.cli.colours:Blind", "1", "pooled", 3, "euclidean", preprocess="own")
