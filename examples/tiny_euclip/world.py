"""A small world with a hierarchy: 48 kinds of drawings in 12 shapes of 4 families, and captions of mixed generality."""

import numpy as np

from curate.taxonomy import Taxonomy, parse_taxonomy

SIDE = 32
COLOURS = {"red": (0.9, 0.2, 0.2), "green": (0.2, 0.8, 0.3), "blue": (0.25, 0.35, 0.95), "yellow": (0.9, 0.85, 0.2)}
FAMILIES = {
    "round thing": ("circle", "ring", "ellipse"),
    "cornered thing": ("square", "triangle", "diamond"),
    "striped thing": ("bars", "columns", "slashes"),
    "crossed thing": ("plus", "star", "grid"),
}
SHAPES = [shape for shapes in FAMILIES.values() for shape in shapes]
LEAVES = [f"{colour} {shape}" for shape in SHAPES for colour in COLOURS]
FAMILY_OF = {shape: family for family, shapes in FAMILIES.items() for shape in shapes}
LEVELS = (0.15, 0.25, 0.60)
"""How often a caption names the family, the shape, or the shape with its colour."""


def taxonomy() -> Taxonomy:
    """The hierarchy of the captions; its texts are the captions themselves."""
    tree = {family: {shape: [f"{c} {shape}" for c in COLOURS] for shape in shapes} for family, shapes in FAMILIES.items()}
    lines = ["templates: ['a {name}']"]
    for family, shapes in tree.items():
        lines.append(f"{family}:")
        lines += [f"  {shape}: [{', '.join(leaves)}]" for shape, leaves in shapes.items()]
    return parse_taxonomy("\n".join(lines), source="tiny world")


def draw(rng: np.random.Generator, leaf: int, *, noise: float) -> np.ndarray:
    """One image of a leaf: (3, 32, 32) float32, somewhere, of some size, on some grey, under noise."""
    colour, shape = LEAVES[leaf].split(" ", 1)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    cx, cy = rng.uniform(11, 21, 2)
    r = rng.uniform(6, 11)
    u, v = (x - cx) / r, (y - cy) / r
    mask = _inside(shape, u, v)
    paper = rng.uniform(0.1, 0.6)
    ink = np.array(COLOURS[colour], np.float32) * rng.uniform(0.75, 1.1)
    image = np.where(mask, ink[:, None, None], paper)
    return np.clip(image + noise * rng.normal(size=image.shape), 0, 1).astype(np.float32)


def _inside(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    radius, box = np.hypot(u, v), np.maximum(abs(u), abs(v)) < 1
    stripe = {"bars": v, "columns": u, "slashes": (u + v) / 1.4}
    if shape in stripe:
        return box & (np.sin(stripe[shape] * 8) > 0)
    return {
        "circle": radius < 1,
        "ring": (radius < 1) & (radius > 0.6),
        "ellipse": np.hypot(u, 2 * v) < 1,
        "square": np.maximum(abs(u), abs(v)) < 0.85,
        "triangle": (v < 0.8) & (v > 2 * abs(u) - 0.9),
        "diamond": abs(u) + abs(v) < 1,
        "plus": box & (np.minimum(abs(u), abs(v)) < 0.25),
        "star": (radius < 1) & ((np.minimum(abs(u), abs(v)) < 0.18) | (abs(abs(u) - abs(v)) < 0.25)),
        "grid": box & ((np.sin(u * 8) > 0.4) | (np.sin(v * 8) > 0.4)),
    }[shape]


def caption(rng: np.random.Generator, leaf: int) -> str:
    """A caption of a leaf: coarse, middle or fine."""
    shape = LEAVES[leaf].split(" ", 1)[1]
    return "a " + (FAMILY_OF[shape], shape, LEAVES[leaf])[rng.choice(3, p=LEVELS)]


def images(rng: np.random.Generator, count: int, *, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """`count` images of random leaves: (count, 3, 32, 32), (count,)."""
    leaves = rng.integers(0, len(LEAVES), count)
    return np.stack([draw(rng, int(leaf), noise=noise) for leaf in leaves]), leaves
