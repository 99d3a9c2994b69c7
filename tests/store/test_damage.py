"""Single flipped bytes and truncations over every kind of file: named or harmless, never a silently wrong vector."""

import os
import shutil

import numpy as np
import pytest

from curate.errors import Corrupt, CurateError, StoreError, WrongVersion
from curate.store import Store
from tests.store.conftest import DATASET, SPEC, assert_right, batch, embed_all, listed, rows, vector_of

CODECS = {"f16": 2e-3, "int8": 0.05}


def make_store(path, codec="f32"):
    """A store with several segments, versions, thumbnails, and a write-ahead log that was never folded in."""
    with Store.open(path, write=True, create=True) as store:
        listed(store, rows(60))
        embed_all(store, size=25)
        listed(store, [*rows(10, version="v2"), *rows(50, start=10)])
    writer = Store.open(path, write=True)
    embed_all(writer)
    if codec != "f32":
        writer.rewrite(DATASET, SPEC.fingerprint, codec)
    listed(writer, [*rows(10, version="v2"), *rows(60, start=10)])
    embed_all(writer)
    return writer


def copied(tmp_path, codec="f32"):
    """Its files as a crash would leave them."""
    writer = make_store(tmp_path / "made", codec)
    shutil.copytree(tmp_path / "made", tmp_path / "crashed")
    writer.close()
    return tmp_path / "crashed"


