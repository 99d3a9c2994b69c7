"""The operators: forms, progress, delegation, settings, and the plugin's own loading."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from connectors.fiftyone_plugin import jobs
from tests.browser.fiftyone_app import ROOT
from tests.connectors.fiftyone_place import dataset, pictures
from tests.fiftyone_plugin.driven import Panel, execute, form

PLUGIN = ROOT / "connectors/fiftyone_plugin"


def said(properties):
    """Every label and error of a form."""
    views = [p.get("view") or {} for p in properties.values()]
    texts = [v.get("label") or "" for v in views] + [str(p.get("default") or "") for p in properties.values()]
    return "\n".join(texts)


def test_everything_in_the_yaml_is_registered_and_the_other_way_round(plugin):
    from fiftyone.operators.registry import OperatorRegistry

    named = yaml.safe_load((PLUGIN / "fiftyone.yml").read_text())
    registry = OperatorRegistry()
    assert registry.list_errors() == []
    ours = {
        o.uri.rpartition("/")[2]
        for kind in ("operator", "panel")
        for o in registry.list_operators(type=kind)
        if "@curate" in o.uri
    }
    assert ours == {*named["operators"], *named["panels"]} - {"curate_missing"}


def test_loading_the_plugin_imports_no_torch_and_no_ops(plugin):
    code = (
        "import sys, fiftyone\nbefore = set(sys.modules)\n"
        "from fiftyone.operators.registry import OperatorRegistry\nOperatorRegistry()\n"
        "new = set(sys.modules) - before\n"
        "print(sorted({'connectors.fiftyone_plugin.panel'} & set(sys.modules)), sorted({'torch', 'transformers'} & new))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert done.stdout.strip().splitlines()[-1] == "['connectors.fiftyone_plugin.panel'] []", done.stderr


def test_without_the_package_the_panel_and_an_operator_say_so(plugin, tmp_path):
    """A copy of the folder, as a zip upload leaves it, in a process that cannot import curate."""
    code = """
