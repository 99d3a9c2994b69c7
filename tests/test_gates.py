"""Quality gates."""

import numpy as np
import pytest

from curate.errors import ConfigError, UnknownName
from curate.gates import Stored, drift, run_gates
from curate.geometry import COSINE, EUCLIDEAN

STORED = Stored(
    rows=100,
    failed=2,
    copies={"b": "a", "c": "a"},
    tagged=80,
    untagged=20,
    fields={"split": {"a": "train", "b": "test", "c": "train"}, "label": {"a": "cat", "b": "dog", "c": "cat"}},
    results=frozenset({"duplicates"}),
    drift=lambda: 0.25,
)


@pytest.mark.parametrize(
    ("gate", "value", "passing", "failing"),
    [
        ("max_duplicate_rate", 0.02, 0.02, 0.019),
        ("max_leakage", 0.01, 0.01, 0),
        ("max_failed_rate", 0.02, 0.02, 0.01),
        ("min_class_count", 1, 1, 2),
        ("max_untagged_rate", 0.2, 0.2, 0.1),
        ("max_drift", 0.25, 0.3, 0.2),
    ],
)
def test_a_gate_passes_at_its_limit_and_fails_beyond(gate, value, passing, failing):
    (good,) = run_gates({gate: passing}, STORED)
    assert good.passed and good.value == value and good.line().startswith("ok")
    (bad,) = run_gates({gate: failing}, STORED)
    assert not bad.passed and bad.line().startswith("FAIL") and gate in bad.line()


def test_required_results():
    good, bad = run_gates({"require": ["duplicates", "tag"]}, STORED)
    assert good.passed and not bad.passed and "tag" in bad.line()


def test_leakage_does_not_depend_on_which_copy_is_kept():
    for splits in ({"a": "train", "b": "test", "c": "test"}, {"a": None, "b": "train", "c": "test"}):
        for kept in "abc":
            copies = {i: kept for i in "abc" if i != kept}
            (gate,) = run_gates({"max_leakage": 0}, Stored(10, 0, copies, fields={"split": splits}))
            assert gate.value == 0.1 and not gate.passed and "1 copies across splits, such as" in gate.line()
    apart = Stored(10, 0, {"b": "a", "d": "c"}, fields={"split": {"a": "train", "b": "train", "c": "test", "d": "test"}})
    assert run_gates({"max_leakage": 0}, apart)[0].value == 0


def test_fields_can_be_named():
    (gate,) = run_gates({"max_leakage": 0, "split": "label"}, STORED)
    assert gate.value == 0.01


@pytest.mark.parametrize(
    ("limits", "stored", "says"),
    [
        ({}, STORED, "no gates"),
        ({"split": "x"}, STORED, "no gates"),
        ({"max_leakage": 0, "split": "fold"}, STORED, "fold"),
        ({"max_failed_rate": "x"}, STORED, "number"),
        ({"max_failed_rate": True}, STORED, "number"),
        ({"min_class_count": float("nan")}, STORED, "number"),
        ({"max_duplicate_rate": 5}, STORED, "never fail"),
        ({"require": "tag"}, STORED, "list"),
        ({"max_duplicate_rate": 0}, Stored(1, 0), "curate duplicates"),
        ({"max_untagged_rate": 0}, Stored(1, 0), "curate tag"),
        ({"max_drift": 0}, Stored(1, 0), "curate baseline save"),
    ],
)
def test_what_is_missing_is_said_with_the_next_step(limits, stored, says):
    with pytest.raises(ConfigError, match=says):
        run_gates(limits, stored)


def test_an_unknown_gate_names_the_nearest():
    with pytest.raises(UnknownName, match="max_duplicate_rate"):
        run_gates({"max_duplicates_rate": 0}, STORED)


@pytest.mark.parametrize("geometry", [COSINE, EUCLIDEAN])
def test_drift_is_about_zero_for_one_distribution_and_grows_with_the_shift(geometry):
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(400, 16)).astype(np.float32) + 1 for _ in range(2))
    same = drift(geometry, a, b)
    shifted = [drift(geometry, a, b + shift * np.arange(16, dtype=np.float32)) for shift in (0.1, 0.3, 1.0)]
    assert same < 0.01 < shifted[0] < shifted[1] < shifted[2] <= 1
    assert drift(geometry, a, a) == pytest.approx(0, abs=0.01)
    assert drift(EUCLIDEAN, np.ones((3, 2), np.float32), np.ones((2, 2), np.float32)) == 0


def test_drift_equals_the_definition_by_loops():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32) + 1

    def d(x, y):
        return float(EUCLIDEAN.distance(x[None], y[None])[0])

    across = np.mean([d(x, y) for x in a for y in b])
    within = [np.mean([d(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]) for s in (a, b)]
    assert drift(EUCLIDEAN, a, b) == pytest.approx((2 * across - sum(within)) / (2 * across), abs=1e-5)
