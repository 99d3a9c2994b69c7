"""The way from an image to [ROOT], and the texts met on it: what the image is, then what kind of thing, then anything.

After Desai et al., arXiv 2304.09172, section 4.3, and Chou & Alam, arXiv 2409.13079, figures 3 and 5: 50 points on the line
from the image to [ROOT]; at each of them the best text; repetitions left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError
from curate.geometry import Geometry
from curate.types import Vectors

Array: TypeAlias = npt.NDArray[np.float64]
Numbers: TypeAlias = npt.NDArray[np.int64]

ROOT = "[ROOT]"
STEPS = 50
BLOCK_ROWS = 64


@dataclass(frozen=True, slots=True)
class Met:
    """One text on the way.  step: 0 is the image, steps - 1 is [ROOT].  distance: of the text from that point."""

    text: str
    step: int
    distance: float

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {"text": self.text, "step": self.step, "distance": round(self.distance, 6)}


def traverse(
    image: Vectors,
    texts: Sequence[str],
    text_vectors: Vectors,
    geometry: Geometry,
    *,
    root: Vectors,
    steps: int = STEPS,
    logit: str = "",
) -> list[Met]:
    """The texts met from one image to [ROOT], in order, each once; [ROOT] is always the last.

    image: (d,).  texts: (m,), text_vectors: (m, d), m > 0.  root: (d,), from `Geometry.root` of the corpus.  No text is shut
    out by an entailment cone: a hard gate would reject nearly all true ones.
    """
    if not texts:
        raise ConfigError("traversal needs texts to meet: a taxonomy or a file of texts")
    best = nearest_on_the_way(image[None], text_vectors, geometry, root=root, steps=steps, logit=logit)[0]
    line = geometry.towards_root(image, root, steps)
    met = []
    for k in dict.fromkeys(best.tolist()):
        step = int(np.argmax(best == k))
        vector = root if k == len(texts) else text_vectors[k]
        distance = float(geometry.distance(line[step][None], np.asarray(vector)[None])[0])
        met.append(Met(ROOT if k == len(texts) else texts[k], step, distance))
    # [ROOT] may be met, left and met again; the walk ends there.
    return [m for m in met if m.text != ROOT] + [m for m in met if m.text == ROOT]


def nearest_on_the_way(
    images: Vectors, text_vectors: Vectors, geometry: Geometry, *, root: Vectors, steps: int = STEPS, logit: str = ""
) -> Numbers:
    """Which text is best at every point of every way: (n, d), (m, d) -> (n, steps) numbers, m for [ROOT] itself."""
    if steps < 2:
        raise ConfigError(f"a way of {steps} steps does not lead from an image to [ROOT]; at least 2 are needed")
    # [ROOT] stands first, so that it wins a tie at the end of the way.
    pool = np.concatenate([np.asarray(root)[None], text_vectors]).astype(np.float32)
    found = np.empty((len(images), steps), dtype=np.int64)
    for start in range(0, len(images), BLOCK_ROWS):
        some = images[start : start + BLOCK_ROWS]
        points = np.concatenate([geometry.towards_root(image, root, steps) for image in some])
        best = geometry.scores(points, pool, logit=logit).argmax(axis=1)
        found[start : start + len(some)] = (best.reshape(len(some), steps) - 1) % len(pool)
    return found


def captions_met(ways: Numbers, texts: int) -> Numbers:
    """How many different texts every image meets on its way, [ROOT] not counted: (n, steps) -> (n,).  texts: their number."""
    return np.array([len(set(way) - {texts}) for way in ways.tolist()], dtype=np.int64)
