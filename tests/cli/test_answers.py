"""What a verb says of rows that were refused, left out or left over."""

import csv

import numpy as np
import pytest

from connectors.folder import FolderConnector
from curate.types import Applied, Rejected

BASE = ("--dataset", "folder:photos", "--model", "pixels")


@pytest.fixture
def refusing(monkeypatch):
    """A folder that refuses every change of the first 12 rows of a chunk."""
    accept = FolderConnector.push_fields

    def push(self, dataset_id, changes):
        refused = tuple(Rejected(c.item_id, c.field, "no room") for c in changes[:12])
        return accept(self, dataset_id, changes[12:]) + Applied(0, refused)

    monkeypatch.setattr(FolderConnector, "push_fields", push)


def test_rejected_writes_are_listed_and_exit_3_unless_tolerated(photos, curate, refusing):
    code, document, _ = curate("sync", *BASE, "--store", "a", "--json")
    assert code == 3 and document["pushed"]["rejected"] == len(document["rejections"]) == 12
    assert document["rejections"][0].keys() == {"id", "field", "reason"}
    code, _, said = curate("sync", *BASE, "--store", "b")
    assert code == 3 and said.count("no room") == 10 and "... and 2 more" in said and "report.json" in said
    assert curate("sync", *BASE, "--store", "c", "--tolerate-failed", "100%", "--json")[0] == 0


def test_apply_lists_what_was_rejected(photos, curate, refusing, tmp_path):
    _, planned, _ = curate("sync", *BASE, "--dry-run", "--json")
    code, document, said = curate("apply", tmp_path / ".curate/runs" / planned["run_id"] / "plan.json", "--json")
    assert code == 3 and len(document["rejections"]) == 12 and "... and 2 more" in said


def test_embed_says_how_many_failures_it_does_not_show(photos, curate):
    for number in range(13):
        (photos / f"broken{number:02d}.jpg").write_bytes(b"this is text")
    code, _, said = curate("embed", *BASE)
    assert code == 3 and said.count("failed: broken") == 10 and "... and 3 more" in said


def test_status_says_how_many_rows_are_left_to_embed(photos, curate, tmp_path):
    curate("embed", *BASE, "--json")
    (photos / "new.png").write_bytes((photos / "02.png").read_bytes())
    curate("pull", "--dataset", "folder:photos", "--json")
    _, document, _ = curate("status", "--json")
    (model,) = document["datasets"][0]["models"]
    assert (model["vectors"], model["failed"], model["left"]) == (14, 0, 1)


def test_status_tells_two_layers_of_one_model_apart(photos, curate, tmp_path, monkeypatch):
    import numpy as np

    from curate.store import Store
    from curate.types import EmbedderSpec

    curate("pull", "--dataset", "folder:photos")
    with Store.open(tmp_path / ".curate", write=True) as store:
        (dataset,) = store.datasets()
        ids = [item.id for item in store.items(dataset)]
        for layer in ("pooler", "projected"):
            spec = EmbedderSpec("clip", "r1", layer, 2, "euclidean")
            store.import_vectors(dataset, spec, ids, np.zeros((len(ids), 2), np.float32))
    code, document, _ = curate("status", "--json")
    assert code == 0 and {m["layer"] for m in document["datasets"][0]["models"]} == {"pooler", "projected"}
    monkeypatch.setenv("COLUMNS", "200")
    shown = curate("status")[2]
    assert "clip (pooler)" in shown and "clip (projected)" in shown


@pytest.mark.parametrize("args", [("search", "--image"), ("sample", "--budget", "2", "--like")])
def test_a_query_that_is_no_image_is_named(photos, curate, tmp_path, args):
    curate("embed", *BASE, "--json")
    (tmp_path / "query.jpg").write_bytes(b"this is text")
    code, _, said = curate(*args, "query.jpg")
    assert code == 2 and "query.jpg: not_an_image" in said


def test_sync_takes_imported_vectors_by_name(photos, curate, tmp_path):
    ids = [p.relative_to(photos).as_posix() for p in sorted(photos.rglob("*")) if p.is_file()]
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(len(ids) - 1, 8)).astype(np.float32))
    (tmp_path / "ids.txt").write_text("".join(f"{i}\n" for i in ids[:-1]))
    given = ("--dataset", "folder:photos")
    assert curate("import-vectors", "v.npy", "--ids", "ids.txt", "--geometry", "cosine", "--name", "mine", *given)[0] == 0
    code, document, _ = curate("sync", *given, "--model", "mine", "--ops", "clusters", "--json")
    assert code == 3 and document["model"]["name"] == "mine"
    assert document["rows"]["reused"] == len(ids) - 1 and document["rows"]["embedded"] == 0
    assert [(f["id"], f["reason"]) for f in document["failures"]] == [(ids[-1], "not_imported")]
    assert document["pushed"]["accepted"] == len(ids) - 1


@pytest.fixture
def imported(tmp_path, photos, curate):
    """40 vectors imported as rows of their own, the last two of them copies of the first."""
    x = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    x[38], x[39] = x[0] * 1.0001, x[0] + 1e-4
    np.save(tmp_path / "v.npy", x)
    (tmp_path / "ids.txt").write_text("".join(f"row{i}\n" for i in range(40)))
    assert curate("import-vectors", "v.npy", "--ids", "ids.txt", "--geometry", "cosine", "--name", "mine")[0] == 0


def test_imported_rows_of_their_own_go_through_the_whole_main_job(imported, curate, tmp_path):
    (tmp_path / "curate.toml").write_text("[ops.duplicates]\nradius = 0.001\n")
    given = ("--dataset", "vectors:mine", "--sample", "5")
    code, document, _ = curate("sync", *given, "--json")
    assert code == 0 and document["model"]["name"] == "mine" and document["rows"]["reused"] == 40
    assert document["duplicates"] == {"groups": 1, "rows": 2} and document["sample"]["rows"] == 5
    with (tmp_path / ".curate/results/curate.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert sum(row["duplicate"].startswith("copy-of/") for row in rows.values()) == 2
    _, again, _ = curate("sync", *given, "--json")
    assert again["plan"] == {"changes": 0, "vectors": 0}
    code, undone, _ = curate("undo", document["run_id"], "--json")
    assert code == 0 and undone["restored"] == document["pushed"]["accepted"]
    code, planned, _ = curate("plan", "--dataset", "vectors:mine", "--to", "plan.json", "--json")
    assert code == 0 and planned["plan"]["changes"] == document["pushed"]["accepted"]
    assert curate("apply", "plan.json", "--json")[1]["pushed"]["accepted"] == planned["plan"]["changes"]


def test_imported_rows_have_no_files(imported, curate):
    code, document, said = curate("export", "--to", "out", "--dataset", "vectors:mine")
    assert (code, document) == (2, None) and "no files" in said and "export-vectors" in said
    code, _, said = curate("sync", "--dataset", "vectors:yours")
    assert code == 4 and "import-vectors" in said
