"""Samples: what each method promises, budgets, what is left out, and bad input."""

import itertools

import numpy as np
import pytest

from curate.errors import ConfigError, EmbedderError, UnknownName
from curate.geometry import COSINE, EUCLIDEAN
from curate.ops.sampling import METHODS, Sample, cluster_centres, facility_location, k_center, parse_budget, uncertain
from curate.protocols import Context, CurationOp
from curate.types import EmbedderSpec, Embeddings, Findings


def points(n=200, d=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def embeddings(x, geometry="cosine", ids=None):
    ids = [f"row{i:05d}" for i in range(len(x))] if ids is None else ids
    return Embeddings(ids, np.asarray(x, np.float32), EmbedderSpec("m", "1", "projected", x.shape[1], geometry))


def context(seed=0, fields=None, previous=None, findings=None):
    def field(name):
        if name not in (fields or {}):
            raise ConfigError(f"no row has a field {name!r}")
        return fields[name]

    return Context(
        rng=np.random.default_rng(seed), field=field, previous=lambda f: (previous or {}).get(f, []), findings=findings or {}
    )


def chosen(op, data, **more):
    return op(data, context(**more)).evidence["ids"]


def method_op(method, budget=12, **more):
    by = {"ordered": "score", "balanced": "kind", "uncertain": "score"}.get(method, "")
    return Sample(method=method, by=by, budget=budget, **more)


def fields(n, seed=0):
    rng = np.random.default_rng(seed)
    return {"score": rng.random(n).round(3).tolist(), "kind": rng.choice(["a", "b", "c"], n, p=[0.8, 0.15, 0.05]).tolist()}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_chooses_that_many_different_rows_whatever_their_order(method):
    x, known = points(), fields(200)
    data = embeddings(x)
    first = method_op(method)(data, context(fields=known))
    assert len(first.evidence["ids"]) == len(set(first.evidence["ids"])) == 12
    assert first.values == {"sample": dict.fromkeys(first.evidence["ids"], "sample")}
    shuffle = np.random.default_rng(1).permutation(200)
    mixed = embeddings(x[shuffle], ids=[data.ids[i] for i in shuffle])
    mixed_fields = {name: [values[i] for i in shuffle] for name, values in known.items()}
    again = method_op(method)(mixed, context(fields=mixed_fields))
    assert again.evidence == first.evidence and again.summary == first.summary


@pytest.mark.parametrize("method", METHODS)
def test_copies_and_given_rows_are_never_chosen(method):
    x, known = points(60), fields(60)
    data = embeddings(x)
    duplicate = [f"copy-of/{data.ids[i - 1]}" if i % 2 else "kept" for i in range(60)]
    known["labels"] = ["cat" if i % 4 == 0 else None for i in range(60)]
    found = method_op(method, budget=100, given="labeled")(data, context(fields=known, previous={"duplicate": duplicate}))
    assert sorted(found.evidence["ids"]) == [data.ids[i] for i in range(60) if i % 2 == 0 and i % 4]
    assert found.summary["copies_left_out"] == 30 and found.summary["given"] == 15
    assert found.summary["asked"] == 100 and "15 could be chosen" in found.summary["note"]


def test_duplicates_of_this_run_win_over_the_last_ones():
    data = embeddings(points(10))
    now = Findings("duplicates", {"duplicate": {"row00001": "copy-of/row00000", "row00000": "kept"}}, {}, {})
    ids = chosen(
        Sample(method="random", budget="100%"), data, previous={"duplicate": ["copy-of/x"] * 10}, findings={"duplicates": now}
    )
    assert sorted(ids) == [i for i in data.ids if i != "row00001"]


def test_k_center_is_within_twice_the_best_possible():
    for seed in range(10):
        x = points(12, 2, seed)
        distance = EUCLIDEAN.pairwise(x, x)
        for k in (1, 2, 3, 4):
            radius = distance[:, k_center(x, k, EUCLIDEAN, np.random.default_rng(seed))].min(axis=1).max()
            best = min(distance[:, list(rows)].min(axis=1).max() for rows in itertools.combinations(range(12), k))
            assert radius <= 2 * best + 1e-5


def covered(distance, rows, beyond):
    return (beyond - distance[:, list(rows)].min(axis=1)).sum()


@pytest.mark.parametrize("geometry", [EUCLIDEAN, COSINE])
def test_facility_location_reaches_its_share_of_the_best_possible(geometry):
    for seed in range(6):
        x = geometry.prepare(points(12, 3, seed))
        distance = geometry.pairwise(x, x, prepared=True).astype(np.float64)
        beyond = 2.0 if geometry is COSINE else 2 * distance[0].max()
        for k in (1, 2, 3, 4):
            rows = facility_location(x, k, geometry)
            best = max(covered(distance, some, beyond) for some in itertools.combinations(range(12), k))
            assert covered(distance, rows, beyond) >= (1 - 1 / np.e) * best


def test_lazy_facility_location_is_the_plain_greedy_one():
    x = EUCLIDEAN.prepare(points(150, 4))
    distance = EUCLIDEAN.pairwise(x, x).astype(np.float64)
    plain, left = [], np.full(150, 2 * distance[0].max())
    for _ in range(30):
        gain = np.maximum(left[None, :] - distance, 0).sum(axis=1)
        gain[plain] = -1
        plain.append(int(gain.argmax()))
        left = np.minimum(left, distance[plain[-1]])
    assert facility_location(x, 30, EUCLIDEAN).tolist() == plain


def test_facility_location_on_a_draw_is_nearly_as_good():
    x = points(1200, 6)
    full, drawn = (facility_location(x, 40, EUCLIDEAN, ground=g, rng=np.random.default_rng(0)) for g in (5000, 300))
    mean = [EUCLIDEAN.pairwise(x, x[rows]).min(axis=1).mean() for rows in (full, drawn)]
    assert mean[0] < mean[1] < 1.1 * mean[0]


def test_cluster_takes_one_row_of_each_group_largest_first():
    rng = np.random.default_rng(0)
    size = [50, 30, 20, 10]
    x = np.concatenate([10 * np.eye(4)[g] + 0.1 * rng.normal(size=(n, 4)) for g, n in enumerate(size)]).astype(np.float32)
    group = np.repeat(range(4), size)
    for typical in (False, True):
        assert group[cluster_centres(x, 4, EUCLIDEAN, np.random.default_rng(1), typical=typical)].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("method", ["cluster", "typicality", "facility-location", "k-center"])
def test_given_rows_are_not_chosen_once_more(method):
    rng = np.random.default_rng(0)
    x = np.concatenate([10 * np.eye(6)[g] + 0.1 * rng.normal(size=(40, 6)) for g in range(6)]).astype(np.float32)
    have = ["yes" if i < 120 and i % 3 == 0 else "no" for i in range(240)]
    ids = chosen(Sample(method=method, budget=3, given="have=yes"), embeddings(x, "euclidean"), fields={"have": have})
    assert sorted(int(i.removeprefix("row")) // 40 for i in ids) == [3, 4, 5]


def test_typicality_stays_away_from_the_rim():
    x = np.concatenate([np.random.default_rng(0).normal(size=(99, 2)) * 0.1, [[3.0, 3.0]]]).astype(np.float32)
    (row,) = cluster_centres(x, 1, EUCLIDEAN, np.random.default_rng(0), typical=True)
    assert EUCLIDEAN.distance(x[row : row + 1], np.zeros((1, 2)))[0] < 0.12


def test_balanced_fills_the_smallest_value_first_and_counts_what_is_given():
    kind = ["a"] * 50 + ["b"] * 8 + ["c"] * 2 + [None] * 5
    ids = chosen(Sample(method="balanced kind", budget=14), embeddings(points(65)), fields={"kind": kind})
    got = [kind[int(i.removeprefix("row"))] for i in ids]
    assert {v: got.count(v) for v in "abc"} == {"a": 6, "b": 6, "c": 2}
    have = ["y"] * 5 + ["n"] * 60
    ids = chosen(
        Sample(method="balanced", by="kind", budget=6, given="have=y"),
        embeddings(points(65)),
        fields={"kind": kind, "have": have},
    )
    got = [kind[int(i.removeprefix("row"))] for i in ids]
    assert {v: got.count(v) for v in "abc"} == {"a": 0, "b": 4, "c": 2}


def test_ordered_takes_the_smallest_or_with_a_minus_the_largest():
    score = [0.3, None, 0.1, 0.9, 0.1, float("nan")]
    data = embeddings(points(6))
    assert chosen(Sample(method="ordered score", budget=3), data, fields={"score": score}) == [
        "row00002",
        "row00004",
        "row00000",
    ]
    assert chosen(Sample(method="ordered -score", budget=2), data, fields={"score": score}) == ["row00003", "row00000"]
    assert chosen(Sample(method="ordered day", budget=2), data, fields={"day": list("cabfed")}) == ["row00001", "row00002"]
    found = Sample(method="ordered score", budget=6)(data, context(fields={"score": score}))
    assert found.summary["rows"] == 4 and found.summary["left"] == 4


def test_uncertain_takes_doubtful_rows_that_differ():
    rng = np.random.default_rng(0)
    x = np.concatenate([10 * np.eye(3)[g] + 0.01 * rng.normal(size=(30, 3)) for g in range(3)]).astype(np.float32)
    confidence = np.where(np.arange(90) % 10 == 0, 0.5, 0.99)
    confidence[60:] += 0.005
    ids = [
        int(i.removeprefix("row"))
        for i in chosen(Sample(method="uncertain c", budget=3), embeddings(x, "euclidean"), fields={"c": confidence.tolist()})
    ]
    assert sorted(i // 30 for i in ids) == [0, 1, 2] and all(i % 10 == 0 for i in ids)
    doubt = np.array([np.nan, 0.2, 0.9, 0.1])
    assert uncertain(points(4), 4, EUCLIDEAN, np.random.default_rng(0), doubt).tolist()[0] == 2
    assert 0 not in uncertain(points(4), 4, EUCLIDEAN, np.random.default_rng(0), doubt)


def test_like_samples_toward_its_target():
    x = points(400)
    target = x[7:8]
    found = Sample(budget=5, like=target, reach=3)(embeddings(x), context())
    nearest = {f"row{i:05d}" for i in np.argsort(COSINE.pairwise(x, target)[:, 0], kind="stable")[:15]}
    assert set(found.evidence["ids"]) <= nearest and found.summary["pool"] == 15
    for bad in (np.zeros((0, 8)), np.ones((1, 3)), np.ones(8), np.full((1, 8), np.nan)):
        with pytest.raises(EmbedderError, match="like"):
            Sample(like=bad.astype(np.float32))(embeddings(x), context())


def test_steady_keeps_what_was_chosen_under_that_name():
    x = points(100)
    data = embeddings(x)
    first = chosen(Sample(budget=10), embeddings(x[:90]))
    before = {"sample": ["sample" if i in first else None for i in data.ids]}
    grown = chosen(Sample(budget=12, steady=True), data, previous=before, seed=4)
    assert set(first) < set(grown) and len(grown) == 12
    assert chosen(Sample(budget=12, steady=True, called="other"), data, previous=before, seed=4) == chosen(
        Sample(budget=12), data, seed=4
    )


def test_coverage_is_the_mean_and_largest_distance_and_stands_beside_randoms():
    x = points(300, 3)
    data = embeddings(x, "euclidean")
    found = Sample(budget=20)(data, context())
    rows = [data.ids.index(i) for i in found.evidence["ids"]]
    gap = np.sqrt(((x[:, None].astype(float) - x[rows][None]) ** 2).sum(2)).min(axis=1)
    cover = found.evidence["coverage"]
    assert cover["mean"] == pytest.approx(gap.mean(), abs=1e-5) and cover["max"] == pytest.approx(gap.max(), abs=1e-5)
    assert cover["mean"] < cover["random_mean"] and cover["measured_on"] == 300


@pytest.mark.parametrize(("budget", "rows"), [(5, 5), ("7", 7), ("10%", 20), ("0.1%", 1), ("100%", 200), (" 5 % ", 10)])
def test_budgets(budget, rows):
    assert parse_budget(budget, 200) == rows


@pytest.mark.parametrize("budget", [0, -1, "0", "0%", "101%", "-5%", "ten", "", "%", True, "1.5", "nan%"])
def test_impossible_budgets_are_refused(budget):
    with pytest.raises(ConfigError, match="budget"):
        Sample(budget=budget)


def test_impossible_settings_are_refused():
    with pytest.raises(UnknownName, match="did you mean 'k-center'"):
        Sample(method="kcenter")
    for bad in (
        {"method": "ordered"},
        {"method": "random x"},
        {"method": "ordered a", "by": "b"},
        {"called": " "},
        {"reach": 0.5},
    ):
        with pytest.raises(ConfigError):
            Sample(**bad)
    with pytest.raises(ConfigError, match="'size'"):
        Sample(method="ordered size")(embeddings(points(3)), context())
    with pytest.raises(ConfigError, match="labeled"):
        Sample(given="labeled")(embeddings(points(3)), context())
    with pytest.raises(ConfigError, match="not a number"):
        Sample(method="uncertain kind")(embeddings(points(3)), context(fields={"kind": ["a", "b", "c"]}))
    assert isinstance(Sample(), CurationOp)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rows", [0, 1, 30])
def test_equal_few_and_no_rows(method, rows):
    known = {"score": [0.5] * rows, "kind": ["a"] * rows}
    found = method_op(method)(embeddings(np.ones((rows, 4), np.float32)), context(fields=known))
    assert len(set(found.evidence["ids"])) == min(rows, 12) == found.summary["rows"]


@pytest.mark.parametrize("method", ["ordered", "ordered -", "uncertain"])
def test_numbers_written_as_text_in_a_table_are_numbers(method):
    numbers = [round(n, 3) for n in np.random.default_rng(3).uniform(0, 20, 40).tolist()]
    data = embeddings(points(40))
    op = Sample(method=method.split()[0], by="-c" if "-" in method else "c", budget=9)
    assert chosen(op, data, fields={"c": [str(n) for n in numbers]}) == chosen(op, data, fields={"c": numbers})


def test_words_are_no_confidence_and_an_empty_cell_is_none():
    data = embeddings(points(4))
    op = Sample(method="uncertain", by="c", budget=2)
    with pytest.raises(ConfigError, match="'high', which is not a number"):
        chosen(op, data, fields={"c": ["0.1", "high", "0.3", "0.4"]})
    assert len(chosen(op, data, fields={"c": ["0.1", "", "0.3", None]})) == 2
