"""Kills a process at a chosen event (a write, fsync, rename or SQL statement) of one act on a store, and checks what is left.

As a program: `python -m tests.store.crash STORE ACT EVENT`; EVENT 0 counts them.  Used by the slow tests and by
benchmarks/store.py.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from curate.store import Store, _disk
from tests.store.conftest import DATASET, SPEC, assert_right, batch, embed_all, listed, rows

ROOT = Path(__file__).parents[2]
ACTS = ("append", "upsert", "rewrite", "prune")
ROWS = 200


def prepare(path):
    """A store with superseded versions and many segments, one short of a merge."""
    with Store.open(path, write=True, create=True) as store:
        listed(store, rows(ROWS))
        embed_all(store, size=20)
        listed(store, [*rows(40, version="v2"), *rows(ROWS - 40, start=40)])
        for item in rows(40, version="v2"):
            store.append(DATASET, SPEC, batch([item]))


def act(store, name, told=lambda _line: None):
    """The act: spool and append new rows in batches, replace rows, change the codec, drop dead rows."""
    if name == "append":
        listed(store, [*rows(40, version="v2"), *rows(ROWS + 60, start=40)])
        for item in store.missing(DATASET, SPEC):
            store.spool(DATASET, SPEC, batch([item]))
            told(item.id)
            store.append(DATASET, SPEC, batch([item]))
    if name == "upsert":
        listed(store, [*rows(80, version="v3"), *rows(ROWS - 80, start=80)])
        todo = store.missing(DATASET, SPEC)
        for at in range(0, len(todo), 10):
            store.append(DATASET, SPEC, batch(todo[at : at + 10]))
            for item in todo[at : at + 10]:
                told(item.id)
    if name == "rewrite":
        store.rewrite(DATASET, SPEC.fingerprint, "f32")
    if name == "prune":
        store.prune()


class Events:
    """Counts events, and dies at one of them."""

    def __init__(self, store, die_at):
        self.count, self.die_at = 0, die_at
        for name in ("write", "fsync", "rename"):
            setattr(_disk, name, self._wrap(getattr(_disk, name)))
        store._db._db.set_trace_callback(lambda _sql: self.step())

    def _wrap(self, real):
        def call(*args):
            self.step()
            return real(*args)

        return call

    def step(self):
        self.count += 1
        if self.count == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def main(path, name, die_at):
    store = Store.open(Path(path), write=True)
    events = Events(store, int(die_at))
    act(store, name, lambda line: print(line, flush=True))
    store._db._db.set_trace_callback(None)
    print(f"events {events.count}", flush=True)
    store.close()


def run(path, name, die_at):
    """Runs `main` in a process; returns its exit status and the lines it said."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.crash", str(path), name, str(die_at)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, done.stdout.splitlines()


def check_recovery(path, name, acknowledged):
    """Opens what a killed act left, checks and finishes it; returns the seconds recovery took."""
    began = time.perf_counter()
    store = Store.open(path, write=True)
    seconds = time.perf_counter() - began
    with store:
        versions = {i.id: i.version for i in store.items(DATASET)}
        have = set(store.embedded_ids(DATASET, SPEC.fingerprint))
        assert set(acknowledged) <= have, "a committed row was lost"
        if name in ("rewrite", "prune"):
            assert have == set(versions), "a committed row was lost"
        assert_right(store)
        assert store.verify() == []
        named = {f for (f,) in store._db.rows("SELECT file FROM segment UNION ALL SELECT file FROM pack")}
        assert named == {f.name for folder in ("segments", "thumbs") for f in (path / folder).iterdir()}
        assert not list((path / "spool").iterdir())
        act(store, name)
        assert assert_right(store) == store.count(DATASET) == (ROWS + 100 if name == "append" else ROWS)
        assert store.missing(DATASET, SPEC) == []
    return seconds


if __name__ == "__main__":
    main(*sys.argv[1:])
