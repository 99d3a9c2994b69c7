"""What the connector writes into a real FiftyOne dataset: values, tags, labels, saved views; nothing else."""

import pytest

from connectors._fiftyone_fields import steps_of
from curate.errors import ConfigError
from curate.types import Change
from tests.connectors.fiftyone_place import dataset, pictures
from tests.connectors.test_fiftyone_pull import groups


@pytest.fixture
def photos(fo, tmp_path):
    return dataset("photos", pictures(tmp_path / "photos"))


def push(connector, values, name="photos", flush=True):
    """values: (sample id, field, value); returns what was applied."""
    applied = connector.push_fields(name, [Change(i, field, None, value) for i, field, value in values])
    if flush:
        connector.flush(name)
    return applied


def shown(made):
    """All that a user sees of a dataset but the samples' own values."""
    made.reload()
    return (
        sorted(made.get_field_schema(flat=True)),
        made.count_sample_tags(),
        sorted(made.list_saved_views()),
        sorted(made.list_brain_runs()),
        sorted(made.list_indexes()),
    )


def test_tags_follow_the_values(photos, fiftyone_connect):
    first, second, third, *_ = photos.values("id")
    connector = fiftyone_connect()
    values = [(first, "duplicate", "kept"), (second, "duplicate", f"copy-of/{first}"), (third, "sample", "week 7")]
    assert push(connector, values).accepted == 3
    photos.reload()
    assert photos.match_tags("curate:duplicate").values("id") == [second]
    assert photos.match_tags("curate:sample").values("id") == [third]
    assert photos[second].curate.duplicate == f"copy-of/{first}"
    push(connector, [(second, "duplicate", "kept"), (third, "sample", None)])
    assert set(photos.count_sample_tags()) == {"train", "test", "mine"}


def test_saved_views_show_what_is_true_now(photos, fiftyone_connect):
    first, second, third, *_ = photos.values("id")
    connector = fiftyone_connect()
    push(connector, [(second, "duplicate", f"copy-of/{first}"), (third, "sample", "week 7")])
    photos.reload()
    views = {name: photos.load_saved_view(name).values("id") for name in photos.list_saved_views()}
    assert set(views) == {"curate: duplicates", "curate: kept", "curate: sample week 7"}
    assert views["curate: duplicates"] == [second] and views["curate: sample week 7"] == [third]
    assert second not in views["curate: kept"] and len(views["curate: kept"]) == 13
    photos.select([third]).tag_samples("curate:duplicate")
    assert third in photos.load_saved_view("curate: duplicates").values("id"), "a view is no list of ids"
    push(connector, [(third, "sample", "week 8")])
    photos.reload()
    assert "curate: sample week 7" not in photos.list_saved_views()


def test_a_view_of_that_name_that_is_somebody_elses_stays(photos, fiftyone_connect):
    first, second, *_ = photos.values("id")
    photos.save_view("curate: duplicates", photos.limit(3))
    connector = fiftyone_connect()
    push(connector, [(second, "duplicate", f"copy-of/{first}")])
    photos.reload()
    assert len(photos.load_saved_view("curate: duplicates")) == 3
    assert any("'curate: duplicates' is not one of curate's" in line for line in fiftyone_connect.said)
    push(connector, [(second, "duplicate", None)])
    photos.reload()
    assert photos.list_saved_views() == ["curate: duplicates"]


def test_paths_become_labels_with_level_parent_and_path(photos, fiftyone_connect):
    first, second, *_ = photos.values("id")
    connector = fiftyone_connect()
    push(
        connector,
        [(first, "path_animal", "animal/dog/beagle"), (first, "path_place", "indoor"), (second, "path_place", "outdoor")],
    )
    photos.reload()
    labels = photos[first].curate_path.classifications
    assert [(one.label, one.level, one.parent, one.path, one.facet) for one in labels] == [
        ("animal", 0, None, "animal", "animal"),
        ("dog", 1, "animal", "animal/dog", "animal"),
        ("beagle", 2, "dog", "animal/dog/beagle", "animal"),
        ("indoor", 0, None, "indoor", "place"),
    ]
    assert photos.count("curate_path.classifications.level") == 5
    push(connector, [(first, "path_animal", None)])
    assert [one.label for one in fresh(photos)[first].curate_path.classifications] == ["indoor"]
    push(connector, [(first, "path_place", None), (second, "path_place", None)])
    assert "curate_path" not in fresh(photos).get_field_schema()


