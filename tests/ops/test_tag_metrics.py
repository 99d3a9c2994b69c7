"""Figures of tags against sums written out by hand and by brute force."""

import numpy as np
import pytest

from curate.ops._tagging import ways_down
from curate.ops._tree import softmax, tag_probabilities
from curate.ops.tag_metrics import calibration_by_level, calibration_error, depth_at, evaluate, scores_of
from curate.taxonomy import parse_taxonomy
from tests.ops._worlds import random_dag, tree

PETS = parse_taxonomy("animal: {dog: [beagle, poodle], cat: }\ncar:\n").facets["path"]


def tags(*names):
    return [-1 if name is None else PETS.find(name) for name in names]


def test_figures_of_four_rows_by_hand():
    said = tags("beagle", "dog", "car", None)
    true = tags("beagle", "poodle", "cat", "dog")
    figures = scores_of(PETS, said, true)
    # |A(v)|: 3 2 1 0.  |A(y)|: 3 3 2 2.  common: 3 2 0 0.
    assert figures["precision"] == pytest.approx(5 / 6)
    assert figures["recall"] == pytest.approx(5 / 10)
    assert figures["f1"] == pytest.approx(2 * 5 / 6 * 0.5 / (5 / 6 + 0.5))
    assert figures["wrong"] == 0.25 and figures["untagged"] == 0.25 and figures["exact"] == 0.25
    assert figures["depth"] == pytest.approx(6 / 4)
    assert figures["tree_distance"] == pytest.approx((0 + 1 + 3 + 2) / 4)


def test_deeper_than_the_label_is_wrong_and_said():
    figures = scores_of(PETS, tags("beagle", "dog"), tags("dog", "dog"))
    assert figures["wrong"] == 0.5 and figures["unjudged"] == 0.5


def test_tags_above_everything_count_for_nothing():
    whole = parse_taxonomy("thing: {animal: [dog, cat], car: }").facets["path"]
    figures = scores_of(whole, [whole.find("animal")], [whole.find("dog")])
    assert figures["depth"] == 1 and figures["recall"] == 0.5


def test_nothing_of_the_taxonomy_makes_every_tag_wrong():
    figures = scores_of(PETS, tags("dog", None), [-1, -1])
    assert figures["wrong"] == 0.5 and figures["precision"] == 0 and figures["f1"] == 0


def test_depth_at_a_share_equals_trying_every_threshold():
    rng = np.random.default_rng(0)
    for facet in (tree(3, 3).facets["path"], random_dag(rng, 25, 2).facets["path"]):
        ways = ways_down(facet, tag_probabilities(facet, softmax(4 * rng.normal(size=(len(facet.leaves), 60)))))
        leaf = ways.tags.max(axis=1)
        truth = [int(v) if rng.random() < 0.8 else int(rng.choice(facet.leaves)) for v in leaf]
        found = depth_at(facet, ways, truth, 0.9)
        best = 0.0
        for tau in np.unique(ways.probabilities):
            ends = ways.ends(facet, tau)
            if np.mean([v < 0 or v in facet.ancestors(y) for v, y in zip(ends, truth, strict=True)]) >= 0.9:
                depth = np.mean([len(facet.ancestors(int(v)) - facet.trivial) if v >= 0 else 0 for v in ends])
                best = max(best, depth)
        assert found["depth"] == pytest.approx(best, abs=0.06) and found["depth"] <= best
        ends = ways.ends(facet, found["tau"])
        assert scores_of(facet, ends, truth)["wrong"] <= 0.1


def test_calibration_error_is_zero_for_honest_and_large_for_boastful():
    rng = np.random.default_rng(0)
    honest = rng.random(20_000)
    assert calibration_error(honest, rng.random(20_000) < honest) < 0.02
    assert calibration_error(np.full(100, 0.99), np.arange(100) < 50) == pytest.approx(0.49)
    assert calibration_error(np.zeros(0), np.zeros(0, dtype=bool)) == 0


def test_true_probabilities_are_calibrated_at_every_level():
    rng = np.random.default_rng(0)
    facet = tree(3, 3).facets["path"]
    leaf = softmax(2 * rng.normal(size=(9, 8000)))
    truth = [facet.leaves[k] for k in (leaf.cumsum(axis=0) > rng.random(8000)).argmax(axis=0)]
    whole = tag_probabilities(facet, leaf)
    ways = ways_down(facet, whole)
    assert all(error < 0.03 for error in calibration_by_level(facet, ways, truth).values())
    ends = ways.ends(facet, 0.5)
    confidence = np.where(ends >= 0, whole[np.maximum(ends, 0), np.arange(8000)], 0)
    figures = evaluate(facet, ends, truth, ways=ways, confidence=confidence, violations=0)
    assert figures["calibration_error"] < 0.03 and set(figures["calibration_error_by_level"]) == {1, 2}
    assert figures["depth_at_95"]["depth"] <= figures["depth_at_90"]["depth"]
