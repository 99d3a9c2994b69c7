"""The folder connector: which files are rows, what identifies them, labels, texts, and results that survive a kill."""

import csv
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from connectors import _folder_results
from connectors.folder import FolderConnector
from curate.errors import ConfigError, ConnectorError, MediaError, NotFound, UnknownName
from curate.protocols import ConnectorSettings
from curate.testing import sample_images
from curate.types import Change, in_chunks

PNG, JPEG = sample_images(2)


class Place:
    """A dataset folder, its store, and connectors over them."""

    def __init__(self, tmp_path):
        self.root, self.results, self.said = tmp_path / "photos", tmp_path / "store" / "results", []
        self.root.mkdir()

    def add(self, name, data=PNG):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def connector(self, **options):
        return FolderConnector(ConnectorSettings(options=options, results=self.results, notify=self.said.append))

    def items(self, root=None, **options):
        pages = self.connector(**options).pages(str(root or self.root))
        return {item.id: item for page in pages for item in page.items}

    def push(self, *changes, flush=True, root=None):
        connector, dataset = self.connector(), str(root or self.root)
        applied = connector.push_fields(dataset, [Change(i, f, None, v) for i, f, v in changes])
        if flush:
            connector.flush(dataset)
        return applied


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
    assert place.said == [f"2 other files in {place.root} are neither images nor .txt; they are no rows"]
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


def test_labels_by_folder(place):
    place.add("train/cat/1.png")
    place.add("dog/2.png")
    place.add("3.png")
    labels = {i: item.fields.get("label") for i, item in place.items(labels="folder").items()}
    assert labels == {"3.png": None, "dog/2.png": "dog", "train/cat/1.png": "cat"}


