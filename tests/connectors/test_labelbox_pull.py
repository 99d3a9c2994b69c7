"""Rows out of Labelbox: complete, streamed, counted, identified by content."""

import json
import os
import tempfile
import time
from pathlib import Path

import pytest

from connectors._labelbox_export import Address
from connectors._labelbox_rows import fields_of, media_type, version_of, without_signature
from curate.errors import AuthError, ConfigError, ConnectorError, NotFound, UnknownName
from curate.protocols import Connector, HasProjects, HoldsVectors, Prepares
from tests.connectors.conftest import listed
from tests.fakes.labelbox_server import CLIP


def test_it_offers_every_protocol(connect):
    connector = connect()
    assert all(isinstance(connector, kind) for kind in (Connector, Prepares, HoldsVectors, HasProjects))


def test_rows_come_complete_with_fields_and_media_types(box, connect):
    dataset = box.state.add_dataset()
    rows = box.add_images(dataset, 1100)
    box.add_images(dataset, 2, start=2000, mime="video/mp4")
    box.add_images(dataset, 1, start=3000, mime="application/pdf", width=None)
    box.state.add_row(dataset, "notes/1.txt", mime="text/plain", width=None)
    box.state.fields[box.state.add_field("curate.duplicate")]["id"]
    rows[0].metadata = {box.state.field_id("curate.duplicate"): "kept", box.state.field_id("tag"): "mine"}
    split = next(f for f in box.state.fields.values() if f["name"] == "split")
    rows[1].metadata = {split["id"]: [split["options"][0]["id"]], box.state.add_field("sample"): "theirs"}
    items = listed(connect(), dataset)
    assert len(items) == 1104
    kinds = [item.media_type for item in items.values()]
    assert [kinds.count(k) for k in ("image", "video", "document", "text")] == [1100, 2, 1, 1]
    first = items[rows[0].id].fields
    assert first == {"duplicate": "kept", "tag": "mine", "global_key": rows[0].global_key, "external_id": "0.png"}
    assert items[rows[1].id].fields["split"] == "train"
    assert items[rows[1].id].fields["metadata.sample"] == "theirs"
    assert "sample" not in items[rows[1].id].fields


def test_version_is_the_content_not_signature_activity_or_our_own_push(box, connect):
    dataset = box.state.add_dataset()
    rows = box.add_images(dataset, 5)
    connector = connect()
    before = listed(connector, dataset)
    box.expire_urls()
    rows[0].active += 1000
    rows[1].metadata = {box.state.add_field("curate.sample"): "chosen"}
    rows[2].asset = "img/77.png"
    rows[3].width = 4711
    after = listed(connector, dataset)
    changed = {i for i in before if before[i].version != after[i].version}
    assert changed == {rows[2].id, rows[3].id}


def test_no_signature_is_kept_in_an_item(box, connect):
    dataset = box.state.add_dataset()
    box.add_images(dataset, 3)
    for item in listed(connect(), dataset).values():
        assert "Signature" not in repr(item)
        assert item.uri.endswith("#signed")


def test_cut_characters_and_lines_come_out_whole(box, connect):
    box.switches.cut_anywhere, box.switches.chunk_bytes = True, 997
    dataset = box.state.add_dataset()
    names = [f"żółć-{'雪' * (n % 7)}-{n}.png" for n in range(60)]
    for name in names:
        box.state.add_row(dataset, "img/1.png", external_id=name)
    items = listed(connect(), dataset)
    assert sorted(i.fields["external_id"] for i in items.values()) == sorted(names)


@pytest.mark.parametrize("kind", ["truncate", "drop_after", "503", "403"])
def test_a_broken_export_file_is_fetched_again_from_where_it_stopped(box, connect, kind):
    box.switches.chunk_bytes = 4000
    dataset = box.state.add_dataset()
    box.add_images(dataset, 100)
    box.faults.add("export_file", kind, times=2)
    assert len(listed(connect(), dataset)) == 100
    assert len(box.faults.hit) == 2


