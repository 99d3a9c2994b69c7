"""kill -9 at seeded points of a Labelbox sync against the stand-in: the rerun ends where an uninterrupted run ends.

    python benchmarks/kill_labelbox.py --points 50 --rows 2000        (also: python benchmarks/kill.py --labelbox)

Prints, per point: when the process was killed, how many vectors were computed twice, and how many vectors and metadata rows the
platform was sent twice.  Exits 1 when a state differs, or more than one batch was computed or one chunk sent again at one kill.
"""

from __future__ import annotations

import argparse
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
    after_s: float
    computed_twice: int
    vectors_twice: int
    metadata_twice: int
    same: bool
    alive: bool  # False when the sync had ended before the kill

    @property
    def fine(self) -> bool:
        return self.same and self.computed_twice <= BATCH and self.vectors_twice <= CHUNK and self.metadata_twice <= CHUNK


def make_box(rows: int) -> tuple[LabelboxServer, str]:
    """A stand-in with `rows` pictures, every tenth a copy of another; the same ids every time."""
    box = LabelboxServer(plan="enterprise")
    box.__enter__()
    dataset = box.state.add_dataset()
    for number in range(rows):
        box.state.add_row(dataset, f"img/{number - number % 10 if number % 10 == 9 else number}.png")
    # Writes take a while, so that kills hit them too: before, and after they were applied.
    box.faults.add("UpsertDataRowMetadataBetaPyApi", "slow", times=None, seconds=0.4)
    box.faults.add("import_vectors", "slow", times=None, seconds=1.0)
    return box, dataset


def start(box: LabelboxServer, dataset: str, where: Path) -> subprocess.Popen:
    argv = [
        *(sys.executable, "-m", "curate", "sync", "--dataset", f"labelbox:{dataset}", "--store", str(where / "store"), "--yes"),
        *("--model", "benchmarks.kill:Counting", "--batch-size", str(BATCH), "--sample", "10%", "--json", "-q"),
        *("--allow-host", "127.0.0.1", "--config", str(where / "curate.toml")),
    ]
    (where / "curate.toml").write_text('[connectors.labelbox]\nplan = "enterprise"\n')
    told = {"LABELBOX_API_KEY": box.key, "LABELBOX_ENDPOINT": box.endpoint, COUNTER: str(where / "counter")}
    env = {**os.environ, **told, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1"}
    return subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(child: subprocess.Popen) -> None:
    _, err = child.communicate(timeout=600)
    if child.returncode:
        raise SystemExit(f"sync failed with {child.returncode}: {err}")


def computed(where: Path) -> int:
    return sum(int(line) for line in (where / "counter").read_text().split())


def kill_points(points: int, rows: int, seed: int = 0) -> Iterator[Point]:
    """Kills, one after the other, at `points` moments spread over the length of an uninterrupted run."""
    work = Path(tempfile.mkdtemp(prefix="curate-kill-labelbox-"))
    try:
        for name in ("warm", "clean"):
            (work / name).mkdir()
            box, dataset = make_box(rows)
            began = time.monotonic()
            finish(start(box, dataset, work / name))
            length = time.monotonic() - began
            wanted = box.state.digest(), computed(work / name), box.state.vector_writes, box.state.metadata_writes
            box.__exit__()
        rng = random.Random(seed)
        for number in range(points):
            where = work / f"point{number}"
            where.mkdir()
            # One moment in each of `points` equal slices: no stage is left out by luck.
            after = length * (number + rng.random()) / points
            box, dataset = make_box(rows)
            child = start(box, dataset, where)
            time.sleep(after)
            alive = child.poll() is None
            child.send_signal(signal.SIGKILL)
            child.communicate()
            finish(start(box, dataset, where))
            done = box.state
            yield Point(
                after,
                computed(where) - wanted[1],
                done.vector_writes - wanted[2],
                done.metadata_writes - wanted[3],
                done.digest() == wanted[0],
                alive,
            )
            box.__exit__()
            shutil.rmtree(where)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def report(points: Iterable[Point]) -> int:
    found = []
    for p in points:
        found.append(p)
        print(
            f"killed after {p.after_s:5.2f} s: {p.computed_twice:3d} computed twice, {p.vectors_twice:4d} vectors and "
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
