"""Small worlds with a known truth: random taxonomies, and images planted around the points of a taxonomy."""

import numpy as np

from curate.protocols import Context
from curate.taxonomy import Record, build, parse_taxonomy
from curate.types import EmbedderSpec, Embeddings


def tree(*branching):
    """A taxonomy with `branching[k]` children at level k, keys such as "1.0.2"."""
    rows, layer = [], [""]
    for width in branching:
        layer = [f"{above}.{k}" if above else f"{k}" for above in layer for k in range(width)]
        rows += [f"{key},{key.rpartition('.')[0]}" for key in layer]
    return parse_taxonomy("\n".join(rows), suffix=".csv", source="tree")


def random_dag(rng, tags, extra):
    """A taxonomy in which some tags have several parents; two leaves at least."""
    records = {}
    for v in range(tags):
        above = {f"t{int(rng.integers(v))}": v} if v > 2 else {}
        for _ in range(int(rng.integers(extra + 1)) if v > 2 else 0):
            above[f"t{int(rng.integers(v))}"] = v
        records[f"t{v}"] = Record(f"t{v}", f"t{v}", v, above)
    for key, above in (("x", "t0"), ("y", "t1")):
        records[key] = Record(key, key, 0, {above: 0})
    return build(records, "dag")


def planted(taxonomy, rng, *, dim=32, spread=1.0, facet="path"):
    """A point for every tag: a step away from its parent in a random direction.  (tags, dim) float32."""
    found = taxonomy.facets[facet]
    points = np.zeros((len(found), dim))
    for v, above in enumerate(found.parents):
        step = rng.normal(size=dim)
        points[v] = (points[above[0]] if above else 0) + spread * step / np.sqrt(np.square(step).sum())
    return points.astype(np.float32)


class Texts:
    """An embedder of texts that knows the point of every tag; counts its calls."""

    def __init__(self, taxonomy, points):
        self.known, self.calls = {}, 0
        for facet in taxonomy.facets.values():
            for v in range(len(facet)):
                self.known.update({text: points[facet.name][v] for text in facet.texts(v)})

    def __call__(self, texts):
        self.calls += 1
        return np.stack([self.known[text] for text in texts])


def images(rng, points, tags, noise):
    """One image near the point of each of `tags`."""
    return (points[tags] + noise * rng.normal(size=(len(tags), points.shape[1]))).astype(np.float32)


def embeddings(x, geometry="euclidean"):
    return Embeddings([f"i{k:05d}" for k in range(len(x))], x, EmbedderSpec("model", "", "projected", x.shape[1], geometry))


def context(*, embed_text=None, fields=None, **rest):
    values = fields or {}
    return Context(np.random.default_rng(0), embed_text=embed_text, field=lambda name: values[name], **rest)
