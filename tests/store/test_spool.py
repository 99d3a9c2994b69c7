"""Batches that were computed and not committed: the next writer commits what a killed run left."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from curate.errors import StoreError
from curate.pipeline._flow import AHEAD
from curate.pipeline.sync import embed_missing
from curate.store import Store, _disk
from curate.types import EmbedderSpec, Failure, Item
from tests.store.conftest import DATASET, SPEC, assert_right, batch, listed, rows

ROOT = Path(__file__).parents[2]


def left(path):
    return sorted((path / "spool").iterdir())


@pytest.fixture
def path(tmp_path):
    """A store whose writer ended after it had spooled ten rows and committed none."""
    path = tmp_path / "store"
    with Store.open(path, write=True, create=True) as store:
        listed(store, rows(30))
        failure = Failure("img00029.jpg", "v1", "truncated", "cut", retry=True)
        store.spool(DATASET, SPEC, batch(rows(10), failures=[failure]))
    return path


def test_what_was_spooled_is_committed_by_the_next_writer(path):
    said = []
    with Store.open(path) as reader:
        assert not reader.specs(DATASET), "a reader changes nothing"
    with Store.open(path, write=True, notify=said.append) as store:
        assert assert_right(store) == 10 and not left(path)
        assert [f.retry for f in store.failures(DATASET, SPEC.fingerprint)] == [True]
        assert store.thumb(DATASET, "img00003.jpg") == b"JPEG img00003.jpg v1"
        assert store.facts(DATASET, ["img00003.jpg"])[0].width == 4
        assert store.verify() == []
    assert said == ["kept 10 rows that an interrupted run had computed"]


def test_a_commit_drops_what_was_spooled(path):
    with Store.open(path, write=True) as store:
        store.spool(DATASET, SPEC, batch(rows(5, start=10)))
        store.append(DATASET, SPEC, batch(rows(5, start=10)))
        assert not left(path)


def test_a_kill_between_the_commit_and_the_drop_changes_nothing(path):
    (spooled,) = left(path)
    again = spooled.read_bytes()
    Store.open(path, write=True).close()
    spooled.write_bytes(again)
    with Store.open(path, write=True) as store:
        assert assert_right(store) == 10 and store.verify() == [] and not left(path)


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-3], lambda d: d[:5], lambda d: b"", lambda d: d[:-1] + b"x", lambda d: bytes(len(d))]
)
def test_a_torn_file_is_computed_again(path, damage):
    (spooled,) = left(path)
    spooled.write_bytes(damage(spooled.read_bytes()))
    with Store.open(path, write=True) as store:
        assert not store.specs(DATASET) and not left(path)
        assert len(store.missing(DATASET, SPEC)) == 30


def test_rows_that_are_gone_are_said_and_dropped(path):
    with Store.open(path, write=True) as store:
        store.spool("folder:gone", SPEC, batch(rows(2)))
    said = []
    with Store.open(path, write=True, notify=said.append) as store:
        assert store.specs("folder:gone") == [] and not left(path)
    assert any("folder:gone" in line for line in said)


def test_a_full_disk_leaves_no_half_file(path, monkeypatch):
    def full(_fd, _data):
        raise OSError(28, "No space left on device")

    with Store.open(path, write=True) as store:
        monkeypatch.setattr(_disk, "write", full)
        with pytest.raises(StoreError, match="No space left"):
            store.spool(DATASET, SPEC, batch(rows(5, start=20)))
        assert not left(path)


class Rows:
    """What `embed_missing` asks of a connector."""

    def read(self, item):
        return item.id.encode()


class Computed:
    """An embedder that writes down what it computes, and may kill the process in the middle of a batch."""

    spec = EmbedderSpec("computed", "1", "x", 2, "euclidean", media="text")

    def __init__(self, path, kill_in):
        self.path, self.kill_in, self.calls = path, kill_in, 0

    def prepare(self, data):
        return data

    def embed(self, rows):
        with (self.path / "computed").open("a") as file:
            file.write(f"{len(rows)}\n")
        self.calls += 1
        if self.calls == self.kill_in:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.array([[len(data), sum(data)] for data in rows], np.float32)


def main(path, hang_in, kill_in):
    """Embeds with commits of which one hangs, until the device kills the process."""
    append, commits = Store.append, itertools.count(1)

    def hanging(self, *args, **more):
        if next(commits) == hang_in:
            time.sleep(60)
        append(self, *args, **more)

    Store.append = hanging
    with Store.open(path, write=True) as store:
        embed_missing(store, Rows(), DATASET, Computed(path, kill_in), batch_size=4)


@pytest.mark.parametrize("hang_in", [1, 3])
def test_a_kill_costs_the_batch_on_the_device_although_the_disk_lags_behind(tmp_path, hang_in):
    """The device is as far ahead of the commits as it may be, and the process dies in the middle of its batch."""
    path = tmp_path / "store"
    with Store.open(path, write=True, create=True) as store:
        listed(store, [Item(f"row{n:03d}", "", "v1", {}, "text") for n in range(40)])
    argv = [sys.executable, "-m", "tests.store.test_spool", str(path), str(hang_in), str(hang_in + AHEAD)]
    killed = subprocess.run(argv, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=50)
    assert killed.returncode == -signal.SIGKILL
    with Store.open(path) as store:
        committed = sum(held.rows for held in store.specs(DATASET))
    assert committed == 4 * (hang_in - 1) and len(left(path)) == AHEAD
    with Store.open(path, write=True) as store:
        assert embed_missing(store, Rows(), DATASET, Computed(path, 0), batch_size=4).seen == 40
    computed = sum(map(int, (path / "computed").read_text().split()))
    assert computed == 40 + 4, "more than the batch on the device was computed again"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
