"""`curate sync --dataset labelbox:ID` end to end, through the real SDK, against the stand-in."""

import json
import logging
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.connectors.conftest import run_cli
from tests.fakes.labelbox_server import CLIP, Fault, LabelboxServer, image

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def dataset(box):
    """40 pictures, the last four copies of the first four."""
    box.state.plan = "enterprise"
    dataset = box.state.add_dataset()
    box.add_images(dataset, 40)
    for number in range(36, 40):
        box.images[f"img/{number}.png"] = image(number - 36)
    return dataset


@pytest.fixture
def store(tmp_path):
    """Flags that every command takes here."""
    return ("--store", str(tmp_path / "store"), "--allow-host", "127.0.0.1")


def sync(capsys, dataset, store, *more, model="pixels"):
    return run_cli(capsys, "sync", "--dataset", f"labelbox:{dataset}", "--model", model, *store, *more)


def test_a_sync_pushes_vectors_and_fields_and_a_second_one_nothing(box, dataset, store, capsys):
    code, first, _ = sync(capsys, dataset, store, "--yes", "--sample", "8")
    assert code == 0 and first["connector"] == "labelbox"
    assert first["rows"] == {
        "seen": 40,
        "new": 40,
        "changed": 0,
        "retired": 0,
        "embedded": 40,
        "reused": 0,
        "failed": 0,
        "skipped": {},
    }
    assert first["pushed"]["rejected"] == 0 and first["plan"]["vectors"] == 40
    copies = {i: v for i, v in box.state.values("curate.duplicate").items() if v.startswith("copy-of/")}
    assert len(copies) == 4 and set(copies.values()) <= {f"copy-of/{i}" for i in box.state.rows}
    assert len(box.state.values("curate.sample")) == 8
    made = [e for e in box.state.embeddings.values() if e["custom"]]
    assert len(made) == 1 and len(box.state.vectors(made[0]["name"])) == 40
    before = box.state.digest()
    box.reset_counts()
    code, second, _ = sync(capsys, dataset, store, "--yes", "--sample", "8")
    assert code == 0 and second["plan"] == {"changes": 0, "vectors": 0} and second["rows"]["embedded"] == 0
    assert box.calls("image") == 0 and box.state.metadata_writes == 0 and box.state.vector_writes == 0
    assert box.calls("UpsertDataRowMetadataBetaPyApi", "DeleteDataRowMetadataBetaPyApi", "import_vectors") == 0
    assert box.state.digest() == before


def test_new_changed_and_deleted_rows_cost_only_themselves(box, dataset, store, capsys):
    sync(capsys, dataset, store, "--yes")
    rows = list(box.state.rows.values())
    box.add_images(dataset, 3, start=100)
    rows[10].asset = "img/200.png"
    box.state.remove_row(rows[20].id)
    box.expire_urls()
    box.reset_counts()
    _, done, _ = sync(capsys, dataset, store, "--yes")
    assert (done["rows"]["new"], done["rows"]["changed"], done["rows"]["retired"]) == (3, 1, 1)
    assert done["rows"]["embedded"] == 4 and box.calls("image") == 4


def test_stale_values_are_cleared_and_edits_of_users_survive(box, dataset, store, capsys):
    sync(capsys, dataset, store, "--yes")
    copy = next(i for i, v in box.state.values("curate.duplicate").items() if v.startswith("copy-of/"))
    tag = box.state.field_id("tag")
    box.state.rows[copy].metadata[tag] = "mine"
    box.state.rows[copy].asset = "img/500.png"
    sync(capsys, dataset, store, "--yes")
    assert copy not in box.state.values("curate.duplicate") and box.state.rows[copy].metadata[tag] == "mine"


def test_the_vectors_of_labelbox_need_no_images(box, dataset, store, capsys):
    box.add_clip(list(box.state.rows.values())[:38])
    code, done, _ = sync(capsys, dataset, store, "--yes", "--tolerate-failed", "10%", model=f"platform:{CLIP}")
    assert code == 0 and box.calls("image", "import_vectors", "CreateEmbeddingPyApi") == 0
    assert done["model"]["dim"] == 512 and done["rows"]["embedded"] == 38 and done["plan"]["vectors"] == 0
    assert {f["reason"] for f in done["failures"]} == {"no_platform_vector"}
    assert len(box.state.values("curate.cluster")) == 38
    _, again, _ = sync(capsys, dataset, store, "--yes", "--tolerate-failed", "10%", model=f"platform:{CLIP}")
    assert again["plan"]["changes"] == 0
    code, _, err = sync(capsys, dataset, store, "--yes", model="platform:nothing")
    assert code == 4 and CLIP in err


