"""`curate clusters`, `curate sample` and `curate report` on stored vectors."""

import pytest

BASE = ("--dataset", "folder:photos", "--model", "pixels")


@pytest.fixture
def synced(photos, curate):
    assert curate("sync", *BASE, "--dry-run", "--json")[0] == 0
    return photos


def test_clusters_are_listed_and_stay(synced, curate):
    code, document, _ = curate("clusters", "--count", 4, "--json")
    assert code == 0 and document["count"] == len(document["clusters"]) == 4
    assert sum(c["size"] for c in document["clusters"]) == 14 and document["unit"] == "Euclidean distance"
    _, again, said = curate("clusters", "--count", 4, "--json")
    assert again["clusters"] == document["clusters"] and again["fit"] == "kept" and again["moved"] == 0
    _, _, said = curate("clusters", "--count", 4)
    assert "kept from the last run" in said


def test_sample_says_its_order_its_coverage_and_leaves_copies_out(synced, curate):
    code, document, _ = curate("sample", "--budget", 5, "--json")
    assert code == 0 and document["method"] == "cluster" and document["seed"] == 0
    assert len(set(document["ids"])) == 5 and document["copies_left_out"] == 2 and document["left"] == 12
    assert 0 < document["coverage"]["mean"] <= document["coverage"]["max"]
    assert curate("sample", "--budget", 5, "--json")[1] == document
    _, half, _ = curate("sample", "--budget", "50%", "--method", "k-center", "--name", "rare", "--json")
    assert len(half["ids"]) == 6 and half["name"] == "rare"
    _, _, said = curate("sample", "--budget", 50)
    assert "12 rows chosen of 12" in said and "50 rows asked; 12 could be chosen" in said


def test_sample_toward_a_row_or_a_file(synced, curate):
    _, document, _ = curate("sample", "--budget", 1, "--like", "02.png", "--reach", 1, "--json")
    assert document["ids"] == ["02.png"]
    _, document, _ = curate("sample", "--budget", 1, "--like", synced / "02.png", "--reach", 1, "--json")
    assert document["ids"] == ["02.png"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((), "how many rows"),
        (("--budget", "0"), "budget"),
        (("--budget", "5", "--method", "kcenter"), "did you mean 'k-center'"),
        (("--budget", "5", "--method", "ordered"), "needs a field"),
        (("--budget", "5", "--method", "ordered nothing"), "nothing"),
        (("--budget", "5", "--given", "labeled"), "labeled"),
        (("--budget", "5", "--like", "no such row"), "neither a row"),
        (("--budget", "5", "--text", "a cat"), "text tower"),
    ],
)
def test_sample_refuses_what_it_cannot_do(synced, curate, asked, message):
    code, document, said = curate("sample", *asked, "--json")
    assert (code, document) == (2, None) and message in said


def test_describe_needs_a_file_with_texts(synced, curate):
    assert curate("clusters", "--describe", "nowhere.txt")[0] == 2
    (synced / "empty.txt").write_text("\n")
    code, _, said = curate("clusters", "--describe", synced / "empty.txt")
    assert code == 2 and "no texts" in said


def test_report_is_written_from_what_is_stored(synced, curate, tmp_path):
    code, document, _ = curate("report", "--to", tmp_path / "r.html", "--markdown", tmp_path / "r.md", "--json")
    assert code == 0 and document["sections"][0] == "duplicates"
    page = (tmp_path / "r.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 3 and "fingerprint" in page
    assert "copies of another row" in (tmp_path / "r.md").read_text()
    assert "What to do next" in curate("report", "--to", tmp_path / "r.html")[2]


def test_report_shows_the_gates_of_the_configuration(synced, curate, tmp_path):
    (tmp_path / "curate.toml").write_text("[check]\nmax_duplicate_rate = 0.01\nmax_failed_rate = 0.5\n")
    assert curate("report", "--to", tmp_path / "r.html", "--json")[0] == 0
    page = (tmp_path / "r.html").read_text()
    assert "max_duplicate_rate" in page and "<td>failed" in page and "<td>passed" in page
    (tmp_path / "curate.toml").write_text("[check]\nmax_drift = 0.01\n")
    code, _, said = curate("report", "--to", tmp_path / "r.html", "--json")
    assert code == 0 and "no gates" in said


def test_report_without_a_store_says_what_to_do(tmp_path, monkeypatch, curate):
    monkeypatch.chdir(tmp_path)
    code, _, said = curate("report")
    assert code == 2 and "curate" in said and not (tmp_path / "report.html").exists()


def test_quality_finds_a_dark_image_and_the_report_shows_it(photos, curate, tmp_path):
    from PIL import Image

    Image.effect_noise((120, 90), 60).point(lambda v: v // 4).convert("RGB").save(photos / "night.png")
    assert curate("sync", *BASE, "--dry-run", "--json")[0] == 0
    code, document, _ = curate("quality", "--json")
    assert code == 0 and [line["id"] for line in document["issues"]["dark"]] == ["night.png"] and document["labels"] is None
    assert "night.png" in curate("quality")[2]
    _, report, _ = curate("report", "--to", tmp_path / "r.html", "--json")
    assert "quality" in report["sections"]
    code, _, said = curate("quality", "--labels", "nothing", "--json")
    assert code == 2 and "nothing" in said


def test_what_the_report_says_to_do_next_runs_as_it_stands(photos, curate, tmp_path):
    import shlex

    elsewhere = ("--store", tmp_path / "a b" / "store", "--model", "pixels")
    (photos / "broken.png").write_bytes((photos / "02.png").read_bytes()[:100])
    assert curate("sync", "--dataset", "folder:photos", *elsewhere, "--sample", "3", "--dry-run")[0] == 3
    code, _, shown = curate("report", "--store", tmp_path / "a b" / "store", "--to", "r.html")
    commands = [line.strip() for line in shown.splitlines() if line.strip().startswith("curate ")]
    assert code == 0 and [line.split()[1] for line in commands] == ["duplicates", "export", "export", "embed"]
    for line in commands:
        assert curate(*shlex.split(line)[1:])[0] == (3 if " embed " in line else 0), line
    assert curate("status", "--json", *elsewhere[:2])[1]["datasets"][0]["models"][0]["name"] == "pixels"
    said = curate("sync", "--dataset", "folder:photos", *elsewhere, "--tolerate-failed", "100%")[2]
    undo = next(line.partition("with: ")[2] for line in said.splitlines() if "curate undo" in line)
    assert curate(*shlex.split(undo)[1:])[0] == 0
