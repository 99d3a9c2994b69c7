"""The folder connector: which files are rows, what identifies them, and how failures are seen."""

import os
import threading
from pathlib import Path

import pytest

from curate.errors import ConfigError, ConnectorError, MediaError, NotFound, UnknownName
from tests.connectors.folder_place import JPEG, PNG, Place


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_rows_are_found_by_content_and_in_a_fixed_order(place):
    place.add("b/z.png")
    place.add("b/a.JPG", JPEG)
    place.add("a.dat", PNG)  # an image, whatever its name
    place.add("notes.txt", "a text")
    place.add("broken.jpg", "not an image")
    place.add("apple.heic", b"\0\0\0\x18ftypheic")
    place.add("README.md", "# no row")
    place.add("model.bin", b"\0\1\2")
    items = place.items()
    assert list(items) == ["a.dat", "apple.heic", "b/a.JPG", "b/z.png", "broken.jpg", "notes.txt"]
    assert {i: item.media_type for i, item in items.items() if item.media_type != "image"} == {"notes.txt": "text"}
    assert place.said == [f"neither images nor .txt, so no rows: 2 other files in {place.root}"]
    assert place.connector().read(items["b/a.JPG"]) == JPEG


def test_hidden_files_and_stores_are_skipped(place):
    place.add("a.png")
    place.add(".thumbs/b.png")
    place.add("._a.png")
    place.add("sub/.c.png")
    place.add("other store/catalog.sqlite", "x")
    place.add("other store/segments/d.png")
    place.results = place.root / "my store" / "results"
    place.add("my store/results/e.png")
    assert list(place.items()) == ["a.png"]


def test_a_store_at_the_root_of_the_dataset_is_refused(place):
    place.results = place.root / "results"
    with pytest.raises(ConfigError, match="--store"):
        place.connector().check(str(place.root))


def test_touching_changes_no_version_and_new_content_of_equal_size_does(place):
    path = place.add("a.png")
    before = place.items()["a.png"].version
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**12))
    assert place.items()["a.png"].version == before
    path.write_bytes(PNG[:-1] + b"?")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert place.items()["a.png"].version != before


def test_link_loops_end_and_linked_folders_are_met_once(place, tmp_path):
    place.add("a/one.png")
    (place.root / "a" / "up").symlink_to(place.root)
    (place.root / "b").symlink_to(place.root / "a")
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "two.png").write_bytes(PNG)
    (outside / "deep" / "round").symlink_to(outside)
    (place.root / "c").symlink_to(outside)
    (place.root / "d").symlink_to(outside)
    (place.root / "above").symlink_to(tmp_path)
    (place.root / "file.png").symlink_to(outside / "deep" / "two.png")
    assert list(place.items()) == ["a/one.png", "c/deep/two.png", "file.png"]


def test_what_cannot_be_read_is_a_row_that_fails(place):
    place.add("fine.png")
    (place.root / "gone.png").symlink_to(place.root / "nowhere")
    (place.root / "loop.png").symlink_to(place.root / "loop.png")
    os.mkfifo(place.root / "pipe.png")
    items = place.items()
    assert set(items) == {"fine.png", "gone.png", "loop.png"}
    for name in ("gone.png", "loop.png"):
        with pytest.raises(MediaError) as caught:
            place.connector().read(items[name])
        assert caught.value.reason in {"missing", "unreadable"}


def test_a_folder_that_cannot_be_listed_is_seen(place, monkeypatch):
    from connectors import _folder_walk

    place.add("a.png")
    place.add("locked/b.png")
    real = _folder_walk._sorted

    def sorted_(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(_folder_walk, "_sorted", sorted_)
    items = place.items()
    assert set(items) == {"a.png", "locked"}
    with pytest.raises(MediaError) as caught:
        place.connector().read(items["locked"])
    assert caught.value.reason == "unreadable"


def test_any_file_name_survives(place):
    names = [
        'new\nline".png',
        "<script>alert(1)</script>'.png".replace("/", "_"),
        "\U0001f600 \u202ertl.png",
        "=1+1.png",
        "a#b?c%20.png",
        " .png",
    ]
    for name in names:
        place.add(name)
    (Path(os.fsdecode(os.fsencode(place.root) + b"/caf\xe9.png"))).write_bytes(PNG)
    items = place.items()
    assert set(items) == {*names, "caf\\xe9.png"}
    assert all(place.connector().read(item) == PNG for item in items.values())
    place.push(*((i, "duplicate", f"copy-of/{i}") for i in items))
    assert {i: item.fields["duplicate"] for i, item in place.items().items()} == {i: f"copy-of/{i}" for i in items}


def test_a_file_that_changes_after_the_listing_is_not_taken_for_the_old_one(place):
    path = place.add("a.png")
    item = place.items()["a.png"]
    path.write_bytes(JPEG)
    with pytest.raises(MediaError, match="changed"):
        place.connector().read(item)
    path.unlink()
    with pytest.raises(MediaError, match="missing"):
        place.connector().read(item)


def test_large_files_fail_instead_of_filling_memory(place):
    place.add("a.png", PNG + bytes(5000))
    with pytest.raises(MediaError, match="too_many_bytes"):
        place.connector(max_bytes=5000).read(place.items()["a.png"])


def test_listing_streams(place):
    for n in range(1201):
        place.add(f"{n:05d}.png", PNG + bytes([n % 256, n // 256]))
    before = threading.active_count()
    pages = place.connector().pages(str(place.root))
    assert [len(next(pages).items) for _ in range(2)] == [500, 500]
    pages.close()
    assert threading.active_count() == before
    assert [len(p.items) for p in place.connector().pages(str(place.root))] == [500, 500, 201]


def test_missing_and_wrong_datasets_are_named(place, tmp_path):
    connector = place.connector()
    for name in (str(tmp_path / "nowhere"), "x" * 5000, "~nobody-of-this-name/photos", "nul\0byte"):
        assert not connector.has(name)
        with pytest.raises(NotFound):
            connector.check(name)
    for call in (connector.check, lambda d: list(connector.pages(d)), connector._existing):
        with pytest.raises(NotFound, match="nowhere"):
            call(str(tmp_path / "nowhere"))
    file = place.add("a.png")
    with pytest.raises(ConfigError, match="is a file"):
        connector.check(str(file))
    with pytest.raises(ConnectorError, match="no listing of changes"):
        list(connector.pages(str(place.root), since="x"))
    with pytest.raises(UnknownName, match="did you mean 'labels'"):
        place.connector(label="folder")
    assert list(place.connector().pages(str(place.root / ".."))) != []


def test_an_empty_folder_has_no_rows(place):
    place.connector().check(str(place.root))
    assert place.items() == {}
