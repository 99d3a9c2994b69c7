"""Vectors in and out: every format gives back ids, vectors and spec; bad files are named with their row."""

import json

import numpy as np
import pytest

from curate.errors import ConfigError, StoreError
from curate.store import export_vectors, read_vectors
from curate.store._exchange import id_line
from curate.types import Item
from tests.store.conftest import DATASET, SPEC, embed_all, listed, rows

IDS = sorted(
    ["a\nb", '"quoted"', "", " edge ", "\ufeffbom", "ü", "\U0001f600.jpg", "plain.jpg", "cr\r", "comma,x", "null", "\u2028"]
)


@pytest.fixture
def filled(store):
    listed(store, [Item(i, i, "1") for i in IDS])
    embed_all(store)
    return store


@pytest.mark.parametrize("format", ["npy", "parquet", "safetensors"])
def test_what_is_exported_is_read_back(filled, tmp_path, format):
    files = export_vectors(filled, DATASET, SPEC.fingerprint, tmp_path / "out", format)
    assert sorted(files) == sorted((tmp_path / "out").iterdir())
    for path in (tmp_path / "out", files[0]):
        spec, ids, vectors = read_vectors(path)
        assert (spec, ids) == (SPEC, IDS)
        assert vectors.dtype == np.float32
        np.testing.assert_array_equal(vectors, filled.embeddings(DATASET, SPEC.fingerprint).vectors)
    assert export_vectors(filled, DATASET, SPEC.fingerprint, tmp_path / "out", format) == files


def test_other_programs_read_the_files(filled, tmp_path):
    import pyarrow.parquet as pq

    right = filled.embeddings(DATASET, SPEC.fingerprint).vectors
    for format in ("npy", "parquet", "safetensors"):
        export_vectors(filled, DATASET, SPEC.fingerprint, tmp_path, format)
    np.testing.assert_array_equal(np.load(tmp_path / "vectors.npy", allow_pickle=False), right)
    table = pq.read_table(tmp_path / "vectors.parquet")
    assert table["id"].to_pylist() == IDS
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), np.float32), right)
    numpy = pytest.importorskip("safetensors.numpy")
    np.testing.assert_array_equal(numpy.load_file(tmp_path / "vectors.safetensors")["vectors"], right)
    with pytest.raises(ConfigError, match="name one file"):
        read_vectors(tmp_path)


def test_files_of_other_programs_are_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    pq.write_table(pa.table({"vector": pa.array(list(x)), "id": ["b", "a"], "more": [1, 2]}), tmp_path / "x.parquet")
    spec, ids, vectors = read_vectors(tmp_path / "x.parquet", geometry="euclidean", name="mine")
    assert (spec.name, spec.geometry, spec.dim, ids) == ("mine", "euclidean", 3, ["b", "a"])
    np.testing.assert_array_equal(vectors, x)
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file({"other": x, "vectors": x.astype(np.float16)}, tmp_path / "x.safetensors")
    (tmp_path / "ids.txt").write_text("b\r\na\r\n")
    spec, ids, vectors = read_vectors(tmp_path / "x.safetensors", ids=tmp_path / "ids.txt", geometry="cosine", name="mine")
    assert (spec.dtype, ids, vectors.dtype) == ("fp16", ["b", "a"], np.float32)
    np.testing.assert_array_equal(vectors, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ">f4"])
def test_a_bare_array_with_ids_is_read(tmp_path, dtype):
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "ids.txt").write_text("c\na\nb\n", encoding="utf-8")
    spec, ids, vectors = read_vectors(tmp_path / "x.npy", ids=tmp_path / "ids.txt", geometry="cosine", name="theirs")
    assert (spec.name, spec.geometry, spec.dim, ids) == ("theirs", "cosine", 4, ["c", "a", "b"])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, x.astype(np.float32))


X = np.ones((3, 2), np.float32)
BAD = [
    (np.array([[1, 2], [3, np.nan], [5, 6]], np.float32), "a\nb\nc", r"row 1 \('b'\) has NaN"),
    (np.array([[1, 2], [3, 4], [np.inf, 6]], np.float16), "a\nb\nc", r"row 2 \('c'\) has NaN or infinite"),
    (np.array([[0, 0], [3, 4], [5, 6]], np.float32), "a\nb\nc", r"row 0 \('a'\) has only zeros"),
    (X.ravel(), "a\nb\nc", r"shape \(6,\)"),
    (X[:0], "", r"shape \(0, 2\)"),
    (X.astype(np.float64), "a\nb\nc", "float64; allowed: float32 and float16"),
    (X.astype(np.int32), "a\nb\nc", "int32; allowed"),
    (X, "a\nb", "2 ids for 3 vectors"),
    (X, "a\nb\nc\nd", "4 ids for 3 vectors"),
    (X, "a\nb\na", "the id 'a' of row 2 is that of row 0 too"),
    (X, "a\n\nc", "line 2 is empty"),
]