import asyncio, json, sys, importlib.util, fiftyone
sys.modules["curate"] = sys.modules["connectors"] = None
from fiftyone.operators.registry import OperatorRegistry
from fiftyone.operators.executor import execute_or_delegate_operator
registry = OperatorRegistry()
print([o.uri for o in registry.list_operators() if "@curate" in o.uri])
body = {"params": {"panel_id": "p", "__method__": "on_load", "panel_state": {}}, "panel_id": "p", "view": []}
result = asyncio.run(execute_or_delegate_operator("@curate/curate/curate_panel", body))
print(json.dumps(result.executor.to_json()))
"""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=200, env=env, cwd=tmp_path
    )
    assert "curate_missing" in done.stdout, done.stdout + done.stderr
    assert "Curate cannot start" in done.stdout and "pip install" in done.stdout


def test_sync_tells_how_far_it_is_both_ways(photos):
    from fiftyone.operators.executor import ExecutionContext, Executor

    from connectors.fiftyone_plugin.operators import Sync

    def told(delegated):
        heard = []
        context = ExecutionContext(
            {"dataset_name": "photos", "params": {"model": "pixels"}, "delegated": delegated},
            executor=Executor(),
            set_progress=lambda _id, progress: heard.append((progress.progress, progress.label)),
            delegated_operation_id="x" if delegated else None,
        )
        messages = list(Sync().execute(context))
        return heard, [m.body.params for m in messages if m.body.operator_uri == "set_progress"]

    heard, shown = told(delegated=False)
    assert heard == [] and shown[-1]["progress"] == 1.0 and "14 embedded" in shown[-1]["label"]
    heard, shown = told(delegated=True)
    assert shown == [] and heard[-1][0] == 1.0 and "14 reused" in heard[-1][1]


def test_sync_writes_nothing_and_records_its_store(photos, tmp_path):
    execute("curate_sync", "photos", {"model": "pixels", "sample": "3"})
    photos.reload()
    assert not photos.has_field("curate") and photos.list_brain_runs() == [] and photos.list_saved_views() == []
    assert photos.info["curate"]["store"] == str(tmp_path / "store")
    properties = form("curate_apply", "photos")
    assert "This writes" in said(properties) and "`sample`" in said(properties)
    execute("curate_apply", "photos")
    photos.reload()
    assert photos.count_sample_tags()["curate:sample"] == 3
    undo = form("curate_undo", "photos")
    run = undo["run"]["default"]
    execute("curate_undo", "photos", {"run": run})
    photos.reload()
    assert "curate:sample" not in photos.count_sample_tags()
    assert form("curate_undo", "photos")["none"]["invalid"]


def test_the_command_line_and_the_app_share_one_store(photos, tmp_path, curate):
    code, document, said_ = curate(
        "sync", "--dataset", "fiftyone:photos", "--model", "pixels", "--store", tmp_path / "mine", "--json"
    )
    assert code == 0 and document["pushed"]["accepted"], said_
    photos.reload()
    panel = Panel("photos")
    assert panel.number("embedded") == 14 and str(tmp_path / "mine") in panel.words
    panel.button("Undo")
    photos.reload()
    assert "curate:duplicate" not in photos.count_sample_tags()


def test_the_store_can_be_moved_and_a_file_is_refused(photos, tmp_path):
    execute("curate_settings", "photos", {"store": str(tmp_path / "elsewhere")})
    photos.reload()
    assert photos.info["curate"]["store"] == str(tmp_path / "elsewhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(AssertionError, match="is a file; the store needs a folder"):
        execute("curate_settings", "photos", {"store": str(tmp_path / "file")})


@pytest.mark.parametrize("operator", ["duplicates", "sample", "tag", "map"])
def test_forms_refuse_before_the_first_sync(photos, operator):
    properties = form(f"curate_{operator}", "photos")
    assert properties["vectors"]["invalid"] and "Curate: sync dataset" in said(properties)


def test_apply_and_undo_refuse_when_there_is_nothing(photos):
    assert form("curate_apply", "photos")["plan"]["invalid"]
    assert form("curate_undo", "photos")["none"]["invalid"]


def test_a_taxonomy_that_is_not_there_is_refused_in_the_form(synced):
    properties = form("curate_tag", "photos", {"taxonomy": "/nowhere/tags.yaml"})
    assert "There is no file /nowhere/tags.yaml" in said(properties)


def test_a_model_that_does_not_exist_is_named(photos):
    with pytest.raises(AssertionError, match="nonsuch"):
        execute("curate_sync", "photos", {"model": "nonsuch"})
    assert "Nothing is stored" in Panel("photos").words


def test_an_empty_dataset_and_one_without_images_are_named(plugin, tmp_path):
    plugin.Dataset("empty", persistent=True)
    with pytest.raises(AssertionError, match=r"no (rows|image)|empty"):
        execute("curate_sync", "empty", {"model": "pixels"})
    scenes = plugin.Dataset("scenes", persistent=True)
    scenes.add_sample(plugin.Sample(filepath=str(tmp_path / "scene.fo3d")))
    with pytest.raises(AssertionError, match="no image"):
        execute("curate_sync", "scenes", {"model": "pixels"})


def test_a_delegated_job_is_run_by_an_executor_and_its_absence_is_said(photos, monkeypatch):
    from fiftyone.operators.delegated import DelegatedOperationService

    from connectors.fiftyone_plugin import forms

    monkeypatch.setattr(forms, "executor_seen", lambda: False)
    assert "fiftyone delegated launch" in said(form("curate_sync", "photos"))
    execute("curate_sync", "photos", {"model": "pixels"})
    execute("curate_duplicates", "photos", {"precision": 0.95}, request_delegation=True)
    panel = Panel("photos")
    assert "1 scheduled job of Curate waits" in panel.words and "fiftyone delegated launch" in panel.words
    service = DelegatedOperationService()
    queued = service.get_queued_operations(dataset_name="photos")
    assert len(queued) == 1
    service.execute_operation(queued[0])
    done = service.get(queued[0].id)
    assert done.run_state == "completed", done.result
    assert "2 copies in 1 group" in done.status.label
    assert "waits" not in panel.call("refresh").words


def test_a_group_dataset_is_flattened_by_slice(plugin, tmp_path):
    paths = pictures(tmp_path / "images", count=6)
    made = plugin.Dataset("rig", persistent=True)
    made.add_group_field("group", default="left")
    for left, right in zip(paths[:4], paths[4:8], strict=True):
        group = plugin.Group()
        samples = [plugin.Sample(filepath=str(p), group=group.element(n)) for n, p in (("left", left), ("right", right))]
        made.add_samples(samples)
    execute("curate_sync", "rig", {"model": "pixels"})
    panel = Panel("rig")
    assert panel.number("embedded") == 8
    panel.tab("duplicates").button("Protect")
    assert panel.number("protected") == 3
    panel.button("Unprotect all").button("Review changes").button("Apply")
    made.reload()
    flat = made.select_group_slices(["left", "right"])
    assert flat.count_sample_tags()["curate:duplicate"] == 2


def test_a_job_passes_errors_on_and_ends(tmp_path):
    from curate.errors import CurateError

    with pytest.raises(CurateError, match="nosuch"):
        list(jobs.steps("duplicates", tmp_path / "nosuch", {"dataset": "folder:x"}))


def test_two_datasets_do_not_share_results(synced, tmp_path):
    dataset("others", pictures(tmp_path / "others", count=4, seed=5))
    execute("curate_sync", "others", {"model": "pixels"})
    assert Panel("others").number("embedded") == 6
    assert Panel("photos").number("embedded") == 14
    assert Path(tmp_path / "store/catalog.sqlite").exists()
