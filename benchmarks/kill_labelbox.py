"""kill -9 at seeded points of a Labelbox sync against the stand-in: the rerun ends where an uninterrupted run ends.

    python benchmarks/kill_labelbox.py --points 50 --rows 2000        (also: python benchmarks/kill.py --labelbox)

The sync pushes vectors, fields and a batch of 1,200 rows.  Prints, per point: when the process was killed, how many vectors
were computed twice, and how many vectors and metadata rows the platform was sent twice.  Exits 1 when a state differs, a kill
came too late, or more than one batch was computed or one chunk sent again at one kill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.kill import BATCH, COUNTER  # noqa: E402
from tests.fakes.labelbox_server import LabelboxServer  # noqa: E402

CHUNK = 1000


@dataclass
class Point:
    moment: Moment
    computed_twice: int
    vectors_twice: int
    metadata_twice: int
    same: bool
    alive: bool  # whether the kill hit a running sync

    @property
    def fine(self) -> bool:
        return (
            self.alive
            and self.same
            and self.computed_twice <= BATCH
            and self.vectors_twice <= CHUNK
            and self.metadata_twice <= CHUNK
        )


def make_box(rows: int) -> tuple[LabelboxServer, str]:
    """A stand-in with `rows` pictures, every tenth a copy of another; the same ids every time."""
    box = LabelboxServer(plan="enterprise")
    box.__enter__()
    dataset = box.state.add_dataset()
    box.state.add_project()
    for number in range(rows):
        box.state.add_row(dataset, f"img/{number - number % 10 if number % 10 == 9 else number}.png")
    # Writes take a while, so that kills hit them too: before, and after they were applied.
    box.faults.add("UpsertDataRowMetadataBetaPyApi", "slow", times=None, seconds=0.4)
    box.faults.add("import_vectors", "slow", times=None, seconds=1.0)
    return box, dataset


class Nursery:
    """Starts syncs by forking a process that has imported everything: a third of a run would be imports."""

    CODE = """
import json, os, sys
import cv2, labelbox, pyarrow, scipy.stats, sklearn.cluster, tenacity
import benchmarks.kill, connectors.labelbox
from curate.cli import main
for line in sys.stdin:
    told = json.loads(line)
    if "wait" in told:
        print(os.waitstatus_to_exitcode(os.waitpid(told["wait"], 0)[1]), flush=True)
        continue
    child = os.fork()
    if child:
        print(child, flush=True)
        continue
    os.environ.update(told["env"])
    for stream, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY | os.O_CREAT | os.O_APPEND)):
        os.dup2(os.open(told["log"] if stream == 2 else os.devnull, flags, 0o600), stream)
    os._exit(main(told["argv"]))
