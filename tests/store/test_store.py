"""The store's promises to the stages."""

import dataclasses
import json
import stat

import numpy as np
import pytest

from curate.errors import ConfigError, Corrupt, EmbedderError, Locked, StoreError
from curate.store import RowCounts, Store
from curate.types import Batch, Change, EmbedderSpec, Facts, Failure, Findings, Item, Rejected
from tests.store.conftest import DATASET, SPEC, assert_right, batch, embed_all, listed, rows, vector_of


def test_a_listing_counts_new_changed_and_retired_rows(store):
    assert listed(store, rows(5), cursor="c1") == RowCounts(seen=5, new=5, changed=0, retired=0)
    assert store.cursor(DATASET) == "c1"
    changed = [*rows(3), *rows(1, version="v2", start=3)]
    assert listed(store, changed) == RowCounts(seen=4, new=0, changed=1, retired=1)
    assert store.cursor(DATASET) is None
    assert [i.id for i in store.items(DATASET)] == [f"img{n:05d}.jpg" for n in range(4)]
    assert store.count(DATASET) == 4


def test_an_incomplete_listing_retires_nothing_and_keeps_the_cursor(store):
    listed(store, rows(5), cursor="c1")
    assert listed(store, rows(1), complete=False) == RowCounts(seen=1, new=0, changed=0, retired=0)
    assert (store.count(DATASET), store.cursor(DATASET)) == (5, "c1")


def test_a_retired_row_comes_back_with_its_vector(store):
    listed(store, rows(3))
    embed_all(store)
    listed(store, rows(2))
    assert len(store.embeddings(DATASET, SPEC.fingerprint)) == 2
    assert listed(store, rows(3)) == RowCounts(seen=3, new=1, changed=0, retired=0)
    assert store.missing(DATASET, SPEC) == []
    assert assert_right(store) == 3


def test_a_version_that_returns_finds_its_vector(store):
    listed(store, rows(1))
    embed_all(store)
    for version, missing in (("v2", 1), ("v1", 0), ("v3", 1), ("v2", 1)):
        listed(store, rows(1, version=version))
        assert len(store.missing(DATASET, SPEC)) == missing
    embed_all(store)
    for version in ("v1", "v2"):
        listed(store, rows(1, version=version))
        assert assert_right(store) == 1


def test_an_abandoned_listing_changes_nothing(store):
    listed(store, rows(3))
    listing = store.begin_listing(DATASET)
    listing.add(rows(1, version="v9"))
    listing.abandon()
    assert store.count(DATASET) == 3
    with pytest.raises(StoreError, match="is over"):
        listing.add(rows(1))


@pytest.mark.parametrize("pages", [[["a", "b", "a"]], [["a", "b"], ["c", "b"]]])
def test_a_duplicate_id_in_a_listing_is_named(store, pages):
    listing = store.begin_listing(DATASET)
    with pytest.raises(StoreError, match=r"names the row '[ab]' twice"):
        for page in pages:
            listing.add([Item(i, i, "1") for i in page])
    assert store.count(DATASET) == 0


def test_ids_with_newlines_quotes_and_emoji_survive(store):
    ids = sorted(["a\nb", "it's", '"', "<script>", "\U0001f600.jpg", "ü", "tab\t", "nul\0x", "{}"])
    listed(store, [Item(i, i, "1", {"label": i}) for i in ids])
    embed_all(store)
    assert list(store.embeddings(DATASET, SPEC.fingerprint).ids) == ids
    assert store.fields(DATASET, "label") == {i: i for i in ids}
    assert [i.id for i in store.items(DATASET, ids=["it's", "a\nb", "unknown"])] == ["a\nb", "it's"]
    assert assert_right(store) == len(ids)


def test_text_that_is_no_unicode_is_refused(store):
    with pytest.raises(StoreError, match="not valid Unicode"):
        listed(store, [Item("a\udcff", "x", "1")])


def test_basis_is_the_live_rows_and_versions(store):
    first = store.basis(DATASET)
    listed(store, rows(3))
    three = store.basis(DATASET)
    listed(store, rows(2))
    assert len({first, three, store.basis(DATASET)}) == 3
    listed(store, list(reversed(rows(3))))
    assert store.basis(DATASET) == three
    listed(store, [Item(i.id, "elsewhere", i.version, {"x": 1}) for i in rows(3)])
    assert store.basis(DATASET) == three


