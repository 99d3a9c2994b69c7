"""Geometry against the authors' numbers and against ten-line oracles."""

from pathlib import Path

import numpy as np
import pytest

from curate.errors import GeometryError
from curate.geometry import COSINE, EUCLIDEAN, LORENTZ, Geometry, geometry_named, unit

GOLDEN = np.load(Path(__file__).parent / "golden" / "geometry.npz", allow_pickle=False)
X, Y = GOLDEN["x"], GOLDEN["y"]
HYPERBOLIC = Geometry("lorentz", float(GOLDEN["curvature"]))
ALL = [COSINE, EUCLIDEAN, LORENTZ, HYPERBOLIC]


def test_euclidean_metrics_equal_the_authors():
    np.testing.assert_allclose(-EUCLIDEAN.pairwise(X, Y), GOLDEN["metric_euclidean"], atol=1e-4)
    np.testing.assert_allclose(EUCLIDEAN.logits(X, Y), GOLDEN["metric_euclidean-squared"], atol=1e-4)
    np.testing.assert_allclose(-EUCLIDEAN.distance(X, Y), np.diag(GOLDEN["metric_euclidean"]), atol=1e-9)


def test_lorentz_metric_equals_the_authors():
    np.testing.assert_allclose(-HYPERBOLIC.pairwise(X, Y), GOLDEN["metric_hyperbolic"], atol=1e-5)
    np.testing.assert_allclose(-HYPERBOLIC.distance(X, Y), np.diag(GOLDEN["metric_hyperbolic"]), atol=1e-6)


@pytest.mark.parametrize("k", [0.1, 0.3])
@pytest.mark.parametrize(("geometry", "name"), [(EUCLIDEAN, "euclidean"), (HYPERBOLIC, "hyperbolic")])
def test_entailment_equals_the_authors_where_they_are_finite(geometry, name, k):
    theirs = GOLDEN[f"{name}_entailment_K{k}"]
    ours = geometry.entailment_loss(X, Y, k)
    assert np.isfinite(ours).all()
    known = np.isfinite(theirs)
    np.testing.assert_allclose(ours[known], theirs[known], atol=1e-6)


def test_opposite_points_leave_the_cone_by_pi_minus_aperture():
    x = X[:1]
    np.testing.assert_allclose(EUCLIDEAN.exterior_angle(x, -x), np.pi, atol=1e-6)
    np.testing.assert_allclose(EUCLIDEAN.entailment_loss(x, -x), np.pi - EUCLIDEAN.aperture(x), atol=1e-6)


@pytest.mark.parametrize("geometry", [EUCLIDEAN, HYPERBOLIC])
def test_collinear_and_equal_points_give_no_nan(geometry):
    for factor in (0.0, 0.5, 1.0, 1 + 1e-9, 2.0, -1.0):
        angle = geometry.exterior_angle(X, factor * X)
        assert np.isfinite(angle).all()
        if factor >= 1:
            np.testing.assert_allclose(angle, 0, atol=1e-3)


def test_figure_1_aperture_is_the_angle_to_the_axis_on_the_line_y_equals_k():
    k = 0.1
    points = np.array([[t, k] for t in (0.1, 0.5, 1.0, 3.0)])
    np.testing.assert_allclose(EUCLIDEAN.aperture(points, k), np.arctan2(k, points[:, 0]), atol=1e-9)


def test_figure_1_cone_of_the_corner_is_a_shifted_quadrant():
    k = 0.1
    corner = np.array([[k, k]])
    inside = corner + np.random.default_rng(0).random((100, 2))
    outside = corner + np.array([[-0.01, 0.5], [0.5, -0.01], [-1, -1]])
    assert (EUCLIDEAN.entailment_loss(np.repeat(corner, 100, 0), inside, k) < 1e-7).all()
    assert (EUCLIDEAN.entailment_loss(np.repeat(corner, 3, 0), outside, k) > 0).all()


def test_cosine_has_no_cones():
    with pytest.raises(GeometryError, match="Euclidean or Lorentz"):
        COSINE.exterior_angle(X, Y)


