"""`make demo`: the main job on real images, twice."""

import csv
import re

import pytest

from curate.cli import main
from examples.demo import make_images, run


def test_the_demo_finds_its_copies_and_the_second_run_changes_nothing(tmp_path, capsys):
    assert run(tmp_path) == 0
    said = "".join(capsys.readouterr())
    assert "copies in" in said and "report.html" in said
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") > 60
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)", page), "the report must need nothing but itself"
    with (tmp_path / "store/results/curate.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    made = [i for i in rows if re.search(r"-(reencoded|resized|cropped|brightened)\.|copy-of-", i)]
    found = [i for i in made if rows[i]["duplicate"]]
    assert len(found) >= 0.9 * len(made), sorted(set(made) - set(found))
    assert run(tmp_path) == 0
    again = "".join(capsys.readouterr())
    assert "0 computed, 165 reused" in again and "0 field changes" in again


@pytest.mark.slow
def test_the_demo_calls_no_digit_a_copy_of_another(tmp_path):
    make_images(tmp_path / "images")
    assert (
        main(["sync", "--dataset", f"folder:{tmp_path / 'images'}", "--model", "pixels", "--store", str(tmp_path / "s")]) == 0
    )
    with (tmp_path / "s/results/curate.csv").open(newline="") as file:
        copies = [row["id"] for row in csv.DictReader(file) if row["duplicate"].startswith("copy-of/")]
    digits = [i for i in copies if i.startswith("digits/")]
    assert len(digits) <= 3, f"{len(digits)} of 120 different scans are called copies"