"""

    def __enter__(self) -> Nursery:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"}
        argv = [sys.executable, "-c", self.CODE]
        self._process = subprocess.Popen(argv, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def ask(self, **told: object) -> int:
        """A number: the id of a new process, or the status of one that ended."""
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Child:
    """One sync of a stand-in."""

    def __init__(self, nursery: Nursery, box: LabelboxServer, dataset: str, where: Path) -> None:
        argv = [
            *("sync", "--dataset", f"labelbox:{dataset}", "--store", str(where / "store"), "--yes", "--json", "-q"),
            *("--model", "benchmarks.kill:Counting", "--batch-size", str(BATCH), "--sample", "60%"),
            *("--batch", next(iter(box.state.projects)), "--allow-host", "127.0.0.1", "--config", str(where / "curate.toml")),
        ]
        (where / "curate.toml").write_text('[connectors.labelbox]\nplan = "enterprise"\n')
        told = {"LABELBOX_API_KEY": box.key, "LABELBOX_ENDPOINT": box.endpoint, COUNTER: str(where / "counter")}
        self._nursery, self._log = nursery, where / "log"
        self.pid = nursery.ask(argv=argv, env=told, log=str(self._log))

    @property
    def alive(self) -> bool:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"

    def kill(self) -> bool:
        """Whether it was still running."""
        alive = self.alive
        os.kill(self.pid, signal.SIGKILL)
        return self._nursery.ask(wait=self.pid) == -signal.SIGKILL and alive

    def finish(self) -> None:
        status = self._nursery.ask(wait=self.pid)
        if status:
            raise SystemExit(f"sync failed with {status}: {self._log.read_text()[-2000:]}")


def computed(where: Path) -> int:
    return sum(int(line) for line in (where / "counter").read_text().split())


@dataclass
class Moment:
    """When to kill: so long after so many requests were answered, which is the same stage whatever the load."""

    requests: int
    then_s: float

    def wait(self, box: LabelboxServer, child: Child) -> None:
        while box.calls() < self.requests and child.alive:
            time.sleep(0.003)
        time.sleep(self.then_s)


def moments(log: Iterable[tuple[float, str, int]], ended: float, points: int, rng: random.Random) -> Iterator[Moment]:
    """One in each of `points` equal slices of an uninterrupted run: no stage is left out by luck."""
    times = sorted(at for at, _, _ in log)
    for number in range(points):
        at = times[0] + (ended - times[0]) * (number + rng.random()) / points
        before = sum(t <= at for t in times)
        yield Moment(before, at - times[before - 1])


def kill_points(points: int, rows: int, seed: int = 0) -> Iterator[Point]:
    """Kills, one after the other, at `points` moments spread over an uninterrupted run."""
    work = Path(tempfile.mkdtemp(prefix="curate-kill-labelbox-"))
    try:
        with Nursery() as nursery:
            (work / "clean").mkdir()
            box, dataset = make_box(rows)
            Child(nursery, box, dataset, work / "clean").finish()
            clean = box.state
            wanted = clean.digest(), computed(work / "clean"), clean.vector_writes, clean.metadata_writes
            chosen = list(moments(box.log, time.monotonic(), points, random.Random(seed)))
            box.__exit__()
            for number, moment in enumerate(chosen):
                yield killed_at(moment, rows, work / f"point{number}", nursery, wanted)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def killed_at(moment: Moment, rows: int, where: Path, nursery: Nursery, wanted: tuple[str, int, int, int]) -> Point:
    """One killed sync and its rerun.  Where the sync was quicker than the kill, once more with half the wait."""
    for _ in range(6):
        where.mkdir()
        box, dataset = make_box(rows)
        child = Child(nursery, box, dataset, where)
        moment.wait(box, child)
        alive = child.kill()
        if alive:
            break
        box.__exit__()
        shutil.rmtree(where)
        moment = Moment(moment.requests, moment.then_s / 2)
    Child(nursery, box, dataset, where).finish()
    done = box.state
    found = Point(
        moment,
        computed(where) - wanted[1],
        done.vector_writes - wanted[2],
        done.metadata_writes - wanted[3],
        done.digest() == wanted[0],
        alive,
    )
    box.__exit__()
    shutil.rmtree(where)
    return found


def report(points: Iterable[Point]) -> int:
    found = []
    for p in points:
        found.append(p)
        print(
            f"killed {p.moment.then_s:4.2f} s after request {p.moment.requests:4d}: "
            f"{p.computed_twice:3d} computed twice, {p.vectors_twice:4d} vectors and "
            f"{p.metadata_twice:4d} metadata rows sent twice, {'same end state' if p.same else 'DIFFERENT END STATE'}",
            flush=True,
        )
    worst = [max(getattr(p, name) for p in found) for name in ("computed_twice", "vectors_twice", "metadata_twice")]
    same = sum(p.same for p in found)
    hit = sum(p.alive for p in found)
    print(f"{hit} of {len(found)} kills hit a running sync; {same} same end states;")
    print(f"at most {worst[0]} computed twice (a batch is {BATCH}),")
    print(f"{worst[1]} vectors and {worst[2]} metadata rows sent twice (a chunk is {CHUNK})")
    return 0 if all(p.fine for p in found) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    return report(kill_points(args.points, args.rows, args.seed))


if __name__ == "__main__":
    sys.exit(main())
