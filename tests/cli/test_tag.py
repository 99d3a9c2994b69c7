"""`curate tag`, `taxonomy check`, `traverse` and `map` on a folder of coloured pictures."""

import numpy as np
import pytest
from PIL import Image

from tests.cli.colours import WORDS

TAXONOMY = "templates: ['a {name} picture']\nwarm: [red, orange]\ncold: [blue, green]\n"
MODEL = ("--model", "tests.cli.colours:Colours")
BLIND = ("--model", "tests.cli.colours:Blind")


@pytest.fixture
def colours(tmp_path, monkeypatch, curate):
    """40 pictures of four colours with their names in labels.csv, and one between orange and green; synced with both models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "tags.yaml").write_text(TAXONOMY)
    rng, lines = np.random.default_rng(0), ["id,label"]
    for name in ("red", "orange", "green", "blue"):
        for k in range(10):
            pixels = 255 * (np.array(WORDS[name]) + rng.normal(0, 0.08, 3)) + rng.normal(0, 20, (12, 12, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(tmp_path / "photos" / f"{name}-{k}.png")
            lines.append(f"{name}-{k}.png,{name}")
    Image.new("RGB", (12, 12), (128, 148, 46)).save(tmp_path / "photos" / "khaki.png")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    for model in (MODEL, BLIND):
        assert curate("sync", "--dataset", "folder:photos", *model, "--dry-run", "--ops", "clusters")[0] == 0
    return tmp_path


def test_rows_get_paths_and_the_one_in_between_none(colours, curate):
    code, document, _ = curate("tag", *MODEL, "--taxonomy", "tags.yaml", "--json")
    assert code == 0
    rows = {row["id"]: row for row in document["rows"]}
    assert len(rows) == 41 and rows["khaki.png"]["path"] is None
    assert rows["red-0.png"]["path"] == "warm/red" and rows["blue-3.png"]["path"] == "cold/blue"
    facet = document["facets"]["path"]
    assert facet["tagged"] + facet["abstained"] == 41 and facet["calibrated"] is False and facet["tau"] == 0.6
    assert facet["temperature"] == 12.0
    _, _, said = curate("tag", *MODEL, "--taxonomy", "tags.yaml")
    assert "uncalibrated" in said and "warm/red" in said


def test_tags_are_pushed_by_the_plan_and_cleared_when_they_go(colours, curate):
    curate("tag", *MODEL, "--taxonomy", "tags.yaml")
    code, plan, said = curate("plan", "--dataset", "folder:photos", *MODEL, "--json")
    assert code == 0, said
    tagged = curate("tag", *MODEL, "--taxonomy", "tags.yaml", "--json")[1]["facets"]["path"]["tagged"]
    assert plan["fields"]["path"] == plan["fields"]["path_confidence"] == tagged >= 35
    assert curate("apply", plan["path"])[0] == 0
    curate("tag", *MODEL, "--taxonomy", "tags.yaml", "--tau", "1")
    plan = curate("plan", "--dataset", "folder:photos", *MODEL, "--json")[1]
    assert plan["fields"]["path"] == plan["fields"]["path_confidence"] == tagged


def test_sync_tags_too(colours, curate):
    code, document, _ = curate(
        "sync", "--dataset", "folder:photos", *MODEL, "--ops", "clusters", "--taxonomy", "tags.yaml", "--json"
    )
    assert code == 0 and document["tags"]["tagged"] >= 35
    assert document["tags"]["tagged"] + document["tags"]["abstained"] == 41
    written = (colours / ".curate" / "results" / "curate.csv").read_text()
    assert "warm/red" in written
    _, again, _ = curate("sync", "--dataset", "folder:photos", *MODEL, "--ops", "clusters", "--taxonomy", "tags.yaml", "--json")
    assert again["plan"]["changes"] == 0


def test_risk_is_calibrated_on_labels_from_a_file(colours, curate):
    code, document, said = curate("tag", *MODEL, "--taxonomy", "tags.yaml", "--labels", "labels.csv", "--risk", "10%", "--json")
    facet = document["facets"]["path"]
    assert code == 0 and facet["calibrated"] and facet["risk_bound"] <= 0.1 and facet["temperature_fitted"]
    _, _, said = curate("tag", *MODEL, "--taxonomy", "tags.yaml", "--labels", "labels.csv", "--risk", "0.1")
    assert "% wrong" in said


def test_evaluation_prints_every_figure(colours, curate):
    _, document, _ = curate("tag", *MODEL, "--taxonomy", "tags.yaml", "--labels", "labels.csv", "--evaluate", "--json")
    figures = document["evaluation"]["path"]
    assert figures["rows"] == 40 and figures["violations"] == 0 and figures["f1"] > 0.85
    _, _, said = curate("tag", *MODEL, "--taxonomy", "tags.yaml", "--labels", "labels.csv", "--evaluate")
    for words in ("hierarchical F1", "depth at 90 %", "images with a wrong tag", "calibration error", "ancestor violations"):
        assert words in said


def test_a_blind_model_tags_by_prototypes(colours, curate):
    _, document, _ = curate("tag", *BLIND, "--taxonomy", "tags.yaml", "--labels", "labels.csv", "--json")
    assert document["facets"]["path"]["scores"] == "prototypes"
    assert {row["id"]: row["path"] for row in document["rows"]}["green-1.png"] == "cold/green"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((*MODEL,), "which tags? Say --taxonomy"),
        ((*MODEL, "--taxonomy", "none.yaml"), "no such taxonomy file"),
        ((*MODEL, "--taxonomy", "tags.yaml", "--risk", "0.1"), "which field holds the true tag"),
        ((*MODEL, "--taxonomy", "tags.yaml", "--risk", "2", "--labels", "labels.csv"), "--risk"),
        ((*MODEL, "--taxonomy", "tags.yaml", "--labels", "nothing"), "no row of folder"),
        ((*MODEL, "--taxonomy", "tags.yaml", "--labels", "few.csv", "--risk", "0.1"), "at least 22 are needed"),
        ((*MODEL, "--taxonomy", "tags.yaml", "--labels", "a", "--labels", "b"), "FACET=FIELD"),
        ((*MODEL, "--taxonomy", "tags.yaml", "--evaluate"), "which field holds the true tag"),
        ((*BLIND, "--taxonomy", "tags.yaml"), "at least 5 to 8 images for each leaf"),
        ((*MODEL, "--taxonomy", "tags.yaml", "--labels", "strange.csv"), "did you mean 'orange'"),
        ((*MODEL, "--taxonomy", "tags.yaml", "--labels", "broken.csv"), "broken.csv:2: 3 columns"),
    ],
)
def test_what_is_missing_is_said(colours, curate, asked, message):
    (colours / "few.csv").write_text("red-0.png,red\nblue-0.png,blue\n")
    (colours / "strange.csv").write_text("red-0.png,orrange\n")
    (colours / "broken.csv").write_text("id,label\na,b,c\n")
    code, document, said = curate("tag", *asked, "--json")
    assert (code, document) == (2, None) and message in said


def test_taxonomy_check_counts_and_compares(colours, curate):
    (colours / "tags.csv").write_text("red,warm\norange,warm\nblue,cold\ngreen,cold\nreddish,warm\n")
    code, document, _ = curate("taxonomy", "check", "tags.csv", *MODEL, "--json")
    facet = document["facets"]["path"]
    assert code == 0 and (facet["tags"], facet["leaves"], facet["depth"]) == (7, 5, 2)
    assert facet["alike"][0] == {"tags": ["warm/red", "warm/reddish"], "probability": 0.5}
    assert facet["edges"]["edges"] == 5
    _, _, said = curate("taxonomy", "check", "tags.csv", *MODEL)
    assert "hard to tell apart" in said and "warm/reddish" in said
    (colours / "bad.csv").write_text("a,b\nb,a\n")
    code, _, said = curate("taxonomy", "check", "bad.csv", *MODEL)
    assert code == 2 and "bad.csv: a cycle" in said


def test_taxonomy_check_without_a_text_model_still_counts(colours, curate):
    code, document, said = curate("taxonomy", "check", "tags.yaml", *BLIND, "--json")
    assert code == 0 and document["facets"]["path"]["leaves"] == 4 and document["facets"]["path"]["alike"] is None
    assert "no text tower" in said


def test_traverse_meets_leaf_then_parent_then_root(colours, curate):
    (colours / "words.txt").write_text("red\nwarm\ncold\n\n")
    code, document, _ = curate(
        "traverse", "red-0.png", "--dataset", "folder:photos", *MODEL, "--texts", "words.txt", "--steps", "200", "--json"
    )
    assert code == 0 and document["steps"] == 200
    assert [one["text"] for one in document["met"]] == ["red", "warm", "[ROOT]"]
    assert document["met"][0]["step"] == 0
    code, document, said = curate("traverse", "photos/blue-0.png", *MODEL, "--taxonomy", "tags.yaml")
    assert code == 0 and "cold/blue" in said and "[ROOT]" in said


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("red-0.png", *MODEL), "--taxonomy FILE or --texts FILE"),
        (("nowhere.png", *MODEL, "--taxonomy", "tags.yaml"), "neither a file nor the id"),
        (("photos/red-0.png", *BLIND, "--taxonomy", "tags.yaml"), "no text tower"),
        (("photos/red-0.png", *MODEL, "--texts", "empty.txt"), "has no texts"),
    ],
)
def test_traverse_says_what_it_needs(colours, curate, asked, message):
    (colours / "empty.txt").write_text("\n")
    code, _, said = curate("traverse", *asked)
    assert code == 2 and message in said


def test_map_prints_trust_and_keeps_coordinates(colours, curate):
    (colours / "words.txt").write_text("red\nwarm\ncold\n")
    asked = ("--method", "pca", "--dims", "3", "--out", "map.csv", "--texts", "words.txt")
    code, document, _ = curate("map", *MODEL, *asked, "--json")
    assert code == 0 and document["trustworthiness"] > 0.99 and len(document["points"]) == 41
    assert document["distribution"]["captions_met"]["images"] == 41
    lines = (colours / "map.csv").read_text().splitlines()
    assert lines[0] == "id,x,y,z" and len(lines) == 42
    _, _, said = curate("map", *MODEL, *asked)
    assert "trustworthiness" in said and "modality gap" in said
    code, _, said = curate("map", *MODEL, "--method", "som")
    assert code == 2 and "Known: pca, tsne, umap" in said
    assert not any(path.suffix in (".pkl", ".pickle") for path in colours.rglob("*"))


def test_the_report_shows_texts_and_walks(colours, curate):
    (colours / "words.txt").write_text("red\nwarm\ncold\n")
    curate("map", *MODEL, "--method", "pca", "--texts", "words.txt")
    for image in ("red-0.png", "blue-0.png", "red-0.png"):
        assert curate("traverse", image, "--dataset", "folder:photos", *MODEL, "--texts", "words.txt")[0] == 0
    code, _, said = curate("report", "--dataset", "folder:photos", *MODEL, "--to", "page.html")
    assert code == 0, said
    page = (colours / "page.html").read_text()
    for words in ("Distance of texts from [ROOT]", "Texts met on the way to [ROOT]", "From red-0.png to [ROOT]"):
        assert words in page
    assert page.count("From red-0.png to [ROOT]") == page.count("From blue-0.png to [ROOT]")


def test_a_clip_model_tags_and_walks_with_its_own_scale(colours, curate):
    from tests.embedders import tiny

    folder = colours / "clip"
    tiny.clip(folder)
    model = ("--model", folder)
    assert curate("sync", "--dataset", "folder:photos", *model, "--dry-run", "--ops", "clusters", "--json")[0] == 0
    code, document, said = curate("tag", *model, "--taxonomy", "tags.yaml", "--json")
    assert code == 0, said
    facet = document["facets"]["path"]
    assert facet["scores"] == "text" and facet["tagged"] + facet["abstained"] == 41
    from curate import embedders

    assert facet["temperature"] == pytest.approx(embedders.load(str(folder)).logit_scale, rel=1e-4)
    code, document, said = curate(
        "traverse", "red-0.png", "--dataset", "folder:photos", *model, "--taxonomy", "tags.yaml", "--json"
    )
    assert code == 0 and document["met"][-1]["text"] == "[ROOT]", said
    code, document, _ = curate("taxonomy", "check", "tags.yaml", *model, "--json")
    assert code == 0 and document["facets"]["path"]["alike"] is not None
    code, document, _ = curate("sync", "--dataset", "folder:photos", *model, "--taxonomy", "tags.yaml", "--dry-run", "--json")
    assert code == 0 and document["tags"]["tagged"] == facet["tagged"]
