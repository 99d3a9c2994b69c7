"""What a codec costs: every measure against a few lines of brute force, and the recommendation."""

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from curate.codecs import codec_named
from curate.errors import ConfigError
from curate.fidelity import check_loss, evaluate
from curate.geometry import COSINE, EUCLIDEAN, LORENTZ, norms


def rng(seed=0):
    return np.random.default_rng(seed)


def rows(n=260, dim=16):
    made = rng()
    x = made.standard_normal((8, dim))[made.integers(0, 8, n)] + 0.5 * made.standard_normal((n, dim))
    return (x * np.exp(0.3 * made.standard_normal((n, 1)))).astype(np.float32)


def measured(x, geometry=EUCLIDEAN, **more):
    return evaluate(x, geometry, rng=rng(), **more)


@pytest.fixture(scope="module")
def whole():
    """Every row a query, so that brute force needs no sample."""
    x = rows(120)
    return x, measured(x, rows=120, queries=120, codecs=("f32", "int4", "binary"))


def decoded_int4(x):
    # with every row a query there are no others to learn from, and the codec learns from all
    codec = codec_named("int4").fit(x, EUCLIDEAN, rng())
    return codec.decode(codec.encode(x))


def matrix(x):
    d = np.array([EUCLIDEAN.distance(np.repeat(row[None], len(x), 0), x) for row in x])
    np.fill_diagonal(d, np.inf)
    return d


def test_measures_equal_brute_force(whole):
    x, found = whole
    y, result = decoded_int4(x), found.results[1]
    before, after = matrix(x), matrix(y)
    for k in (1, 10, 100):
        hits = [len(set(np.argsort(a)[:k]) & set(np.argsort(b)[:k])) / k for a, b in zip(before, after, strict=True)]
        assert result.recall[k] == pytest.approx(np.mean(hits), abs=0.02)
    off = ~np.eye(len(x), dtype=bool)
    tau = [kendalltau(a[m], b[m]).statistic for a, b, m in zip(before[:100], after[:100], off[:100], strict=True)]
    rho = [spearmanr(a[m], b[m]).statistic for a, b, m in zip(before[:100], after[:100], off[:100], strict=True)]
    assert result.tau == pytest.approx(np.mean(tau), abs=2e-3) and result.spearman == pytest.approx(np.mean(rho), abs=2e-3)
    near = np.argsort(before, axis=1)[:, :10]
    gap = np.take_along_axis(after, near, 1) / np.take_along_axis(before, near, 1) - 1
    assert result.bias == pytest.approx(gap.mean(), abs=2e-3)
    assert result.norm_error == pytest.approx(np.quantile(np.abs(norms(y) / norms(x) - 1), 0.99), abs=1e-6)
    cosine = (x * y).sum(1) / norms(x) / norms(y)
    assert result.angle == pytest.approx(np.degrees(np.arccos(cosine)).mean(), rel=1e-3)
    true, said = before <= found.radius, after <= found.radius
    assert result.duplicate_f1 == pytest.approx(2 * (true & said).sum() / (true.sum() + said.sum()), abs=0.02)
    assert result.ratio == pytest.approx(64 / result.bytes_per_vector)


def test_default_radius_gives_a_pair_a_query(whole):
    x, found = whole
    assert (matrix(x) <= found.radius).sum() == pytest.approx(120, abs=2)


def test_f32_loses_nothing_and_binary_much(whole):
    _, found = whole
    exact, _, binary = found.results
    assert exact.recall == {1: 1.0, 10: 1.0, 100: 1.0} and exact.tau == pytest.approx(1) and exact.duplicate_f1 == 1
    assert (exact.bias, exact.norm_error, exact.borderline, exact.wrong) == (0, 0, 0, 0)
    assert binary.recall[10] < 0.8 and not binary.decides_duplicates


def test_no_pair_is_decided_against_the_floats():
    x = rows(1200, 32)
    for geometry in (COSINE, EUCLIDEAN):
        found = measured(x, geometry, rows=500)
        assert [r.wrong for r in found.results] == [0] * len(found.results)


