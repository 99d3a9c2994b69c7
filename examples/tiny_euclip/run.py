"""Trains CLIP, EuCLIP and EuCLIP with entailment on one budget, and shows what tags and traversal make of them.

    python examples/tiny_euclip/run.py                    # 3 seeds, about 12 minutes on one core
    python examples/tiny_euclip/run.py --seeds 1 --steps 30 --train 500 --test 300

Everything is drawn here; nothing is downloaded.  The models are tiny: the figures show how the parts work together, not how
good EuCLIP is.
"""

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from model import DIM, Model, train
from world import LEAVES, caption, images, taxonomy

from curate.geometry import geometry_named, norms
from curate.ops.distributions import common_root, root_distances
from curate.ops.entailment import cone_check, edge_health
from curate.ops.hierarchy import Tag
from curate.ops.tag_metrics import scores_of
from curate.ops.traversal import captions_met, nearest_on_the_way
from curate.protocols import Context
from curate.types import EmbedderSpec, Embeddings, Vectors

VARIANTS = {"CLIP": ("clip", 0.0), "EuCLIP": ("euclip", 0.0), "EuCLIP + entailment": ("euclip", 0.2)}
TREE = taxonomy()
FACET = TREE.facets["path"]
LEAF_TAGS = np.array([FACET.find(name) for name in LEAVES])


def vectors(model: Model, pixels: np.ndarray) -> Vectors:
    with torch.no_grad():
        return np.concatenate([model.points(model.image(torch.from_numpy(p))).numpy() for p in np.array_split(pixels, 8)])


def measure(model: Model, pixels: np.ndarray, leaves: np.ndarray, *, known: int) -> dict[str, float]:
    """Figures of one trained model; the first `known` test images calibrate, the others are judged."""
    geometry = geometry_named("cosine" if model.kind == "clip" else "euclidean")
    x, truth = vectors(model, pixels), LEAF_TAGS[leaves]

    def embed_text(texts: Any) -> Vectors:
        with torch.no_grad():
            return model.points(model.text(list(texts))).numpy()

    scale = float(model.logit_scale.detach().exp())
    spec = EmbedderSpec("tiny", "", "projected", DIM, geometry.label)
    rows = Embeddings([f"{k:05d}" for k in range(len(x))], x, spec)
    field = [FACET.keys[t] if k < known else None for k, t in enumerate(truth)]
    context = Context(np.random.default_rng(0), field=lambda _: field, embed_text=embed_text, logit_scale=scale)
    texts = np.stack([embed_text(FACET.texts(v)).mean(axis=0) for v in range(len(FACET))])
    leaf_texts = texts[list(FACET.leaves)]
    guess = np.array(FACET.leaves)[geometry.scores(x, leaf_texts).argmax(axis=1)]
    found = {"leaf accuracy": float((guess == truth)[known:].mean()), "logit scale": scale}
    paths = {FACET.path(v): v for v in range(len(FACET))}
    for name, settings in {"tau 0.6, no labels": {}, "risk 10 %": {"risk": 0.1, "labels_field": "label"}}.items():
        tagged = Tag(TREE, **settings)(rows, context).values["path"]
        ends = [paths[tagged[i]] if i in tagged else -1 for i in rows.ids[known:]]
        figures = scores_of(FACET, ends, truth[known:].tolist())
        found |= {f"{name}: {key}": figures[key] for key in ("f1", "wrong", "depth")}
    found["text norm"], found["image norm"] = float(norms(texts).mean()), float(norms(x).mean())
    separation = root_distances(geometry, x, texts)["separation"]
    found["text nearer to [ROOT] than image"] = float(separation or 0.0)
    found["parent text not nearer than child"] = edge_health(FACET, texts, geometry)["not_nearer"]
    ways = nearest_on_the_way(x[known:], texts, geometry, root=common_root(geometry, x, texts))
    found["captions met"] = float(captions_met(ways, len(FACET)).mean())
    found["walk: own leaf, then what is above"] = float(
        np.mean([in_order(w, t) for w, t in zip(ways, truth[known:], strict=True)])
    )
    if geometry.kind == "euclidean":
        cones = cone_check(x, texts[truth], geometry)
        found["exterior angle of true pairs"], found["aperture"] = cones["exterior"], cones["aperture"]
        found["true pairs inside the cone"] = cones["recall"]
    return found


