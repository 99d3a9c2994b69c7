"""Rows of a real FiftyOne database: what is read, what is counted, what is refused."""

import os
import subprocess
import sys

import numpy as np
import pytest

from connectors._fiftyone_database import Database, masked
from connectors._fiftyone_rows import Place
from curate.errors import ConfigError, ConnectorError, MediaError, NotFound, UnknownName
from tests.connectors.fiftyone_place import dataset, pictures


@pytest.fixture
def photos(fo, tmp_path):
    return dataset("photos", pictures(tmp_path / "photos"))


def listed(connector, name="photos"):
    return {item.id: item for page in connector.pages(name) for item in page.items}


def test_fields_of_the_user_are_read_and_ours_are_not_taken_for_them(fo, photos, fiftyone_connect):
    first, second, *_ = photos
    first["boxes"] = fo.Detections(detections=[fo.Detection(label="cat", bounding_box=[0, 0, 1, 1])] * 3)
    first["kinds"] = fo.Classifications(classifications=[fo.Classification(label=name) for name in "ba"])
    first["camera"] = fo.DynamicEmbeddedDocument(model="X1")
    first["vector"] = np.zeros(4)
    first["weight"] = float("nan")
    first["cluster"] = 7
    first.tags += ["curate:protect"]
    first.save()
    photos.add_dynamic_sample_fields()
    connector = fiftyone_connect()
    item = listed(connector)[first.id]
    assert item.fields == {
        "ground_truth": "dog",
        "score": 0.0,
        "boxes.count": 3,
        "kinds": "a, b",
        "camera.model": "X1",
        "fiftyone.cluster": 7,
        "tags": "mine, test",
        "split": "test",
        "curate:protect": True,
    }
    assert any("'cluster'" in line for line in fiftyone_connect.said)
    assert "curate:protect" not in listed(connector)[second.id].fields


def test_a_saved_view_is_a_dataset(fo, photos, fiftyone_connect):
    photos.save_view("cats/tabby", photos.match_tags("train"))
    connector = fiftyone_connect()
    assert set(listed(connector, "photos/cats/tabby")) == set(photos.match_tags("train").values("id"))
    assert connector.has("photos/cats/tabby") and not connector.has("nothing")
    with pytest.raises(NotFound, match="no saved view 'dogs'; there are: 'cats/tabby'"):
        connector.check("photos/dogs")


def test_a_name_with_a_slash_is_a_dataset_first(fo, tmp_path, fiftyone_connect):
    made = dataset("Voxel51/flowers", pictures(tmp_path / "p", 2))
    assert set(listed(fiftyone_connect(), "Voxel51/flowers")) == set(made.values("id"))


def test_a_view_of_patches_is_refused(fo, photos, fiftyone_connect):
    sample = photos.first()
    sample["boxes"] = fo.Detections(detections=[fo.Detection(label="cat", bounding_box=[0, 0, 1, 1])])
    sample.save()
    photos.save_view("patches", photos.to_patches("boxes"))
    with pytest.raises(ConfigError, match="whole samples"):
        fiftyone_connect().check("photos/patches")


def groups(fo, tmp_path):
    paths = pictures(tmp_path / "group", 6)
    (tmp_path / "points.pcd").write_text("# .PCD")
    made = fo.Dataset("groups", persistent=True, overwrite=True)
    made.add_group_field("group", default="left")
    samples = []
    for left, right in zip(paths[:3], paths[3:6], strict=True):
        group = fo.Group()
        slices = {"left": left, "right": right, "cloud": tmp_path / "points.pcd"}
        samples += [fo.Sample(filepath=str(path), group=group.element(name)) for name, path in slices.items()]
    made.add_samples(samples)
    return made


def test_groups_are_flattened_by_slice_and_point_clouds_counted(fo, tmp_path, fiftyone_connect):
    groups(fo, tmp_path)
    items = listed(fiftyone_connect(), "groups").values()
    assert sorted((item.fields["slice"], item.media_type) for item in items) == sorted(
        [("left", "image"), ("right", "image"), ("cloud", "point-cloud")] * 3
    )


@pytest.mark.parametrize(("suffix", "kind"), [("mp4", "video"), ("fo3d", "3d"), ("wav", "audio"), ("bin", "unknown")])
def test_what_has_no_pixels_is_named(fo, tmp_path, fiftyone_connect, suffix, kind):
    made = fo.Dataset("others", persistent=True, overwrite=True)
    made.add_sample(fo.Sample(filepath=str(tmp_path / f"one.{suffix}")))
    assert [item.media_type for item in listed(fiftyone_connect(), "others").values()] == [kind]


def test_pages_give_every_sample_once(fo, photos):
    place = Place(photos, "photos")
    ids = [i for page in place.pages(4) for i in page.values("id")]
    assert ids == sorted(photos.values("id"))
    photos.save_view("backwards", photos.sort_by("filepath", reverse=True).limit(9))
    pages = [page.values("id") for page in Place(photos, "photos", "backwards").pages(4)]
    assert [len(page) for page in pages] == [4, 4, 1]
    assert {i for page in pages for i in page} == set(photos.load_saved_view("backwards").values("id"))


