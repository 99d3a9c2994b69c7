"""From a clean clone to a failing gate by following docs/ci.md to the letter: its commands, then its workflow, step by step."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from tests.runner import ROOT, run_action

PAGE = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
"""No index is reached: what curate needs is what this environment has, and building takes its setuptools."""


def block(kind, number=0):
    return [body for name, body in BLOCKS if name == kind][number]


@pytest.fixture
def clone(tmp_path):
    """A clean clone, without what a working tree gathers."""
    where = tmp_path / "clone"
    if (ROOT / ".git").exists():
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(where)], check=True, capture_output=True, timeout=120)
        # What is not committed yet counts too.
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
        for name in files:
            if (ROOT / name).is_file():
                (where / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, where / name)
    else:
        shutil.copytree(ROOT, where, ignore=shutil.ignore_patterns(".venv", "demo", "*.egg-info", ".*_cache", "build"))
    return where


def lend(venv):
    """Lets a virtual environment see the packages of this one, so that pip finds every requirement met, and a setuptools."""
    (site,) = venv.glob("lib/python*/site-packages")
    for old in site.glob("setuptools*"):
        shutil.rmtree(old)
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")


def bash(script, cwd, **env):
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env={**os.environ, **OFFLINE, **env},
        capture_output=True,
        text=True,
        timeout=400,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_leads_from_a_clean_clone_to_a_failing_gate(clone, photos, tmp_path):
    make, *rest = block("bash").splitlines()
    assert bash(make, clone).returncode == 0
    lend(clone / ".venv")
    done = bash(
        "\n".join(rest) + "\ncommand -v curate\npython -c 'import curate; print(curate.__file__)'", clone.parent / "clone"
    )
    assert done.returncode == 0, done.stderr
    script, module = done.stdout.split()[-2:]
    assert script.startswith(str(clone)) and module.startswith(str(clone)), done.stdout
    (tmp_path / "curate.toml").write_text(block("toml"))
    for line in block("sh").splitlines():
        wanted = int(match[1]) if (match := re.search(r"# exit (\d+)", line)) else 0
        done = bash(f". {clone}/.venv/bin/activate\n{line}", tmp_path)
        assert done.returncode == wanted, line + done.stdout + done.stderr
        if wanted:
            assert [said.rstrip() for said in done.stdout.splitlines()] == block("").splitlines()
    assert "2 of" in (tmp_path / "report.html").read_text() or "1 of" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_nightly_workflow_of_the_page_fails_for_its_gate_and_keeps_what_it_promises(clone, photos, tmp_path):
    """Checkout is the folder of `photos`; the cache is empty the first night and kept the second."""
    workflow = yaml.safe_load(block("yaml"))
    (tmp_path / "curate.toml").write_text(block("toml"))
    venv = tmp_path / "python"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, capture_output=True, timeout=120)
    lend(venv)
    (steps,) = [job["steps"] for job in workflow["jobs"].values()]
    summary = tmp_path / "summary.md"
    embedded = []
    for _night in range(2):
        summary.write_text("")
        failed = False
        for step in steps:
            name, given = step["uses"].partition("@")[0], step.get("with", {})
            if failed and step.get("if") != "always()":
                continue
            if name == "curate-vision/curate":
                env = {**OFFLINE, "GITHUB_STEP_SUMMARY": str(summary)}
                code, out, said = run_action(clone, given, cwd=tmp_path, path=venv / "bin", env=env)
                assert (code, out.get("exit-code")) == (1, "1"), said
                failed = True
                assert json.loads(out["counts"])["passed"] is False
                runs = sorted((tmp_path / ".curate/runs").iterdir())
                embedded.append(json.loads((runs[-1] / "report.json").read_text())["rows"]["embedded"])
            elif name == "actions/upload-artifact":
                assert failed and given["include-hidden-files"], "a step that is left out after a failed gate uploads nothing"
                for pattern in given["path"].split():
                    assert list(tmp_path.glob(pattern)), f"{pattern} matches nothing"
            elif name == "actions/cache/save":
                assert failed and (tmp_path / given["path"] / "catalog.sqlite").exists()
    assert "max\\_duplicate\\_rate" in summary.read_text()
    assert embedded == [14, 0], "the store of the first night spares the second all work"


def test_the_workflow_of_the_page_is_the_example():
    assert block("yaml") == (ROOT / "examples/ci/nightly.yml").read_text()


def test_paths_of_the_workflow_are_where_curate_writes():
    text = block("yaml")
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["inputs"]["report"]["default"] in text and "curate-junit.xml" in action["inputs"]["command"]["default"]
    assert Path(".curate/runs").as_posix() in text