def test_a_file_that_always_ends_early_is_an_error_not_fewer_rows(box, connect):
    dataset = box.state.add_dataset()
    box.add_images(dataset, 20)
    box.faults.add("export_file", "503", times=None)
    with pytest.raises(ConnectorError, match="gave up after"):
        listed(connect(attempts=2), dataset)


def test_rows_are_checked_against_the_total_of_the_export(box, connect):
    dataset = box.state.add_dataset()
    box.add_images(dataset, 30)
    connector = connect()
    start = box.state.start_export

    def lies(*args, **kwargs):
        task = start(*args, **kwargs)
        box.state.exports[task].lines += 1
        return task

    box.state.start_export = lies
    with pytest.raises(ConnectorError, match="gave 30 rows and had announced 31"):
        listed(connector, dataset)


def test_a_failed_export_is_run_again_and_a_hopeless_one_reported(box, connect):
    dataset = box.state.add_dataset()
    box.add_images(dataset, 3)
    start, left = box.state.start_export, [1]

    def fails(*args, **kwargs):
        task = start(*args, **kwargs)
        if left[0]:
            box.state.exports[task].status = "CANCELED"
            left[0] -= 1
        return task

    box.state.start_export = fails
    assert len(listed(connect(), dataset)) == 3
    left[0] = 99
    with pytest.raises(ConnectorError, match="CANCELED three times"):
        listed(connect(), dataset)


def test_an_export_that_takes_a_while_is_waited_for(box, connect):
    box.state.export_polls = 1
    dataset = box.state.add_dataset()
    box.add_images(dataset, 3)
    assert len(listed(connect(), dataset)) == 3


@pytest.mark.parametrize("kind", ["export-data-rows", "export-data-rows-streamable", None])
@pytest.mark.parametrize("schema_kind", [False, True])
def test_exports_of_every_kind_are_read(box, connect, kind, schema_kind):
    box.switches.task_type, box.switches.schema_kind = kind, schema_kind
    dataset = box.state.add_dataset()
    row = box.add_images(dataset, 1)[0]
    row.metadata = {box.state.add_field("curate.cluster", "number"): 3.0}
    assert listed(connect(), dataset)[row.id].fields["cluster"] == 3