def hurt(path, rng):
    data = bytearray(path.read_bytes())
    if rng.random() < 0.25:
        path.write_bytes(data[: int(rng.integers(len(data)))])
        return "cut"
    data[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
    path.write_bytes(data)
    return "flip"


def check(found, tolerance=0.0):
    """Every vector given is right for the id it is given under, at one of the versions that id ever had."""
    for item_id, vector in zip(found.ids, found.vectors, strict=True):
        right = min(np.abs(vector - vector_of(item_id, version)).max() for version in ("v1", "v2"))
        assert right <= tolerance, item_id


def read_everything(path, tolerance):
    """Reads through a reader and, after repair, a writer; returns whether anything was named."""
    named = False
    for write in (False, True):
        try:
            with Store.open(path, write=write) as store:
                versions = {i.id: i.version for i in store.items(DATASET)}
                for attempt in range(2):
                    try:
                        check(store.embeddings(DATASET, SPEC.fingerprint), tolerance)
                        for block in store.blocks(DATASET, SPEC.fingerprint, rows=16):
                            check(block, tolerance)
                        check(store.embeddings(DATASET, SPEC.fingerprint, ids=[r.id for r in rows(70)][::9]), tolerance)
                        for item_id in versions:
                            jpeg = store.thumb(DATASET, item_id)
                            assert jpeg is None or jpeg.startswith(f"JPEG {item_id} v".encode())
                        break
                    except CurateError:
                        named = True
                        if not write or attempt:
                            break
                        store.verify()
                        embed_all(store)
        except CurateError:
            named = True
    return named


@pytest.fixture(scope="module", params=["f32", "f16", "int8"])
def crashed(request, tmp_path_factory):
    return copied(tmp_path_factory.mktemp("damage"), request.param), CODECS.get(request.param, 0.0)


def kinds(path):
    return {
        "catalog": [path / "catalog.sqlite"],
        "log": [path / "catalog.sqlite-wal"],
        "segment": sorted((path / "segments").iterdir()),
        "thumbs": sorted((path / "thumbs").iterdir()),
        "lock": [path / "lock"],
    }


def run_damage(crashed, tmp_path, rng, trials):
    source, tolerance = crashed
    named = dict.fromkeys(kinds(source), 0)
    for trial in range(trials):
        path = tmp_path / str(trial)
        shutil.copytree(source, path)
        kind = list(named)[trial % len(named)]
        files = kinds(path)[kind]
        hurt(files[int(rng.integers(len(files)))], rng)
        named[kind] += read_everything(path, tolerance)
        shutil.rmtree(path)
    return named


def test_damage_is_never_a_silently_wrong_vector(crashed, tmp_path):
    named = run_damage(crashed, tmp_path, np.random.default_rng(1), 25)
    assert named["segment"] == 5, "every flip in a segment is named"


@pytest.mark.slow
def test_five_hundred_damages_are_never_a_silently_wrong_vector(crashed, tmp_path):
    named = run_damage(crashed, tmp_path, np.random.default_rng(2), 170)
    assert named["segment"] == 34
    assert named["thumbs"] > 17, "thumbnails of superseded versions are not read"


def test_every_byte_of_a_segment_is_covered(tmp_path):
    with Store.open(tmp_path, write=True, create=True) as store:
        listed(store, rows(3))
        embed_all(store)
        (file,) = (tmp_path / "segments").iterdir()
        data = file.read_bytes()
        for at in range(len(data)):
            file.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
            store._vectors.forget()
            with pytest.raises((Corrupt, WrongVersion), match=file.name):
                store.embeddings(DATASET, SPEC.fingerprint)


def test_a_damaged_segment_is_named_dropped_and_rebuilt(tmp_path):
    with Store.open(tmp_path, write=True, create=True) as store:
        listed(store, rows(30))
        embed_all(store)
        file = sorted((tmp_path / "segments").iterdir())[1]
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        with pytest.raises(Corrupt, match=file.name):
            store.embeddings(DATASET, SPEC.fingerprint)
        with Store.open(tmp_path) as reader:
            (line,) = reader.verify()
            assert file.name in line and "10 rows" in line
        assert store.verify() == [line]
        assert store.verify() == []
        assert not file.exists()
        assert len(store.missing(DATASET, SPEC)) == 10
        embed_all(store)
        assert assert_right(store) == 30


def test_a_lost_segment_is_named_dropped_and_rebuilt(tmp_path):
    with Store.open(tmp_path, write=True, create=True) as store:
        listed(store, rows(30))
        embed_all(store)
        file = sorted((tmp_path / "segments").iterdir())[0]
        file.unlink()
        with pytest.raises(Corrupt, match=rf"{file.name} is damaged: the file is missing"):
            store.embeddings(DATASET, SPEC.fingerprint)
        assert len(store.verify()) == 1
        assert embed_all(store) == 10
        assert assert_right(store) == 30


def test_damaged_thumbs_are_made_again(tmp_path):
    with Store.open(tmp_path, write=True, create=True) as store:
        listed(store, rows(30))
        embed_all(store)
        file = sorted((tmp_path / "thumbs").iterdir())[0]
        data = bytearray(file.read_bytes())
        data[12] ^= 1
        file.write_bytes(data)
        assert len(store.verify()) == 1
        assert embed_all(store) == 1
        assert store.verify() == []
        assert all(store.thumb(DATASET, i.id) == f"JPEG {i.id} v1".encode() for i in rows(30))


def test_a_segment_of_another_model_is_named(tmp_path):
    other = SPEC.__class__("pixels", "other", "grid", 16, "euclidean")
    with Store.open(tmp_path, write=True, create=True) as store:
        listed(store, rows(10))
        embed_all(store)
        (mine,) = (tmp_path / "segments").iterdir()
        embed_all(store, spec=other)
        (theirs,) = set((tmp_path / "segments").iterdir()) - {mine}
        shutil.copy(theirs, mine)
        with Store.open(tmp_path) as reader, pytest.raises(Corrupt, match=mine.name):
            reader.embeddings(DATASET, SPEC.fingerprint)
        store._db.run("UPDATE vector SET segment=(SELECT max(segment) FROM vector)")
        store._vectors.forget()
        with pytest.raises(Corrupt, match="another model"):
            store.embeddings(DATASET, SPEC.fingerprint)


@pytest.mark.parametrize("statement", ["slot=slot+1", "slot=-1", "slot=10000", "segment=999"])
def test_a_catalog_that_points_elsewhere_is_caught(tmp_path, statement):
    with Store.open(tmp_path, write=True, create=True) as store:
        listed(store, rows(10))
        embed_all(store)
        store._db.run(f"UPDATE vector SET {statement} WHERE row=4")
        with pytest.raises(Corrupt):
            store.embeddings(DATASET, SPEC.fingerprint)
        assert len(store.verify()) == 1
        assert embed_all(store) == 1
        assert assert_right(store) == 10


def test_rewriting_a_damaged_segment_changes_nothing(tmp_path):
    with Store.open(tmp_path, write=True, create=True) as store:
        listed(store, rows(30))
        embed_all(store)
        file = sorted((tmp_path / "segments").iterdir())[1]
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        names = sorted((tmp_path / "segments").iterdir())
        with pytest.raises(StoreError, match=file.name):
            store.rewrite(DATASET, SPEC.fingerprint, "int8")
        assert sorted((tmp_path / "segments").iterdir()) == names


def test_merging_waits_for_a_damaged_segment(tmp_path):
    with Store.open(tmp_path, write=True, create=True) as store:
        listed(store, rows(90))
        store.append(DATASET, SPEC, batch(rows(1)))
        (file,) = (tmp_path / "segments").iterdir()
        file.write_bytes(file.read_bytes()[:-1])
        for item in rows(80, start=1):
            store.append(DATASET, SPEC, batch([item]))
            store._vectors.forget()
        assert len(store.verify()) == 1
        embed_all(store)
        assert assert_right(store) == 90


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_catalog_that_is_gone_does_not_take_the_vectors_with_it(tmp_path, how):
    with Store.open(tmp_path, write=True, create=True) as store:
        listed(store, rows(10))
        embed_all(store)
    if how == "cut":
        (tmp_path / "catalog.sqlite").write_bytes(b"")
    else:
        (tmp_path / "catalog.sqlite").unlink()
    with pytest.raises(StoreError):
        Store.open(tmp_path)
    with pytest.raises(Corrupt, match=r"catalog\.sqlite is .* files of vectors are there"):
        Store.open(tmp_path, write=True, create=True)
    assert len(list((tmp_path / "segments").iterdir())) == 1


def test_a_quick_check_reads_only_files_that_look_changed(tmp_path, monkeypatch):
    from curate.store import _segments

    with Store.open(tmp_path, write=True, create=True) as store:
        listed(store, rows(30))
        embed_all(store)
        assert store.verify(DATASET, quick=True) == []
    read = []
    check = _segments.Segment.check_all
    monkeypatch.setattr(_segments.Segment, "check_all", lambda self: (read.append(self.path), check(self)))
    with Store.open(tmp_path, write=True) as store:
        assert store.verify(DATASET, quick=True) == [] and read == []
        file = sorted((tmp_path / "segments").iterdir())[0]
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        (line,) = store.verify(DATASET, quick=True)
        assert file.name in line and len(store.missing(DATASET, SPEC)) == 10


def test_a_quick_check_leaves_bytes_that_rotted_in_place_to_whoever_reads_them(tmp_path):
    with Store.open(tmp_path, write=True, create=True) as store:
        listed(store, rows(30))
        embed_all(store)
        store.verify(DATASET, quick=True)
        file = sorted((tmp_path / "segments").iterdir())[0]
        rot(file)
        store._vectors.forget()
        assert store.verify(DATASET, quick=True) == []
        with pytest.raises(Corrupt, match=f"{file.name}.*--verify"):
            store.embeddings(DATASET, SPEC.fingerprint)
        assert len(store.verify(DATASET)) == 1
        assert embed_all(store) == 10 and assert_right(store) == 30


def rot(file):
    """Flips a bit as a disk does: neither size nor time of the file change."""
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
