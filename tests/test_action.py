"""The composite action's steps, run as a shell would; the example workflows are valid and hold what they promise."""

import json
import sys

import pytest
import yaml

from tests.runner import ROOT, run_action

ACTION = yaml.safe_load((ROOT / "action.yml").read_text())


@pytest.fixture
def job(photos, tmp_path):
    """job(command=..., fail_on=...) runs the action's steps in the folder of `photos`."""
    (tmp_path / "curate.toml").write_text(
        'model = "pixels"\n[datasets.images]\naddress = "folder:photos"\n[check]\nmax_duplicate_rate = 0.05\n'
    )

    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "curate"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m curate "$@"\n')
    script.chmod(0o755)

    def run(**inputs):
        given = {name.replace("_", "-"): value for name, value in inputs.items()}
        return run_action(ROOT, given, cwd=tmp_path, path=folder, env={"PYTHONPATH": str(ROOT)})

    return run


def test_a_failing_gate_fails_the_step_and_leaves_counts_and_report(job, tmp_path):
    code, out, _ = job()
    assert code == 1 and out["exit-code"] == "1"
    assert json.loads(out["counts"])["passed"] is False
    assert (tmp_path / out["report-path"]).read_text().lstrip().lower().startswith("<!doctype html")
    assert (tmp_path / "curate-junit.xml").exists()


@pytest.mark.parametrize(("fail_on", "code"), [("error", 0), ("never", 0), ("gate", 1), ("sometimes", 2)])
def test_fail_on(job, fail_on, code):
    assert job(fail_on=fail_on, report="")[0] == code


def test_an_error_fails_the_step_unless_never(job):
    code, out, said = job(command="sync --dataset folder:nowhere", fail_on="error", report="")
    assert code == 4 and out["exit-code"] == "4" and "nowhere" in said
    assert job(command="sync --dataset folder:nowhere", fail_on="never", report="")[0] == 0


def test_an_input_is_never_run_as_shell(job, tmp_path):
    job(command="status; touch broken $(touch broken) `touch broken`", report="")
    assert not (tmp_path / "broken").exists()


@pytest.mark.parametrize("name", ["nightly.yml", "pull-request.yml"])
def test_workflows_limit_permissions_and_concurrency(name):
    workflow = yaml.safe_load((ROOT / "examples/ci" / name).read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    ours = next(step for step in steps if str(step.get("uses", "")).startswith("curate-vision/curate@"))
    assert set(ours["with"]) <= set(ACTION["inputs"])


def test_the_example_configuration_loads():
    from curate.config import load_config
    from curate.gates import Stored, run_gates

    config = load_config(ROOT / "examples/ci/curate.toml", environ={})
    assert run_gates(config.check, Stored(1, 0, copies={}, results=frozenset({"duplicates"})))