def test_nothing_is_left_on_disk_and_an_abandoned_listing_is_closed(box, connect, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    box.switches.chunk_bytes = 100_000
    dataset = box.state.add_dataset()
    box.add_images(dataset, 2500)
    pages = connect().pages(dataset)
    next(pages)
    pages.close()
    listed(connect(), dataset)
    assert [p for p in tmp_path.rglob("*") if p.is_file() and "labelbox-stand-in" not in str(p)] == []


def test_slices_and_projects_are_datasets_too(box, connect):
    dataset = box.state.add_dataset()
    rows = box.add_images(dataset, 10)
    slice_id = box.state.add_slice([r.id for r in rows[:4]])
    project = box.state.add_project(waiting=[r.id for r in rows[:6]])
    answer = {"annotations": {"classifications": [{"name": "animal", "radio_answer": {"name": "dog"}}]}}
    box.state.projects[project].rows[rows[0].id]["labels"] = [answer]
    connector = connect()
    assert len(listed(connector, f"slice/{slice_id}")) == 4
    found = listed(connector, f"project/{project}")
    assert len(found) == 6
    assert found[rows[0].id].fields["animal"] == "dog"
    assert connector.has(f"slice/{slice_id}") and connector.has(f"project/{project}")
    assert not connector.has("cnothere")


def test_a_listing_since_a_cursor_and_the_ids(box, connect):
    box.switches.user_timezone = "America/New_York"
    dataset = box.state.add_dataset()
    rows = box.add_images(dataset, 50)
    for row in rows:
        row.active -= 86400
    rows[0].active = time.time() - 3600
    connector = connect()
    pages = list(connector.pages(dataset))
    assert all(p.cursor is None for p in pages[:-1])
    rows[7].active = time.time()
    box.add_images(dataset, 1, start=900)
    box.state.remove_row(rows[9].id)
    later = listed(connector, dataset, since=pages[-1].cursor)
    assert rows[7].id in later and len(later) == 3
    assert len(set(connector.ids(dataset))) == 50 and rows[9].id not in set(connector.ids(dataset))


@pytest.mark.parametrize("cursor", ["", "x", "{}", json.dumps({"labelbox": "other", "at": ""}), "[1]"])
def test_a_cursor_of_something_else_is_refused(box, connect, cursor):
    dataset = box.state.add_dataset()
    with pytest.raises(ConnectorError):
        listed(connect(), dataset, since=cursor)


def test_an_empty_dataset_has_no_rows(box, connect):
    assert listed(connect(), box.state.add_dataset()) == {}


def test_rows_without_global_keys_and_with_hostile_ones(box, connect):
    dataset = box.state.add_dataset()
    hostile = ["x" * 4096, "\x1b[2J\x00", '"}{', "../../etc/passwd", "\u202egnp.exe", "a\nb", " "]
    for key in [None, *hostile]:
        box.state.add_row(dataset, "img/1.png", global_key=key)
    items = listed(connect(), dataset)
    assert len(items) == 8
    assert {i.fields.get("global_key") for i in items.values()} == {None, *hostile}


# vectors that Labelbox holds


def test_precomputed_vectors_are_offered_and_taken(box, connect):
    dataset = box.state.add_dataset()
    rows = box.add_images(dataset, 40)
    box.add_clip(rows[10:])
    connector = connect()
    exports = len(box.state.exports)
    assert connector.models(dataset) == [f"platform:{CLIP}"]
    assert len(box.state.exports) == exports + 1, "one small export, whatever the size of the dataset"
    assert connector.models("slice/" + box.state.add_slice([r.id for r in rows])) == [f"platform:{CLIP}"]
    assert connector.models("project/" + box.state.add_project(waiting=[r.id for r in rows])) == [f"platform:{CLIP}"]
    found = connector.model_spec(f"platform:{CLIP}")
    assert (found.dim, found.geometry, found.media) == (512, "cosine", "image")
    got = dict(connector.model_vectors(dataset, found, {r.id for r in rows}))
    assert sorted(got) == sorted(r.id for r in rows[10:])
    stored = box.state.vectors(CLIP)
    assert all((got[i] == stored[i].astype("float32")).all() for i in got)
    with pytest.raises(NotFound, match="Image Embedding V2"):
        connector.model_spec("platform:nothing")


# bad input


def test_no_key_and_wrong_keys(box, connect, monkeypatch):
    dataset = box.state.add_dataset()
    for key in ("", "   "):
        monkeypatch.setenv("LABELBOX_API_KEY", key)
        with pytest.raises(AuthError, match="LABELBOX_API_KEY"):
            connect().check(dataset)
    for key in ("wrong", "schlüssel", "a b"):
        monkeypatch.setenv("LABELBOX_API_KEY", key)
        with pytest.raises(AuthError) as err:
            connect().check(dataset)
        assert key not in str(err.value).replace("LABELBOX_API_KEY", "")


def test_a_html_401_and_403_are_about_the_key(box, connect):
    dataset = box.state.add_dataset()
    for kind in ("401", "403"):
        box.faults.add("GetDatasetPyApi", kind)
        with pytest.raises(AuthError):
            connect().check(dataset)


def test_unknown_datasets_and_addresses(box, connect):
    with pytest.raises(NotFound, match="no dataset cunknown"):
        connect().check("cunknown")
    for address in ("slice/", "", "a b", "../x", "other/abc", "x" * 80, "a?b"):
        with pytest.raises(ConfigError):
            connect().check(address)
    assert Address.parse(" slice/abc ") == Address("slice", "abc")


def test_options_are_checked(connect):
    for wrong in ({"thread": 3}, {"plan": "gratis"}):
        with pytest.raises(UnknownName, match="did you mean" if "thread" in wrong else "plan"):
            connect(**wrong)
    for bad in ({"threads": "many"}, {"threads": 0}, {"timeout": 10_000}, {"attempts": True}, {"priority": 9}):
        with pytest.raises(ConfigError):
            connect(**bad)


def test_offline_sends_nothing(box, connect):
    with pytest.raises(ConnectorError, match="offline"):
        connect(offline=True).check("cx")
    assert box.calls() == 0


def test_an_endpoint_that_is_none_is_refused(connect):
    for wrong in ("ftp://x", "api.labelbox.com", "https://user:secret@host/graphql"):
        with pytest.raises(ConfigError) as err:
            connect(endpoint=wrong).check("cx")
        assert "secret" not in str(err.value)


# pure parts


def test_signatures_go_and_what_names_the_picture_stays():
    signed = "https://h/p/a%20b.png?id=5&X-Goog-Signature=abc&Expires=12&sig=x"
    assert without_signature(signed) == "https://h/p/a%20b.png?id=5"
    assert without_signature("https://h/image?id=5&size=3") == "https://h/image?id=5&size=3"
    assert version_of(signed, {}) == version_of("https://h/p/a%20b.png?id=5&X-Goog-Signature=zzz", {})
    assert version_of("https://h/image?id=5", {}) != version_of("https://h/image?id=6", {})


@pytest.mark.parametrize(
    ("content", "media", "kind"),
    [
        ("https://h/a.JPG", {}, "image"),
        ("https://h/a", {"width": 3, "height": 4}, "image"),
        ("https://h/a", {}, "unknown"),
        ("https://h/a.mp4", {"mime_type": None}, "video"),
        ("plain words", {}, "text"),
        ("", {}, "unknown"),
    ],
)
def test_media_types(content, media, kind):
    assert media_type(content, media) == kind


def test_values_of_every_shape():
    values = [1.0, 1.5, "x", [{"schema_name": "a"}, {"schema_name": "b"}], [], {"name": "c"}, None, True]
    line = {
        "data_row": {"id": "x"},
        "metadata_fields": [{"schema_name": f"f{n}", "value": v} for n, v in enumerate(values)],
    }
    assert fields_of(line) == {"f0": 1, "f1": 1.5, "f2": "x", "f3": "a,b", "f5": "c", "f7": True}


def test_importing_the_connector_does_not_import_the_sdk():
    import subprocess
    import sys

    code = "import sys, connectors.labelbox; print('labelbox' in sys.modules)"
    where = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=where, env=dict(os.environ))
    assert done.stdout.strip() == "False"


