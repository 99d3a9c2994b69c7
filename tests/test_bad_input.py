"""Bad files: each is one failed row with a reason; the good ones beside them are not touched; nothing else ever escapes."""

import json
import os
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate import media
from curate.cli import main
from curate.errors import MediaError
from tests import corpus

CASES = corpus.cases()


def outcome(data, **options):
    try:
        decoded = media.decode(data, **options)
    except MediaError as err:
        return err.reason
    assert decoded.pixels.dtype == np.uint8 and decoded.pixels.ndim == 3 and decoded.pixels.shape[2] == 3
    return "ok"


def test_the_corpus_is_large_enough():
    assert len(CASES) >= 60
    assert sum(expected == "ok" for _, expected in CASES.values()) >= 30


@pytest.mark.parametrize("at_least", [None, 64])
@pytest.mark.parametrize("name", CASES)
def test_each_file_has_its_outcome(name, at_least):
    data, expected = CASES[name]
    assert outcome(data, at_least=at_least) in expected.split("|")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    for part, chosen in (("good", lambda e: e == "ok"), ("all", lambda e: True), ("bad", lambda e: "ok" not in e)):
        (tmp_path / part).mkdir()
        for name, (data, expected) in CASES.items():
            if chosen(expected):
                (tmp_path / part / name).write_bytes(data)
    return tmp_path


def synced(capsys, dataset, *more):
    capsys.readouterr()
    code = main(["sync", "--dataset", dataset, "--model", "pixels", "--store", f".store-{dataset}", "--json", *more])
    out = capsys.readouterr().out
    return code, json.loads(out) if out else None


def vectors(dataset):
    from curate.store import Store

    with Store.open(f".store-{dataset}" if not isinstance(dataset, os.PathLike) else dataset) as store:
        key = store.datasets()[0]
        found = store.embeddings(key, store.specs(key)[0].spec.fingerprint)
        return dict(zip(found.ids, found.vectors, strict=True))


def test_a_run_over_the_whole_corpus_fails_row_by_row(folder, capsys):
    code, document = synced(capsys, "all")
    reasons = {row["id"]: row["reason"] for row in document["failures"]}
    assert code == 3
    assert set(reasons) >= {name for name, (_, expected) in CASES.items() if "ok" not in expected.split("|")}
    assert not {name for name, (_, expected) in CASES.items() if expected == "ok"} & set(reasons)
    assert all(reason in CASES[name][1].split("|") for name, reason in reasons.items())
    assert document["rows"]["seen"] == document["rows"]["embedded"] + document["rows"]["failed"] == len(CASES)
    assert synced(capsys, "all", "--tolerate-failed", "60%")[0] == 0
    code, again = synced(capsys, "all")
    assert code == 3 and again["rows"]["embedded"] == 0 and again["plan"]["changes"] == 0
    assert {row["id"]: row["reason"] for row in again["failures"]} == reasons


def test_good_rows_are_the_same_without_the_bad_ones(folder, capsys):
    assert synced(capsys, "all")[0] == 3
    assert synced(capsys, "good")[0] == 0
    everything, good = vectors("all"), vectors("good")
    assert set(good) <= set(everything)
    for name, vector in good.items():
        assert np.array_equal(vector, everything[name]), name


def test_a_folder_of_bad_files_only_ends_with_their_list(folder, capsys):
    code, document = synced(capsys, "bad")
    assert code == 3 and document["rows"]["embedded"] == 0
    assert len(document["failures"]) == document["rows"]["failed"] > 30


def test_an_empty_folder_and_one_without_images_are_usage_errors(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "table.csv").write_text("a,b\n")
    for name in ("empty", "other"):
        assert main(["sync", "--dataset", name, "--model", "pixels"]) == 2
        assert "empty" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_a_failed_row_and_is_embedded_once_it_can(folder, capsys):
    (folder / "good" / "away.png").symlink_to(folder / "elsewhere.png")
    code, document = synced(capsys, "good")
    assert code == 3 and [(row["id"], row["reason"]) for row in document["failures"]] == [("away.png", "missing")]
    (folder / "elsewhere.png").write_bytes(CASES["plain.png"][0])
    code, document = synced(capsys, "good")
    assert code == 0 and document["rows"]["embedded"] == 1


def test_equal_bytes_and_awkward_names_go_through(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = [
        "a\nb.png",
        '\'"quoted".png',
        "<script>alert(1)<.png",
        "\U0001f600\U0001f4a9.png",
        "=1+1.png",
        "--json.png",
        "[bold].png",
    ]
    (tmp_path / "names").mkdir()
    for name in names:
        (tmp_path / "names" / name).write_bytes(CASES["plain.png"][0])
    code, document = synced(capsys, "names")
    assert code == 0 and document["duplicates"] == {"groups": 1, "rows": len(names) - 1}
    assert set(vectors("names")) == set(names)


SEEDS = [
    CASES[name][0]
    for name in ("plain.jpg", "progressive.jpg", "palette-alpha.png", "animated.gif", "lossy.webp", "lzw.tif", "palette.bmp")
]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12), st.integers(0, 10**6)
)
def test_only_media_errors_escape_from_mutated_images(data, edits, cut):
    mutated = bytearray(data)
    for at, value in edits:
        mutated[at % len(mutated)] = value
    mutated = mutated[: cut % (len(mutated) + 1)] if cut % 3 == 0 else mutated
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome(bytes(mutated), max_pixels=4_000_000)
        outcome(bytes(mutated), max_pixels=4_000_000, at_least=16)


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"MM\0*", b"BM"])
)
def test_only_media_errors_escape_from_noise(data, magic):
    outcome(magic + data, max_pixels=1_000_000)


@pytest.mark.slow
def test_fifty_thousand_mutations(tmp_path):
    rng = random.Random(7)
    reasons = set()
    for _ in range(50_000):
        data = bytearray(rng.choice(SEEDS))
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.2:
            data = data[: rng.randrange(len(data))]
        reasons.add(outcome(bytes(data), max_pixels=1_000_000, at_least=rng.choice((None, 16))))
    assert {"ok", "truncated", "undecodable", "too_many_pixels", "not_an_image"} <= reasons


@pytest.mark.slow
def test_two_hundred_bombs_stay_within_memory(tmp_path):
    code = """
import re, sys
from pathlib import Path
from curate import media
from curate.errors import MediaError
media.decode(Path(sys.argv[1]).joinpath("plain.jpg").read_bytes())
for path in sorted(Path(sys.argv[1]).glob("bomb.*")) * 40:
    try:
        media.decode(path.read_bytes())
    except MediaError as err:
        assert err.reason in {"too_many_pixels", "undecodable", "truncated"}, (path, err)
    else:
        raise SystemExit(f"{path} was decoded")
# VmHWM begins at exec; ru_maxrss would count what the test runner held when it forked.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""
    for name, (data, _) in CASES.items():
        if name.startswith(("bomb.", "plain.jpg")):
            (tmp_path / name).write_bytes(data)
    assert len(list(tmp_path.glob("bomb.*"))) == 5
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 450
