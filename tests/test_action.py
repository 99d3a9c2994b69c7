"""The composite action's steps, run as a shell would; the example workflows are valid and hold what they promise."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())


@pytest.fixture
def job(photos, tmp_path):
    """job(command=..., fail_on=...) runs the action's steps in the folder of `photos`."""
    (tmp_path / "curate.toml").write_text(
        'model = "pixels"\n[datasets.images]\naddress = "folder:photos"\n[check]\nmax_duplicate_rate = 0.05\n'
    )

    def run(**inputs):
        values = {name: str(spec.get("default", "")) for name, spec in ACTION["inputs"].items()}
        values.update({name.replace("_", "-"): value for name, value in inputs.items()})
        output = tmp_path / "github-output"
        output.write_text("")
        bin_folder = tmp_path / "bin"
        bin_folder.mkdir(exist_ok=True)
        script = bin_folder / "curate"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m curate "$@"\n')
        script.chmod(0o755)
        code = 0
        for step in ACTION["runs"]["steps"]:
            if step.get("if") == "inputs.version != ''" and not values["version"]:
                continue
            env = {k: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: values[m[1]], v) for k, v in step["env"].items()}
            assert "${{" not in step["run"], "inputs must reach the script through the environment only"
            path = f"{bin_folder}:{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=tmp_path,
                env={**os.environ, **env, "PATH": path, "GITHUB_OUTPUT": str(output), "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=120,
            )
            code = done.returncode
        return code, outputs(output.read_text()), done.stderr

    return run


def outputs(text):
    found = {}
    lines = iter(text.splitlines())
    for line in lines:
        if "<<" in line:
            name, mark = line.split("<<")
            found[name] = "\n".join(iter(lambda mark=mark: next(lines), mark))
        else:
            name, _, found[name] = line.partition("=")
    return found


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
