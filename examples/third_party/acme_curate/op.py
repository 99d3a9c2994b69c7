"""The shape of every image as a field."""

from collections import Counter
from dataclasses import dataclass

from curate.errors import ConfigError
from curate.types import Findings


@dataclass(frozen=True)
class Aspect:
    """Writes `aspect`: "wide" or "tall" where one side is `ratio` times the other or more, else "square"."""

    ratio: float = 1.2

    name = "aspect"
    owns = frozenset({"aspect"})

    def __post_init__(self):
        if not self.ratio > 1:
            raise ConfigError(f"ratio = {self.ratio} must be larger than 1")

    def __call__(self, embeddings, context):
        widths, heights = context.fact("width"), context.fact("height")
        values = {i: self.shape(w, h) for i, w, h in zip(embeddings.ids, widths, heights, strict=True) if w and h}
        return Findings(self.name, {"aspect": values}, {"ratio": self.ratio}, dict(sorted(Counter(values.values()).items())))

    def shape(self, width, height):
        if width >= self.ratio * height:
            return "wide"
        return "tall" if height >= self.ratio * width else "square"
