"""Clusters: every row gets one, numbers stay, bad input is refused or said."""

import itertools

import numpy as np
import pytest

from curate.errors import ConfigError, EmbedderError, GeometryError
from curate.ops.clusters import Clusters, by_size, clusters, matched, settle, usual_count
from curate.protocols import Context, CurationOp
from curate.types import EmbedderSpec, Embeddings


def blobs(n=600, groups=6, d=16, seed=0, noise=0.15):
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(groups, d))
    truth = rng.integers(groups, size=n)
    return (centre[truth] + noise * rng.normal(size=(n, d))).astype(np.float32), truth


def embeddings(x, geometry="cosine", ids=None):
    ids = [f"row{i:05d}" for i in range(len(x))] if ids is None else ids
    return Embeddings(ids, np.asarray(x, np.float32), EmbedderSpec("m", "1", "projected", x.shape[1], geometry))


def context(seed=0, before=None, **more):
    if before is not None:
        more["previous"] = lambda field: before if field == "cluster" else []
    return Context(rng=np.random.default_rng(seed), **more)


def numbers(found, ids):
    return [found.values["cluster"].get(i) for i in ids]


def test_finds_well_separated_groups():
    x, truth = blobs()
    found = Clusters(count=6)(embeddings(x), context())
    label = np.array(numbers(found, embeddings(x).ids))
    for group in range(6):
        assert len(set(label[truth == group])) == 1
    assert len(set(label)) == 6
    assert isinstance(Clusters(), CurationOp)


def test_sizes_spread_and_medoids_describe_the_clusters():
    x, _ = blobs()
    found = Clusters(count=6, medoids=3)(embeddings(x), context())
    rows = found.values["cluster"]
    for entry in found.evidence["clusters"]:
        inside = [i for i, number in rows.items() if number == entry["cluster"]]
        assert entry["size"] == len(inside) and len(entry["medoids"]) == 3 and set(entry["medoids"]) <= set(inside)
        assert 0 < entry["spread"] < 1
    sizes = [entry["size"] for entry in found.evidence["clusters"]]
    assert sizes == sorted(sizes, reverse=True) and sum(sizes) == len(x)
    assert found.evidence["unit"] == "cosine distance"


def test_order_of_rows_does_not_matter():
    x, _ = blobs(400, 9, noise=0.6)
    given = embeddings(x)
    shuffle = np.random.default_rng(1).permutation(len(x))
    mixed = embeddings(x[shuffle], ids=[given.ids[i] for i in shuffle])
    a, b = Clusters()(given, context()), Clusters()(mixed, context())
    assert dict(a.values["cluster"]) == dict(b.values["cluster"]) and a.evidence == b.evidence and a.summary == b.summary


def test_second_run_on_the_same_rows_changes_nothing():
    x, _ = blobs(1500, 20, noise=1.0)
    first = numbers(Clusters()(embeddings(x), context()), embeddings(x).ids)
    second = Clusters()(embeddings(x), context(seed=99, before=first))
    assert numbers(second, embeddings(x).ids) == first
    assert second.summary["fit"] == "kept" and second.summary["moved"] == 0


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("count", [None, 40])
def test_one_percent_new_rows_move_at_most_one_percent_of_the_old(noise, count):
    x, _ = blobs(2020, 30, noise=noise)
    ids = embeddings(x).ids
    before = numbers(Clusters(count=count)(embeddings(x[:2000]), context()), ids)
    after = numbers(Clusters(count=count)(embeddings(x), context(seed=5, before=before)), ids)
    assert None not in after
    assert sum(a != b for a, b in zip(before[:2000], after[:2000], strict=True)) <= 20


def test_many_new_rows_are_fitted_again_with_the_old_numbers_where_rows_are_shared():
    x, _ = blobs(900, 6)
    old = embeddings(x[:500])
    before = numbers(Clusters(count=6)(old, context()), old.ids)
    grown = Clusters(count=6)(embeddings(x), context(seed=3, before=before + [None] * 400))
    assert grown.summary["fit"] == "refit"
    assert numbers(grown, old.ids) == before
    another = Clusters(count=8)(embeddings(x[:500]), context(before=before))
    assert another.summary["fit"] == "refit" and another.summary["count"] == 8


def test_matching_keeps_as_many_numbers_as_any_renumbering_could():
    rng = np.random.default_rng(0)
    for _ in range(20):
        before, after = rng.integers(-1, 4, 40), rng.integers(0, 4, 40)
        after[:4] = range(4)
        kept = (matched(before, after) == before).sum()
        best = max((np.array(p)[after] == before).sum() for p in itertools.permutations(range(6), 4))
        assert kept == best
        pairs = set(zip(after.tolist(), matched(before, after).tolist(), strict=True))
        assert len(pairs) == 4 and len({new for _, new in pairs}) == 4


