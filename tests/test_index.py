"""Neighbours against brute force, for every strategy and geometry."""

import numpy as np
import pytest

from curate.errors import ConfigError, GeometryError, MissingExtra, StoreError
from curate.geometry import COSINE, EUCLIDEAN, geometry_named, norms
from curate.index import KeptIndex, nearest, neighbours_within
from curate.index._nearest import _largest
from curate.index._ordered import plan_for, projected
from curate.index._products import ROUND, Blocks, pairs_of


def rows(seed=1, n=700, dim=40, spread=0.3):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(30, dim))
    x = (centres[rng.integers(0, 30, n)] + spread * rng.normal(size=(n, dim))).astype(np.float32)
    x[7] = x[3]
    return x


def brute(x, geometry, radius):
    i, j = np.triu_indices(len(x), 1)
    distance = geometry.distance(x[i], x[j])
    near = distance <= radius
    return i[near], j[near], distance[near]


CASES = [("cosine", 0.1), ("cosine", 0.01), ("cosine", 0.9), ("euclidean", 2.4), ("euclidean", 0.0), ("lorentz:0.02", 2.4)]


@pytest.mark.parametrize("strategy", ["auto", "blas", "projection", "bf16"])
@pytest.mark.parametrize(("label", "radius"), CASES)
def test_every_pair_within_the_radius_is_found(label, radius, strategy):
    if strategy == "bf16":
        pytest.importorskip("torch")
    x, geometry = rows(), geometry_named(label)
    found = neighbours_within(x, geometry, radius, strategy=strategy)
    i, j, distance = brute(x, geometry, radius)
    assert found.i.tolist() == i.tolist()
    assert found.j.tolist() == j.tolist()
    assert np.array_equal(found.distance, distance)
    assert len(i) > 0


@pytest.mark.parametrize("shift", [0.0, 1_000.0])
def test_no_pair_is_lost_far_from_the_origin(shift):
    x = rows(2, n=400) + np.float32(shift)
    for strategy in ("blas", "projection"):
        found = neighbours_within(x, EUCLIDEAN, 2.5, strategy=strategy)
        assert found.i.tolist() == brute(x, EUCLIDEAN, 2.5)[0].tolist()


def test_a_projection_never_widens_a_distance():
    x = rows(3)
    flat = projected(x, plan_for(x, 1.0).axes)
    i, j = np.triu_indices(len(x), 1)
    rounding = 2 * x.shape[1] * ROUND * float(norms(x).max())  # equal rows come out of a product unequal in the last digits
    assert (EUCLIDEAN.distance(flat[i], flat[j]) <= EUCLIDEAN.distance(x[i], x[j]) + rounding).all()
    assert flat.shape[1] < x.shape[1]


def test_blocks_cover_the_triangle():
    x = np.zeros((2_500, 2), dtype=np.float32)
    found = [np.stack(pair) for pair in pairs_of(Blocks(x, 0.1))]
    whole = np.concatenate(found, axis=1)
    assert whole.shape[1] == 2_500 * 2_499 // 2
    assert len(np.unique(whole[0] * 2_500 + whole[1])) == whole.shape[1]


def clustered(n=3_000, dim=96, clusters=12):
    rng = np.random.default_rng(11)
    centres = 3 * rng.normal(size=(clusters, dim))
    x = (centres[rng.integers(0, clusters, n)] + rng.normal(size=(n, dim))).astype(np.float32)
    x[1::50] = x[::50] + 0.05 * rng.normal(size=x[::50].shape).astype(np.float32)
    return x


def test_clusters_in_which_the_projection_passes_everything_lose_no_pair():
    x = clustered()
    for radius in (1.0, 11.0):  # the second lets whole clusters through: all columns of their rows are compared at once
        plain = neighbours_within(x, EUCLIDEAN, radius, strategy="blas")
        found = neighbours_within(x, EUCLIDEAN, radius, strategy="projection")
        assert len(plain.i) >= 60
        assert np.array_equal(found.i, plain.i) and np.array_equal(found.j, plain.j)
        assert np.array_equal(found.distance, plain.distance)


def test_a_radius_that_takes_in_everything_is_refused_before_memory_runs_out(monkeypatch):
    from curate.index import _within

    monkeypatch.setattr(_within, "MOST", 1_000)
    with pytest.raises(ConfigError, match="more than 1,000 pairs of 400 rows lie within cosine distance"):
        neighbours_within(np.ones((400, 8), dtype=np.float32), COSINE, 0.5)


def test_no_pair_depends_on_the_order_of_rows():
    x = clustered(900)
    shuffled = np.random.default_rng(5).permutation(len(x))
    one = neighbours_within(x, COSINE, 0.05, strategy="projection")
    other = neighbours_within(x[shuffled], COSINE, 0.05, strategy="projection")
    back = {tuple(sorted((int(shuffled[i]), int(shuffled[j])))) for i, j in zip(other.i, other.j, strict=True)}
    assert back == set(zip(one.i.tolist(), one.j.tolist(), strict=True))


def test_the_strategy_follows_the_size(monkeypatch):
    from curate.index import _within

    x = np.random.default_rng(4).normal(size=(600, 200)).astype(np.float32)
    assert neighbours_within(x, COSINE, 0.01).strategy == "blas"
    monkeypatch.setattr(_within, "SMALL", 100)
    monkeypatch.setattr(_within, "_has_fast_bf16", lambda: False)
    assert neighbours_within(x, COSINE, 0.01).strategy.startswith("projection:")


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_rows_have_no_pairs(n):
    found = neighbours_within(np.ones((n, 3), dtype=np.float32), COSINE, 0.1)
    assert len(found.i) == len(found.j) == len(found.distance) == 0


