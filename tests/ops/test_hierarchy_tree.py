"""From leaf probabilities to paths, against brute force; no ancestor is ever less probable than its descendant."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.ops._tree import block_rows, routes, softmax, tag_probabilities, violations
from curate.taxonomy import parse_taxonomy
from tests.ops._worlds import random_dag, tree

DAGS = st.tuples(st.integers(0, 2**32 - 1), st.integers(5, 40), st.integers(0, 3))


def below(facet, tag):
    """The distinct leaves under a tag, by walking."""
    if not facet.children[tag]:
        return {tag}
    return set().union(*(below(facet, child) for child in facet.children[tag]))


def descend(facet, chances, tau):
    """The path of one row, by walking: the most probable child while its probability is at least tau."""
    way, here = [], facet.tops
    while here:
        best = max(here, key=lambda v: (chances[v], [-ord(c) for c in facet.keys[v]]))
        if chances[best] < tau:
            break
        way.append(best)
        here = facet.children[best]
    return way


@settings(max_examples=60, deadline=None)
@given(DAGS, st.floats(0.01, 200))
def test_no_tag_is_more_probable_than_its_parents(shape, temperature):
    rng = np.random.default_rng(shape[0])
    facet = random_dag(rng, *shape[1:]).facets["path"]
    leaf = softmax(temperature * rng.normal(size=(len(facet.leaves), 50)))
    whole = tag_probabilities(facet, leaf)
    assert violations(facet, whole) == 0
    for v in range(len(facet)):
        for other in facet.ancestors(v):
            assert (whole[other] >= whole[v]).all()


@settings(max_examples=40, deadline=None)
@given(DAGS)
def test_a_tag_is_as_probable_as_its_distinct_leaves(shape):
    rng = np.random.default_rng(shape[0])
    facet = random_dag(rng, *shape[1:]).facets["path"]
    leaf = softmax(3 * rng.normal(size=(len(facet.leaves), 7)))
    whole = tag_probabilities(facet, leaf)
    place = {tag: k for k, tag in enumerate(facet.leaves)}
    for v in range(len(facet)):
        np.testing.assert_allclose(whole[v], leaf[[place[t] for t in below(facet, v)]].sum(axis=0), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(DAGS, st.sampled_from([0.0, 0.2, 0.5, 0.6, 0.9]))
def test_the_way_down_equals_a_walk(shape, tau):
    rng = np.random.default_rng(shape[0])
    facet = random_dag(rng, *shape[1:]).facets["path"]
    whole = tag_probabilities(facet, softmax(4 * rng.normal(size=(len(facet.leaves), 30))))
    ways = routes(facet, whole)
    ends, (following, chances) = ways.ends(facet, tau), ways.following(tau)
    for row in range(30):
        way = descend(facet, whole[:, row], tau)
        full = descend(facet, whole[:, row], 0.0)
        assert ways.tags[row][: ways.kept(tau)[row]].tolist() == way
        assert ends[row] == (-1 if not way or way[-1] in facet.trivial else way[-1])
        after = full[len(way)] if len(full) > len(way) else -1
        assert following[row] == after
        assert chances[row] == (whole[after, row] if after >= 0 else 0)


def test_tau_above_a_half_finds_the_deepest_tag_of_a_tree():
    rng = np.random.default_rng(1)
    facet = tree(3, 3, 3).facets["path"]
    whole = tag_probabilities(facet, softmax(3 * rng.normal(size=(27, 500))))
    ends = routes(facet, whole).ends(facet, 0.51)
    for row in range(500):
        passing = [v for v in range(len(facet)) if whole[v, row] >= 0.51]
        assert ends[row] == (max(passing, key=lambda v: facet.levels[v]) if passing else -1)


def test_values_at_the_cut_and_equal_children_are_borderline():
    facet = parse_taxonomy("[a, b, c]").facets["path"]
    whole = np.array([[0.6 + 5e-6, 0.7, 0.4], [0.4 - 5e-6, 0.3, 0.4], [0.0, 0.0, 0.2]])
    assert routes(facet, whole).borderline(0.6).tolist() == [True, False, False]
    assert routes(facet, whole).borderline(0.3).tolist() == [False, False, True]
    assert routes(facet, whole).ends(facet, 0.3).tolist() == [facet.find("a"), facet.find("a"), facet.find("a")]


def test_a_tag_above_everything_is_no_tag():
    facet = parse_taxonomy("thing: {animal: [dog, cat], car: }").facets["path"]
    whole = tag_probabilities(facet, np.array([[0.4, 0.9], [0.3, 0.05], [0.3, 0.05]]))
    assert whole[facet.find("thing")].tolist() == [1.0, 1.0]
    ends = routes(facet, whole).ends(facet, 0.8)
    assert ends[0] == -1 and facet.path(ends[1]).startswith("thing/")


def test_blocks_stay_small_for_large_taxonomies():
    large = parse_taxonomy("\n".join(f"l{k}," for k in range(10_000)), suffix=".csv").facets["path"]
    assert block_rows(large) * len(large) * 8 <= 64e6
    assert block_rows(tree(2, 2).facets["path"]) <= 8192


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(rows):
    facet = tree(2, 2).facets["path"]
    ways = routes(facet, np.full((len(facet), rows), 0.25))
    assert ways.ends(facet, 0.9).tolist() == [-1] * rows