def test_labels_from_a_csv(place, tmp_path):
    place.add("a/1.png")
    place.add("2.png")
    place.add("labels.csv", "\ufeffsplit,file,label\ntrain,a/1.png,cat\n,./2.png,\ntest,3.png,dog\n")
    items = place.items(labels="labels.csv")
    assert {i: dict(item.fields) for i, item in items.items()} == {"2.png": {}, "a/1.png": {"split": "train", "label": "cat"}}
    assert any("1 rows of the labels" in line for line in place.said)
    elsewhere = tmp_path / "truth.csv"
    elsewhere.write_text("id,grade\n2.png,7\n")
    assert place.items(labels=str(elsewhere))["2.png"].fields == {"grade": "7"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,label\na,b\n", "id or file or filename"),
        ("id,cluster\na,1\n", "result that curate writes"),
        (b"id\n\xff\n", "cannot be read"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(place, content, message):
    place.add("a.png")
    place.add("labels.csv", content)
    with pytest.raises(ConfigError, match=message):
        place.connector(labels="labels.csv").check(str(place.root))
    with pytest.raises(ConfigError, match=r"none\.csv"):
        place.connector(labels="none.csv").check(str(place.root))


TEXTS = ["plain", 'with "quotes", commas', "two\nlines", "  spaces  ", "\u00fc\U0001f600", "x" * 200_000]


def table(place, suffix, records):
    path = place.root / f"rows.{suffix}"
    with path.open("w", encoding="utf-8", newline="") as file:
        if suffix == "jsonl":
            file.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
        else:
            writer = csv.DictWriter(file, list(records[0]), delimiter="\t" if suffix == "tsv" else ",")
            writer.writeheader()
            writer.writerows(records)
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_tables_of_texts(place, suffix):
    path = table(place, suffix, [{"id": f"r{n}", "body": text, "lang": "en"} for n, text in enumerate(TEXTS)])
    items = place.items(path, text_field="body")
    connector = place.connector(text_field="body")
    assert [connector.read(item).decode() for item in items.values()] == TEXTS
    assert list(items) == [f"r{n}" for n in range(len(TEXTS))]
    assert all(item.media_type == "text" and item.fields == {"lang": "en"} for item in items.values())
    path.write_bytes(path.read_bytes().replace(b"plain", b"plainer"))
    later = place.items(path, text_field="body")
    assert {i for i in items if later[i].version != items[i].version} == {"r0"}
    assert [connector.read(item).decode() for item in later.values()] == ["plainer", *TEXTS[1:]]
    with pytest.raises(MediaError):
        connector.read(items["r1"])


def test_rows_without_an_id_are_numbered_and_rows_without_a_text_fail(place):
    path = place.add("rows.jsonl", '{"text": "a"}\n\nnot json\n{"text": 5}\n["text"]\n{"id": 7, "text": "b", "score": 0.5}\n')
    items = place.items(path, text_field="text")
    assert list(items) == ["1", "2", "3", "4", "7"]
    assert items["7"].fields == {"score": 0.5}
    connector, reasons = place.connector(text_field="text"), []
    for item in items.values():
        try:
            connector.read(item)
        except MediaError as err:
            reasons.append(err.reason)
    assert reasons == ["no_text"] * 3


def test_a_table_needs_its_text_field(place):
    path = table(place, "csv", [{"id": "1", "body": "a"}])
    with pytest.raises(ConfigError, match="--text-field"):
        place.connector().check(str(path))
    with pytest.raises(ConfigError, match="its columns are: id, body"):
        place.connector(text_field="text").check(str(path))
    with pytest.raises(ConfigError, match="rename the column"):
        place.connector(text_field="body").check(str(table(place, "csv", [{"body": "a", "cluster": "1"}])))
    with pytest.raises(ConfigError, match="needs a folder"):
        place.connector(text_field="body", labels="folder").check(str(path))


def test_results_are_written_for_people_and_for_programs(place):
    for name in ("a.png", "b.png", "=c.png"):
        place.add(name)
    applied = place.push(
        ("a.png", "duplicate", "kept"),
        ("b.png", "duplicate", "copy-of/a.png"),
        ("b.png", "duplicate_score", 0.25),
        ("=c.png", "sample", "@SUM(A1)"),
        ("a.png", "cluster", 3),
        ("b.png", "cluster", 0),
    )
    assert (applied.accepted, applied.rejected) == (6, ())
    assert (place.results / "curate.csv").read_text() == (
        "id,duplicate,sample,path,cluster,duplicate_score,path_confidence\n"
        "'=c.png,,'@SUM(A1),,,,\n"
        "a.png,kept,,,3,,\n"
        "b.png,copy-of/a.png,,,0,0.25,\n"
    )
    rows = pq.read_table(place.results / "curate.parquet").to_pylist()
    assert rows[0]["id"] == "=c.png" and rows[0]["sample"] == "@SUM(A1)" and rows[2]["cluster"] == 0
    assert sorted(p.name for p in place.results.iterdir()) == ["curate.csv", "curate.parquet"]
    fields = {i: dict(item.fields) for i, item in place.items().items()}
    assert fields["b.png"] == {"duplicate": "copy-of/a.png", "duplicate_score": 0.25, "cluster": 0}


def test_every_kind_of_value_comes_back_equal(place):
    place.add("a.png")
    place.add("b.png")
    values = {"duplicate": "'=x", "cluster": 2**60, "duplicate_score": 1e-300, "third": True, "mixed": "7", "big": 2**70}
    place.push(*(("a.png", f, v) for f, v in values.items()), ("b.png", "mixed", 7), ("b.png", "cluster", -1))
    shown = place.items()
    assert dict(shown["a.png"].fields) == values and shown["a.png"].fields["third"] is True
    assert dict(shown["b.png"].fields) == {"mixed": 7, "cluster": -1}
    place.push(("a.png", "third", None), ("a.png", "cluster", 0.5))
    assert place.items()["a.png"].fields.get("third") is None and place.items()["a.png"].fields["cluster"] == 0.5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cluster", "3"),
        ("duplicate", 3),
        ("duplicate_score", float("nan")),
        ("id", "x"),
        ("", "x"),
        ("label", "x"),
        ("cluster", True),
    ],
)
def test_values_that_do_not_fit_are_rejected_one_by_one(place, field, value):
    place.add("cat/a.png")
    connector = place.connector(labels="folder")
    changes = [Change("cat/a.png", field, None, value), Change("cat/a.png", "sample", None, "s")]
    applied = connector.push_fields(str(place.root), changes)
    assert applied.accepted == 1 and [(r.item_id, r.field) for r in applied.rejected] == [("cat/a.png", field)]


