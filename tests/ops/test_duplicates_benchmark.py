"""The benchmark of whole sets makes photographs with known copies, and the decision finds them."""

import json
from pathlib import Path

import cv2
import pytest

from tests.ops._pictures import picture

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def photograph_set(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return pytest.importorskip("photograph_set")


def test_photographs_are_made_with_copies_that_the_decision_finds(tmp_path, photograph_set):
    made = photograph_set.make
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    made(tmp_path / "one", [picture(n, 300, 400) for n in range(30)], 30)
    truth = json.loads((tmp_path / "one" / "truth.json").read_text())
    files = sorted(p.name for p in (tmp_path / "one").glob("*.jpg"))
    assert files == sorted(truth)
    assert len(set(truth.values())) == 27
    assert all(max(cv2.imread(str(tmp_path / "one" / f)).shape) == 500 for f in files)
    told = photograph_set.decide(tmp_path / "one")
    assert told["copies"] == 3
    assert told["found"] >= 2
    assert told["false"] <= 1
    assert told["peak_mb"] > 0
    made(tmp_path / "two", [picture(n, 300, 400) for n in range(30)], 30)
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)
