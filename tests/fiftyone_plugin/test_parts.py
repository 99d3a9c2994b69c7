"""The plugin's pure parts: where the store is, trees, maps, contact sheets, words."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from connectors.fiftyone_plugin import sheets, tree
from connectors.fiftyone_plugin.missing import explanation
from connectors.fiftyone_plugin.place import Place, store_place, with_store
from connectors.fiftyone_plugin.reading import shortened
from connectors.fiftyone_plugin.scatter import Scatter, _clouds
from connectors.fiftyone_plugin.trouble import say
from connectors.fiftyone_plugin.words import size
from curate.errors import ConfigError, Locked


class PyMongoError(Exception):
    """Named as pymongo's: the panel must not import it to know it."""


class ServerSelectionTimeoutError(PyMongoError):
    pass


def test_the_recorded_store_wins_then_the_environment_then_home(tmp_path):
    home = {"HOME": str(tmp_path)}
    usual = store_place({}, "my/base", home)
    assert usual == Place(tmp_path / ".curate/fiftyone/my_base", "the usual place")
    assert store_place({}, "base", {**home, "CURATE_STORE": "/s"}).path.as_posix() == "/s"
    info = with_store({"mine": 1, "curate": {"other": 2}}, tmp_path / "x")
    assert info == {"mine": 1, "curate": {"other": 2, "store": str(tmp_path / "x")}}
    assert store_place(info, "base", {"CURATE_STORE": "/s"}) == Place(tmp_path / "x", "recorded in the dataset")
    assert store_place({"curate": "not ours"}, "base", home).how == "the usual place"


def test_the_tree_counts_at_and_below_and_opens_one_way_down():
    paths = {"a": "animal/dog", "b": "animal/dog/beagle", "c": "animal/cat", "d": "thing", "e": None}
    sure = {"a": 0.9, "b": 0.5, "c": 0.95, "d": 0.1}
    closed = tree.branches(paths, sure)
    assert [(b.path, b.count, b.unsure, b.has_more) for b in closed] == [("animal", 3, 1, True), ("thing", 1, 1, False)]
    opened = tree.branches(paths, sure, "animal/dog")
    assert [b.path for b in opened] == ["animal", "animal/dog", "animal/dog/beagle", "animal/cat", "thing"]
    assert tree.unsure_first(paths, sure, "animal") == ["b", "a", "c"]
    assert tree.unsure_first(paths, sure, "animal/d") == []
    assert tree.untagged(["a", "e", "f"], paths) == ["e", "f"]
    assert tree.facets({"path": {}, "path_confidence": {}, "path_x": {}, "path_confidence_x": {}}) == {
        "path": "path_confidence", "path_x": "path_confidence_x",
    }  # fmt: skip


def test_a_slash_inside_a_name_makes_no_level():
    lines = tree.branches({"a": r"sign/50 km\/h"}, {}, "sign")
    assert [(line.name, line.depth, line.path) for line in lines] == [("sign", 0, "sign"), ("50 km/h", 1, r"sign/50 km\/h")]
    assert tree.parent_of(lines[1].path) == "sign"


def test_more_values_than_colours_share_a_grey_cloud_and_every_point_is_drawn():
    values = [f"v{n % 20}" for n in range(200)] + [None] * 5
    clouds = _clouds(values, "field:x", dict(enumerate(values)))
    assert sorted(np.concatenate([c.rows for c in clouds]).tolist()) == list(range(205))
    assert [c.name for c in clouds][:2] == ["none", "other (8)"] and len(clouds) == 14


def test_a_picked_point_is_its_sample_and_nonsense_is_left_out():
    clouds = _clouds(["a", "b", "a"], "field:x", {0: "a", 1: "b", 2: "a"})
    drawn = Scatter(["x", "y", "z"], np.zeros((3, 2), np.float32), clouds)
    assert drawn.picked([{"trace_idx": 0, "idx": 1}, {"trace": "b", "idx": 0}, {"trace_idx": 9, "idx": 0}, {"idx": 5}]) == [
        "z",
        "y",
    ]


def test_a_sheet_shows_what_there_is_and_says_what_is_not():
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, "JPEG")
    address = sheets.sheet([("a", "stays", sheets.KEPT), ("b", "near copy", sheets.COPY)], {"a": file.getvalue()}.get, more=3)
    image = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB")
    assert image.width > 3 * sheets.SIDE
    red = np.asarray(image)[sheets.SIDE // 2, sheets.SIDE // 2]
    assert red[0] > 200 and red[1] < 80


@pytest.mark.parametrize(
    ("err", "words"),
    [
        (ConfigError("which rows?"), "which rows?"),
        (Locked("the store is open elsewhere."), "Another curate writes"),
        (
            ServerSelectionTimeoutError("127.0.0.1:1: refused (configured timeouts: 20 s), Timeout: 30s, <more"),
            "database does not answer: 127.0.0.1:1: refused. Start it",
        ),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied"),
        (ValueError("odd"), "bug in curate: ValueError: odd"),
    ],
)  # fmt: skip
def test_errors_are_said_with_what_to_do(err, words):
    assert words in say(err)


def test_words():
    assert [size(n) for n in (0, 999, 2_500_000, 3_200_000_000)] == ["0 B", "999 B", "2.5 MB", "3.2 GB"]
    assert shortened("a" * 10) == "a" * 10
    assert shortened("begin" + "x" * 90 + "end.jpg") == "beginxxxxxxxxx…xxxxxxxend.jpg"
    assert "curate-vision** is not installed" in explanation(ModuleNotFoundError("No module named 'curate'", name="curate"))
    assert "**numpy**, which curate needs" in explanation(ModuleNotFoundError("No module named 'numpy'", name="numpy.linalg"))