def in_order(way: np.ndarray, leaf: int) -> bool:
    """Whether the walk starts at the leaf or above it, and meets nothing but its ancestors, from fine to coarse."""
    met = [int(v) for v in dict.fromkeys(way.tolist()) if v < len(FACET)]
    levels = [FACET.levels[v] for v in met]
    return bool(met) and all(v in FACET.ancestors(int(leaf)) for v in met) and levels == sorted(levels, reverse=True)


def say(figures: dict[str, dict[str, list[float]]]) -> list[str]:
    """What the figures show, in words, the disappointing part included."""
    mean = {name: {key: float(np.mean(values)) for key, values in some.items()} for name, some in figures.items()}
    clip, plain, taught = (mean[name] for name in VARIANTS)
    key = "text nearer to [ROOT] than image"

    def each(figure: str, form: str = "{:.1f} %", factor: float = 100) -> str:
        return ", ".join(form.format(factor * some[figure]) for some in mean.values())

    lines = [
        f"All triples are {', '.join(VARIANTS)}.",
        f"Norms separate text and image with the entailment loss: {taught[key]:.2f} (1 = every text is nearer to [ROOT]); "
        f"without it: {plain[key]:.2f} (0.5 = no order, below it = the reverse).",
        f"A promised risk of 10 % gave {each('risk 10 %: wrong')} wrong tags; tau = 0.6 without labels gave "
        f"{each('tau 0.6, no labels: wrong')}.",
        f"Leaf accuracy {each('leaf accuracy')}: "
        f"{verdict(taught['leaf accuracy'] - max(clip['leaf accuracy'], plain['leaf accuracy']))}.",
        f"As a gate the cone is useless: {100 * taught['true pairs inside the cone']:.1f} % of the true pairs lie inside it "
        f"(exterior angle {taught['exterior angle of true pairs']:.0f} deg, aperture {taught['aperture']:.1f} deg).",
        f"Parents whose text is not nearer to [ROOT] than a child's: {each('parent text not nearer than child')} of the edges; "
        "the loss orders text before image, not text before text.",
        f"Traversal meets {each('captions met', '{:.1f}', 1)} texts; it meets only true ones, from fine to coarse, for "
        f"{each('walk: own leaf, then what is above')} of the images.",
    ]
    return lines


def verdict(gain: float) -> str:
    if abs(gain) <= 0.02:
        return "the entailment loss costs and gains next to nothing"
    return "the entailment loss helps here" if gain > 0 else f"the entailment loss costs {-100 * gain:.1f} points here"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--train", type=int, default=6000, help="training images")
    parser.add_argument("--test", type=int, default=1600, help="test images; the first half calibrates")
    parser.add_argument("--noise", type=float, default=0.25, help="noise on the test images (training: 0.1)")
    parser.add_argument("--json", action="store_true", help="figures as JSON instead of a table")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    start, figures = time.perf_counter(), {name: {} for name in VARIANTS}
    for seed in range(settings.seeds):
        rng = np.random.default_rng(seed)
        pixels, leaves = images(rng, settings.train, noise=0.1)
        data = pixels, [caption(rng, int(leaf)) for leaf in leaves]
        fresh = images(rng, settings.test, noise=settings.noise)
        for name, (kind, weight) in VARIANTS.items():
            model = train(kind, data, entailment=weight, steps=settings.steps, batch=settings.batch, seed=seed)
            for key, value in measure(model, *fresh, known=settings.test // 2).items():
                figures[name].setdefault(key, []).append(value)
    if settings.json:
        print(json.dumps({"figures": figures, "seconds": time.perf_counter() - start}))
        return
    print(f"{'mean (sd) over ' + str(settings.seeds) + ' seeds':40}" + "".join(f"{name:>22}" for name in VARIANTS))
    for key in figures["EuCLIP"]:
        cells = [some.get(key, []) for some in figures.values()]
        print(f"{key:40}" + "".join(f"{f'{np.mean(c):.3f} ({np.std(c):.3f})' if c else '-':>22}" for c in cells))
    print("\nWhat it shows:")
    for line in say(figures):
        print(f"- {line}")
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
