"""Whole runs against a real FiftyOne: sync twice, delete, undo, other models and backends, a push that dies."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.connectors.fiftyone_place import dataset, pictures
from tests.connectors.test_fiftyone_pull import groups
from tests.connectors.test_fiftyone_push import shown


@pytest.fixture
def photos(fo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    return dataset("photos", pictures(tmp_path / "photos"))


@pytest.fixture
def sync(curate):
    def call(*more, model="pixels", name="photos"):
        code, document, said = curate("sync", "--dataset", f"fiftyone:{name}", "--model", model, "--json", *more)
        assert code == 0, said
        return document

    return call


def values(made):
    made.reload()
    names = [name for name in made.get_field_schema(flat=True) if name.startswith("curate.")]
    return {name: made.values(name) for name in [*names, "tags"]}


def test_a_second_sync_plans_and_writes_nothing(photos, sync):
    first = sync("--sample", "4")
    assert first["duplicates"] == {"groups": 1, "rows": 2} and first["pushed"]["rejected"] == 0
    state, when = (shown(photos), values(photos)), photos.max("last_modified_at")
    again = sync("--sample", "4")
    assert again["plan"] == {"changes": 0, "vectors": 0} and again["rows"]["embedded"] == 0
    assert again["pushed"] == {"accepted": 0, "rejected": 0}
    assert (shown(photos), values(photos)) == state
    assert photos.max("last_modified_at") == when, "no sample was written"
    plan = json.loads(Path(".curate/runs", again["run_id"], "plan.json").read_text())
    assert plan["extras"] == {}


def test_native_features_work_on_what_was_pushed(photos, sync):
    sync("--sample", "4")
    photos.reload()
    copies = photos.load_saved_view("curate: duplicates").values("filepath")
    assert len(copies) == 2 and {Path(p).name for p in copies} < {"00.png", "again.jpg", "copy.png"}
    assert len(photos.load_saved_view("curate: sample sample")) == 4
    first = photos.match({"filepath": {"$regex": "/00.png$"}}).first()
    near = photos.sort_by_similarity(first.id, brain_key="curate_sim", k=3).values("filepath")
    assert {Path(p).name for p in near} == {"00.png", "copy.png", "again.jpg"}
    assert photos.load_brain_results("curate_viz").points.shape == (14, 2)
    index = photos.load_brain_results("curate_sim")
    index.find_duplicates(thresh=0.5)
    assert len(index.duplicate_ids) == 2


def test_undo_restores_everything(fo, photos, sync, curate):
    import fiftyone.brain as fob

    photos.save_view("mine", photos.limit(2))
    fob.compute_visualization(photos, points=np.zeros((14, 2)), brain_key="mine")
    photos.select(photos.values("id")[:1]).tag_samples("curate:seen by me")
    before = shown(photos), values(photos)
    run = sync("--sample", "4")["run_id"]
    assert shown(photos) != before[0]
    code, document, said = curate("undo", run, "--json")
    assert code == 0 and not document["conflicts"], said
    assert (shown(photos), values(photos)) == before
    assert sync("--sample", "4")["plan"]["vectors"] == 14, "vectors that were taken away are pushed again"
    assert "curate_sim" in shown(photos)[3]


def test_undo_of_another_model_shows_the_first_again(photos, sync, curate):
    sync()
    photos.reload()
    before = photos.load_brain_results("curate_sim", cache=False).config.sidecar
    points = photos.load_brain_results("curate_viz", cache=False).points
    run = sync(model="pixels-784")["run_id"]
    photos.reload()
    assert photos.load_brain_results("curate_sim", cache=False).config.sidecar != before
    assert curate("undo", run, "--json")[0] == 0
    photos.reload()
    assert photos.load_brain_results("curate_sim", cache=False).config.sidecar == before
    np.testing.assert_allclose(photos.load_brain_results("curate_viz", cache=False).points, points)


def test_deleted_samples_leave_our_indexes(photos, sync):
    sync()
    gone = photos.values("id")[:3]
    photos.delete_samples(gone)
    document = sync()
    assert document["rows"]["retired"] == 3
    photos.reload()
    index = photos.load_brain_results("curate_sim", cache=False)
    assert index.total_index_size == 11 and not set(gone) & set(index._sidecar.read()[0])
    assert photos.load_brain_results("curate_viz", cache=False).points.shape == (11, 2)
    assert sync()["plan"] == {"changes": 0, "vectors": 0}


def test_new_samples_join_the_index(fo, photos, sync, tmp_path):
    sync()
    extra = pictures(tmp_path / "more", 2, seed=5)[:2]
    photos.add_samples([fo.Sample(filepath=str(path)) for path in extra])
    document = sync()
    assert document["rows"]["embedded"] == 2 and document["plan"]["vectors"] == 2
    photos.reload()
    assert photos.load_brain_results("curate_sim").total_index_size == 16, "an index that is loaded follows"
    assert photos.load_brain_results("curate_viz", cache=False).points.shape == (16, 2)


def test_the_native_backend_needs_no_curate_where_the_app_runs(photos, sync, curate):
    run = sync("--fiftyone-backend", "sklearn")["run_id"]
    photos.reload()
    index = photos.load_brain_results("curate_sim", cache=False)
    assert index.config.method == "sklearn" and index.config.metric == "euclidean" and index.total_index_size == 14
    assert sync("--fiftyone-backend", "sklearn")["plan"] == {"changes": 0, "vectors": 0}
    assert sync()["plan"]["vectors"] == 14, "the other backend keeps its own"
    photos.reload()
    assert photos.load_brain_results("curate_sim", cache=False).config.method == "curate"
    assert curate("undo", run, "--json")[0] == 0


def test_the_backend_is_for_fiftyone_only(photos, curate):
    code, _, said = curate("sync", "--dataset", "folder:photos", "--model", "pixels", "--fiftyone-backend", "sklearn")
    assert code == 2 and "--fiftyone-backend" in said


def test_fields_only_when_no_vectors_are_wanted(photos, sync):
    sync("--no-vectors")
    assert shown(photos)[3] == []


def test_a_push_that_dies_is_finished_by_the_next_run(photos, sync, curate, monkeypatch):
    from connectors._fiftyone_brain import BrainRuns
    from connectors._fiftyone_fields import Fields

    for kind, method in ((BrainRuns, "add"), (BrainRuns, "show_similarity"), (BrainRuns, "show_map"), (Fields, "settle")):
        with monkeypatch.context() as patched:
            patched.setattr(kind, method, lambda *_a, **_k: (_ for _ in ()).throw(KeyboardInterrupt))
            assert curate("sync", "--dataset", "fiftyone:photos", "--model", "pixels", "--sample", "4")[0] == 130
    sync("--sample", "4")
    photos.reload()
    whole = shown(photos), values(photos)
    assert whole[0][2] == ["curate: duplicates", "curate: kept", "curate: sample sample"]
    assert whole[0][3] == ["curate_sim", "curate_viz"]
    assert sync("--sample", "4")["plan"] == {"changes": 0, "vectors": 0}


def test_plan_and_apply_make_the_same_as_sync(photos, sync, curate):
    assert curate("embed", "--dataset", "fiftyone:photos", "--model", "pixels", "--json")[0] == 0
    assert curate("duplicates", "--json")[0] == 0
    code, document, said = curate("plan", "--dataset", "fiftyone:photos", "--to", "plan.json", "--json")
    assert code == 0 and any("similarity search 'curate_sim'" in line for line in document["projects"]), said
    code, document, said = curate("apply", "plan.json", "--json")
    assert code == 0, said
    assert shown(photos)[2:4] == (["curate: duplicates", "curate: kept"], ["curate_sim", "curate_viz"])
    assert curate("undo", document["run_id"], "--json")[0] == 0
    assert shown(photos)[2:4] == ([], [])


def test_texts_can_be_searched_for_when_the_model_has_a_text_tower(photos, sync):
    sync(model="tests.connectors.test_fiftyone_similarity:Words")
    photos.reload()
    assert photos.get_brain_info("curate_sim").config.supports_prompts
    size = {path: Path(path).stat().st_size % 16 for path in photos.values("filepath")}
    word = "x" * next(iter(size.values()))
    first = photos.sort_by_similarity(word, k=1, brain_key="curate_sim").first()
    assert size[first.filepath] == len(word)
    sync(model="pixels")
    photos.reload()
    assert not photos.get_brain_info("curate_sim").config.supports_prompts


def test_a_store_that_was_moved_is_found_again(photos, sync):
    sync()
    Path(".curate").rename("elsewhere")
    document = sync("--store", "elsewhere")
    assert document["plan"] == {"changes": 0, "vectors": 0}
    photos.reload()
    assert "elsewhere" in photos.load_brain_results("curate_sim", cache=False).config.sidecar
    assert photos.info["curate"]["store"].endswith("elsewhere")


def test_stdout_holds_the_document_alone(photos, fiftyone_server, tmp_path):
    # With FiftyOne's notices, which it prints to stdout when it connects.
    environment = {k: v for k, v in {**os.environ, **fiftyone_server}.items() if k != "FIFTYONE_DATABASE_VALIDATION"}
    command = [sys.executable, "-m", "curate", "pull", "--dataset", "fiftyone:photos", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"]["seen"] == 14 and "MongoDB" in done.stderr


def test_point_clouds_beside_images_are_named_and_skipped(fo, photos, tmp_path, curate):
    made = groups(fo, tmp_path)
    code, document, said = curate("sync", "--dataset", "fiftyone:groups", "--model", "pixels", "--json")
    assert code == 0 and document["rows"]["seen"] == 6 and document["rows"]["skipped"] == {"point-cloud": 3}, said
    assert "3 point-cloud rows are skipped" in said
    made.reload()
    assert made.load_brain_results("curate_sim", cache=False).total_index_size == 6
    assert made.load_brain_results("curate_viz", cache=False).points.shape == (6, 2)


def test_a_saved_view_is_synced_by_itself(photos, sync):
    photos.save_view("trains", photos.match_tags("train"))
    document = sync(name="photos/trains")
    assert document["rows"]["seen"] == photos.match_tags("train").count()
    photos.reload()
    assert photos.load_brain_results("curate_sim", cache=False).total_index_size == document["rows"]["seen"]
    others = photos.match_tags("train", bool=False)
    assert others.exists("curate").count() == 0


@pytest.mark.parametrize(
    ("make", "code", "message"), [("nothing", 4, "no dataset"), ("empty", 2, "empty"), ("video", 2, "no image rows")]
)
def test_a_dataset_without_rows_is_one_clear_line(fo, photos, curate, tmp_path, make, code, message):
    if make != "nothing":
        made = fo.Dataset(make, persistent=True, overwrite=True)
        if make == "video":
            made.add_sample(fo.Sample(filepath=str(tmp_path / "one.mp4")))
    got, _, said = curate("sync", "--dataset", f"fiftyone:{make}", "--model", "pixels")
    assert got == code and message in said, said
    assert "Traceback" not in said


def test_a_file_that_is_gone_is_a_failed_row(photos, curate, tmp_path):
    (tmp_path / "photos" / "03.png").unlink()
    code, document, said = curate("sync", "--dataset", "fiftyone:photos", "--model", "pixels", "--json")
    assert code == 3 and [f["reason"] for f in document["failures"]] == ["missing"], said
    assert document["rows"]["embedded"] == 13


def test_two_samples_of_one_file_are_two_rows_of_which_one_is_a_copy(fo, photos, sync):
    third = photos.match({"filepath": {"$regex": "/03.png$"}}).first()
    twin = photos.add_sample(fo.Sample(filepath=third.filepath))
    document = sync()
    assert document["rows"]["seen"] == document["rows"]["embedded"] == 15
    assert document["duplicates"] == {"groups": 2, "rows": 3}
    photos.reload()
    said = dict(zip(*photos.select([third.id, twin]).values(["id", "curate.duplicate"]), strict=True))
    assert said == {third.id: "kept", twin: f"copy-of/{third.id}"}  # the one with a label stays
    assert [s.id for s in photos.match_tags("curate:duplicate").match({"filepath": third.filepath})] == [twin]
    assert sync()["plan"] == {"changes": 0, "vectors": 0}


def test_mongod_down_is_exit_4(photos, curate, tmp_path):
    Path("curate.toml").write_text('[connectors.fiftyone]\ndatabase_uri = "mongodb://127.0.0.1:1"\n')
    code, _, said = curate("sync", "--dataset", "fiftyone:photos", "--model", "pixels")
    assert code == 4 and "does not answer" in said and said.count("\n") == 2, said


def test_a_bare_name_is_looked_for_in_fiftyone(photos, curate, tmp_path):
    photos.name = "birds"
    code, _, said = curate("pull", "--dataset", "birds", "--json")
    assert code == 0 and "fiftyone has it" in said, said


def test_doctor_names_the_database(fo, photos, curate):
    code, document, _ = curate("doctor", "--json")
    mine = next(c for c in document["connectors"] if c["name"] == "fiftyone")
    assert code == 0 and fo.config.database_name in mine["state"] and fo.config.database_uri in mine["state"]