def test_fields_follow_the_platform_and_pushes(store):
    listed(store, [Item("a", "a", "1", {"cluster": 3, "mine": "x"}), Item("b", "b", "1")])
    store.update_fields(
        DATASET, [Change("a", "cluster", 3, None), Change("b", "cluster", None, 4), Change("gone", "x", None, 1)]
    )
    assert store.fields(DATASET, "cluster") == {"b": 4}
    assert store.field_names(DATASET) == ["cluster", "mine"]


def test_missing_is_what_has_neither_vector_nor_lasting_failure(store):
    items = [*rows(4), Item("t", "t", "1", media_type="text")]
    listed(store, items)
    failures = [Failure(items[1].id, "v1", "truncated", "end of file"), Failure(items[2].id, "v1", "http_503", retry=True)]
    store.append(DATASET, SPEC, batch(items[:1], failures=failures))
    assert [i.id for i in store.missing(DATASET, SPEC)] == [items[2].id, items[3].id]
    assert len(store.missing(DATASET, SPEC, retry_failed=True)) == 3
    assert store.failures(DATASET, SPEC.fingerprint) == failures
    store.append(DATASET, SPEC, batch(items[1:3]))
    assert store.failures(DATASET, SPEC.fingerprint) == []
    listed(store, rows(4, version="v2"))
    assert len(store.missing(DATASET, SPEC)) == 4


def test_a_failure_holds_for_its_version_only(store):
    listed(store, rows(1))
    store.append(DATASET, SPEC, batch([], failures=[Failure(rows(1)[0].id, "v1", "truncated")]))
    assert store.missing(DATASET, SPEC) == []
    listed(store, rows(1, version="v2"))
    assert (len(store.missing(DATASET, SPEC)), store.failures(DATASET, SPEC.fingerprint)) == (1, [])


def test_embeddings_come_in_id_order_whatever_the_order_of_batches(store):
    items = rows(50)
    listed(store, items)
    for at in np.random.default_rng(3).permutation(50):
        store.append(DATASET, SPEC, batch([items[at]]))
    assert assert_right(store) == 50
    some = [items[n].id for n in (41, 3, 17)]
    found = store.embeddings(DATASET, SPEC.fingerprint, ids=[*some, "unknown"])
    assert list(found.ids) == sorted(some)
    np.testing.assert_array_equal(found.vectors[1], vector_of(items[17].id, "v1"))
    pieces = list(store.blocks(DATASET, SPEC.fingerprint, rows=7))
    assert [len(p) for p in pieces] == [7] * 7 + [1]
    np.testing.assert_array_equal(
        np.concatenate([p.vectors for p in pieces]), store.embeddings(DATASET, SPEC.fingerprint).vectors
    )
    assert store.embedded_ids(DATASET, SPEC.fingerprint) == [i.id for i in items]


def test_vectors_of_two_models_are_kept_apart(store):
    other = EmbedderSpec("pixels", "2", "grid", 4, "euclidean")
    listed(store, rows(3))
    embed_all(store)
    embed_all(store, spec=other)
    assert store.embeddings(DATASET, other.fingerprint).vectors.shape == (3, 4)
    assert assert_right(store) == assert_right(store, spec=other) == 3
    assert store.spec_named(DATASET, "pixels") == other
    assert store.spec_named(DATASET, "clip") is None
    with pytest.raises(StoreError, match=r"no vectors of model.*pixels"):
        store.embeddings(DATASET, "0" * 16)


def test_facts_and_thumbs_are_of_the_current_version(store):
    listed(store, rows(3))
    embed_all(store)
    ids = [i.id for i in rows(3)]
    assert store.facts(DATASET, [ids[2], "none", ids[0]]) == [
        Facts(4, 3, 12, f"hash of {ids[2]}"),
        Facts(),
        Facts(4, 3, 12, f"hash of {ids[0]}"),
    ]
    assert store.thumb(DATASET, ids[1]) == f"JPEG {ids[1]} v1".encode()
    assert store.thumb(DATASET, "none") is None
    listed(store, rows(3, version="v2"))
    assert store.thumb(DATASET, ids[1]) is None
    embed_all(store)
    assert store.thumb(DATASET, ids[1]) == f"JPEG {ids[1]} v2".encode()