def test_rows_outside_the_folder_cannot_be_written(place):
    place.add("a.png")
    applied = place.push(("../a.png", "sample", "s"), ("/etc/passwd", "sample", "s"), ("b.png", "sample", "s"))
    assert applied.accepted == 0 and len(applied.rejected) == 3
    assert not place.results.exists()


def test_gone_rows_leave_the_results_with_the_next_push(place):
    place.add("a.png")
    place.add("b.png").rename(place.root / "c.png")
    place.push(("a.png", "sample", "s"), ("c.png", "sample", "s"))
    (place.root / "c.png").unlink()
    assert set(place.items()) == {"a.png"}
    connector = place.connector()
    list(connector.pages(str(place.root)))
    connector.push_fields(str(place.root), [Change("a.png", "sample", "s", "t")])
    connector.flush(str(place.root))
    assert pq.read_table(place.results / "curate.parquet").column("id").to_pylist() == ["a.png"]


def test_two_datasets_of_one_name_share_a_store(place, tmp_path):
    place.add("a.png")
    other = tmp_path / "other" / "photos"
    other.mkdir(parents=True)
    (other / "a.png").write_bytes(JPEG)
    place.items(), place.items(other)
    place.push(("a.png", "sample", "first"))
    place.push(("a.png", "sample", "second"), root=other)
    place.push(("a.png", "cluster", 1))
    assert dict(place.items()["a.png"].fields) == {"sample": "first", "cluster": 1}
    assert dict(place.items(other)["a.png"].fields) == {"sample": "second"}
    assert (place.results / "curate.csv").exists()
    assert [p.name for p in place.results.glob("photos-*/curate.csv")] == ["curate.csv"]


def test_a_moved_folder_keeps_its_results(place, tmp_path):
    place.add("a.png")
    place.push(("a.png", "sample", "s"))
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.move(place.root, tmp_path / "elsewhere" / "photos"))
    assert place.items(moved)["a.png"].fields == {"sample": "s"}


def test_the_spelling_of_a_path_does_not_matter(place, monkeypatch):
    place.add("a.png")
    place.push(("a.png", "sample", "s"))
    monkeypatch.chdir(place.root.parent)
    for spelling in ("photos", "./photos/", "photos/../photos"):
        assert place.connector().canonical(spelling) == str(place.root.resolve())
        assert place.items(spelling)["a.png"].fields == {"sample": "s"}


def test_an_acknowledged_push_survives_without_flush(place):
    place.add("a.png")
    place.push(("a.png", "sample", "s"), flush=False)
    assert not (place.results / "curate.csv").exists()
    assert place.items()["a.png"].fields == {"sample": "s"}
    assert sorted(p.name for p in place.results.iterdir()) == ["curate.csv", "curate.parquet"]


def test_a_torn_journal_loses_only_what_was_not_acknowledged(place):
    place.add("a.png")
    place.push(("a.png", "sample", "s"), flush=False)
    journal = place.results / "journal.jsonl"
    whole = journal.read_bytes()
    for cut in [*range(0, len(whole), 7), len(whole) - 1, len(whole)]:
        shutil.rmtree(place.results)
        place.results.mkdir(parents=True)
        journal.write_bytes(whole[:cut])
        place.push(("a.png", "cluster", 1), flush=False)
        expected = {"cluster": 1, "sample": "s"} if cut == len(whole) else {"cluster": 1}
        assert dict(place.items()["a.png"].fields) == expected, cut


@pytest.mark.parametrize("step", range(6))
def test_dying_at_any_step_of_compaction_loses_nothing(place, monkeypatch, step):
    place.add("a.png")
    place.push(("a.png", "sample", "old"), ("a.png", "cluster", 1))

    class Died(BaseException):
        pass

    steps = iter(range(100))

    def dying(call):
        def wrapped(*args, **options):
            if next(steps) == step:
                raise Died
            return call(*args, **options)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(_folder_results, "_write_parquet", dying(_folder_results._write_parquet))
        patch.setattr(_folder_results, "_write_csv", dying(_folder_results._write_csv))
        patch.setattr(Path, "replace", dying(Path.replace))
        patch.setattr(Path, "unlink", dying(Path.unlink))
        patch.setattr(_folder_results, "_sync_folder", dying(_folder_results._sync_folder))
        with pytest.raises(Died):
            place.push(("a.png", "sample", "new"), ("a.png", "cluster", None))
    assert dict(place.items()["a.png"].fields) == {"sample": "new"}
    assert (place.results / "curate.csv").read_text().splitlines()[1:] == ["a.png,,new,,,,"]
    assert sorted(p.name for p in place.results.iterdir() if p.suffix != ".tmp") == ["curate.csv", "curate.parquet"]


