"""kill -9 at seeded points of a sync: after the rerun the end state equals an uninterrupted run.

    python benchmarks/kill.py --points 50 --images 1000

Prints, per point: when the process was killed, how many vectors were committed by then, how many were computed twice; then the
worst of all.  Exits 1 when a state differs, a row is lost or more than one batch is computed again at one kill.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BATCH = 32
COUNTER = "CURATE_KILL_COUNTER"


class Counting:
    """The pixels embedder, writing the size of every batch it computes to a file that outlives a kill."""

    def __init__(self, **options: object) -> None:
        from curate import embedders

        inner = embedders.load("pixels", **options)
        self.inner, self.spec = inner, inner.spec

    def prepare(self, data: bytes) -> object:
        return self.inner.prepare(data)

    def embed(self, batch: object) -> np.ndarray:
        with Path(os.environ[COUNTER]).open("a") as file:
            file.write(f"{len(batch)}\n")
        return self.inner.embed(batch)


@dataclass
class Point:
    after_s: float
    committed: int
    computed_twice: int
    same: bool


def make_images(to: Path, count: int, seed: int = 0) -> None:
    """`count` small pictures, every tenth a copy of another."""
    rng = np.random.default_rng(seed)
    to.mkdir(parents=True)
    last = None
    for i in range(count):
        if i % 10 or last is None:
            coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
            last = Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)
            last.save(to / f"{i:05d}.png")
        else:
            last.save(to / f"{i:05d}.jpg", quality=60)


def command(images: Path, store: Path) -> list[str]:
    """The command line of one sync."""
    return [
        *(sys.executable, "-m", "curate", "sync", "--dataset", f"folder:{images}", "--store", str(store)),
        *("--model", "benchmarks.kill:Counting", "--batch-size", str(BATCH), "--sample", "10%", "--json", "-q"),
    ]


def environment(counter: Path) -> dict[str, str]:
    return {**os.environ, COUNTER: str(counter), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(images: Path, store: Path, counter: Path) -> dict:
    done = subprocess.run(
        command(images, store), env=environment(counter), cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    if done.returncode:
        raise SystemExit(f"sync failed with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def state(store: Path) -> dict:
    """What a sync leaves: vectors, results and the plan that is left (which must be empty)."""
    from curate.pipeline.plan import make_plan, plan_to_json
    from curate.store import Store

    with Store.open(store) as held:
        dataset = held.datasets()[0]
        spec = held.specs(dataset)[0].spec
        rows = held.embeddings(dataset, spec.fingerprint)
        findings = held.findings(dataset, spec.fingerprint)
        owned = {field for found in findings.values() for field in found.values}
        plan = plan_to_json(make_plan(held, dataset, findings=findings.values(), owned=owned, spec=spec))
        values = {name: {f: dict(v) for f, v in found.values.items()} for name, found in findings.items()}
        table = store / "results" / "curate.csv"
        with table.open(newline="", encoding="utf-8") as file:
            results = sorted(csv.reader(file))
        return {
            "ids": list(rows.ids),
            "vectors": rows.vectors.tobytes(),
            "findings": values,
            "results": results,
            "plan": plan,
            "failures": len(held.failures(dataset, spec.fingerprint)),
        }


def committed(store: Path) -> int:
    from curate.errors import CurateError
    from curate.store import Store

    try:
        with Store.open(store) as held:
            return sum(found.rows for name in held.datasets() for found in held.specs(name))
    except CurateError:
        return 0


def kill_at(images: Path, where: Path, after_s: float, wanted: dict) -> Point:
    """One killed sync and its rerun."""
    store, counter = where / "store", where / "counter"
    child = subprocess.Popen(
        command(images, store), env=environment(counter), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(after_s)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = committed(store)
    run(images, store, counter)
    computed = sum(int(line) for line in counter.read_text().split())
    return Point(after_s, before, computed - len(wanted["ids"]), state(store) == wanted)


def kill_points(points: int, images: int, seed: int = 0) -> list[Point]:
    """Kills at `points` moments spread over the length of an uninterrupted run."""
    work = Path(tempfile.mkdtemp(prefix="curate-kill-"))
    try:
        make_images(work / "images", images)
        # The first run pays for cold imports; the second tells how long a run lasts.
        for name in ("warm", "clean"):
            (work / name).mkdir()
            start = time.monotonic()
            run(work / "images", work / name / "store", work / name / "counter")
            length = time.monotonic() - start
        wanted = state(work / "clean" / "store")
        rng = random.Random(seed)
        found = []
        for number in range(points):
            where = work / f"point{number}"
            where.mkdir()
            # One moment in each of `points` equal slices: no stage is left out by luck.
            found.append(kill_at(work / "images", where, length * (number + rng.random()) / points, wanted))
            shutil.rmtree(where)
        return found
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labelbox", action="store_true", help="a sync of a Labelbox stand-in, with twice the rows")
    args = parser.parse_args()
    if args.labelbox:
        sys.path.insert(0, str(ROOT))
        from benchmarks import kill_labelbox

        return kill_labelbox.report(kill_labelbox.kill_points(args.points, 2 * args.images, args.seed))
    found = kill_points(args.points, args.images, args.seed)
    for point in found:
        print(
            f"killed after {point.after_s:5.2f} s: {point.committed:5d} committed, {point.computed_twice:3d} computed twice, "
            f"{'same end state' if point.same else 'DIFFERENT END STATE'}"
        )
    worst = max(point.computed_twice for point in found)
    print(
        f"{len(found)} kills, {sum(p.same for p in found)} same end states, at most {worst} computed twice (a batch is {BATCH})"
    )
    return 0 if all(p.same for p in found) and worst <= BATCH else 1


if __name__ == "__main__":
    sys.exit(main())