@pytest.mark.parametrize(
    ("vectors", "geometry", "says"),
    [
        ([[1, 2], [np.nan, 0]], "euclidean", "'img00001.jpg'.*NaN"),
        ([[1, 2], [np.inf, 0]], "euclidean", "'img00001.jpg'.*infinite"),
        ([[1, 2], [0, 0]], "cosine", "'img00001.jpg'.*zero"),
        ([[1, 2, 3], [1, 2, 3]], "euclidean", r"shape \(2, 3\)"),
    ],
)
def test_bad_vectors_are_refused_at_the_door(store, vectors, geometry, says):
    spec = EmbedderSpec("m", "", "l", 2, geometry)
    listed(store, rows(2))
    ids = [i.id for i in rows(2)]
    bad = Batch(ids, ["v1", "v1"], np.array(vectors, np.float32), [Facts()] * 2, [None] * 2)
    with pytest.raises(EmbedderError, match=says):
        store.append(DATASET, spec, bad)
    with pytest.raises(EmbedderError, match=says):
        store.import_vectors(DATASET, spec, ids, np.array(vectors, np.float32))
    assert store.specs() == []
    assert list((store.path / "segments").iterdir()) == []


def test_a_zero_row_is_a_point_of_euclidean_space(store):
    listed(store, rows(1))
    store.import_vectors(DATASET, SPEC, [rows(1)[0].id], np.zeros((1, 16), np.float32))
    assert not store.embeddings(DATASET, SPEC.fingerprint).vectors.any()


def test_rows_of_no_listing_are_refused(store):
    listed(store, rows(1))
    with pytest.raises(StoreError, match=r"'img00001.jpg' \(and 1 more\) is no row"):
        store.append(DATASET, SPEC, batch(rows(3)))
    with pytest.raises(StoreError, match="is in the batch twice"):
        store.append(DATASET, SPEC, batch(rows(1) * 2))
    with pytest.raises(StoreError, match="is in the batch twice"):
        store.append(DATASET, SPEC, batch(rows(1), failures=[Failure(rows(1)[0].id, "v1", "truncated")]))
    with pytest.raises(StoreError, match="columns of another length"):
        store.append(DATASET, SPEC, dataclasses.replace(batch(rows(1)), thumbs=[]))
    with pytest.raises(StoreError, match="is given twice"):
        store.import_vectors(DATASET, SPEC, [rows(1)[0].id] * 2, np.ones((2, 16), np.float32))
    assert list((store.path / "segments").iterdir()) == []


def test_imported_vectors_are_rows_of_the_dataset(store):
    listed(store, rows(3))
    ids = [i.id for i in reversed(rows(3))]
    vectors = np.array([vector_of(i, "v1") for i in ids])
    store.import_vectors(DATASET, SPEC, ids, vectors.astype(np.float16).astype(np.float32), codec="f16")
    (held,) = store.specs(DATASET)
    assert (held.rows, held.codec, held.imported) == (3, "f16", True)
    store.import_vectors(DATASET, SPEC, ids, vectors)
    assert assert_right(store) == 3


def test_many_small_segments_are_merged(store):
    items = rows(200)
    listed(store, items)
    for item in items:
        store.append(DATASET, SPEC, batch([item]))
    assert len(list((store.path / "segments").iterdir())) < 100
    assert assert_right(store) == 200
    assert store.verify() == []


@pytest.mark.parametrize("codec", ["f32", "f16", "int8"])
def test_rewriting_keeps_the_vectors_within_the_codec(store, codec):
    listed(store, rows(100))
    embed_all(store)
    before = store.embeddings(DATASET, SPEC.fingerprint).vectors
    old, new = store.rewrite(DATASET, SPEC.fingerprint, codec)
    assert (new < old) == (codec != "f32") or new < old
    assert [s.codec for s in store.specs()] == [codec]
    assert [c.name for c in store.codecs(DATASET, SPEC.fingerprint)] == [codec]
    after = store.embeddings(DATASET, SPEC.fingerprint).vectors
    np.testing.assert_allclose(after, before, atol={"f32": 0, "f16": 2e-3, "int8": 0.05}[codec])
    assert store.verify() == []
    listed(store, rows(120))
    embed_all(store, codec=codec)
    assert len(store.embeddings(DATASET, SPEC.fingerprint)) == 120
    assert sum(f.stat().st_size for f in (store.path / "segments").iterdir()) == store.specs()[0].size_bytes


def test_pruning_drops_superseded_versions_and_retired_rows(store):
    listed(store, rows(40))
    embed_all(store)
    listed(store, [*rows(10, version="v2"), *rows(20, start=10)])
    embed_all(store)
    assert store.prune() > 0
    assert store.prune() == 0
    assert assert_right(store) == 30
    assert store.verify() == []
    assert store.thumb(DATASET, "img00000.jpg") == b"JPEG img00000.jpg v2"
    listed(store, rows(40))
    assert len(store.missing(DATASET, SPEC)) == 20