# only what changed


def test_a_large_dataset_is_listed_by_what_changed(box, connect, tmp_path, monkeypatch):
    from curate.pipeline import pull as stage
    from curate.store import Store

    monkeypatch.setattr(stage, "LARGE", 30)
    dataset = box.state.add_dataset()
    rows = box.add_images(dataset, 60)
    for row in rows[1:]:
        row.active -= 86400
    with Store.open(tmp_path / "store", write=True, create=True) as store:

        def pull():
            return stage.pull(store, connect(), f"labelbox:{dataset}", dataset).counts

        assert pull().new == 60
        rows[7].asset, rows[7].active = "img/900.png", time.time()
        rows[8].active = time.time()
        box.state.remove_row(rows[9].id)
        box.add_images(dataset, 2, start=100)
        counts = pull()
        assert (counts.seen, counts.new, counts.changed, counts.retired) == (61, 2, 1, 1)
        sent = [e for e in box.state.exports.values() if e.lines]
        assert sent[-2].lines == 5 and sent[-1].lines == 61, "one export of what changed, one of ids"
        assert sorted(i.id for i in store.items(f"labelbox:{dataset}")) == sorted(box.state.by_dataset[dataset])

        # A field that was deleted shows in no row's activity: then everything is listed.
        rows[20].metadata = {box.state.add_field("weather"): "rain"}
        pull()
        assert store.fields(f"labelbox:{dataset}", "weather") == {rows[20].id: "rain"}
        rows[20].metadata = {}
        del box.state.fields[box.state.field_id("weather")]
        pull()
        assert store.fields(f"labelbox:{dataset}", "weather") == {}
        assert len([e for e in box.state.exports.values()]) == 5