def test_versions_follow_the_bytes_not_the_time(photos, fiftyone_connect, tmp_path):
    paths = sorted((tmp_path / "photos").glob("*.png"))
    for path in paths:
        os.utime(path, (1, 1))
    before = {item.uri: item.version for item in listed(fiftyone_connect()).values()}
    os.utime(paths[0], (2, 2))
    assert {item.uri: item.version for item in listed(fiftyone_connect()).values()} == before
    paths[0].write_bytes(paths[1].read_bytes())
    after = {item.uri: item.version for item in listed(fiftyone_connect()).values()}
    assert [uri for uri in before if before[uri] != after[uri]] == [paths[0].as_uri()]
    assert after[paths[0].as_uri()] == after[paths[1].as_uri()]


def test_a_known_size_and_time_spare_the_reading(photos, fiftyone_connect, tmp_path):
    path = tmp_path / "photos" / "00.png"
    os.utime(path, (1, 1))
    first = {item.uri: item.version for item in listed(fiftyone_connect()).values()}
    data = path.read_bytes()
    path.write_bytes(data[::-1])
    os.utime(path, (1, 1))
    assert {item.uri: item.version for item in listed(fiftyone_connect()).values()} == first


def test_a_damaged_cache_of_versions_costs_nothing_but_time(photos, fiftyone_connect, tmp_path):
    first = listed(fiftyone_connect())
    (tmp_path / ".curate/results/fiftyone/files.sqlite").write_bytes(b"no database at all" * 100)
    assert listed(fiftyone_connect()) == first


def test_files_that_are_gone_or_elsewhere_fail_row_by_row(fo, photos, fiftyone_connect, tmp_path):
    (tmp_path / "photos" / "01.png").unlink()
    cloud = photos.add_sample(fo.Sample(filepath="/nowhere/one.png"))
    photos.set_values("filepath", {cloud: "s3://bucket/one.png"}, key_field="id")  # as FiftyOne Enterprise writes it
    photos.add_sample(fo.Sample(filepath=str(tmp_path / "photos" / "00.png")))
    connector = fiftyone_connect()
    items = listed(connector)
    assert len(items) == 16
    same = [item for item in items.values() if item.uri.endswith("/00.png")]
    assert len(same) == 2 and same[0].version == same[1].version
    reasons = {}
    for item in items.values():
        try:
            connector.read(item)
        except MediaError as err:
            reasons[item.uri.rpartition("/")[2]] = err.reason
    assert reasons == {"01.png": "missing", "one.png": "not_local"}


def test_nothing_answers_is_one_line_without_the_password(fo, fiftyone_connect):
    connector = fiftyone_connect(database_uri="mongodb://me:hidden@127.0.0.1:1/?connectTimeoutMS=200")
    with pytest.raises(ConnectorError, match="does not answer") as caught:
        connector.check("photos")
    assert "hidden" not in str(caught.value) and "\n" not in str(caught.value)
    assert masked("mongodb+srv://me:p%40ss@host/db") == "mongodb+srv://me:***@host/db"


def test_another_database_needs_a_process_of_its_own(fo, fiftyone_connect):
    with pytest.raises(ConfigError, match="already uses"):
        fiftyone_connect(database_name="somebody_elses").check("photos")


def test_the_database_is_named(fo, photos, fiftyone_connect):
    connector = fiftyone_connect()
    connector.check("photos")
    assert any(fo.config.database_name in line and fo.config.database_uri in line for line in fiftyone_connect.said)
    assert connector.doctor().endswith("1 datasets")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"uri": "x"}, UnknownName),
        ({"backend": "faiss"}, UnknownName),
        ({"field": "a b"}, ConfigError),
        ({"field": 1}, ConfigError),
    ],
)
def test_options_are_checked(options, error):
    from connectors.fiftyone import FiftyOneConnector
    from curate.protocols import ConnectorSettings

    with pytest.raises(error):
        FiftyOneConnector(ConnectorSettings(options=options))


def test_a_bare_name_starts_no_database_and_imports_no_fiftyone(tmp_path):
    code = (
        "import sys\nfrom connectors.fiftyone import FiftyOneConnector\nfrom curate.protocols import ConnectorSettings\n"
        "print(FiftyOneConnector.configured(), FiftyOneConnector(ConnectorSettings()).has('photos'), 'fiftyone' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FIFTYONE_")} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
    assert done.stdout.split() == ["False", "False", "False"], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_offline_reaches_this_machine_only(fo, photos):
    said = []
    assert Database({"database_uri": fo.config.database_uri}, offline=True, notify=said.append).holds("photos")
    with pytest.raises(ConnectorError, match="--offline"):
        Database({"database_uri": "mongodb://db.example.com"}, offline=True, notify=said.append).fiftyone()
