"""A small folder of real and made pictures, and the command line as a function."""

import json

import numpy as np
import pytest
from PIL import Image

from curate.cli import main


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
