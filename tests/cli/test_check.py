"""`curate check` and `curate baseline` on stored results alone."""

import json
import xml.etree.ElementTree as ET

import pytest
from PIL import Image

SYNC = ("sync", "--dataset", "folder:photos", "--model", "pixels", "--json")


@pytest.fixture
def gates(photos, curate, tmp_path):
    """gates("max_failed_rate = 0") writes the [check] table and runs `curate check`."""
    curate(*SYNC)

    def run(table, *args):
        (tmp_path / "curate.toml").write_text(f"[check]\n{table}\n")
        return curate("check", "--json", *args)

    return run


def test_a_gate_that_holds_exits_0_and_one_that_fails_exits_1(gates):
    code, document, _ = gates("max_duplicate_rate = 0.5\nmax_failed_rate = 0.0")
    assert code == 0 and document["passed"] and len(document["gates"]) == 2
    code, document, _ = gates("max_duplicate_rate = 0.01")
    assert code == 1 and not document["passed"]
    assert document["gates"][0]["value"] == pytest.approx(2 / 14)


def test_the_platform_is_not_needed(gates, photos, tmp_path):
    photos.rename(tmp_path / "gone")
    code, document, _ = gates("max_duplicate_rate = 0.5")
    assert code == 0 and document["passed"]


def test_rows_that_no_run_came_to_yet_are_counted_and_older_results_named(gates, photos, curate):
    Image.new("RGB", (64, 48), (200, 30, 30)).save(photos / "late.png")
    curate("pull", "--dataset", "folder:photos")
    code, document, said = gates("max_failed_rate = 0")
    assert code == 1 and document["gates"][0]["value"] == pytest.approx(1 / 15)
    assert "changed since clusters, duplicates were judged" in " ".join(said.split())
    curate(*SYNC)
    code, _, said = gates("max_failed_rate = 0")
    assert code == 0 and "changed since" not in said


def test_junit_and_step_summary(gates, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    code, _, _ = gates("max_duplicate_rate = 0.01\nmax_failed_rate = 0", "--junit", tmp_path / "junit.xml")
    assert code == 1
    cases = ET.parse(tmp_path / "junit.xml").getroot().iter("testcase")
    failed = {case.get("name"): case.find("failure") is not None for case in cases}
    assert failed == {"max_duplicate_rate": True, "max_failed_rate": False}
    assert "1 of 2 gates failed" in summary.read_text()


def test_a_summary_that_cannot_be_written_does_not_hide_the_result(gates, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "no/such/folder/summary.md"))
    code, document, said = gates("max_duplicate_rate = 0.01")
    assert code == 1 and document is not None and "cannot be written" in said


def test_drift_against_a_saved_baseline(gates, photos, curate):
    code, _, said = gates("max_drift = 0.05")
    assert code == 2 and "curate baseline save" in said
    assert curate("baseline", "save", "--json")[1]["rows"] == 14
    assert gates("max_drift = 0.05")[0] == 0
    for i in range(20):
        Image.new("RGB", (64, 64), (250, 250, 255 - i)).save(photos / f"white{i}.png")
    curate(*SYNC)
    code, document, _ = gates("max_drift = 0.05")
    assert code == 1 and document["gates"][0]["value"] > 0.05


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("", "no gates"),
        ("min_class_count = 3", "label"),
        ("max_untagged_rate = 0", "curate tag"),
        ("max_duplicates = 1", "max_duplicate_rate"),
    ],
)
def test_what_a_gate_misses_is_said(gates, table, says):
    code, document, said = gates(table)
    assert code == 2 and document is None and says in said


@pytest.mark.parametrize("held", [b"", b"no archive", None])
def test_a_damaged_baseline_is_named_with_the_next_step(gates, photos, curate, tmp_path, held):
    curate("baseline", "save", "--json")
    (path,) = (tmp_path / ".curate/baselines").glob("*.npz")
    path.write_bytes(path.read_bytes()[:100] if held is None else held)
    code, _, said = gates("max_drift = 0.1")
    assert code == 2 and path.name in said.replace("\n", "") and "curate baseline save" in said


def test_leakage_between_splits(photos, curate, tmp_path):
    rows = ["file,split", "00.png,train", "00-copy.png,test", "00-again.jpg,train", "02.png,test"]
    (tmp_path / "splits.csv").write_text("\n".join(rows) + "\n")
    table = json.dumps(str(tmp_path / "splits.csv"))
    (tmp_path / "curate.toml").write_text(f"[connectors.folder]\nlabels = {table}\n[check]\nmax_leakage = 0.0\n")
    curate(*SYNC)
    code, document, _ = curate("check", "--json")
    assert code == 1 and document["gates"][0]["name"] == "max_leakage"
    assert document["gates"][0]["value"] == pytest.approx(1 / 14)