def test_embed_takes_the_vectors_of_labelbox_too(box, dataset, store, capsys):
    box.add_clip(list(box.state.rows.values()))
    flags = ("--dataset", f"labelbox:{dataset}", "--model", f"platform:{CLIP}", *store)
    code, done, _ = run_cli(capsys, "embed", *flags)
    assert code == 0 and done["rows"]["embedded"] == 40 and box.calls("image") == 0
    assert run_cli(capsys, "embed", *flags)[1]["rows"] == {"seen": 40, "embedded": 0, "reused": 40, "failed": 0}


def test_the_vectors_of_labelbox_are_proposed_when_no_model_is_named(box, dataset, store, capsys, monkeypatch):
    from curate import embedders
    from curate.cli import main
    from curate.errors import EmbedderError

    def no_weights(*_args, **_kwargs):
        raise EmbedderError("no weights here")

    monkeypatch.setattr(embedders, "load", no_weights)
    box.add_clip(list(box.state.rows.values()))
    assert main(["sync", "--dataset", f"labelbox:{dataset}", "--dry-run", *store]) == 2
    assert f"platform:{CLIP}" in capsys.readouterr().err


def test_a_dry_run_writes_nothing_and_its_plan_can_be_applied(box, dataset, store, capsys):
    before = box.state.digest()
    code, done, _ = sync(capsys, dataset, store, "--dry-run", "--sample", "5")
    assert code == 0 and done["pushed"] is None and box.state.digest() == before
    code, plan, _ = run_cli(capsys, "plan", "--dataset", f"labelbox:{dataset}", "--model", "pixels", *store)
    assert plan["cost"]["requests"] >= 2 and plan["cost"]["minutes"] >= 0 and plan["cost"]["requests_per_minute"] == 1500
    assert box.state.digest() == before
    code, applied, _ = run_cli(capsys, "apply", plan["path"], "--yes", *store)
    assert code == 0 and applied["pushed"]["rejected"] == 0
    assert len(box.state.values("curate.sample")) == 5


def test_fields_are_not_created_without_a_yes_and_nothing_is_computed_then(box, dataset, store, capsys):
    code, _, err = sync(capsys, dataset, store)
    assert code == 2 and "--yes" in err and "create_fields" in err
    assert box.calls("image") == 0 and box.state.field_id("curate.duplicate") is None


def test_undo_restores_everything_and_removes_what_curate_made_only_when_asked(box, dataset, store, capsys):
    queue = box.state.add_project("queue", waiting=list(box.state.rows))
    target = box.state.add_project("labeling")
    before = box.state.digest()
    flags = ("--yes", "--sample", "6", "--batch", target, "--priority", "3", "--deprioritize-duplicates", queue)
    code, done, _ = sync(capsys, dataset, store, *flags)
    assert code == 0
    waiting = box.state.projects[queue].rows
    assert sum(r["priority"] > 5 for r in waiting.values()) == 4
    assert {r["priority"] for r in box.state.projects[target].rows.values()} == {3} and len(
        box.state.projects[target].rows
    ) == 6
    _, again, _ = sync(capsys, dataset, store, *flags)
    assert again["plan"]["changes"] == 0 and len(box.state.projects[target].batches) == 1
    code, undone, _ = run_cli(capsys, "undo", done["run_id"], *store)
    assert code == 0 and undone["removed"] == {}
    assert not box.state.values("curate.duplicate") and not box.state.projects[target].rows
    assert {r["priority"] for r in waiting.values()} == {5} and box.state.field_id("curate.duplicate")
    run_cli(capsys, "undo", done["run_id"], "--remove-created", *store)
    assert box.state.digest() == before