def test_nothing_is_written_when_nothing_changes(place):
    place.add("a.png")
    place.push(("a.png", "sample", "s"))
    before = {p: p.stat().st_mtime_ns for p in place.results.iterdir()}
    connector = place.connector()
    list(connector.pages(str(place.root)))
    connector.flush(str(place.root))
    assert {p: p.stat().st_mtime_ns for p in place.results.iterdir()} == before


def test_results_that_cannot_be_written_or_read_are_named(place):
    place.add("a.png")
    place.results.parent.write_text("a file, where the store should be")
    with pytest.raises(ConnectorError, match="results cannot be written"):
        place.connector().check(str(place.root))
    with pytest.raises(ConnectorError, match="results cannot be written"):
        place.push(("a.png", "sample", "s"))
    place.results.parent.unlink()
    place.push(("a.png", "sample", "s"))
    (place.results / "curate.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(ConnectorError, match=r"curate\.parquet"):
        place.items()


def test_a_full_disk_is_named_and_leaves_the_old_results(place, monkeypatch):
    place.add("a.png")
    place.push(("a.png", "sample", "old"))

    def full(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ConnectorError, match="No space left"):
            place.push(("a.png", "sample", "new"))
    assert place.items()["a.png"].fields["sample"] in {"old", "new"}
    assert "old" in (place.results / "curate.csv").read_text() or "new" in (place.results / "curate.csv").read_text()


@pytest.mark.slow
def test_a_hundred_thousand_rows_are_listed_and_pushed_in_seconds_within_memory(place):
    code = """
import resource, sys, time
from pathlib import Path
from connectors.folder import FolderConnector
from curate.protocols import ConnectorSettings
from curate.types import Change, in_chunks
root = Path(sys.argv[1])
connector = FolderConnector(ConnectorSettings(results=root.parent / "store" / "results"))
rows = 0
for page in connector.pages(str(root)):
    rows += len(page.items)
listed = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
start = time.perf_counter()
names = ("duplicate", "sample", "path", "cluster", "duplicate_score", "path_confidence")
for first in range(0, rows, 1000):
    ids = [f"{n % 100:02d}/{n}.jpg" for n in range(first, min(first + 1000, rows))]
    changes = [Change(i, f, None, n % 50 if n > 2 else f"copy-of/{i}") for i in ids for n, f in enumerate(names)]
    assert connector.push_fields(str(root), changes).accepted == len(changes)
connector.flush(str(root))
print(rows, listed, time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
    for n in range(100):
        (place.root / f"{n:02d}").mkdir()
    for n in range(100_000):
        (place.root / f"{n % 100:02d}" / f"{n}.jpg").write_bytes(b"\xff\xd8\xff%d" % n)
    done = subprocess.run([sys.executable, "-c", code, str(place.root)], capture_output=True, text=True, check=True)
    rows, listed, seconds, peak = map(float, done.stdout.split())
    assert rows == 100_000 and listed < 400 and peak < 1000 and seconds < 60


def test_chunks_cost_the_same_at_the_end_as_at_the_start(place):
    """The journal only grows: no chunk rewrites what earlier ones wrote."""
    for n in range(40):
        place.add(f"{n}.png", PNG + bytes([n]))
    connector = place.connector()
    changes = [Change(f"{n}.png", "cluster", None, n) for n in range(40)]
    sizes = []
    for chunk in in_chunks(changes, 10):
        connector.push_fields(str(place.root), chunk)
        sizes.append((place.results / "journal.jsonl").stat().st_size)
        assert not (place.results / "curate.parquet").exists()
    grown = [b - a for a, b in itertools.pairwise(sizes)]
    assert max(grown) - min(grown) <= 10