def test_findings_are_kept_by_op_and_model(store):
    first = Findings("duplicates", {"duplicate": {"a": "kept", "b": "copy-of/a"}}, {"groups": [{"keep": "a"}]}, {"rows": 1})
    store.save_findings(DATASET, "f1", first)
    store.save_findings(DATASET, "f2", Findings("clusters", {"cluster": {"a": np.int64(1)}}, {"x": np.float32(0.5)}, {}))
    assert store.findings(DATASET, "f1") == {"duplicates": first}
    assert sorted(store.findings(DATASET)) == ["clusters", "duplicates"]
    assert store.previous(DATASET, "cluster") == {"a": 1}
    store.save_findings(DATASET, "f1", Findings("clusters", {"cluster": {"a": 2}}, {}, {}))
    assert store.previous(DATASET, "cluster") == {"a": 2}
    assert store.findings(DATASET)["clusters"].values == {"cluster": {"a": 2}}
    assert store.previous(DATASET, "sample") == {}


def test_small_results_are_cached(store):
    assert store.cached("k") is None
    store.keep("k", {"tau": 0.5, "ids": ["ü"]})
    assert store.cached("k") == {"tau": 0.5, "ids": ["ü"]}


def test_runs_have_folders_and_sort_by_time(store):
    made = [store.new_run(DATASET, "sync") for _ in range(3)]
    assert [r.id for r in made] == sorted({r.id for r in made})
    assert all(r.path.is_dir() for r in made)
    store.finish_run(made[0].id, "done", {"rows": 3})
    assert [(r.state, r.summary) for r in store.runs(DATASET)][:2] == [("done", {"rows": 3}), ("running", {})]
    assert store.run(made[0].id).finished is not None
    with pytest.raises(StoreError, match=made[2].id):
        store.run("nonsense")


def test_the_run_of_a_dead_writer_is_interrupted(tmp_path):
    with Store.open(tmp_path, write=True, create=True) as store:
        run = store.new_run(DATASET, "sync")
    with Store.open(tmp_path, write=True) as store:
        assert store.run(run.id).state == "interrupted"


def test_applied_changes_are_what_the_platform_accepted(store):
    run = store.new_run(DATASET, "apply").id
    changes = [Change("a", "cluster", None, 1, "because"), Change("b", "cluster", 2, 3)]
    store.record_applied(run, DATASET, changes, [Rejected("b", "cluster", "no such row")])
    assert store.applied(run) == changes[:1]
    store.record_applied(run, DATASET, [Change("b", "cluster", 2, 3), Change("a", "cluster", 1, 5)])
    assert store.applied(run) == [Change("a", "cluster", None, 5), Change("b", "cluster", 2, 3)]


def test_a_vector_is_pushed_once_per_target_and_version(store):
    listed(store, rows(3))
    embed_all(store)
    ids = [i.id for i in rows(3)]
    store.mark_pushed(DATASET, SPEC.fingerprint, "labelbox", ids[:2])
    assert store.unpushed(DATASET, SPEC.fingerprint, "labelbox") == ids[2:]
    assert store.unpushed(DATASET, SPEC.fingerprint, "fiftyone") == ids
    listed(store, rows(3, version="v2"))
    assert store.unpushed(DATASET, SPEC.fingerprint, "labelbox") == []
    embed_all(store)
    assert store.unpushed(DATASET, SPEC.fingerprint, "labelbox") == ids


def test_everything_is_there_after_reopening(tmp_path):
    with Store.open(tmp_path / "s", write=True, create=True) as store:
        listed(store, rows(30))
        embed_all(store)
    with Store.open(tmp_path / "s") as store:
        assert assert_right(store) == 30
        assert store.datasets() == [DATASET]


def test_a_reader_works_beside_the_writer(store):
    listed(store, rows(20))
    with Store.open(store.path) as reader:
        assert reader.count(DATASET) == 20
        embed_all(store)
        assert assert_right(reader) == 20
        store.rewrite(DATASET, SPEC.fingerprint, "f32")
        assert assert_right(reader) == 20
        with pytest.raises(StoreError, match="reading only"):
            reader.append(DATASET, SPEC, batch(rows(1)))


def test_a_second_writer_is_told_who_holds_the_lock(store):
    with pytest.raises(Locked, match=r"process \d+ on \S+ since 20") as caught:
        Store.open(store.path, write=True)
    assert caught.value.exit_code == 5


def test_a_store_that_is_not_there_says_what_to_do(tmp_path):
    for write in (False, True):
        with pytest.raises(StoreError, match="curate sync"):
            Store.open(tmp_path / "none", write=write)
    assert not (tmp_path / "none").exists()