def test_clusters_and_sample_are_compared():
    x = rows()
    centres = x[:8]

    def cluster(rows):
        return EUCLIDEAN.pairwise(rows, centres).argmin(axis=1)

    def choose(rows):
        return np.argsort(norms(rows))[:20]

    found = measured(x, cluster=cluster, choose=choose, codecs=("f32", "int8", "binary"))
    exact, small, binary = found.results
    assert (exact.clusters, exact.sample) == (1, 1)
    assert small.clusters > 0.95 and small.sample > 0.9
    assert binary.clusters < small.clusters
    assert measured(x, codecs=("f32",)).results[0].clusters is None


def test_same_seed_same_result_and_order_of_codecs_does_not_matter():
    x = rows()
    a, b = (measured(x, codecs=names) for names in (("int8", "int4"), ("int4", "int8")))
    timed = {"encode_per_s", "decode_per_s"}
    for one, other in zip(a.results, reversed(b.results), strict=True):
        assert {k: v for k, v in one.as_dict().items() if k not in timed} == {
            k: v for k, v in other.as_dict().items() if k not in timed
        }


def test_codecs_that_cannot_be_used_are_refused_with_the_reason():
    found = measured(np.abs(rows(240)), codecs=("int8", "tc:2", "binary-raw"))
    assert [r.codec for r in found.results] == ["int8"]
    assert "at least 256 rows" in found.refused["tc:2"] and "ReLU" in found.refused["binary-raw"]
    assert "up to 65504" in measured(rows() * 1e6, codecs=("f16",)).refused["f16"]


def test_the_smallest_within_the_loss_is_recommended():
    found = measured(rows(900, 48), rows=600)
    by = {r.codec: r for r in found.results}
    assert found.recommend(0).recall[10] == 1
    for loss in (0.002, 0.03, 0.1, 0.5):
        best = found.recommend(loss)
        assert 1 - best.recall[10] <= loss
        smaller = [r for r in found.results if r.bytes_per_vector < best.bytes_per_vector and r.codec != "binary"]
        assert all(1 - r.recall[10] > loss for r in smaller)
    assert found.recommend(1).codec == "tc:1" and by["binary"].bytes_per_vector == by["tc:1"].bytes_per_vector
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            check_loss(wrong)
    with pytest.raises(ConfigError, match="evaluate f32 too"):
        measured(rows(), codecs=("binary",)).recommend(0.01)


@pytest.mark.parametrize("dim", [1, 2])
def test_few_dimensions_and_few_rows(dim):
    for n in (3, 40):
        found = measured(rows(n, dim))
        by = {r.codec: r for r in found.results}
        assert by["f32"].recall[100] == 1 and by["f16"].norm_error < 1e-3
        assert "tc:1" in found.refused
    with pytest.raises(ConfigError, match="at least 3 rows; there are 2"):
        measured(rows(2, dim))


def test_equal_rows_and_constant_columns():
    found = measured(np.full((60, 8), 2.0, np.float32), codecs=("f32", "f16", "int8"))
    assert [r.duplicate_f1 for r in found.results] == [1, 1, 1]
    x = rows()
    x[:, 3] = 5.0
    assert measured(x, codecs=("int8",)).results[0].recall[10] > 0.95


def test_lorentz_is_measured_in_its_own_distance():
    found = measured(rows() / 5, LORENTZ, codecs=("f32", "int8"))
    assert found.geometry.startswith("lorentz") and found.results[1].recall[10] > 0.95


def test_document_is_json_with_the_figure():
    import json

    document = json.loads(json.dumps(measured(rows(), codecs=("f32", "int8")).as_dict()))
    assert [p["codec"] for p in document["figure"]] == ["f32", "int8"]
    assert document["figure"][1]["bytes"] == 20 and set(document["codecs"][1]["recall"]) == {"1", "10", "100"}
