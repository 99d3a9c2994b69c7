"""`curate export`: the right rows, safe paths, nothing overwritten, nothing written twice."""

import unicodedata

import pytest

from curate.errors import ConfigError, MediaError
from curate.pipeline.export import chosen, export
from curate.store import Store
from curate.testing import sample_images
from curate.types import Findings, Item

PNG, JPEG = sample_images(2)


def put(to, rows, **options):
    """Exports rows (id -> bytes) that have no files of their own."""
    items = [Item(i, f"memory:{i}", "1") for i in rows]
    return export(items, to, read=lambda item: rows[item.id], **options)


def tree(to):
    return {p.relative_to(to).as_posix() for p in to.rglob("*") if not p.is_dir()}


def test_rows_without_files_are_named_by_id_and_content(tmp_path):
    done = put(tmp_path / "out", {"cm1": JPEG, "cm2": PNG, "cm3.PNG": PNG, "a/b.jpeg": JPEG, "cm4": b"?"})
    assert tree(tmp_path / "out") == {"cm1.jpg", "cm2.png", "cm3.PNG", "a/b.jpeg", "cm4"}
    assert done.written == 5 and done.renamed == {"cm1": "cm1.jpg", "cm2": "cm2.png"}


HOSTILE = [
    "../../etc/x",
    "/etc/passwd",
    "a/../../b",
    "..",
    ".",
    "a//b",
    "a/./b",
    "new\nline",
    "nul\0byte",
    "x" * 4000,
    "\U0001f600" * 100,
    "dir/",
    "",
]


def test_no_id_leads_outside_the_folder_and_none_is_lost(tmp_path):
    to = tmp_path / "deep" / "out"
    done = put(to, {item_id: PNG for item_id in HOSTILE})
    assert done.written == len(HOSTILE) and not done.failures
    assert len(tree(tmp_path)) == len(HOSTILE) and all(p.startswith("deep/out/") for p in tree(tmp_path))
    assert put(to, {item_id: PNG for item_id in HOSTILE}).present == len(HOSTILE)


def test_ids_that_would_meet_get_names_of_their_own(tmp_path):
    rows = {"a.png": PNG, "A.png": PNG + b"1", "d": JPEG + b"2", "d/e.png": PNG + b"3", "D/f.png": PNG + b"4"}
    done = put(tmp_path, rows)
    assert done.written == len(rows) == len(tree(tmp_path)) == len({p.casefold() for p in tree(tmp_path)})
    assert sorted(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()) == sorted(rows.values())


def test_names_that_differ_in_how_an_accent_is_written_do_not_meet(tmp_path):
    rows = {"caf\u00e9.png": PNG, "cafe\u0301.png": PNG + b"1"}
    put(tmp_path, rows)
    assert len({unicodedata.normalize("NFC", p) for p in tree(tmp_path)}) == 2


def test_a_copy_whose_kept_row_is_gone_is_exported(tmp_path):
    with Store.open(tmp_path / "store", write=True, create=True) as store:
        for ids in ("abc", "bc"):
            listing = store.begin_listing("fake:rows")
            listing.add([Item(i, "u", "1") for i in ids])
            listing.finish()
        found = {"a": "kept", "b": "copy-of/a", "c": "copy-of/b"}
        store.save_findings("fake:rows", "f" * 16, Findings("duplicates", {"duplicate": found}, {}, {}))
        assert chosen(store, "fake:rows", "kept") == ["b"]
        assert chosen(store, "fake:rows", "duplicates") == ["c"]


def test_a_second_export_writes_nothing_and_the_order_of_rows_does_not_matter(tmp_path):
    rows = {"b": PNG, "a": JPEG, "B": PNG + b"1"}
    first = put(tmp_path, rows)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    again = put(tmp_path, dict(reversed(rows.items())))
    assert (again.written, again.present, again.renamed) == (0, 3, first.renamed)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_nothing_is_overwritten_and_others_are_counted(tmp_path):
    (tmp_path / "a.png").write_bytes(b"mine")
    (tmp_path / "notes.txt").write_text("mine too")
    done = put(tmp_path, {"a.png": PNG, "b.png": PNG})
    assert [(f.id, f.reason) for f in done.failures] == [("a.png", "exists")]
    assert (tmp_path / "a.png").read_bytes() == b"mine" and done.written == 1 and done.others == 2


def test_a_link_in_the_folder_leads_nothing_out(tmp_path):
    outside, to = tmp_path / "outside", tmp_path / "out"
    outside.mkdir(), to.mkdir()
    (to / "sub").symlink_to(outside)
    (to / "b.png").symlink_to(outside / "b.png")
    done = put(to, {"sub/a.png": PNG, "b.png": PNG})
    assert {f.reason for f in done.failures} == {"outside", "exists"} and tree(outside) == set()


def test_rows_that_cannot_be_read_fail_alone(tmp_path):
    def read(item):
        if item.id == "bad":
            raise MediaError("http_403", "gone")
        return PNG

    done = export([Item("bad", "u", "1"), Item("good.png", "u", "1")], tmp_path, read=read)
    assert [(f.id, f.reason) for f in done.failures] == [("bad", "http_403")] and tree(tmp_path) == {"good.png"}


def test_links_need_files(tmp_path):
    with pytest.raises(ConfigError, match="--copy"):
        put(tmp_path, {"a": PNG}, link=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="not a folder"):
        put(tmp_path / "file", {"a": PNG})


def test_what_the_platform_shows_is_used_where_nothing_was_judged_here(tmp_path):
    with Store.open(tmp_path / "store", write=True, create=True) as store:
        listing = store.begin_listing("fake:rows")
        listing.add(
            [Item("a", "u", "1", {"duplicate": "kept"}), Item("b", "u", "1", {"duplicate": "copy-of/a"}), Item("c", "u", "1")]
        )
        listing.finish()
        assert chosen(store, "fake:rows", "kept") == ["a", "c"]
        store.save_findings("fake:rows", "f" * 16, Findings("duplicates", {"duplicate": {}}, {}, {}))
        assert chosen(store, "fake:rows", "kept") == ["a", "b", "c"]
        assert chosen(store, "fake:rows", "duplicates") == []
        with pytest.raises(ConfigError, match="one of kept, sample, duplicates"):
            chosen(store, "fake:rows", "all")
