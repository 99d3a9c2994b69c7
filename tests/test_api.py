"""The Python API on plain arrays."""

import numpy as np
import pytest

import curate
from curate.errors import ConfigError, EmbedderError, GeometryError, UnknownName

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 8)).astype(np.float32)
X[30] = X[3] * 2 + 1e-4
IDS = [f"r{i:02d}" for i in range(60)]


def test_find_duplicates_on_arrays():
    found = curate.find_duplicates(X, IDS, radius=0.001)
    (group,) = found.groups
    assert {group["keep"], group["copies"][0]["id"]} == {"r03", "r30"}
    assert found.table["duplicate"][group["copies"][0]["id"]] == f"copy-of/{group['keep']}"


def test_the_order_of_rows_does_not_matter():
    turn = RNG.permutation(60)
    a, b = curate.find_duplicates(X, IDS, radius=0.3), curate.find_duplicates(X[turn], [IDS[i] for i in turn], radius=0.3)
    assert a.table == b.table
    c, d = curate.cluster(X, IDS, count=5), curate.cluster(X[turn], [IDS[i] for i in turn], count=5)
    assert c.table == d.table


def test_images_of_numbered_rows_are_looked_at():
    vectors = np.eye(3, dtype=np.float32)
    vectors[1] = vectors[0]
    noise = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    assert len(curate.find_duplicates(vectors, [7, 8, 9]).groups) == 1
    other = dict(zip([7, 8, 9], noise, strict=True))
    assert not curate.find_duplicates(vectors, [7, 8, 9], images=other).groups


def test_sample_leaves_out_copies():
    found = curate.find_duplicates(X, IDS, radius=0.001)
    chosen = curate.sample(X, IDS, budget=59, without=found)
    assert len(chosen.ids) == 59 and found.groups[0]["copies"][0]["id"] not in chosen.ids


def test_sample_by_field():
    chosen = curate.sample(X, IDS, budget=10, method="ordered", by="score", fields={"score": [float(i) for i in range(60)]})
    assert set(chosen.ids) in ({f"r{i:02d}" for i in range(10)}, {f"r{i:02d}" for i in range(50, 60)})
    with pytest.raises(ConfigError, match="score"):
        curate.sample(X, IDS, budget=10, method="ordered", by="score")


def test_tags_from_labels(tmp_path):
    taxonomy = tmp_path / "tags.csv"
    taxonomy.write_text("child,parent\ncat,animal\ndog,animal\ncar,thing\n")
    centres = {"cat": 0, "dog": 1, "car": 2}
    names = [list(centres)[i % 3] for i in range(60)]
    x = np.eye(8, dtype=np.float32)[[centres[n] for n in names]] * 9 + X * 0.1
    tagged = curate.tag(x, IDS, taxonomy=taxonomy, labels=names, geometry="euclidean")
    assert tagged.table["path"]["r00"].startswith("animal")
    assert tagged.summary["tagged"] == 60


def test_a_result_is_a_table_in_a_notebook():
    shown = curate.cluster(X, ["<script>", *IDS[1:]], count=3)._repr_html_()
    assert "<table>" in shown and "<script>" not in shown and "more rows" in shown


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: curate.find_duplicates(X[0]), EmbedderError, "(n, d)"),
        (lambda: curate.find_duplicates(X, IDS[:-1]), EmbedderError, "59 ids"),
        (lambda: curate.find_duplicates(X, ["a"] * 60), EmbedderError, "twice"),
        (lambda: curate.find_duplicates(X, [*IDS[:-1], "r00"]), EmbedderError, "'r00' is there twice"),
        (lambda: curate.find_duplicates(X, IDS, images={0: np.zeros((9, 9, 3), np.uint8)}), ConfigError, "ids of the rows"),
        (lambda: curate.find_duplicates(X * np.nan, IDS), EmbedderError, "r00"),
        (lambda: curate.find_duplicates(X * 0, IDS), EmbedderError, "zero"),
        (lambda: curate.find_duplicates(X, IDS, radius=3), GeometryError, "cosine"),
        (lambda: curate.find_duplicates(X, IDS, geometry="l2"), GeometryError, "l2"),
        (lambda: curate.sample(X, IDS, budget=3, method="clutser"), UnknownName, "cluster"),
        (lambda: curate.sync("folder:x", sampel=3), UnknownName, "sample"),
    ],
)
def test_bad_input_names_the_thing(call, error, says):
    with pytest.raises(error) as caught:
        call()
    assert says in str(caught.value)


def test_sync_returns_the_document(tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i in range(4):
        Image.new("RGB", (40, 30 + i), (60 * i, 10, 90)).save(tmp_path / f"photos/{i}.png")
    document = curate.sync("folder:photos", model="pixels", sample=2, dry_run=True)
    assert document["schema_version"] == 1 and document["rows"]["embedded"] == 4 and document["pushed"] is None
    assert document["sample"]["rows"] == 2
    assert capsys.readouterr().out == ""
    with pytest.raises(ConfigError):
        curate.sync("folder:photos", model="pixels", ops="duplicate")


def test_import_is_light():
    import subprocess
    import sys

    code = "import curate, sys; print(sorted({'numpy', 'click', 'torch', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
