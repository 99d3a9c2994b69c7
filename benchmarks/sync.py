"""What a sync costs when nothing, or little, has changed, and how much memory the stages after the embedding take.

    python benchmarks/sync.py                 # both parts
    python benchmarks/sync.py --rows 100000   # size of the memory part

Part 1: 10,000 small images with `--model pixels`: a first sync, one with nothing changed, one with 10 new files.
Part 2: N x 512 ready vectors: every stage after the embedding in a process of its own, peak resident memory of each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
LIMIT_GB = 1.5


RUN = """
import sys
from pathlib import Path
from curate.cli import main

code = main(sys.argv[1:])
for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmHWM"):
        print("\\npeak", line.split()[1], file=sys.stderr)
sys.exit(code)
"""
"""A command that says its own peak at the end: the ru_maxrss of a child begins at the size of the process that forked it."""


def curate(*args: object) -> tuple[dict, float, float]:
    """One command: its document, CPU seconds, peak memory in MB (resident, from /proc/self/status)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, args), "--json", "-q"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):  # 1: a gate failed
        raise SystemExit(f"curate {args[0]} failed: {done.stderr}")
    _, _, peak = done.stderr.rpartition("peak ")
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), seconds, int(peak) / 1024


def unchanged(work: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    images = work / "images"
    images.mkdir()
    for i in range(count):
        coarse = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(images / f"{i:06d}.png", compress_level=1)
    command = ("sync", "--dataset", f"folder:{images}", "--model", "pixels", "--store", work / "store")
    for name in ("first sync", "nothing changed", "10 new files"):
        if name == "10 new files":
            for i in range(10):
                Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(images / f"new{i}.png")
        results = work / "store" / "results"
        before = {p: p.stat().st_mtime_ns for p in results.rglob("*")} if results.exists() else {}
        document, seconds, memory = curate(*command)
        after = {p: p.stat().st_mtime_ns for p in results.rglob("*")}
        written = sum(before.get(p) != stamp for p, stamp in after.items())
        rows, plan = document["rows"], document["plan"]
        print(
            f"{name:16s} {rows['seen']:6d} seen {rows['embedded']:6d} embedded {plan['changes']:6d} changes "
            f"{written:3d} files written outward {seconds:7.1f} CPU s {memory:6.0f} MB"
        )


def memory(work: Path, count: int, without: list[str], dim: int = 512) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, dim)).astype(np.float32)
    vectors = np.empty((count, dim), np.float32)
    for start in range(0, count, 10_000):
        block = slice(start, min(start + 10_000, count))
        size = block.stop - block.start
        vectors[block] = centres[rng.integers(0, 200, size)] + rng.normal(size=(size, dim)).astype(np.float32)
        copies = size // 50
        vectors[start + copies : start + 2 * copies] = vectors[start : start + copies] + 1e-3
    np.save(work / "vectors.npy", vectors)
    (work / "ids.txt").write_text("".join(f"row{i:07d}\n" for i in range(count)))
    del vectors
    del centres
    (work / "curate.toml").write_text(
        '[connectors.folder]\ntext_field = "text"\n[check]\nmax_duplicate_rate = 1.0\nmax_failed_rate = 0.0\nmax_drift = 0.5\n'
    )
    shared = ("--store", work / "vector-store", "--config", work / "curate.toml")
    rows = ("--dataset", f"folder:{work / 'rows.csv'}", "--model", "mine")
    vectors = ("import-vectors", work / "vectors.npy", "--ids", work / "ids.txt", "--geometry", "cosine", "--name", "mine")
    alone = ("--dataset", "vectors:mine")
    steps = [
        ("import-vectors", *vectors[1:]),
        ("duplicates", *alone),
        ("clusters", *alone),
        ("sample", "--budget", "500", *alone),
        ("baseline", "save", *alone),
        ("check", *alone),
        ("report", "--to", work / "report.html", *alone),
        ("status",),
        # The same vectors for the rows of a table, which has a place to push to.
        (*vectors, "--media", "text", "--dataset", rows[1]),
        ("clusters", *rows),
        ("plan", *rows, "--to", work / "plan.json"),
        ("apply", work / "plan.json"),
        ("plan", *rows),
    ]
    peak = 0.0
    for step in steps:
        if step[0] in without:
            continue
        document, seconds, used = curate(*step, *shared)
        peak = max(peak, used)
        changes = f", {document['plan']['changes']:,} changes" if step[0] == "plan" else ""
        print(f"{step[0]:16s} {count:7d} x {dim}: {seconds:7.1f} CPU s, peak {used:6.0f} MB{changes}", flush=True)
    print(f"peak of all: {peak / 1024:.2f} GB (limit {LIMIT_GB} GB)")


def listing(work: Path, count: int) -> None:
    table = work / "rows.csv"
    with table.open("w") as file:
        file.write("id,text\n")
        file.writelines(f"row{i:07d},some words about picture number {i}\n" for i in range(count))
    peaks = {}
    for name, path in (("one row", work / "small.csv"), ("all rows", table)):
        if name == "one row":
            path.write_text("id,text\nrow1,words\n")
        store = work / path.stem
        document, seconds, used = curate(
            "pull", "--dataset", f"folder:{path}", "--config", work / "text.toml", "--store", store
        )
        peaks[name] = used
        print(f"{'pull':16s} {document['rows']['seen']:7d} rows: {seconds:7.1f} CPU s, peak {used:6.0f} MB", flush=True)
    print(f"listing {count:,} rows takes {peaks['all rows'] - peaks['one row']:.0f} MB more than listing one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--without", action="append", default=[], metavar="VERB", help="leave a step of part 2 out")
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="curate-sync-"))
    (work / "text.toml").write_text('[connectors.folder]\ntext_field = "text"\n')
    try:
        if args.images:
            unchanged(work, args.images)
        if args.rows:
            listing(work, args.rows)
            memory(work, args.rows, args.without)
        print(f"peak of this script itself: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
