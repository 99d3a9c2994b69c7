"""The examples of hierarchies and maps run, and say what they promise to say."""

import gzip
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(script, *args, **kwargs):
    command = [sys.executable, str(EXAMPLES / script), *map(str, args)]
    # One thread: the machine that tests may have two cores.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment, **kwargs)


def written_idx(folder, count=60):
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    head = b"\0\0\x08\x03" + np.array([count, 28, 28], ">i4").tobytes()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
    labels = b"\0\0\x08\x01" + np.array([count], ">i4").tobytes() + bytes(range(10)) * (count // 10)
    (folder / "train-labels-idx1-ubyte").write_bytes(labels)


@pytest.mark.slow
def test_pixel_maps_of_the_digits_keep_neighbours():
    done = run("mnist_pixels.py", "--rows", 600)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    for method in ("tsne", "umap"):
        assert float(lines[method].split("trustworthiness ")[1][:6]) >= 0.93
    assert "times as fast" in done.stdout


@pytest.mark.slow
def test_pixel_maps_of_idx_files_are_written(tmp_path):
    written_idx(tmp_path)
    done = run("mnist_pixels.py", tmp_path, "--dims", 2, "--out", tmp_path / "maps")
    assert done.returncode == 0, done.stderr
    assert "60 images of 784 pixels, 10 digits" in done.stdout
    assert (tmp_path / "maps" / "umap.csv").read_text().startswith("label,x,y\n")


def test_pixel_maps_read_folders_and_idx_files(tmp_path):
    example = runpy.run_path(str(EXAMPLES / "mnist_pixels.py"))
    for k in range(40):
        (tmp_path / str(k % 4)).mkdir(exist_ok=True)
        Image.new("L", (28, 28), 6 * k).save(tmp_path / str(k % 4) / f"{k}.png")
    x, labels = example["from_folder"](tmp_path)
    assert x.shape == (40, 784) and np.bincount(labels).tolist() == [10] * 4
    np.testing.assert_allclose(np.unique(x[labels == 1]), np.arange(1, 40, 4) * 6 / 255, atol=1e-6)
    written_idx(tmp_path)
    x, labels = example["from_folder"](tmp_path)
    assert x.shape == (60, 784) and 0 <= x.min() < x.max() <= 1 and labels.tolist() == list(range(10)) * 6


def test_pixel_maps_say_what_is_wrong_with_a_folder(tmp_path):
    assert "neither idx files nor images" in run("mnist_pixels.py", tmp_path).stderr
    written_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x3cabc")
    assert "truncated: 3 bytes where 60" in run("mnist_pixels.py", tmp_path).stderr


@pytest.mark.slow
def test_the_tiny_models_go_through_the_whole_chain():
    done = run("tiny_euclip/run.py", "--seeds", 1, "--steps", 12, "--batch", 16, "--train", 200, "--test", 120, "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)["figures"]
    assert set(figures) == {"CLIP", "EuCLIP", "EuCLIP + entailment"}
    for name, some in figures.items():
        assert all(np.isfinite(values).all() for values in some.values())
        assert 0 <= some["leaf accuracy"][0] <= 1 and some["captions met"][0] >= 0
        assert ("true pairs inside the cone" in some) == name.startswith("EuCLIP")
