"""A disk that fails at any call: nothing half-written under a final name, an error that names the path, nothing lost."""

import errno
import os
import sqlite3

import pytest

from curate.errors import StoreError
from curate.store import Store, _disk
from curate.store._segments import read_head
from tests.store.conftest import DATASET, SPEC, assert_right, batch, embed_all, listed, rows


class Disk:
    """Lets the n-th call of write, fsync or rename fail; counts calls when n is None."""

    def __init__(self, monkeypatch, code=errno.ENOSPC):
        self.calls, self.fail_at, self.code = 0, None, code
        for name in ("write", "fsync", "rename"):
            monkeypatch.setattr(_disk, name, self._wrap(getattr(_disk, name)))

    def _wrap(self, real):
        def call(*args):
            self.calls += 1
            if self.calls == self.fail_at:
                raise OSError(self.code, os.strerror(self.code))
            return real(*args)

        return call

    def count(self, act):
        self.calls, self.fail_at = 0, None
        act()
        return self.calls


def act_append(store):
    store.append(DATASET, SPEC, batch(rows(5, start=20)))


def act_rewrite(store):
    store.rewrite(DATASET, SPEC.fingerprint, "f32")


def act_prune(store):
    store.prune()


def act_merge(store):
    for item in rows(66, start=20):
        store.append(DATASET, SPEC, batch([item]))


ACTS = {"append": act_append, "rewrite": act_rewrite, "prune": act_prune, "merge": act_merge}


def prepared(path):
    store = Store.open(path, write=True, create=True)
    listed(store, rows(20))
    embed_all(store)
    listed(store, [*rows(3, version="v2"), *rows(87, start=3)])
    store.append(DATASET, SPEC, batch(rows(3, version="v2")))
    return store


def sound(store):
    """No file under a final name is partial; what is committed is right."""
    for file in (store.path / "segments").iterdir():
        assert file.suffix == ".seg"
        read_head(file)
    assert not list(store.path.rglob("*.tmp"))
    assert store.verify() == []
    return assert_right(store)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("name", ["append", "rewrite", "prune"])
def test_a_disk_that_fails_at_any_call_loses_nothing(tmp_path, monkeypatch, name, code):
    act = ACTS[name]
    disk = Disk(monkeypatch, code)
    with prepared(tmp_path / "count") as store:
        calls = disk.count(lambda: act(store))
    assert calls >= 4
    for number in range(1, calls + 1):
        with prepared(tmp_path / str(number)) as store:
            before = sound(store)
            disk.calls, disk.fail_at = 0, number
            with pytest.raises(
                StoreError, match=rf"cannot write {store.path}/(segments|thumbs)/\w+\.(seg|pack): {os.strerror(code)}"
            ):
                act(store)
            disk.fail_at = None
            assert sound(store) == before
            act(store)
            assert sound(store) >= before


def test_a_disk_that_fails_while_merging_loses_nothing(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    with prepared(tmp_path / "s") as store:
        for item in rows(64, start=20):
            store.append(DATASET, SPEC, batch([item]))
        real = disk.count(lambda: store.append(DATASET, SPEC, batch(rows(1, start=84))))
        for number in range(1, real + 1):
            disk.calls, disk.fail_at = 0, number
            with pytest.raises(StoreError, match="cannot write"):
                store.append(DATASET, SPEC, batch(rows(1, start=85)))
            assert sound(store) in (85, 86)
        disk.fail_at = None
        store.append(DATASET, SPEC, batch(rows(1, start=85)))
        assert sound(store) == 86


def test_short_writes_are_completed(tmp_path, monkeypatch):
    monkeypatch.setattr(_disk, "write", lambda fd, data: os.write(fd, data[: max(1, len(data) // 2)]))
    with prepared(tmp_path) as store:
        assert sound(store) == 20


def test_a_full_catalog_keeps_what_was_committed(tmp_path):
    with prepared(tmp_path) as store:
        pages = store._db.value("PRAGMA page_count")
        store._db.run(f"PRAGMA max_page_count={pages}")
        with pytest.raises(StoreError, match=r"catalog\.sqlite.*full"):
            listed(store, [*rows(90), *rows(5000, start=1000)])
        with pytest.raises(StoreError, match=r"catalog\.sqlite.*full"):
            for n in range(50):
                store.keep(f"key {n}", "x" * 100_000)
        assert store.count(DATASET) == 90
        assert sound(store) == 20
        store._db.run("PRAGMA max_page_count=1000000")
        listed(store, rows(5000))
        assert store.count(DATASET) == 5000


def test_a_batch_whose_transaction_fails_is_not_there(tmp_path, monkeypatch):
    with prepared(tmp_path) as store:
        real = store._db.many

        def fail(sql, params):
            if "INTO fact" in sql:
                raise store._db._explain(sqlite3.OperationalError("disk I/O error"))
            return real(sql, params)

        monkeypatch.setattr(store._db, "many", fail)
        with pytest.raises(StoreError):
            act_append(store)
        monkeypatch.undo()
        assert sound(store) == 20
    told = []
    with Store.open(tmp_path, write=True, notify=told.append) as store:
        assert "removed 2 unfinished files" in told[0]
        act_append(store)
        assert sound(store) == 25


def test_recovery_leaves_other_peoples_files_alone(tmp_path):
    prepared(tmp_path).close()
    mine = [tmp_path / "thumbs" / "holiday.pack", tmp_path / "segments" / "notes.tmp"]
    ours = [tmp_path / "segments" / f"{'a' * 32}.seg", tmp_path / "thumbs" / f"{'b' * 32}.pack.tmp"]
    for path in mine + ours:
        path.write_bytes(b"x")
    with Store.open(tmp_path, write=True) as store:
        assert all(path.exists() for path in mine)
        assert not any(path.exists() for path in ours)
        assert assert_right(store) == 20


def test_a_plan_is_durable_before_it_is_pushed(tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    with prepared(tmp_path) as store:
        run = store.new_run(DATASET, "apply")
        assert disk.count(lambda: run.write("plan.json", '{"é": 1}')) >= 4  # written, synced, renamed, its folder synced
        assert (run.path / "plan.json").read_text(encoding="utf-8") == '{"é": 1}'
        disk.calls, disk.fail_at = 0, 2
        with pytest.raises(StoreError, match="plan"):
            run.write("other-plan.json", "{}")
        assert [p.name for p in run.path.iterdir()] == ["plan.json"]
