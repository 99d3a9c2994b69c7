"""The main job through the command line, on real files."""

import csv
import json
import os
import time
from pathlib import Path

import pytest
from PIL import Image

from connectors.folder import FolderConnector
from curate.cli import main
from curate.store import Store
from curate.types import Applied, Rejected

BASE = ("--dataset", "folder:photos", "--model", "pixels")


def results(path):
    with (path / ".curate/results/curate.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def test_sync_embeds_finds_copies_and_pushes(photos, curate, tmp_path):
    code, document, _ = curate("sync", *BASE, "--sample", "3", "--json")
    assert code == 0
    assert document["schema_version"] == 1
    assert document["dataset"] == "folder:photos"
    assert document["rows"]["seen"] == document["rows"]["embedded"] == document["rows"]["new"] == 14
    assert document["duplicates"] == {"groups": 1, "rows": 2}
    assert document["sample"] == {"name": "sample", "rows": 3}
    assert document["clusters"]["count"] >= 1
    assert document["pushed"]["accepted"] == document["plan"]["changes"] > 0
    assert document["failures"] == []
    rows = results(tmp_path)
    kept = next(i for i in ("00.png", "00-copy.png", "00-again.jpg") if rows[i]["duplicate"] == "kept")
    copies = {i for i, row in rows.items() if row["duplicate"] == f"copy-of/{kept}"}
    assert copies == {"00.png", "00-copy.png", "00-again.jpg"} - {kept}


def test_second_sync_embeds_nothing_plans_nothing_writes_nothing(photos, curate, tmp_path):
    curate("sync", *BASE, "--sample", "3", "--json")
    table = tmp_path / ".curate/results/curate.csv"
    before = (table.read_bytes(), table.stat().st_mtime_ns)
    code, document, _ = curate("sync", *BASE, "--sample", "3", "--json")
    assert code == 0
    assert document["rows"]["embedded"] == 0 and document["rows"]["reused"] == 14
    assert document["plan"] == {"changes": 0, "vectors": 0}
    assert document["pushed"] == {"accepted": 0, "rejected": 0}
    assert (table.read_bytes(), table.stat().st_mtime_ns) == before


def test_ten_new_files_cost_ten_embeddings(photos, curate):
    curate("sync", *BASE, "--json")
    for i in range(10):
        Image.new("RGB", (40 + i, 40), (i * 20, 90, 200 - i * 15)).save(photos / f"new{i}.png")
    _, document, _ = curate("sync", *BASE, "--json")
    assert document["rows"]["new"] == document["rows"]["embedded"] == 10


def test_a_touched_file_costs_nothing_and_a_changed_one_is_embedded_again(photos, curate):
    curate("sync", *BASE, "--json")
    os.utime(photos / "02.png", (time.time() + 5, time.time() + 5))
    _, document, _ = curate("sync", *BASE, "--json")
    assert document["rows"]["embedded"] == document["rows"]["changed"] == 0
    Image.new("RGB", (50, 50), (1, 2, 3)).save(photos / "02.png")
    _, document, _ = curate("sync", *BASE, "--json")
    assert document["rows"]["embedded"] == document["rows"]["changed"] == 1


def test_a_removed_file_retires(photos, curate):
    curate("sync", *BASE, "--json")
    (photos / "00-copy.png").unlink()
    _, document, _ = curate("sync", *BASE, "--json")
    assert document["rows"]["retired"] == 1 and document["rows"]["seen"] == 13
    assert document["duplicates"]["rows"] == 1


def test_dry_run_pushes_nothing_and_apply_pushes_the_same_plan(photos, curate, tmp_path):
    code, document, _ = curate("sync", *BASE, "--dry-run", "--json")
    assert code == 0 and document["pushed"] is None
    assert not (tmp_path / ".curate/results/curate.csv").exists()
    plan = tmp_path / ".curate/runs" / document["run_id"] / "plan.json"
    code, applied, _ = curate("apply", plan, "--json")
    assert code == 0 and applied["pushed"]["accepted"] == document["plan"]["changes"]
    _, again, _ = curate("apply", plan, "--json")
    assert again["pushed"]["accepted"] == 0


def test_the_plan_is_the_same_bytes_for_the_same_input(photos, curate, tmp_path):
    texts = []
    for store in ("one", "two"):
        _, document, _ = curate("sync", *BASE, "--dry-run", "--sample", "4", "--store", store, "--json")
        texts.append((tmp_path / store / "runs" / document["run_id"] / "plan.json").read_text())
    assert texts[0] == texts[1]
    changes = json.loads(texts[0])["changes"]
    assert changes == sorted(changes, key=lambda c: (c["id"], c["field"]))


def test_a_stale_plan_is_refused(photos, curate, tmp_path):
    _, document, _ = curate("sync", *BASE, "--dry-run", "--json")
    plan = tmp_path / ".curate/runs" / document["run_id"] / "plan.json"
    Image.new("RGB", (50, 50)).save(photos / "new.png")
    code, _, said = curate("apply", plan)
    assert code == 2 and "changed since the plan was made" in said and "curate plan" in said


def test_undo_restores_and_reports_what_somebody_edited(photos, curate, tmp_path):
    _, document, _ = curate("sync", *BASE, "--json")
    code, undone, _ = curate("undo", document["run_id"], "--json")
    assert code == 0 and undone["restored"] == document["plan"]["changes"] and undone["conflicts"] == []
    assert all(not row.get("duplicate") for row in results(tmp_path).values())
    _, again, _ = curate("sync", *BASE, "--json")
    assert again["plan"]["changes"] == document["plan"]["changes"]


def test_an_undo_that_the_platform_refuses_says_so_and_exits_3(photos, curate, monkeypatch):
    _, document, _ = curate("sync", *BASE, "--json")
    refuse = lambda _self, _dataset, changes: Applied(0, tuple(Rejected(c.item_id, c.field, "frozen") for c in changes))  # noqa: E731
    with monkeypatch.context() as frozen:
        frozen.setattr(FolderConnector, "push_fields", refuse)
        code, undone, said = curate("undo", document["run_id"], "--json")
    assert code == 3 and undone["restored"] == 0 and "not restored: 00" in said
    assert len(undone["rejections"]) == document["plan"]["changes"]
    assert undone["rejections"][0]["reason"] == "frozen"
    code, undone, _ = curate("undo", document["run_id"], "--json")
    assert code == 0 and undone["restored"] == document["plan"]["changes"]


def test_stages_one_by_one_give_the_same_plan(photos, curate, tmp_path):
    _, whole, _ = curate("sync", *BASE, "--dry-run", "--store", "whole", "--json")
    assert curate("pull", "--dataset", "folder:photos", "--json")[1]["rows"]["new"] == 14
    assert curate("embed", *BASE, "--json")[1]["rows"]["embedded"] == 14
    assert curate("duplicates", *BASE, "--json")[0] == 0
    assert curate("clusters", *BASE, "--json")[0] == 0
    _, planned, _ = curate("plan", *BASE, "--json")
    theirs = json.loads((tmp_path / "whole/runs" / whole["run_id"] / "plan.json").read_text())
    ours = json.loads(Path(planned["path"]).read_text())
    assert ours["changes"] == theirs["changes"]


def test_failed_rows_are_listed_and_the_exit_code_says_so(photos, curate):
    (photos / "broken.jpg").write_bytes(b"this is text")
    (photos / "empty.png").write_bytes(b"")
    code, document, _ = curate("sync", *BASE, "--json")
    assert code == 3
    assert {f["id"]: f["reason"] for f in document["failures"]} == {"broken.jpg": "not_an_image", "empty.png": "empty"}
    rows = document["rows"]
    assert rows["seen"] == rows["embedded"] + rows["reused"] + rows["failed"] == 16
    code, document, _ = curate("sync", *BASE, "--tolerate-failed", "20%", "--json")
    assert code == 0 and document["rows"]["failed"] == 2 and document["rows"]["embedded"] == 0
    Image.new("RGB", (60, 60), (9, 200, 9)).save(photos / "empty.png")
    code, document, _ = curate("sync", *BASE, "--json")
    assert [f["id"] for f in document["failures"]] == ["broken.jpg"] and document["rows"]["embedded"] == 1


def test_hostile_names_survive(photos, curate, tmp_path):
    names = ["a\nb.png", "quo\"te's.png", "<script>alert(1)</script>.png".replace("/", "_"), "\U0001f600.png", "=cmd.png"]
    for n, name in enumerate(names):
        Image.new("RGB", (30, 30 + n), (n * 50, 3, 250 - 40 * n)).save(photos / name, format="PNG")
    code, document, _ = curate("sync", *BASE, "--sample", "100%", "--json")
    assert code == 0 and document["rows"]["seen"] == 14 + len(names)
    with Store.open(tmp_path / ".curate") as store:
        held = {item.id for item in store.items(store.datasets()[0])}
    assert set(names) <= held
    _, again, _ = curate("sync", *BASE, "--sample", "100%", "--json")
    assert again["plan"]["changes"] == 0


def test_results_are_on_stdout_and_messages_on_stderr(photos, capsys):
    assert main(["sync", *BASE, "--report", "r.html"]) == 0
    out, err = capsys.readouterr()
    assert "2 copies in" in out
    assert "curate undo" in err and "report: r.html" in err and "dataset folder:photos" in err
    assert "curate undo" not in out and "copies in" not in err


def test_json_is_alone_on_stdout(photos, capsys):
    assert main(["sync", *BASE, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["duplicates"]["rows"] == 2
    assert "copies" not in err


def test_a_table_in_a_pipe_has_a_line_a_row_and_no_colour(photos, curate, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    (photos / ("long-" * 40 + ".png")).write_bytes((photos / "02.png").read_bytes())
    curate("sync", *BASE, "--json")
    assert main(["duplicates", *BASE]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if "long-" in line]
    assert "long-" * 40 + ".png" in line and "02.png" in line and "\x1b" not in out


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("sync", "--dataset", "nowhere:x", "--model", "pixels"), 2, "folder"),
        (("sync", "--dataset", "folder:nowhere", "--model", "pixels"), 4, "nowhere"),
        (("sync", "--dataset", "folder:photos", "--model", "pixel"), 2, "pixels"),
        (("sync", "--model", "pixels"), 2, "--dataset"),
        (("sync", *BASE, "--connector", "labelbox"), 2, "two places"),
        (("sync", *BASE, "--ops", "duplicate"), 2, "duplicates"),
        (("sync", *BASE, "--device", "gpu"), 2, "auto"),
        (("sync", *BASE, "--precision", "7"), 2, "precision"),
        (("sync", "--dataset", "fotos", "--model", "pixels"), 4, "folder:ID, labelbox:ID"),
        (("snyc",), 2, "sync"),
        (("undo", "no-such-run"), 2, "curate sync"),
        (("duplicates", "--dataset", "folder:photos", "--model", "pixels"), 2, "curate"),
    ],
)
def test_mistakes_name_the_thing_and_the_next_step(photos, curate, args, code, says):
    got, document, said = curate(*args)
    assert (got, document) == (code, None), said
    assert says in said and "Traceback" not in said


def test_a_result_file_that_cannot_be_written_is_no_bug(photos, curate, tmp_path):
    curate("sync", *BASE, "--json")
    taken = tmp_path / "taken"
    taken.mkdir()
    below = photos / "00.png" / "below.file"
    for args in (("report", "--to", taken), ("report", "--markdown", below), ("plan", *BASE, "--to", below)):
        code, document, said = curate(*args)
        assert (code, document) == (2, None), said
        assert "bug" not in said and str(args[-1]) in said.replace("\n", "")


def test_an_empty_folder_is_an_error_with_exit_2(photos, curate, tmp_path):
    (tmp_path / "nothing").mkdir()
    code, _, said = curate("sync", "--dataset", "folder:nothing", "--model", "pixels")
    assert code == 2 and "empty" in said


def test_a_second_writer_exits_5_and_says_who(photos, curate, tmp_path):
    curate("sync", *BASE, "--json")
    with Store.open(tmp_path / ".curate", write=True):
        code, _, said = curate("sync", *BASE)
    assert code == 5 and str(os.getpid()) in said


def test_status_and_list_and_doctor(photos, curate):
    curate("sync", *BASE, "--json")
    _, status, _ = curate("status", "--json")
    assert status["datasets"][0]["rows"] == 14 and status["datasets"][0]["models"][0]["name"] == "pixels"
    assert status["runs"][-1]["state"] == "done"
    _, listed, _ = curate("list", "connectors", "--json")
    assert "folder" in {row["name"] for row in listed["connectors"]}
    code, doctor, _ = curate("doctor", "--json")
    assert code == 0 and doctor["extras"]["models"]["torch"]


def test_init_writes_a_configuration_that_loads_and_never_overwrites(photos, curate, tmp_path):
    assert curate("init", "--json")[0] == 0
    assert curate("config", "show", "--json")[0] == 0
    code, _, said = curate("init")
    assert code == 2 and "exists already" in said


def test_a_dataset_of_curate_toml_is_used_with_its_own_model(photos, curate, tmp_path):
    (tmp_path / "curate.toml").write_text('[datasets.mine]\naddress = "folder:photos"\nmodel = "pixels"\nsample = "2"\n')
    code, document, said = curate("sync", "--dataset", "mine", "--json")
    assert code == 0 and document["model"]["name"] == "pixels" and document["sample"]["rows"] == 2
    assert "mine" in said
    code, document, _ = curate("sync", "--all", "--json")
    assert code == 0 and len(document["datasets"]) == 1


def test_one_dataset_that_fails_does_not_keep_the_others(photos, curate, tmp_path):
    (tmp_path / "empty").mkdir()
    tables = [f'[datasets.{name}]\naddress = "folder:{name}"\nmodel = "pixels"\n' for name in ("empty", "photos")]
    (tmp_path / "curate.toml").write_text("\n".join(tables))
    code, document, said = curate("sync", "--all", "--json")
    broken, fine = document["datasets"]
    assert code == 2 and broken["dataset"] == "empty" and broken["error"] in " ".join(said.split())
    assert fine["rows"]["embedded"] == 14 and fine["pushed"]["rejected"] == 0


def test_a_bare_existing_path_is_a_folder(photos, curate):
    code, document, said = curate("sync", "--dataset", "photos", "--model", "pixels", "--json")
    assert code == 0 and document["dataset"] == "folder:photos" and "an existing path" in said


def test_a_path_wins_over_connector_and_says_so(photos, curate):
    code, _, said = curate("sync", "--dataset", "photos", "--connector", "labelbox", "--model", "pixels", "--dry-run")
    assert code == 0 and "not asked of labelbox" in said


def test_exporting_a_selection_that_is_not_there_names_those_that_are(photos, curate, tmp_path):
    curate("sync", *BASE, "--sample", "3", "--json")
    code, _, said = curate("export", *BASE[:2], "--to", tmp_path / "out", "--only", "sample", "--name", "nosuch")
    assert code == 2 and "nosuch" in said and "sample" in said
