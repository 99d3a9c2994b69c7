"""`curate export-vectors` and `curate import-vectors`."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from curate.cli import cli
from curate.store import Store

BASE = ("--dataset", "folder:photos", "--model", "pixels")


@pytest.fixture
def embedded(photos, curate):
    assert curate("sync", *BASE, "--dry-run", "--json")[0] == 0
    return photos


@pytest.fixture
def arrays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    x = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    x[7] = x[3]
    np.save("x.npy", x)
    (tmp_path / "ids.txt").write_text("".join(f"row {n}\n" for n in range(40)))
    return x


BARE = ("import-vectors", "x.npy", "--ids", "ids.txt", "--geometry", "cosine", "--name", "mine")


@pytest.mark.parametrize("kind", ["npy", "parquet", "safetensors"])
def test_vectors_survive_the_way_out_and_in(embedded, curate, tmp_path, kind):
    code, document, _ = curate("export-vectors", *BASE, "--to", "out", "--format", kind, "--json")
    assert (code, document["rows"], document["format"], document["model"]["name"]) == (0, 14, kind, "pixels")
    assert all((tmp_path / file).exists() for file in document["files"])
    code, again, _ = curate("import-vectors", "out", "--dataset", "folder:photos", "--store", "other", "--json")
    assert (code, again["rows"], again["model"]) == (0, 14, document["model"])
    held = []
    for path in (tmp_path / ".curate", tmp_path / "other"):
        with Store.open(path) as store:
            (dataset,) = store.datasets()
            held.append(store.embeddings(dataset, document["model"]["fingerprint"]))
    assert list(held[0].ids) == list(held[1].ids)
    np.testing.assert_array_equal(held[0].vectors, held[1].vectors)


def test_bare_arrays_become_rows_of_their_own(arrays, curate, tmp_path):
    done = CliRunner().invoke(cli, [*BARE, "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["dataset"], document["rows"], document["model"]["geometry"]) == ("vectors:mine", 40, "cosine")
    with Store.open(tmp_path / ".curate") as store:
        held = store.embeddings("vectors:mine", document["model"]["fingerprint"])
        order = [f"row {n}" for n in range(40)]
        assert list(held.ids) == sorted(order)
        np.testing.assert_array_equal(held.vectors[held.ids.index("row 3")], arrays[3])
    code, found, _ = curate("clusters", "--model", "mine", "--count", 3, "--json")
    assert (code, found["count"]) == (0, 3)


def test_importing_again_replaces_and_adds(arrays, curate, tmp_path):
    assert curate(*BARE, "--codec", "f16", "--json")[0] == 0
    np.save("x.npy", np.vstack([arrays * 2, arrays[:1]]))
    with (tmp_path / "ids.txt").open("a") as file:
        file.write("one more\n")
    code, document, _ = curate(*BARE, "--json")
    assert (code, document["rows"]) == (0, 41)
    with Store.open(tmp_path / ".curate") as store:
        (spec,) = store.specs("vectors:mine")
        assert (spec.rows, spec.imported) == (41, True)
        held = store.embeddings("vectors:mine", document["model"]["fingerprint"], ids=["row 5"])
        np.testing.assert_array_equal(held.vectors[0], arrays[5] * 2)


def test_ids_must_be_rows_of_the_dataset(embedded, curate, arrays):
    code, document, said = curate(*BARE, "--dataset", "folder:photos")
    assert (code, document) == (2, None)
    assert "is no row of" in said


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("x.npy", "--geometry", "cosine", "--name", "n"), "say --ids"),
        (("x.npy", "--ids", "ids.txt", "--name", "n"), "say --geometry"),
        (("x.npy", "--ids", "ids.txt", "--geometry", "flat", "--name", "n"), "unknown geometry"),
        (("x.npy", "--ids", "ids.txt", "--geometry", "cosine"), "say --name"),
        (("x.npy", "--ids", "ids.txt", "--geometry", "cosine", "--name", "n", "--codec", "zip"), "unknown codec"),
        (("none.npy", "--ids", "ids.txt", "--geometry", "cosine", "--name", "n"), "does not exist"),
    ],
)
def test_what_is_missing_is_said(arrays, curate, args, says):
    code, document, said = curate("import-vectors", *args)
    assert (code, document) == (2, None)
    assert says in said


def test_an_export_needs_vectors(arrays, curate):
    code, _, said = curate("export-vectors", "--to", "out")
    assert code == 2
    assert "there is no store" in said