@pytest.mark.parametrize(("array", "ids", "says"), BAD, ids=[says for *_, says in BAD])
def test_bad_arrays_are_refused_naming_the_row(tmp_path, array, ids, says):
    np.save(tmp_path / "x.npy", array)
    (tmp_path / "ids.txt").write_text(ids)
    with pytest.raises(ConfigError, match=says):
        read_vectors(tmp_path / "x.npy", ids=tmp_path / "ids.txt", geometry="cosine", name="n")


def test_bad_files_are_refused(tmp_path):
    ids = tmp_path / "ids.txt"
    ids.write_text("a\nb\nc")
    np.save(tmp_path / "object.npy", np.array([{}, 1, 2], dtype=object), allow_pickle=True)
    np.save(tmp_path / "cut.npy", X)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-3])
    for kind in ("npy", "parquet", "safetensors"):
        (tmp_path / f"noise.{kind}").write_bytes(b"\x00noise" * 9)
        (tmp_path / f"empty.{kind}").write_bytes(b"")
    for name in ("object.npy", "cut.npy", "noise.npy", "noise.parquet", "noise.safetensors", "empty.npy", "empty.parquet",
                 "empty.safetensors", "none.npy", "x.csv"):  # fmt: skip
        with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
            read_vectors(tmp_path / name, ids=ids, geometry="cosine", name="n")
    np.save(tmp_path / "x.npy", X)
    for given, says in [
        ({}, "no ids beside it: say --ids"),
        ({"ids": ids}, "say --geometry"),
        ({"ids": ids, "geometry": "cosine"}, "say --name"),
        ({"ids": ids, "geometry": "round", "name": "n"}, "unknown geometry"),
        ({"ids": tmp_path / "none.txt", "geometry": "cosine", "name": "n"}, r"none\.txt"),
    ]:
        with pytest.raises(ConfigError, match=says):
            read_vectors(tmp_path / "x.npy", **given)


def test_an_edited_description_is_refused(filled, tmp_path):
    export_vectors(filled, DATASET, SPEC.fingerprint, tmp_path)
    about = json.loads((tmp_path / "spec.json").read_text())
    for change, says in [
        ({"spec": {**about["spec"], "geometry": "cosine"}}, "was edited"),
        ({"schema_version": 99}, "newer curate"),
        ({"rows": 3}, "its description says"),
        ({"spec": 3}, "is not the description"),
    ]:
        (tmp_path / "spec.json").write_text(json.dumps({**about, **change}))
        with pytest.raises(ConfigError, match=says):
            read_vectors(tmp_path)


def test_given_names_win_over_the_description(filled, tmp_path):
    export_vectors(filled, DATASET, SPEC.fingerprint, tmp_path)
    spec, _, _ = read_vectors(tmp_path, name="other", geometry="cosine")
    assert (spec.name, spec.geometry, spec.layer) == ("other", "cosine", SPEC.layer)


def test_a_large_export_is_streamed_in_order(store, tmp_path):
    listed(store, rows(9000))
    ids = [i.id for i in rows(9000)]
    vectors = np.random.default_rng(0).standard_normal((9000, 16)).astype(np.float32)
    store.import_vectors(DATASET, SPEC, ids, vectors)
    for format in ("npy", "parquet", "safetensors"):
        export_vectors(store, DATASET, SPEC.fingerprint, tmp_path / format, format)
        _, read_ids, read = read_vectors(tmp_path / format)
        assert read_ids == ids
        np.testing.assert_array_equal(read, vectors)


def test_there_is_nothing_to_export_without_vectors(store, tmp_path):
    listed(store, rows(2))
    with pytest.raises(StoreError, match="nothing to export"):
        export_vectors(store, DATASET, SPEC.fingerprint, tmp_path / "out")
    with pytest.raises(ConfigError, match="npy, parquet, safetensors"):
        export_vectors(store, DATASET, SPEC.fingerprint, tmp_path / "out", "csv")
    assert not (tmp_path / "out").exists()


def test_plain_ids_are_plain_lines():
    assert id_line("photos/it's a cat, or <b>.jpg") == "photos/it's a cat, or <b>.jpg"
    assert id_line("two\nlines") == '"two\\nlines"'
