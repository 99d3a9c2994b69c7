"""Maps: the right shape, the same twice, neighbours kept, and nothing but coordinates."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from curate.errors import ConfigError, MissingExtra, UnknownName
from curate.geometry import COSINE, EUCLIDEAN, LORENTZ
from curate.ops.projection import METHODS, project, trustworthiness

DIGITS = load_digits().data.astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dims", [2, 3])
def test_a_map_has_its_shape_and_is_the_same_twice(method, dims):
    x = DIGITS[:120]
    one, two = (project(x, EUCLIDEAN, method=method, dims=dims, seed=3) for _ in range(2))
    assert one.points.shape == (120, dims) and one.points.dtype == np.float32
    np.testing.assert_array_equal(one.points, two.points)
    assert one.trustworthiness == two.trustworthiness > 0.8


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_digits_keep_their_neighbours(method):
    found = project(DIGITS[:700], EUCLIDEAN, method=method)
    assert found.trustworthiness >= 0.95


def test_pca_is_the_one_of_scikit_learn():
    from sklearn.decomposition import PCA

    for x in (DIGITS[:300], DIGITS[:40]):
        ours = project(x, EUCLIDEAN, method="pca", dims=3).points
        theirs = PCA(3, svd_solver="full").fit_transform(x.astype(np.float64))
        np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-3)


def test_cosine_maps_ignore_the_length():
    x = DIGITS[:50] + 1
    longer = x * np.linspace(1, 9, 50, dtype=np.float32)[:, None]
    one, two = (project(rows, COSINE, method="pca").points for rows in (x, longer))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_lorentz_vectors_are_mapped_where_they_are():
    x = DIGITS[:50] / 16
    np.testing.assert_array_equal(project(x, LORENTZ, method="pca").points, project(x, EUCLIDEAN, method="pca").points)


def test_trustworthiness_of_a_large_set_is_measured_on_a_sample():
    trust, rows = trustworthiness(DIGITS, DIGITS[:, :2].copy(), most=200)
    assert rows == 200 and 0.5 < trust < 1
    assert trustworthiness(DIGITS, DIGITS[:, :2].copy(), most=200) == (trust, rows)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_tiny_sets_have_a_pca_map_and_nothing_else(rows):
    found = project(DIGITS[:rows], EUCLIDEAN, method="pca")
    assert found.points.shape == (rows, 2) and found.trustworthiness is None
    with pytest.raises(ConfigError, match="use pca"):
        project(DIGITS[:rows], EUCLIDEAN, method="umap")


def test_equal_rows_have_a_map():
    for method in METHODS:
        assert np.isfinite(project(np.ones((20, 5), np.float32), EUCLIDEAN, method=method).points).all()


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(UnknownName, match="did you mean 'umap'"):
        project(DIGITS[:9], EUCLIDEAN, method="umapp")
    with pytest.raises(ConfigError, match="2 or 3"):
        project(DIGITS[:9], EUCLIDEAN, dims=4)
    with pytest.raises(ConfigError, match="no rows"):
        project(DIGITS[:0], EUCLIDEAN)


def test_without_umap_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtra, match=r"curate-vision\[maps\]"):
        project(DIGITS[:50], EUCLIDEAN, method="umap")
