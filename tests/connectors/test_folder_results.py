"""The folder connector: results that are exact, survive a kill, and cost the same at any size."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from connectors import _folder_results
from curate.errors import ConnectorError
from curate.types import Change, in_chunks
from tests.connectors.folder_place import JPEG, PNG, Place


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


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


def test_listing_beside_a_push_takes_nothing_from_it(place):
    for name in ("a.png", "b.png", "c.png"):
        place.add(name)
    pushing, dataset = place.connector(), str(place.root)
    for n, name in enumerate(("a.png", "b.png", "c.png")):
        pushing.push_fields(dataset, [Change(name, "cluster", None, n)])
        assert place.items()[name].fields == {"cluster": n}  # what `curate plan --estimate` does, without the store's lock
    with pytest.raises(ConnectorError, match="another process is writing the results"):
        place.push(("a.png", "sample", "s"))
    pushing.flush(dataset)
    assert {i: dict(item.fields) for i, item in place.items().items()} == {
        "a.png": {"cluster": 0},
        "b.png": {"cluster": 1},
        "c.png": {"cluster": 2},
    }
    assert place.push(("a.png", "sample", "s")).accepted == 1


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
import re, sys, time
from pathlib import Path
from connectors.folder import FolderConnector
from curate.protocols import ConnectorSettings
from curate.types import Change, in_chunks
def peak_mb():
    # VmHWM begins at exec; ru_maxrss would count what the test runner held when it forked.
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
root = Path(sys.argv[1])
connector = FolderConnector(ConnectorSettings(results=root.parent / "store" / "results"))
rows = 0
for page in connector.pages(str(root)):
    rows += len(page.items)
listed = peak_mb()
start = time.perf_counter()
names = ("duplicate", "sample", "path", "cluster", "duplicate_score", "path_confidence")
for first in range(0, rows, 1000):
    ids = [f"{n % 100:02d}/{n}.jpg" for n in range(first, min(first + 1000, rows))]
    changes = [Change(i, f, None, n % 50 if n > 2 else f"copy-of/{i}") for i in ids for n, f in enumerate(names)]
    assert connector.push_fields(str(root), changes).accepted == len(changes)
connector.flush(str(root))
print(rows, listed, time.perf_counter() - start, peak_mb())
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
