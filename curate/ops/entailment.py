"""What the texts of a taxonomy say about themselves: a diagnostic of names and model, never a gate.

Measured on EuCLIP: nothing in the loss orders parent text before child text, and a hard cone gate at K = 0.1 rejects every
true tag (its apertures are a few degrees, true pairs lie tens of degrees outside).  See docs/hierarchy.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from curate.geometry import Geometry
from curate.ops.distributions import common_root, histogram
from curate.taxonomy import Facet
from curate.types import Vectors

CERTAIN = 0.75
"""A tag counts as told apart if its own text gives it at least this probability against another tag."""


def edge_health(facet: Facet, vectors: Vectors, geometry: Geometry, *, min_radius: float = 0.1) -> dict[str, Any]:
    """How far the texts of parents lie before those of their children: vectors (tags, d) of all tags -> numbers.

    not_nearer: share of edges whose parent is not nearer to [ROOT] than the child (0.5: no order at all).
    Euclidean and Lorentz only: exterior: the exterior angle of the child seen from the parent, in degrees; outside: share of
    edges whose child lies outside the parent's cone.
    """
    edges = [(parent, child) for child, above in enumerate(facet.parents) for parent in above]
    if not edges:
        return {"edges": 0}
    parents, children = (vectors[[edge[k] for edge in edges]] for k in (0, 1))
    root = common_root(geometry, vectors)
    found: dict[str, Any] = {
        "edges": len(edges),
        "not_nearer": float((geometry.depth(parents, root) >= geometry.depth(children, root)).mean()),
    }
    if geometry.kind != "cosine":
        found["exterior"] = histogram(np.degrees(geometry.exterior_angle(parents, children)), low=0, high=180)
        found["outside"] = float((geometry.entailment_loss(parents, children, min_radius) > 0).mean())
    return found


def cone_check(images: Vectors, text_vectors: Vectors, geometry: Geometry, *, min_radius: float = 0.1) -> dict[str, float]:
    """True pairs against the entailment cone: row i of `images` goes with row i of `text_vectors`, (n, d) each.

    Returns the mean exterior angle and aperture in degrees, the mean entailment loss in radians, and `recall`: the share of
    true pairs that a hard gate would let through.
    """
    loss = geometry.entailment_loss(text_vectors, images, min_radius)
    return {
        "exterior": float(np.degrees(geometry.exterior_angle(text_vectors, images)).mean()),
        "aperture": float(np.degrees(geometry.aperture(text_vectors, min_radius)).mean()),
        "loss": float(loss.mean()),
        "recall": float((loss <= 0).mean()),
    }


def confusable(vectors: Vectors, geometry: Geometry, *, scale: float, logit: str = "") -> list[tuple[int, int, float]]:
    """Pairs of tags whose texts the model cannot tell apart: (row, row, probability), most confusable first.

    vectors: (m, d).  scale: the model's exp(logit_scale).  probability: what the text of a tag gives the tag itself against
    the other alone, the smaller of both ways; pairs below 0.75 are listed, 0.5 means the texts are the same to the model.
    """
    found = []
    for start in range(0, len(vectors), 512):
        some = vectors[start : start + 512]
        scores = geometry.scores(some, vectors, logit=logit)
        own = scores[np.arange(len(some)), start + np.arange(len(some))]
        lead = scale * (own[:, None] - scores)
        rows, others = np.nonzero(lead < np.log(CERTAIN / (1 - CERTAIN)))
        for i, j in zip(rows.tolist(), others.tolist(), strict=True):
            if start + i != j:
                chance = float(1 / (1 + np.exp(-max(lead[i, j], 0.0))))
                found.append((min(start + i, j), max(start + i, j), chance))
    worst: dict[tuple[int, int], float] = {}
    for i, j, chance in found:
        worst[i, j] = min(chance, worst.get((i, j), 1.0))
    return sorted(((i, j, p) for (i, j), p in worst.items()), key=lambda pair: (round(pair[2], 9), pair[0], pair[1]))