def test_projects_are_refused_by_connectors_that_have_none(box, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(image(1))
    flags = ("--dataset", f"folder:{tmp_path / 'photos'}", "--model", "pixels", "--store", str(tmp_path / "s"))
    assert run_cli(capsys, "sync", *flags, "--batch", "cx", "--sample", "1")[0] == 2
    assert run_cli(capsys, "sync", *flags, "--priority", "2")[0] == 2


def test_the_embeddings_commands(box, dataset, store, capsys):
    sync(capsys, dataset, store, "--yes")
    code, listed, _ = run_cli(capsys, "embeddings", "list", *store)
    mine = [e for e in listed["embeddings"] if e["custom"]]
    assert code == 0 and listed["used"] == 1 and listed["limit"] == 100 and mine[0]["vectors"] == 40
    code, _, err = run_cli(capsys, "embeddings", "delete", mine[0]["name"], *store)
    assert code == 2 and "--yes" in err
    assert run_cli(capsys, "embeddings", "delete", mine[0]["name"], "--dry-run", *store)[1]["would_delete"] == mine[0]["name"]
    assert run_cli(capsys, "embeddings", "delete", mine[0]["name"], "--yes", *store)[0] == 0
    _, again, _ = sync(capsys, dataset, store, "--yes")
    assert again["rows"]["embedded"] == 0 and again["plan"]["vectors"] == 40, "a deleted embedding is filled again"


PAGE = (ROOT / "docs" / "labelbox.md").read_text(encoding="utf-8")


def test_the_commands_of_the_page_run(box, dataset, store, capsys):
    from curate.cli import main

    box.add_clip(list(box.state.rows.values()))
    project = box.state.add_project(waiting=list(box.state.rows)[30:])
    run, lines = "", []
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        lines += [line.partition("#")[0].strip() for line in block.splitlines()]
    assert len(lines) >= 8
    for line in lines:
        words = shlex.split(line.replace("PROJECT_ID", project).replace("RUN_ID", run))
        words = [re.sub(r"^labelbox:(DATASET_ID|ID)$", f"labelbox:{dataset}", word) for word in words]
        if words[0] != "curate":
            assert words[0] in ("pip", "export")
            continue
        if words[1] == "sync" and "--model" not in words:
            words += ["--model", "pixels"]
        words = [word.replace("500", "5") for word in words]
        assert main([*words[1:], *store, "--json"]) == 0, line
        out = capsys.readouterr().out
        run = json.loads(out).get("run_id") or run
    assert len(box.state.projects[project].batches) == 1


def test_the_settings_of_the_page_are_all_there_are(tmp_path):
    from connectors._labelbox_platform import OPTIONS, checked

    block = re.search(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1]
    options = tomllib.loads(block)["connectors"]["labelbox"]
    assert checked(options)
    assert set(OPTIONS) - set(options) == {"endpoint", "batch_project", "priority", "queue_project"}, "these are flags"


# bad input


def test_bad_input_is_one_clear_line_and_its_exit_code(box, dataset, store, capsys, monkeypatch):
    def refused(dataset, code, *words, more=("--yes",)):
        got, _, err = sync(capsys, dataset, store, *more)
        lines = [line for line in err.splitlines() if line.startswith("error:")]
        assert got == code and len(lines) == 1, err
        assert all(word in lines[0] for word in words), lines[0]

    refused("cunknown", 4, "no dataset cunknown")
    refused(box.state.add_dataset("empty"), 2, "no rows")
    videos = box.state.add_dataset("videos")
    box.add_images(videos, 3, mime="video/mp4")
    refused(videos, 2, "no image rows")
    refused(dataset, 4, "project cnothere", more=("--yes", "--sample", "3", "--batch", "cnothere"))
    refused(dataset, 2, "--sample", more=("--yes", "--batch", box.state.add_project()))
    schema = box.state.add_field("curate.duplicate", "enum", ("a", "b"))
    refused(dataset, 2, "curate.duplicate", "exists as")
    del box.state.fields[schema]
    monkeypatch.setenv("LABELBOX_API_KEY", box.reader)
    refused(dataset, 4, "may not")
    monkeypatch.setenv("LABELBOX_API_KEY", "wrong")
    refused(dataset, 4, "LABELBOX_API_KEY")
    monkeypatch.delenv("LABELBOX_API_KEY")
    refused(dataset, 4, "LABELBOX_API_KEY")


def test_failed_rows_are_listed_and_the_others_pushed(box, dataset, store, capsys):
    rows = list(box.state.rows.values())
    for number, fault in enumerate(("404", "private", "corrupt")):
        box.image_faults[rows[number].asset] = fault
    code, done, _ = sync(capsys, dataset, store, "--yes")
    reasons = {f["id"]: f["reason"] for f in done["failures"]}
    assert code == 3 and set(reasons) == {rows[0].id, rows[1].id, rows[2].id}
    assert reasons[rows[0].id] == "http_404" and reasons[rows[1].id] == "blocked_address"
    assert done["rows"]["failed"] + done["rows"]["embedded"] == 40
    assert sync(capsys, dataset, store, "--yes", "--tolerate-failed", "20%")[0] == 0


def test_a_row_deleted_between_pull_and_push_is_rejected_and_the_rest_written(box, dataset, store, capsys):
    write, gone = box.state.put_vectors, []

    def first_delete(*args):
        if not gone:
            gone.append(next(iter(box.state.rows)))
            box.state.remove_row(gone[0])
        return write(*args)

    box.state.put_vectors = first_delete
    code, done, _ = sync(capsys, dataset, store, "--yes")
    assert code == 3 and done["pushed"]["rejected"] == 1 and [r["id"] for r in done["rejections"]] == gone
    assert len([e for e in box.state.rows.values() if e.vectors]) == 39


def test_a_vector_that_was_acknowledged_and_is_not_there_is_sent_by_the_next_run(box, dataset, store, capsys, monkeypatch):
    monkeypatch.setattr("connectors._labelbox_vectors.COUNT_WAITS", (0.01,))
    write, lost = box.state.put_vectors, next(iter(box.state.rows))

    def losing(embedding, body, lines):
        answer = write(embedding, body, lines)
        box.state.rows[lost].vectors.clear()
        box.state.put_vectors = write
        return answer

    box.state.put_vectors = losing
    code, _, err = sync(capsys, dataset, store, "--yes")
    assert code == 4 and lost in err and "Run again" in err
    box.reset_counts()
    code, done, _ = sync(capsys, dataset, store, "--yes")
    assert code == 0 and done["plan"]["vectors"] == 1 and box.state.vector_writes == 1
    assert all(row.vectors for row in box.state.rows.values())


def test_the_free_plan_has_room_for_four_fields(box, dataset, store, capsys):
    box.state.plan = "free"
    assert sync(capsys, dataset, store, "--yes", "--sample", "5")[0] == 0
    custom = {f["name"] for f in box.state.fields.values() if not f["reserved"]}
    assert custom == {"curate.duplicate", "curate.sample", "curate.cluster", "curate.duplicate_score"}


# what is not known of the service

SETTINGS = [
    ("vector_reply", "empty"),
    ("vector_reply", "text"),
    ("bad_vector", "refuse"),
    ("bad_vector", "skip"),
    ("reimport", "refuse"),
    ("reimport", "twice"),
    ("taken_name", "second"),
    ("taken_name", "malformed"),
    ("metadata_rows_per_call", 10),
    ("enum_write", "add"),
    ("too_many", "html"),
    ("too_many", "graphql"),
    ("retry_after", False),
    ("vectors_bump_activity", True),
    ("schema_kind", True),
    ("task_type", "export-data-rows-streamable"),
    ("task_type", None),
    ("chunk_bytes", 700),
    ("cut_anywhere", True),
    ("expired", "xml200"),
    ("embedding_limit", 10),
    ("bad_field", "whole_call"),
    ("count_lag", 1),
    ("user_timezone", "Asia/Kolkata"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("switch", "value"), SETTINGS)
def test_every_setting_of_the_unknown_ends_in_the_same_state(box, dataset, store, capsys, switch, value):
    setattr(box.switches, switch, value)
    box.expire_urls()
    box.faults.add("UpsertDataRowMetadataBetaPyApi", "429", seconds=0.1)
    box.faults.add("CreateEmbeddingPyApi", "503_after")
    code, done, _ = sync(capsys, dataset, store, "--yes", "--sample", "8")
    assert code == 0 and done["rows"]["embedded"] == 40 and done["pushed"]["rejected"] == 0
    box.reset_counts()
    code, again, _ = sync(capsys, dataset, store, "--yes", "--sample", "8")
    assert again["plan"] == {"changes": 0, "vectors": 0} and box.state.metadata_writes == 0 and box.calls("image") == 0
    assert len([v for v in box.state.values("curate.duplicate").values() if v.startswith("copy-of/")]) == 4


RATES = {"503": 0.05, "503_after": 0.05, "429": 0.05, "drop": 0.015, "drop_after": 0.015, "hang": 0.02}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_bad_network_ends_in_the_same_state(box, dataset, store, capsys, tmp_path, monkeypatch, seed):
    def run(where):
        config = tmp_path / "curate.toml"
        config.write_text('[connectors.labelbox]\nplan = "enterprise"\ntimeout = 1.0\n')
        target = where.state.add_project("labeling")
        flags = ("--yes", "--sample", "10", "--batch", target, "--config", str(config))
        code, done, err = sync(capsys, dataset, ("--store", str(tmp_path / where.endpoint[-13:-8]), *store[2:]), *flags)
        assert code == 0 and done["rows"]["embedded"] == 40, err
        return where.state.digest(), where.calls()

    with LabelboxServer(plan="enterprise") as calm:
        assert calm.state.add_dataset() == dataset
        calm.add_images(dataset, 40)
        calm.images = box.images
        monkeypatch.setenv("LABELBOX_ENDPOINT", calm.endpoint)
        wanted, least = run(calm)
    rules = [Fault("*", kind, None, rate, 10.0 if kind == "hang" else 0.2) for kind, rate in RATES.items()]
    box.faults.random(seed, [Fault("export_file", "truncate", 2), *rules])
    monkeypatch.setenv("LABELBOX_ENDPOINT", box.endpoint)
    got, calls = run(box)
    assert got == wanted and len(box.faults.hit) >= 5
    assert calls <= 1.6 * least, "a small run repeats a larger share than a long one, whose bound is in benchmarks/labelbox.py"


# secrets


def test_key_and_signatures_appear_nowhere(box, dataset, tmp_path):
    """The most talkative run there is, with failures of every kind, and every file and stream it leaves."""
    rows = list(box.state.rows.values())
    box.image_faults = {rows[0].asset: "404", rows[1].asset: "private", rows[2].asset: "corrupt"}
    box.switches.chunk_bytes = 4000
    box.faults.add("export_file", "403", times=1)
    box.faults.add("UpsertDataRowMetadataBetaPyApi", "503", times=1)
    box.faults.add("UpsertDataRowMetadataBetaPyApi", "html502", times=1)
    box.faults.add("import_vectors", "429", times=1, seconds=0.1)
    box.faults.add("GetEmbeddingsPyApi", "drop", times=1)
    box.faults.add("image", "503", times=3)
    code = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG, filename=sys.argv[1])\n"
        "from curate.cli import main\nsys.exit(main(sys.argv[2:]))"
    )
    store = tmp_path / "store"
    flags = ("--dataset", f"labelbox:{dataset}", "--model", "pixels", "--store", str(store), "--allow-host", "127.0.0.1")
    (tmp_path / "curate.toml").write_text("[connectors.labelbox]\nattempts = 3\n")
    flags = (*flags, "--config", str(tmp_path / "curate.toml"))
    seen = ""
    for more in (("--json", "-vv"), ("-vv",)):
        argv = [sys.executable, "-c", code, str(tmp_path / "debug.log"), "sync", *flags, "--yes", *more]
        done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=120)
        assert done.returncode == 3, done.stderr
        seen += done.stdout + done.stderr
    box.faults.add("*", "drop", times=None)
    argv = [sys.executable, "-c", code, str(tmp_path / "debug.log"), "sync", *flags, "-vv"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 4
    seen += done.stdout + done.stderr
    argv = [sys.executable, "-m", "curate", "report", "--dataset", f"labelbox:{dataset}", "--model", "pixels"]
    argv += ["--store", str(store), "--to", str(tmp_path / "report.html"), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0 and (tmp_path / "report.html").stat().st_size > 1000, done.stderr
    seen += done.stdout + done.stderr
    log = (tmp_path / "debug.log").read_text()
    assert "UpsertDataRowMetadata" in log, "the SDK did write its debug log"
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        seen += path.read_bytes().decode("latin-1")
    assert box.key not in seen
    assert "X-Signature" not in seen
    assert box.key_at_images == []


def test_errors_carry_no_secrets_in_their_tracebacks(box, connect, dataset, caplog):
    import traceback

    from curate.errors import CurateError

    caplog.set_level(logging.DEBUG)
    connector = connect(attempts=1)
    told = ""
    for operation, kind in (("export_file", "403"), ("GetExportFileFromOffsetPyApi", "html502"), ("import_vectors", "403")):
        box.faults.clear()
        box.faults.add(operation, kind, times=None)
        try:
            list(connector.pages(dataset))
            from tests.connectors.conftest import spec, vectors

            connector.push_vectors("d", spec(), list(box.state.rows), vectors(40))
        except CurateError:
            told += traceback.format_exc()
    assert told.count("Traceback") == 3 and box.key not in told and "X-Signature" not in told
    logged = caplog.text + json.dumps([str(r.__dict__) for r in caplog.records])
    assert box.key not in logged and "X-Signature" not in logged
