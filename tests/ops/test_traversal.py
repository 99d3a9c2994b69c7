"""The way to [ROOT] on planted trees, distributions against their definitions, and what cones say."""

import json

import numpy as np
import pytest

from curate.errors import ConfigError, GeometryError
from curate.geometry import COSINE, EUCLIDEAN, Geometry, unit
from curate.ops import distributions, entailment, traversal
from tests.ops._worlds import planted, tree

TREE = tree(4, 3, 3)
FACET = TREE.facets["path"]
LORENTZ = Geometry("lorentz", 0.5)


def nested(rng, dim=256, *, lengths=(1.0, 2.0, 3.0), turn=0.7):
    """Points whose norm grows with depth, each child a small turn away from its parent: a radial hierarchy."""
    points = np.zeros((len(FACET), dim))
    for v, above in enumerate(FACET.parents):
        towards = points[above[0]] / lengths[FACET.levels[above[0]] - 1] if above else np.zeros(dim)
        turned = towards + (turn if above else 1.0) * unit(rng.normal(size=(1, dim)))[0]
        points[v] = lengths[FACET.levels[v] - 1] * unit(turned[None])[0]
    return points.astype(np.float32)


def order_kept(geometry, points, root, images):
    kept = 0
    for leaf, image in zip(FACET.leaves, images, strict=True):
        texts = [m.text for m in traversal.traverse(image, FACET.keys, points, geometry, root=root)]
        trail = [FACET.keys[v] for v in reversed(FACET.trail(leaf))]
        places = [texts.index(key) for key in trail if key in texts]
        kept += len(places) == 3 and places == sorted(places) and texts[-1] == "[ROOT]"
    return kept / len(FACET.leaves)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("geometry", [EUCLIDEAN, LORENTZ])
def test_an_image_meets_leaf_parent_and_root_in_this_order(geometry, seed):
    rng = np.random.default_rng(seed)
    points = nested(rng, lengths=(0.6, 1.2, 1.8), turn=0.7 if geometry is EUCLIDEAN else 0.4)
    images = points[list(FACET.leaves)] * 1.2 + 0.02 * rng.normal(size=(len(FACET.leaves), 256)).astype(np.float32)
    assert order_kept(geometry, points, np.zeros(256, np.float32), images.astype(np.float32)) >= 0.95


@pytest.mark.parametrize("seed", range(3))
def test_the_order_holds_for_cosine_with_the_mean_as_root(seed):
    rng = np.random.default_rng(seed)
    flat = nested(rng, lengths=(0.4, 0.8, 1.2), turn=0.4)
    angle = np.sqrt(np.square(flat).sum(axis=1, keepdims=True))
    # The same tree on the sphere: depth is the angle from [ROOT], which is an axis of its own.
    points = np.concatenate([np.cos(angle), np.sin(angle) * flat / angle], axis=1).astype(np.float32)
    # The corpus holds as much on the other side, as a large one does.
    root = COSINE.root(np.concatenate([points, points * np.r_[1, -np.ones(256)]]))
    images = unit(points[list(FACET.leaves)] + 0.01 * rng.normal(size=(len(FACET.leaves), 257)))
    assert order_kept(COSINE, points, root, images) >= 0.95


@pytest.mark.parametrize("geometry", [EUCLIDEAN, COSINE, LORENTZ])
def test_the_way_equals_a_walk_in_small_steps(geometry):
    rng = np.random.default_rng(0)
    x, texts = rng.normal(size=(5, 8)).astype(np.float32), rng.normal(size=(6, 8)).astype(np.float32)
    root = geometry.root(np.concatenate([x, texts]))
    ways = traversal.nearest_on_the_way(x, texts, geometry, root=root, steps=11)
    for row in range(5):
        for step, point in enumerate(geometry.towards_root(x[row], root, 11)):
            gaps = [geometry.distance(point[None], t[None])[0] for t in (*texts, root)]
            assert gaps[ways[row, step]] == pytest.approx(min(gaps), abs=1e-6)
    assert (ways[:, -1] == 6).all()


def test_the_walk_names_each_text_once_with_its_step_and_distance():
    points = np.eye(3, dtype=np.float32)[:2] * [[1.0], [3.0]]
    met = traversal.traverse(points[1], ["near", "far"], points, EUCLIDEAN, root=np.zeros(3, np.float32), steps=4)
    assert [m.as_dict() for m in met] == [
        {"text": "far", "step": 0, "distance": 0.0},
        {"text": "[ROOT]", "step": 2, "distance": 1.0},
    ]
    assert traversal.captions_met(np.array([[1, 1, 0, 2], [2, 2, 2, 2]]), 2).tolist() == [2, 0]