def test_settling_twice_is_settling_once():
    x, _ = blobs(500, 10, noise=2.0)
    once = settle(x, np.random.default_rng(0).integers(0, 12, 500))
    assert np.array_equal(settle(x, once), once)


def test_largest_cluster_is_number_zero():
    assert by_size(np.array([7, 3, 3, 9, 3, 9])).tolist() == [2, 0, 0, 1, 0, 1]


def test_usual_count_follows_its_rule():
    assert [usual_count(n) for n in (0, 1, 2, 50, 5000, 10**6)] == [0, 1, 1, 5, 50, 100]


def test_fewer_rows_than_clusters_is_said():
    x, _ = blobs(5)
    found = Clusters(count=50)(embeddings(x), context())
    assert found.summary["count"] == 5 and found.summary["asked"] == 50 and "50 clusters asked" in found.summary["note"]
    again = Clusters(count=50)(embeddings(x), context(before=numbers(found, embeddings(x).ids)))
    assert again.summary["moved"] == 0


@pytest.mark.parametrize("rows", [1, 40])
def test_equal_rows_are_one_cluster(rows):
    found = Clusters(count=7)(embeddings(np.ones((rows, 8), np.float32)), context())
    assert set(found.values["cluster"].values()) == {0} and found.evidence["clusters"][0]["spread"] == 0


def test_no_rows_give_no_clusters():
    found = Clusters()(embeddings(np.zeros((0, 8), np.float32)), context())
    assert found.values == {"cluster": {}} and found.summary["count"] == 0


def test_bad_vectors_and_settings_are_refused_by_name():
    x = np.ones((3, 4), np.float32)
    x[1, 2] = np.nan
    with pytest.raises(EmbedderError, match="row00001"):
        Clusters()(embeddings(x), context())
    with pytest.raises(GeometryError, match="row00002"):
        Clusters()(embeddings(np.array([[1, 0], [0, 1], [0, 0]], np.float32)), context())
    assert Clusters(count=1)(embeddings(np.zeros((3, 2), np.float32), "euclidean"), context()).summary["count"] == 1
    for bad in (0, -3):
        with pytest.raises(ConfigError, match="count"):
            Clusters(count=bad)


@pytest.mark.parametrize("geometry", ["euclidean", "lorentz:0.1"])
def test_other_geometries(geometry):
    x, truth = blobs(300, 4)
    label = np.array(numbers(Clusters(count=4)(embeddings(x, geometry), context()), embeddings(x).ids))
    assert all(len(set(label[truth == g])) == 1 for g in range(4))


def test_text_describes_a_cluster_by_what_sets_it_apart():
    x = np.repeat(np.eye(3, 5, dtype=np.float32), 20, axis=0) + np.float32(0.5) * np.eye(5, dtype=np.float32)[4]
    words = {"cat": [1, 0, 0, 0, 0], "dog": [0, 1, 0, 0, 0], "car": [0, 0, 1, 0, 0], "thing": [0.5, 0.5, 0.5, 0, 1]}
    text = context(embed_text=lambda texts: np.array([words[t] for t in texts], np.float32))
    found = Clusters(count=3, vocabulary=tuple(words))(embeddings(x), text)
    assert {entry["description"].split(",")[0] for entry in found.evidence["clusters"]} == {"cat", "dog", "car"}


def test_mini_batches_also_give_every_row_a_cluster(monkeypatch):
    monkeypatch.setattr("curate.ops._kmeans.LARGE", 0)
    x, truth = blobs(1200, 6)
    label, how = clusters(x, 6, rng=np.random.default_rng(0))
    assert how["fit"] == "first" and all(len(set(label[truth == g])) == 1 for g in range(6))


def test_the_torch_passes_are_as_good_as_scikit_learns():
    pytest.importorskip("torch")
    from curate.geometry import EUCLIDEAN
    from curate.ops._kmeans import fit
    from curate.ops._torch_kmeans import fit_on

    x, truth = blobs(1500, 12, noise=0.2)
    centres, label = fit_on(x, 12, 3, "cpu")
    again = fit_on(x, 12, 3, "cpu")[1]
    assert np.array_equal(label, again) and np.array_equal(label, EUCLIDEAN.pairwise(x, centres).argmin(axis=1))
    inertia = [(EUCLIDEAN.distance(x, c[i]) ** 2).sum() for c, i in ((centres, label), fit(x, 12, np.random.default_rng(0)))]
    assert inertia[0] <= 1.3 * inertia[1]
    warm = fit_on(x, 12, 3, "cpu", start=np.stack([x[truth == g].mean(axis=0) for g in range(12)]).astype(np.float32))[1]
    assert all(len(set(warm[truth == g])) == 1 for g in range(12))
