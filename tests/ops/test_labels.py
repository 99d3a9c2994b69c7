"""Labels: planted mistakes are found, classes are described, error rates carry their interval."""

import numpy as np
import pytest

from curate.errors import ConfigError
from curate.ops.labels import Labels, error_rates, wilson
from curate.protocols import Context, CurationOp
from curate.types import EmbedderSpec, Embeddings, Findings


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.data.astype(np.float32), data.target


def embeddings(x, geometry="euclidean", ids=None):
    ids = [f"row{i:05d}" for i in range(len(x))] if ids is None else ids
    return Embeddings(ids, np.asarray(x, np.float32), EmbedderSpec("m", "1", "projected", np.shape(x)[1], geometry))


def context(fields, **more):
    def field(name):
        if name not in fields:
            raise ConfigError(f"no row has a field {name!r}")
        return fields[name]

    return Context(rng=np.random.default_rng(0), field=field, **more)


def noisy(label, count, seed):
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(label), count, replace=False)
    changed = label.copy()
    changed[rows] = (label[rows] + rng.integers(1, 10, count)) % 10
    return changed, {f"row{i:05d}" for i in rows}


@pytest.mark.parametrize(("count", "least"), [(5, 0.8), (54, 0.8)])
def test_planted_mistakes_on_digits_are_found_precisely(digits, count, least):
    x, label = digits
    right = flagged = 0
    for seed in range(3):
        changed, planted = noisy(label, count, seed)
        found = {m["id"] for m in Labels()(embeddings(x), context({"label": changed.tolist()})).evidence["mistakes"]}
        right, flagged = right + len(found & planted), flagged + len(found)
    assert flagged and right / flagged >= 0.8 and right >= least * 3 * count


def test_clean_labels_are_left_alone(digits):
    x, label = digits
    assert len(Labels()(embeddings(x), context({"label": label.tolist()})).evidence["mistakes"]) <= 1


def test_order_of_rows_does_not_matter(digits):
    x, label = digits[0][:600], digits[1][:600]
    changed, _ = noisy(label, 12, 0)
    data, shuffle = embeddings(x), np.random.default_rng(1).permutation(600)
    mixed = embeddings(x[shuffle], ids=[data.ids[i] for i in shuffle])
    a = Labels()(data, context({"label": changed.tolist()}))
    b = Labels()(mixed, context({"label": changed[shuffle].tolist()}))
    assert a.evidence == b.evidence and a.summary == b.summary and a.evidence["mistakes"]


def test_a_suggestion_names_the_class_the_row_lies_in():
    x = np.concatenate([np.random.default_rng(g).normal(size=(30, 4)) * 0.2 + 3 * np.eye(4)[g] for g in range(3)])
    label = ["cat"] * 30 + ["dog"] * 30 + ["car"] * 30
    label[0] = "dog"
    (mistake,) = Labels()(embeddings(x, "cosine"), context({"label": label})).evidence["mistakes"]
    assert (mistake["id"], mistake["label"], mistake["suggested"]) == ("row00000", "dog", "cat")
    assert mistake["agreement"] >= 0.6 and mistake["times_farther"] > 1.5


def test_copies_do_not_vote():
    x = np.concatenate([np.random.default_rng(g).normal(size=(30, 4)) * 0.2 + 3 * np.eye(4)[g] for g in range(2)])
    x = np.concatenate([x, np.repeat(x[:1], 12, axis=0)])
    label = ["a"] * 30 + ["b"] * 30 + ["b"] * 12
    previous = ["copy-of/row00000" if i >= 60 else None for i in range(72)]
    told = Labels()(embeddings(x), context({"label": label}, previous=lambda _: previous))
    assert "row00000" not in {m["id"] for m in told.evidence["mistakes"]}
    assert {m["id"] for m in told.evidence["mistakes"]} == {f"row{i:05d}" for i in range(60, 72)}


def test_classes_are_described():
    x = np.concatenate([[[0.0, 0]] * 5, [[1.0, 0]] * 3, [[9.0, 0]] * 2])
    label = ["a"] * 5 + ["b"] * 3 + ["c"] * 2
    report = Labels()(embeddings(x), context({"label": label})).evidence["classes"]
    assert [(c["label"], c["count"], c["nearest"], c["nearest_distance"]) for c in report] == [
        ("a", 5, "b", 1.0),
        ("b", 3, "a", 1.0),
        ("c", 2, "b", 8.0),
    ]
    assert all(c["spread"] == 0 for c in report)


def test_error_rates_say_where_the_model_fails():
    label = ["a"] * 100 + ["b"] * 100
    answer = ["a"] * 98 + ["b"] * 2 + ["a"] * 40 + ["b"] * 60
    sure = [0.9] * 200
    clusters = Findings("clusters", {"cluster": {f"row{i:05d}": i // 50 for i in range(200)}}, {}, {})
    op = Labels(predictions="answer", confidence="sure")
    found = op(
        embeddings(np.random.default_rng(0).normal(size=(200, 3))),
        context({"label": label, "answer": answer, "sure": sure}, findings={"clusters": clusters}),
    )
    by_label, by_cluster = found.evidence["errors"]["label"], found.evidence["errors"]["cluster"]
    assert (by_label[0]["value"], by_label[0]["errors"], by_label[0]["rate"]) == ("b", 40, 0.4)
    assert by_cluster[0]["value"] == "2" and by_cluster[0]["errors"] == 40 and by_cluster[0]["confidence"] == pytest.approx(0.9)
    assert found.evidence["overall"]["errors"] == 42 == found.summary["errors"]


def test_intervals_are_wilsons():
    from scipy.stats import binomtest

    for errors, rows in ((0, 5), (3, 10), (40, 100), (10, 10)):
        interval = binomtest(errors, rows).proportion_ci(method="wilson")
        assert wilson(errors, rows) == pytest.approx((interval.low, interval.high), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)
    assert [line["value"] for line in error_rates({0: True, 1: False}, ["x", "y"], [])] == ["x", "y"]


@pytest.mark.parametrize("rows", [0, 1, 9, 40])
def test_few_rows_and_one_class_have_no_mistakes(rows):
    found = Labels()(embeddings(np.ones((rows, 3))), context({"label": ["a"] * rows}))
    assert found.evidence["mistakes"] == [] and len(found.evidence["classes"]) == min(rows, 1)


def test_rows_without_a_label_are_not_judged():
    x = np.random.default_rng(0).normal(size=(30, 3))
    found = Labels()(embeddings(x), context({"label": ["a"] * 10 + [None] * 10 + [""] * 10}))
    assert found.summary == {"classes": 1, "labelled": 10, "mistakes": 0}


def test_settings():
    assert isinstance(Labels(), CurationOp) and Labels().owns == frozenset()
    for bad in ({"field": ""}, {"confidence": "c"}, {"by": ("c",)}, {"farther": 0.5}):
        with pytest.raises(ConfigError):
            Labels(**bad)
    with pytest.raises(ConfigError, match="'label'"):
        Labels()(embeddings(np.ones((3, 2))), context({}))


def test_confidence_written_as_text_counts():
    wrong, groups = {0: True, 1: False}, ["a", "a"]
    assert error_rates(wrong, groups, ["0.5", "0.7"]) == error_rates(wrong, groups, [0.5, 0.7])
    assert "confidence" not in error_rates(wrong, groups, ["", None])[0]
