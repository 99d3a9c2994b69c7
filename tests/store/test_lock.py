"""One writer: who is told what, and when a dead holder's lock is taken over."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curate.errors import Locked
from curate.store import Store
from curate.store._lock import WriteLock

ROOT = Path(__file__).parents[2]
HOLD = """
import os, sys, time
from pathlib import Path
from curate.store import Store
store = Store.open(Path(sys.argv[1]), write=True, create=True)
if sys.argv[2] == "orphan" and os.fork() == 0:
    os.setsid()
    print(os.getpid(), flush=True)
    time.sleep(60)
if sys.argv[2] == "hold":
    print(os.getpid(), flush=True)
time.sleep(60)
"""
RACE = """
import sys, time
from pathlib import Path
from curate.errors import Locked
from curate.store._lock import WriteLock
path, start = Path(sys.argv[1]), Path(sys.argv[2])
print("ready", flush=True)
while not start.exists():
    time.sleep(0.001)
lock = WriteLock(path)
try:
    lock.acquire()
    print("won", flush=True)
    time.sleep(3)
except Locked as err:
    print("lost", err, flush=True)
"""


def child(code, *args):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def end(*processes):
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_holder_is_named_and_its_death_frees_the_lock_at_once(tmp_path):
    holder = child(HOLD, tmp_path, "hold")
    try:
        pid = int(holder.stdout.readline())
        with pytest.raises(Locked, match=rf"process {pid} on .* since .* \(-c "):
            Store.open(tmp_path, write=True)
        holder.kill()
        holder.wait()
        began = time.monotonic()
        with Store.open(tmp_path, write=True):
            assert time.monotonic() - began < 1
    finally:
        end(holder)


def test_a_forked_child_of_a_dead_holder_does_not_keep_the_lock(tmp_path):
    holder = child(HOLD, tmp_path, "orphan")
    orphan = int(holder.stdout.readline())
    try:
        with pytest.raises(Locked):
            Store.open(tmp_path, write=True)
        holder.kill()
        holder.wait()
        with Store.open(tmp_path, write=True), pytest.raises(Locked, match=f"process {os.getpid()} "):
            Store.open(tmp_path, write=True)
    finally:
        os.kill(orphan, signal.SIGKILL)
        end(holder)


@pytest.mark.parametrize(
    ("change", "taken"), [({}, False), ({"start": "1"}, True), ({"where": "elsewhere"}, False), (None, False)]
)
def test_a_reused_pid_is_recognised_and_other_hosts_are_believed(tmp_path, change, taken):
    mine = WriteLock(tmp_path / "lock")
    mine.acquire()
    content = json.loads((tmp_path / "lock").read_text())
    mine.release()
    with (tmp_path / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if change is not None:
            json.dump({**content, **change}, held)
            held.flush()
        other = WriteLock(tmp_path / "lock")
        if taken:
            other.acquire()
            other.release()
        else:
            with pytest.raises(Locked):
                other.acquire()


def test_the_lock_is_free_after_closing_and_after_a_failed_open(tmp_path):
    for _ in range(2):
        Store.open(tmp_path, write=True, create=True).close()
    (tmp_path / "catalog.sqlite").write_bytes(b"damaged " * 512)
    for _ in range(2):
        with pytest.raises(Exception, match=r"catalog\.sqlite is damaged"):
            Store.open(tmp_path, write=True)


@pytest.mark.slow
@pytest.mark.parametrize("before", ["nothing", "a dead holder", "an orphan of a dead holder"])
def test_of_twenty_processes_exactly_one_wins(tmp_path, before):
    (tmp_path / "s").mkdir()
    orphan = None
    if before != "nothing":
        holder = child(HOLD, tmp_path / "s", "orphan" if "orphan" in before else "hold")
        pid = int(holder.stdout.readline())
        orphan = pid if "orphan" in before else None
        end(holder)
    racers = [child(RACE, tmp_path / "s" / "lock", tmp_path / "start") for _ in range(20)]
    try:
        assert all(r.stdout.readline() == "ready\n" for r in racers)
        (tmp_path / "start").touch()
        said = [r.stdout.readline() for r in racers]
        winner = [r.pid for r, line in zip(racers, said, strict=True) if line == "won\n"]
        assert len(winner) == 1
        assert all(f"process {winner[0]} on" in line for line in said if line.startswith("lost"))
    finally:
        end(*racers)
        if orphan:
            os.kill(orphan, signal.SIGKILL)
