"""The example plugin, installed as a user would install it, offline: its own tests pass, and curate finds and runs it."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from curate.testing import sample_images

EXAMPLE = Path(__file__).parent.parent / "examples" / "third_party"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run(module, ...) -> stdout of `python -m module ...` where the plugin is installed."""
    work = tmp_path_factory.mktemp("plugin")
    source, target = work / "source", work / "installed"
    shutil.copytree(EXAMPLE, source)
    pip = ["pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", *pip, "--target", str(target), str(source)], check=True, capture_output=True, timeout=120
    )
    environ = {**os.environ, "PYTHONPATH": str(target), "XDG_CONFIG_HOME": str(work)}

    def call(*args, code=0):
        done = subprocess.run([sys.executable, "-m", *args], capture_output=True, text=True, cwd=work, env=environ, timeout=120)
        assert done.returncode == code, done.stderr + done.stdout
        return done.stdout + (done.stderr if code else "")

    call.work, call.source = work, source
    return call


def test_its_own_tests_pass(run):
    assert "3 passed" in run(
        "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(run.source), str(run.source / "test_acme.py")
    )


@pytest.mark.parametrize(
    ("kind", "name", "source"),
    [
        ("connectors", "zip", "acme_curate.connector:ZipConnector"),
        ("embedders", "gradients", "acme_curate.embedder:Gradients"),
        ("ops", "aspect", "acme_curate.op:Aspect"),
    ],
)
def test_curate_lists_it(run, kind, name, source):
    listed = json.loads(run("curate", "list", kind, "--json"))[kind]
    assert {"name": name, "source": source} in listed


def test_curate_runs_it(run):
    with zipfile.ZipFile(run.work / "photos.zip", "w") as archive:
        for n, data in enumerate(sample_images(6)):
            archive.writestr(f"{n}.png", data)
        archive.writestr("broken.jpg", b"no image")
    (run.work / "curate.toml").write_text("[models.gradients]\nbins = 6\n[ops.aspect]\nratio = 1.01\n")
    sync = ["curate", "sync", "--dataset", "zip:photos.zip", "--model", "gradients", "--ops", "aspect", "--json"]
    first = json.loads(run(*sync, "--tolerate-failed", "50%"))
    assert first["rows"]["embedded"] == 6 and first["model"]["dim"] == 4 * 4 * 6
    assert [row["id"] for row in first["failures"]] == ["broken.jpg"]
    assert first["pushed"] == {"accepted": 6, "rejected": 0}
    second = json.loads(run(*sync, "--tolerate-failed", "50%"))
    assert second["rows"]["embedded"] == 0 and second["plan"]["changes"] == 0