def fresh(made):
    made.reload()
    for sample in made:
        sample.reload(hard=True)
    return made


def test_a_slash_inside_a_name_makes_no_label_of_its_own():
    labels = [(step["label"], step["parent"], step["path"]) for step in steps_of("path", r"sign/50 km\/h")]
    assert labels == [("sign", None, "sign"), ("50 km/h", "sign", r"sign/50 km\/h")]


def test_unsure_images_come_first(photos, fiftyone_connect):
    ids = photos.values("id")
    sure = [(i, "path", "dog") for i in ids[1:]] + [(i, "path_confidence", 0.71 + n / 50) for n, i in enumerate(ids[1:])]
    push(fiftyone_connect(), sure)
    photos.reload()
    unsure = photos.load_saved_view("curate: unsure").values("id")
    assert unsure == ids[:6]


def test_what_holds_nothing_any_more_is_taken_away(photos, fiftyone_connect):
    before = shown(photos)
    first, second, *_ = photos.values("id")
    values = [
        (first, "duplicate", f"copy-of/{second}"),
        (first, "path", "a/b"),
        (first, "path_confidence", 0.5),
        (second, "sample", "s"),
    ]
    connector = fiftyone_connect()
    push(connector, [*values, (second, "cluster", 3)])
    assert shown(photos) != before
    push(connector, [(i, field, None) for i, field, _ in values])
    assert "curate.cluster" in photos.get_field_schema(flat=True)
    push(connector, [(second, "cluster", None)])
    assert shown(photos) == before


def test_every_slice_of_a_group_is_written(fo, tmp_path, fiftyone_connect):
    made = groups(fo, tmp_path)
    flat = made.select_group_slices(_allow_mixed=True)
    images = made.select_group_slices(media_type="image").values("id")
    push(fiftyone_connect(), [(i, "duplicate", "copy-of/x") for i in images], "groups")
    made.reload()
    assert flat.count("curate.duplicate") == 6 and flat.count_sample_tags() == {"curate:duplicate": 6}
    assert made.load_saved_view("curate: duplicates").count() == 6
    assert made.load_saved_view("curate: kept").count() == 0, "point clouds are no kept images"


def test_a_field_of_somebody_elses_is_never_written(photos, fiftyone_connect):
    first = photos.first().id
    photos.add_sample_field("curate", __import__("fiftyone").StringField)
    with pytest.raises(ConfigError, match=r"'curate' \(StringField\) that curate did not make"):
        fiftyone_connect().check("photos")
    with pytest.raises(ConfigError):
        push(fiftyone_connect(), [(first, "duplicate", "kept")])
    assert photos.values("curate") == [None] * 14
    elsewhere = fiftyone_connect(field="curated")
    elsewhere.check("photos")
    push(elsewhere, [(first, "duplicate", "kept"), (first, "path", "a")])
    photos.reload()
    assert photos[first].curated.duplicate == "kept" and photos[first].curated_path.classifications[0].label == "a"


def test_what_cannot_be_written_comes_back(photos, fiftyone_connect):
    first, second, *_ = photos.values("id")
    bad = [("0" * 24, "duplicate", "kept"), ("nonsense", "duplicate", "kept"), (first, "cluster", 0.5), (first, "weight", 1)]
    bad += [(first, "duplicate_score", float("nan")), (first, "sample", 3), (first, "path_$x", "a")]
    applied = push(fiftyone_connect(), [*bad, (second, "duplicate", "kept")])
    assert applied.accepted == 1 and len(applied.rejected) == len(bad)
    assert all(r.reason for r in applied.rejected)


@pytest.mark.parametrize("key", ["curate_sim", "curate_viz"])
def test_a_brain_key_of_another_run_is_refused_before_any_compute(fo, photos, fiftyone_connect, key):
    import fiftyone.brain as fob
    import numpy as np

    fob.compute_visualization(photos, points=np.zeros((14, 2)), brain_key=key)
    with pytest.raises(ConfigError, match=f"{key}.*was not made by curate"):
        fiftyone_connect().check("photos")
    option = {"curate_sim": "similarity_key", "curate_viz": "map_key"}[key]
    fiftyone_connect(**{option: "mine"}).check("photos")


def test_a_dataset_that_will_be_deleted_is_pointed_out(fo, tmp_path, fiftyone_connect):
    made = dataset("fleeting", pictures(tmp_path / "p", 2))
    made.persistent = False
    fiftyone_connect().check("fleeting")
    assert any("not persistent" in line for line in fiftyone_connect.said)