def test_bad_input_is_refused():
    x = rows(n=20)
    with pytest.raises(GeometryError, match="impossible"):
        neighbours_within(x, COSINE, 2.5)
    with pytest.raises(GeometryError, match="impossible"):
        neighbours_within(x, EUCLIDEAN, float("nan"))
    with pytest.raises(ConfigError, match="unknown strategy"):
        neighbours_within(x, COSINE, 0.1, strategy="magic")
    with pytest.raises(ConfigError, match="k must be"):
        nearest(x, x, 0, COSINE)
    x[4, 1] = np.inf
    with pytest.raises(GeometryError, match="row 4 is not finite"):
        neighbours_within(x, COSINE, 0.1)
    with pytest.raises(GeometryError, match="row 2 is a zero vector"):
        neighbours_within(np.array([[1, 0], [0, 1], [0, 0]], dtype=np.float32), COSINE, 0.1)


def test_without_a_gpu_the_strategy_says_so(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="CUDA"):
        neighbours_within(rows(n=20), COSINE, 0.1, strategy="gpu")


@pytest.mark.parametrize("label", ["cosine", "euclidean", "lorentz:0.1"])
@pytest.mark.parametrize("k", [1, 9, 5_000])
def test_nearest_is_exact_with_ties_by_row(label, k):
    x, geometry = rows(5, n=2_000 if k < 10 else 60, dim=12), geometry_named(label)
    x[20:30] = x[20]
    queries = x[15:35]
    found, distance = nearest(x, queries, k, geometry)
    full = np.stack([geometry.distance(np.repeat(q[None], len(x), axis=0), x) for q in queries])
    order = np.argsort(full, axis=1, kind="stable")[:, :k]
    assert np.array_equal(found, order)
    assert np.array_equal(distance, np.take_along_axis(full, order, axis=1))


@pytest.mark.parametrize("label", ["cosine", "euclidean", "lorentz:0.1"])
def test_nearest_is_exact_where_float32_cannot_tell_rows_apart(label):
    rng, geometry = np.random.default_rng(0), geometry_named(label)
    x = rng.normal(size=(3_000, 32)).astype(np.float32)
    x[500:900] = x[7]  # one picture, four hundred times
    x[1_000:2_000] = x[9] + rng.normal(scale=1e-5, size=(1_000, 32)).astype(np.float32)  # frames of one second
    queries = x[[7, 600, 9, 1_500, 2_500]]
    full = np.stack([geometry.distance(np.repeat(q[None], len(x), axis=0), x) for q in queries])
    for k in (1, 3, 30):
        found, distance = nearest(x, queries, k, geometry)
        order = np.argsort(full, axis=1, kind="stable")[:, :k]
        assert np.array_equal(distance, np.take_along_axis(full, order, axis=1))
        assert np.array_equal(found, order)


def test_folding_finds_the_largest():
    values = np.random.default_rng(0).normal(size=(5, 3_001)).astype(np.float32)
    found = np.sort(_largest(values, 4), axis=1)
    assert np.array_equal(found, np.sort(np.argsort(-values, axis=1)[:, :4], axis=1))


def test_nearest_of_nothing():
    x = rows(n=10)
    assert nearest(x[:0], x, 3, COSINE)[0].shape == (10, 0)
    assert nearest(x, x[:0], 3, COSINE)[0].shape == (0, 3)


def test_a_kept_index_grows_is_saved_and_read_back(tmp_path):
    pytest.importorskip("hnswlib")
    x = rows(6, n=900)
    index = KeptIndex.build(x[:500], COSINE)
    index.extend(x[500:])
    assert index.count == 900
    assert index.recall(x, x[::9]) > 0.95
    index.save(tmp_path / "i.hnsw")
    again = KeptIndex.load(tmp_path / "i.hnsw")
    assert np.array_equal(again.nearest(x[:5], 4)[0], index.nearest(x[:5], 4)[0])
    found, distance = again.nearest(x[:5], 1)
    assert np.allclose(distance, COSINE.distance(x[:5], x[found[:, 0]])[:, None], atol=1e-5)
    again.extend(x[:50] + 1)
    assert again.count == 950
    assert again.nearest(x[:2], 5_000)[0].shape == (2, 950)


def test_recall_counts_what_is_missed():
    pytest.importorskip("hnswlib")
    x = rows(8, n=300)
    wrong = KeptIndex.build(x[::-1][:150].copy(), COSINE)
    assert wrong.recall(x, x[:50]) < 0.9


def test_a_broken_index_is_named(tmp_path):
    pytest.importorskip("hnswlib")
    with pytest.raises(StoreError, match="delete it"):
        KeptIndex.load(tmp_path / "none")
    index = KeptIndex.build(rows(n=30), EUCLIDEAN)
    with pytest.raises(ConfigError, match="vectors of 40"):
        index.extend(np.ones((2, 3), dtype=np.float32))
    with pytest.raises(GeometryError, match="cannot be indexed"):
        KeptIndex.build(rows(n=30), geometry_named("lorentz"))


def test_without_hnswlib_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "hnswlib", None)
    with pytest.raises(MissingExtra, match=r"curate-vision\[search\]"):
        KeptIndex.build(rows(n=30), COSINE)
