"""`curate duplicates` over a folder: JSON, pairs, other cuts, an audit and its answers."""

import csv
import json

import cv2
import numpy as np
import pytest

from curate.cli import main
from tests.ops._pictures import COPIES, picture


@pytest.fixture
def album(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "album").mkdir()
    images = {f"s{n}": picture(n) for n in range(5)}
    images["s0-copy"], images["s1-copy"] = COPIES["reencoded"](images["s0"]), COPIES["mirrored"](images["s1"])
    for name, image in images.items():
        cv2.imwrite(f"album/{name}.png", image)
    (tmp_path / "album" / "s2-again.png").write_bytes((tmp_path / "album" / "s2.png").read_bytes())
    assert main(["embed", "--dataset", "folder:album", "--model", "pixels"]) == 0
    return tmp_path


def run(capsys, *flags):
    capsys.readouterr()
    code = main(["duplicates", "--dataset", "folder:album", "--json", *flags])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else None


def test_copies_come_in_the_shape_of_the_contract(album, capsys):
    code, found = run(
        capsys, "--precision", "0.9", "--pairs", "pairs.csv", "--suggest", "--audit", "9", "--audit-file", "a.html"
    )
    assert code == 0
    kinds = {c["id"]: c["kind"] for g in found["groups"] for c in g["copies"]}
    assert {frozenset([g["keep"], *(c["id"] for c in g["copies"])]) for g in found["groups"]} == {
        frozenset(["s0.png", "s0-copy.png"]),
        frozenset(["s1.png", "s1-copy.png"]),
        frozenset(["s2.png", "s2-again.png"]),
    }
    assert set(kinds.values()) == {"near", "mirrored", "bytes"}
    assert found["precision"] == 0.9
    assert found["radius"] is None
    assert all(set(g) == {"keep", "why", "copies"} for g in found["groups"])
    with open("pairs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["a", "b", "distance", "probability"]
    assert len(rows) == found["pairs"]["rows"] > 2
    assert [c["rows"] for c in found["suggest"]["cuts"]] == sorted(c["rows"] for c in found["suggest"]["cuts"])
    page = (album / "a.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * found["audit"]["pairs"] == 4


def test_answers_give_a_bound(album, capsys):
    assert run(capsys, "--precision", "0.9", "--audit", "9", "--audit-file", "audit.csv")[0] == 0
    text = (album / "audit.csv").read_text().splitlines()
    (album / "judged.csv").write_text("\n".join([text[0], *(line + "yes" for line in text[1:])]) + "\n")
    code, answer = run(capsys, "--judged", "judged.csv")
    assert (code, answer["right"], answer["judged"]) == (0, 2, 2)
    assert answer["at_least"] == pytest.approx(0.05**0.5, abs=1e-4)


def test_a_radius_decides_by_distance(album, capsys):
    code, found = run(capsys, "--radius", "0.01")
    assert code == 0
    assert (found["radius"], found["decided_by"]) == (0.01, "distance")
    assert np.isfinite(found["groups"][0]["copies"][0]["distance"])


@pytest.mark.parametrize(
    "flags",
    [
        ["--radius", "-1"],
        ["--precision", "99"],
        ["--keep", "prettiest"],
        ["--between", "nothing"],
        ["--protect", "split"],
        ["--audit", "0"],
        ["--judged", "none.csv"],
    ],
)
def test_bad_flags_end_with_two(album, capsys, flags):
    assert run(capsys, *flags)[0] == 2


def said(capsys, *flags):
    capsys.readouterr()
    assert main(["duplicates", "--dataset", "folder:album", *flags]) == 0
    return capsys.readouterr().out


def test_the_terminal_shows_pairs_around_the_cut_the_search_and_the_bound(album, capsys):
    out = said(capsys, "--precision", "0.9", "--suggest", "--audit", "9", "--audit-file", "audit.csv")
    assert "exact nearest neighbours" in out
    assert "pairs around the cut" in out and "no copy" in out
    assert "2 pairs to judge; if all are copies, the precision is at least 0.224" in out
    assert "is judged yet" in said(capsys, "--judged", "audit.csv")


@pytest.mark.parametrize("strategy", ["blas", "projection"])
def test_the_search_can_be_forced_and_finds_the_same(album, capsys, strategy):
    forced = run(capsys, "--radius", "0.05", "--strategy", strategy)[1]
    assert forced["strategy"].startswith(strategy)
    assert forced["groups"] == run(capsys, "--radius", "0.05")[1]["groups"]
    assert f"candidates: {strategy}" in said(capsys, "--radius", "0.05", "--strategy", strategy)


def test_an_unknown_search_is_refused_with_the_known_ones(album, capsys):
    assert main(["duplicates", "--dataset", "folder:album", "--strategy", "bluff"]) == 2
    assert "unknown strategy 'bluff'" in capsys.readouterr().err