def test_a_walk_without_texts_or_steps_is_refused():
    with pytest.raises(ConfigError, match="texts"):
        traversal.traverse(np.ones(3), [], np.zeros((0, 3)), EUCLIDEAN, root=np.zeros(3))
    with pytest.raises(ConfigError, match="at least 2"):
        traversal.nearest_on_the_way(np.ones((1, 3)), np.ones((1, 3)), EUCLIDEAN, root=np.zeros(3), steps=1)


def test_distances_from_root_separate_short_texts_from_long_images():
    rng = np.random.default_rng(0)
    images, texts = 3 * unit(rng.normal(size=(200, 16))), unit(rng.normal(size=(80, 16)))
    found = distributions.root_distances(EUCLIDEAN, images, texts)
    assert found["separation"] == 1.0
    assert sum(found["images"]["counts"]) == 200 and sum(found["texts"]["counts"]) == 80
    assert found["images"]["quantiles"]["0.5"] == pytest.approx(3, abs=1e-5)
    cosine = distributions.root_distances(COSINE, images, texts)
    root = unit((unit(np.concatenate([images, texts]))).mean(axis=0, keepdims=True))
    assert cosine["images"]["mean"] == pytest.approx(float((1 - unit(images) @ root[0]).mean()), abs=1e-5)


def test_share_below_equals_its_definition():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 30).astype(float), rng.integers(0, 5, 40).astype(float)
    expected = np.mean([(x < y) + 0.5 * (x == y) for x in a for y in b])
    assert distributions.share_below(a, b) == pytest.approx(expected)


def test_the_modality_gap_is_the_distance_of_the_means():
    x = np.array([[2.0, 0, 0], [0, 2.0, 0]], np.float32)
    assert distributions.modality_gap(EUCLIDEAN, x, x + 3) == pytest.approx(np.sqrt(27))
    assert distributions.modality_gap(COSINE, x, -x) == pytest.approx(np.sqrt(2))


def test_dead_dimensions_are_found():
    x = np.random.default_rng(0).normal(size=(100, 8)).astype(np.float32)
    x[:, 3], x[:, 5] = 7.0, 7.0 + 1e-4 * x[:, 5]
    assert distributions.dead_dimensions(x) == [3, 5]


def test_a_description_is_plain_json():
    rng = np.random.default_rng(0)
    x, texts = rng.normal(size=(30, 8)).astype(np.float32), rng.normal(size=(7, 8)).astype(np.float32)
    for geometry in (EUCLIDEAN, COSINE, LORENTZ):
        found = json.loads(json.dumps(distributions.describe(geometry, x, texts)))
        assert sum(found["captions_met"]["counts"].values()) == found["captions_met"]["images"] == 30
        assert sum(found["values"]["counts"]) == 30 * 8 and sum(found["norms"]["counts"]) == 30
    alone = distributions.describe(EUCLIDEAN, np.ones((3, 4), np.float32))
    assert alone["captions_met"] is None and alone["modality_gap"] is None


def test_edges_of_a_radial_tree_are_in_order_and_of_a_flat_one_are_not():
    rng = np.random.default_rng(0)
    radial = entailment.edge_health(FACET, nested(rng), EUCLIDEAN)
    assert radial["not_nearer"] == 0 and radial["edges"] == len(FACET) - 4
    flat = entailment.edge_health(FACET, unit(rng.normal(size=(len(FACET), 64))), EUCLIDEAN)
    assert 0.2 < flat["not_nearer"] < 0.8
    assert flat["outside"] == 1.0 and sum(flat["exterior"]["counts"]) == flat["edges"]
    assert "outside" not in entailment.edge_health(FACET, planted(TREE, rng), COSINE)


@pytest.mark.parametrize("geometry", [EUCLIDEAN, LORENTZ])
def test_cone_check_of_images_behind_and_beside_their_texts(geometry):
    texts = np.eye(4, dtype=np.float32)
    behind = entailment.cone_check(1.5 * texts, texts, geometry)
    assert behind["recall"] == 1.0 and behind["exterior"] == pytest.approx(0, abs=1e-4)
    beside = entailment.cone_check(np.roll(texts, 1, axis=0), texts, geometry)
    assert beside["recall"] == 0.0 and beside["loss"] > 1
    with pytest.raises(GeometryError, match="cosine"):
        entailment.cone_check(texts, texts, COSINE)


def test_tags_whose_texts_are_alike_are_listed_worst_first():
    x = unit(np.array([[1, 0, 0], [1, 0.02, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]], np.float32))
    found = entailment.confusable(x, COSINE, scale=100)
    assert [(i, j) for i, j, _ in found] == [(2, 3), (0, 1)]
    assert found[0][2] == 0.5
    expected = 1 / (1 + np.exp(-100 * (1 - float(x[0] @ x[1]))))
    assert found[1][2] == pytest.approx(expected, abs=1e-4)
