"""`curate compress` and `curate compress --evaluate`."""

import numpy as np
import pytest

from curate.codecs import NAMES
from curate.geometry import norms
from curate.store import Store


@pytest.fixture
def stored(tmp_path, monkeypatch, curate):
    """500 clustered rows of 32 numbers in a store; every tenth has a near copy.  Returns them in id order."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 32))[rng.integers(0, 20, 500)] + 0.5 * rng.standard_normal((500, 32))
    x[1::10] = x[0::10] + 0.02 * rng.standard_normal((50, 32))
    x = (x * np.exp(0.5 * rng.standard_normal((500, 1)))).astype(np.float32)
    np.save("x.npy", x)
    (tmp_path / "ids.txt").write_text("".join(f"r{n:04d}\n" for n in range(500)))
    args = ("import-vectors", "x.npy", "--ids", "ids.txt", "--geometry", "euclidean", "--name", "mine")
    assert curate(*args)[0] == 0
    return x


def held(tmp_path):
    with Store.open(tmp_path / ".curate") as store:
        (spec,) = store.specs()
        return spec.codec, store.embeddings(spec.dataset, spec.spec.fingerprint).vectors


def test_compress_holds_int8_when_no_codec_is_named(stored, curate, tmp_path):
    code, document, _ = curate("compress", "--json")
    assert (code, document["codec"], document["before"]) == (0, "int8", ["f32"])
    assert document["bytes_after"] < document["bytes_before"] / 2 and document["decides_duplicates"]
    name, vectors = held(tmp_path)
    assert name == "int8"
    assert np.quantile(np.abs(norms(vectors) / norms(stored) - 1), 0.99) <= 0.002
    assert (norms(vectors - stored) <= 0.01 * norms(stored)).mean() > 0.99


def test_compress_again_says_that_the_loss_stays(stored, curate, tmp_path):
    assert curate("compress", "--codec", "int4")[0] == 0
    code, document, said = curate("compress", "--codec", "f32", "--json")
    assert (code, document["before"]) == (0, ["int4"])
    assert "what that lost stays lost" in said
    assert held(tmp_path)[0] == "f32"


def test_few_bits_are_not_for_duplicates(stored, curate):
    code, document, said = curate("compress", "--codec", "tc:2", "--json")
    assert (code, document["decides_duplicates"]) == (0, False)
    assert "too few bits to decide duplicates" in said


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--codec", "int9"), "did you mean 'int8'"),
        (("--codec", "tc:9"), "1 to 4 bits"),
        (("--codec", "binary"), "never the only copy"),
        (("--max-recall-loss", "0.01"), "belong to --evaluate"),
        (("--evaluate", "--max-recall-loss", "2"), "between 0 and 1"),
        (("--evaluate", "--radius", "-1"), "impossible"),
        (("--model", "other"), "no vectors of model 'other'"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(stored, curate, tmp_path, args, says):
    code, document, said = curate("compress", *args)
    assert (code, document) == (2, None)
    assert says in said
    name, vectors = held(tmp_path)
    assert name == "f32"
    np.testing.assert_array_equal(vectors, stored)


def test_evaluate_measures_every_codec_and_changes_nothing(stored, curate, tmp_path):
    code, document, _ = curate("compress", "--evaluate", "--max-recall-loss", "0.02", "--json")
    assert code == 0
    found = {c["codec"]: c for c in document["codecs"]}
    assert set(found) | set(document["refused"]) == set(NAMES)
    assert found["f32"]["recall"] == {"1": 1.0, "10": 1.0, "100": 1.0}
    assert found["f32"]["tau"] == pytest.approx(1)
    assert found["int8"]["recall"]["10"] > 0.95 and found["int8"]["norm_error"] <= 0.002
    sizes = [found[name]["bytes_per_vector"] for name in ("f32", "f16", "int8", "int4", "tc:2", "tc:1")]
    assert sizes == sorted(sizes, reverse=True)
    best = document["recommendation"]["codec"]
    assert 1 - found[best]["recall"]["10"] <= 0.02
    smaller = [c for c in found.values() if c["bytes_per_vector"] < found[best]["bytes_per_vector"] and c["codec"] != "binary"]
    assert all(1 - c["recall"]["10"] > 0.02 for c in smaller)
    assert all(0 <= c["clusters"] <= 1 and 0 <= c["sample"] <= 1 for c in (found["f32"], found["int8"]))
    assert [point["codec"] for point in document["figure"]] == [c["codec"] for c in document["codecs"]]
    assert curate("compress", "--evaluate", "--codec", "int8", "--json")[1]["figure"][1] == document["figure"][2]
    np.testing.assert_array_equal(held(tmp_path)[1], stored)


def test_evaluate_prints_a_table_and_advice(stored, curate):
    code, document, said = curate("compress", "--evaluate", "--codec", "int8", "--max-recall-loss", "0.05")
    assert (code, document) == (0, None)
    assert "int8" in said and "tc:1" not in said and "To lose at most 5.00% of recall@10" in said


def test_evaluating_what_is_compressed_says_against_what(stored, curate):
    assert curate("compress")[0] == 0
    assert "held as int8: losses are measured against that" in curate("compress", "--evaluate", "--codec", "int4")[2]


def test_duplicates_on_codes_leave_open_what_the_bound_leaves_open(stored, curate, tmp_path):
    """Pairs decided on int8 are those of the floats; what the bound cannot tell is listed, and no copy."""
    asked = ("duplicates", "--model", "mine", "--radius", "0.16", "--json")
    code, exact, _ = curate(*asked)
    assert code == 0 and exact["groups"]
    true = {(c["id"], g["keep"]) for g in exact["groups"] for c in g["copies"]}
    assert curate("compress", "--codec", "int4")[0] == 0
    code, coded, _ = curate(*asked)
    assert code == 0
    found = {(c["id"], g["keep"]) for g in coded["groups"] for c in g["copies"]}
    with Store.open(tmp_path / ".curate") as store:
        (spec,) = store.specs()
        borderline = store.findings(spec.dataset)["duplicates"].evidence["borderline"]
        (codec,) = store.codecs(spec.dataset, spec.spec.fingerprint)
    band = codec.bound.band(0.16)
    open_pairs = {frozenset((b["a"], b["b"])) for b in borderline}
    assert found <= true and open_pairs
    assert all(band.low <= b["distance"] <= band.high for b in borderline)
    assert all(frozenset(pair) in open_pairs for pair in true - found)


def test_duplicates_are_refused_below_four_bits(stored, curate):
    assert curate("compress", "--codec", "tc:2")[0] == 0
    code, document, said = curate("duplicates", "--model", "mine", "--radius", "0.16", "--json")
    assert (code, document) == (2, None)
    assert "held as tc:2, which has too few bits to decide duplicates" in said


def test_vectors_are_cut_only_where_the_model_declares_the_size(stored, curate, tmp_path):
    code, document, said = curate("compress", "--dims", "16", "--json")
    assert (code, document) == (2, None)
    assert "mine: the model declares no Matryoshka dimension 16" in said and "matryoshka = [512, 256]" in said
    (tmp_path / "curate.toml").write_text("[models.mine]\nmatryoshka = [16, 8]\n")
    code, document, said = curate("compress", "--dims", "16", "--codec", "int8", "--json")
    assert code == 0, said
    assert (document["model"]["name"], document["model"]["dim"]) == ("mine-16", 16)
    assert (document["of"], document["codec"]) == (32, "int8")
    with Store.open(tmp_path / ".curate") as store:
        sets = {s.spec.name: (s.codec, store.embeddings(s.dataset, s.spec.fingerprint).vectors) for s in store.specs()}
    assert sets["mine"][0] == "f32" and sets["mine-16"][0] == "int8"
    np.testing.assert_array_equal(sets["mine"][1], stored)
    np.testing.assert_allclose(sets["mine-16"][1], stored[:, :16], atol=0.02 * np.abs(stored).max())
    assert "declares no Matryoshka dimension 12 (declared: 8, 16)" in curate("compress", "--model", "mine", "--dims", "12")[2]
    assert "cut first, then evaluate" in curate("compress", "--model", "mine", "--dims", "8", "--evaluate")[2]
    (tmp_path / "curate.toml").write_text('[models.mine]\nmatryoshka = "16"\n')
    assert "is no list of sizes" in curate("compress", "--model", "mine", "--dims", "16")[2]


def test_evaluation_says_what_hangs_on_chance(stored, curate):
    code, _, said = curate("compress", "--evaluate", "--codec", "int8")
    assert code == 0 and "with another seed the floats themselves give" in said
    assert max(map(len, said.splitlines())) <= 120
    chance = curate("compress", "--evaluate", "--codec", "int8", "--json")[1]["another_seed"]
    assert all(0 <= chance[key] <= 1 for key in ("clusters", "sample"))


def test_the_dataset_is_the_only_one_with_vectors_of_the_model(stored, curate, tmp_path):
    others = ("import-vectors", "x.npy", "--ids", "ids.txt", "--geometry", "euclidean")
    assert curate(*others, "--name", "theirs")[0] == 0
    code, _, said = curate("compress", "--json")
    assert code == 2 and "several" in said
    code, document, said = curate("compress", "--model", "mine", "--json")
    assert (code, document["codec"]) == (0, "int8"), said
    assert "the only one in the store with vectors of mine" in said.replace("\n", " ")
    code, _, said = curate("compress", "--model", "nobody", "--json")
    assert code == 2 and "vectors:theirs" in said
