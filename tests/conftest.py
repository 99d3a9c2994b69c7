"""A small folder of real and made pictures, the command line as a function, and a FiftyOne with a mongod of its own."""

import importlib
import json
import os

import numpy as np
import pytest
from PIL import Image

from curate.cli import main
from curate.protocols import ConnectorSettings
from tests.connectors.fiftyone_place import mongod, server


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """12 distinct pictures, a re-encoded and a byte copy of the first; the working directory is the folder's parent."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(12):
        coarse = rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC)
        image.save(folder / (f"sub/{i:02d}.png" if i % 2 else f"{i:02d}.png"))
    first = Image.open(folder / "00.png")
    first.save(folder / "00-again.jpg", quality=70)
    (folder / "00-copy.png").write_bytes((folder / "00.png").read_bytes())
    return folder


@pytest.fixture
def curate(capsys):
    """curate("sync", ...) -> (exit code, document with --json or None, what was shown: messages, then results)."""

    def call(*args):
        capsys.readouterr()
        code = main([str(a) for a in args])
        out, err = capsys.readouterr()
        document = json.loads(out) if "--json" in args and out.strip() else None
        return code, document, err if "--json" in args else err + out

    return call


@pytest.fixture(scope="session")
def fiftyone_server():
    """A mongod of this test process, as the environment that leads to it."""
    if mongod() is None:
        assert not os.environ.get("CI"), "CI must have fiftyone and its mongod: make setup"
        pytest.skip("fiftyone and its mongod are not installed")
    with server() as environment:
        yield environment


@pytest.fixture
def fo(fiftyone_server, monkeypatch):
    """The module fiftyone on a database of this process, empty before each test."""
    for name, value in fiftyone_server.items():
        monkeypatch.setenv(name, value)
    module = importlib.import_module("fiftyone")
    assert module.config.database_uri == fiftyone_server["FIFTYONE_DATABASE_URI"], "not a database of somebody else's"
    for name in module.list_datasets():
        module.delete_dataset(name)
    return module


@pytest.fixture
def fiftyone_connect(fo, tmp_path):
    """Makes a FiftyOne connector; keywords are options of [connectors.fiftyone], lines that it says go to `make.said`."""
    from connectors.fiftyone import FiftyOneConnector

    def make(**options):
        settings = ConnectorSettings(options=options, results=tmp_path / ".curate" / "results", notify=make.said.append)
        return FiftyOneConnector(settings)

    make.said = []
    return make