@pytest.mark.parametrize("geometry", ALL, ids=lambda g: g.label)
def test_pairwise_and_paired_distance_agree(geometry):
    full = geometry.pairwise(X, Y)
    for i in range(len(X)):
        exact = geometry.distance(np.repeat(X[i : i + 1], len(Y), 0), Y)
        np.testing.assert_allclose(full[i], exact, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(geometry.pairwise(geometry.prepare(X), geometry.prepare(Y), prepared=True), full, atol=1e-5)
    np.testing.assert_allclose(geometry.distance(X, X), 0, atol=1e-12)


@pytest.mark.parametrize("geometry", [COSINE, EUCLIDEAN], ids=lambda g: g.label)
def test_chord_orders_and_inverts(geometry):
    d = np.linspace(0, 2, 9)
    np.testing.assert_allclose(geometry.from_chord(geometry.chord(d)), d, atol=1e-12)
    a, b = geometry.prepare(X), geometry.prepare(Y)
    straight = EUCLIDEAN.distance(a, b)
    np.testing.assert_allclose(geometry.from_chord(straight), geometry.distance(X, Y), atol=1e-6)
    np.testing.assert_allclose(geometry.from_index(straight**2), geometry.distance(X, Y), atol=1e-6)


def test_cosine_distance_of_opposite_rows_is_two():
    np.testing.assert_allclose(COSINE.distance(X, -X), 2, atol=1e-9)


def test_zero_rows_are_refused_in_cosine_only():
    zero = np.zeros((1, 16))
    with pytest.raises(GeometryError, match="zero vector"):
        COSINE.prepare(zero)
    with pytest.raises(GeometryError, match="zero vector"):
        COSINE.distance(zero, X[:1])
    assert EUCLIDEAN.distance(zero, zero)[0] == 0
    assert LORENTZ.distance(zero, zero)[0] == 0


def test_root_and_depth():
    assert not EUCLIDEAN.root(X).any()
    np.testing.assert_allclose(EUCLIDEAN.depth(X), np.sqrt((X**2).sum(1)), rtol=1e-6)
    root = COSINE.root(X)
    np.testing.assert_allclose((root**2).sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(root, unit(unit(X).mean(0)[None])[0], atol=1e-6)
    np.testing.assert_allclose(LORENTZ.depth(X), np.sqrt((X**2).sum(1)), rtol=1e-6)


@pytest.mark.parametrize("geometry", ALL, ids=lambda g: g.label)
def test_the_way_to_root_starts_at_the_vector_and_ends_at_root(geometry):
    root = geometry.root(Y)
    way = geometry.towards_root(X[0], root, 50)
    assert way.shape == (50, 16)
    np.testing.assert_allclose(geometry.distance(way[:1], X[:1]), 0, atol=1e-6)
    np.testing.assert_allclose(geometry.distance(way[-1:], root[None]) if geometry is not COSINE else 0, 0, atol=1e-6)


@pytest.mark.parametrize("radius", [-0.1, 2.5, float("nan")])
def test_a_radius_that_cannot_be_is_refused(radius):
    with pytest.raises(GeometryError, match="cosine distance"):
        COSINE.check_radius(radius)


def test_labels_read_back():
    for geometry in ALL:
        assert geometry_named(geometry.label) == geometry
    for bad in ("l2", "lorentz:x", "lorentz:0", "cosine:2"):
        with pytest.raises(GeometryError):
            geometry_named(bad)


def test_lorentz_cannot_be_indexed():
    with pytest.raises(GeometryError, match="exact search"):
        LORENTZ.chord(1.0)


def test_scores_follow_the_distance_whatever_the_order_of_rows():
    for geometry, logit, of in [
        (COSINE, "dot", lambda d: 1 - d),
        (EUCLIDEAN, "-d2", lambda d: -(d**2)),
        (EUCLIDEAN, "-d", lambda d: -d),
        (HYPERBOLIC, "lorentz", lambda d: -d),
        (HYPERBOLIC, "-d2", lambda d: -(d**2)),
    ]:
        scores = geometry.scores(X, Y[:5], logit=logit)
        oracle = np.array([[of(geometry.distance(a[None], b[None])[0]) for b in Y[:5]] for a in X])
        np.testing.assert_allclose(scores, oracle, atol=1e-9)
        np.testing.assert_allclose(geometry.scores(X[::-1], Y[:5], logit=logit)[::-1], scores, atol=1e-12)


def test_a_score_of_another_geometry_is_refused():
    with pytest.raises(GeometryError, match="dot"):
        EUCLIDEAN.scores(X, Y, logit="dot")
    with pytest.raises(GeometryError, match="zero vector"):
        COSINE.scores(np.zeros((1, 4)), np.ones((1, 4)))