def test_a_catalog_that_is_no_database_is_named(tmp_path):
    (tmp_path / "catalog.sqlite").write_bytes(b"not a database at all" * 100)
    for write in (False, True):
        with pytest.raises(Corrupt, match=r"catalog\.sqlite is damaged.*move it away"):
            Store.open(tmp_path, write=write)


def test_files_are_for_their_owner_only(store):
    listed(store, rows(3))
    embed_all(store)
    for path in [store.path, *store.path.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_the_lock_file_is_readable_json(store):
    holder = json.loads((store.path / "lock").read_text())
    assert {"pid", "host", "since", "start", "command"} <= holder.keys()


@pytest.mark.parametrize(("codec", "smaller"), [("int4", 6), ("tc:2", 6), ("tc:1", 7)])
def test_learned_codecs_hold_a_set(store, codec, smaller):
    spec = EmbedderSpec("wide", "", "projected", 64, "cosine")
    basis = np.random.default_rng(1).standard_normal((8, 64))
    vectors = (np.random.default_rng(0).standard_normal((5000, 8)) @ basis).astype(np.float32)
    items = rows(5000)
    listed(store, items)
    ids = [i.id for i in items]
    store.import_vectors(DATASET, spec, ids, vectors)
    old, new = store.rewrite(DATASET, spec.fingerprint, codec)
    assert old / new > smaller
    assert store.verify() == []
    held = store.embeddings(DATASET, spec.fingerprint).vectors
    cosine = 1 - spec.space.distance(held, vectors)
    assert cosine.mean() > 0.95
    np.testing.assert_allclose(np.sqrt((held**2).sum(1)), np.sqrt((vectors**2).sum(1)), rtol=2e-3)
    (used,) = store.codecs(DATASET, spec.fingerprint)
    assert used.name == codec and used.bound is not None
    store.import_vectors(DATASET, spec, ids[:400], vectors[:400], codec=codec)
    assert len(store.codecs(DATASET, spec.fingerprint)) == 1, "the fitted codec is used again"
    other = np.random.default_rng(5).standard_normal((400, 64)).astype(np.float32) * 5 + 9
    store.import_vectors(DATASET, spec, ids[:400], other, codec=codec)
    if codec.startswith("tc"):
        assert len(store.codecs(DATASET, spec.fingerprint)) == 2, "vectors of another shape are fitted anew"


def test_a_codec_that_cannot_hold_a_set_changes_nothing(store):
    listed(store, rows(30))
    embed_all(store)
    for codec, says in [("tc:2", "rows"), ("binary", "never the only copy"), ("zip", "unknown codec"), ("tc:9", "1 to 4 bits")]:
        with pytest.raises(ConfigError, match=says):
            store.rewrite(DATASET, SPEC.fingerprint, codec)
        with pytest.raises(ConfigError, match=says):
            store.append(DATASET, SPEC, batch(rows(3)), codec=codec)
    assert assert_right(store) == 30
    assert [s.codec for s in store.specs()] == ["f32"]


ODD = [
    'a"b',
    "new\nline",
    "back\\slash",
    "\x7f",
    "é",
    "😀",
    "\u2028",
    " z",
    "tab\t",
    "\x01",
    "\ufeffx",
    "nul\0x",
    "</script>",
    "'",
]


def test_rows_of_any_name_come_back_in_order_with_their_own_vectors(store, monkeypatch):
    monkeypatch.setattr("curate.store._current.CHUNK", 4)
    x = np.random.default_rng(0).normal(size=(len(ODD), SPEC.dim)).astype(np.float32)
    listed(store, [Item(i, i, f'v"{i}') for i in ODD])
    store.append(DATASET, SPEC, Batch(ODD, [f'v"{i}' for i in ODD], x, [Facts()] * len(ODD), [None] * len(ODD)))
    found = store.embeddings(DATASET, SPEC.fingerprint)
    assert found.ids == sorted(ODD) == store.embedded_ids(DATASET, SPEC.fingerprint)
    assert np.array_equal(found.vectors, x[[ODD.index(i) for i in found.ids]])
    pieces = list(store.blocks(DATASET, SPEC.fingerprint, rows=3))
    assert [i for piece in pieces for i in piece.ids] == found.ids
    assert np.array_equal(np.concatenate([piece.vectors for piece in pieces]), found.vectors)
    some = store.embeddings(DATASET, SPEC.fingerprint, ids=ODD[:5])
    assert np.array_equal(some.vectors, found.vectors[[found.ids.index(i) for i in some.ids]])
