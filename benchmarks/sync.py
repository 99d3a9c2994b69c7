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
import time
from pathlib import Path

import numpy as np
from PIL import Image

LIMIT_GB = 1.5


def curate(*args: object) -> tuple[dict, float, float]:
    """One command: its document, wall seconds, peak memory in MB (the child's own)."""
    start = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "curate", *map(str, args), "--json", "-q"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = child.stdout.read(), child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"curate {args[0]} failed: {err}")
    return json.loads(out), time.monotonic() - start, usage.ru_maxrss / 1024


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
            f"{written:3d} files written outward {seconds:7.1f} s {memory:6.0f} MB"
        )


def memory(work: Path, count: int, dim: int = 512) -> None:
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
    store = ("--store", work / "vector-store")
    steps = [
        ("import-vectors", work / "vectors.npy", "--ids", work / "ids.txt", "--geometry", "cosine", "--name", "mine", *store),
        ("duplicates", *store),
        ("clusters", *store),
        ("sample", "--budget", "500", *store),
        ("check", "--config", work / "curate.toml", *store),
    ]
    (work / "curate.toml").write_text("[check]\nmax_duplicate_rate = 1.0\nmax_failed_rate = 0.0\n")
    peak = 0.0
    for step in steps:
        _, seconds, used = curate(*step)
        peak = max(peak, used)
        print(f"{step[0]:16s} {count:7d} x {dim}: {seconds:7.1f} s, peak {used:6.0f} MB")
    print(f"peak of all: {peak / 1024:.2f} GB (limit {LIMIT_GB} GB)")


def listing(work: Path, count: int) -> None:
    table = work / "rows.csv"
    with table.open("w") as file:
        file.write("id,text\n")
        file.writelines(f"row{i},some words about picture number {i}\n" for i in range(count))
    document, seconds, used = curate(
        "pull", "--dataset", f"folder:{table}", "--config", work / "text.toml", "--store", work / "l"
    )
    small = work / "small.csv"
    small.write_text("id,text\nrow1,words\n")
    _, _, base = curate("pull", "--dataset", f"folder:{small}", "--config", work / "text.toml", "--store", work / "s")
    print(
        f"{'pull':16s} {document['rows']['seen']:7d} rows: {seconds:7.1f} s, {used - base:+6.0f} MB over a listing of one row"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=100_000)
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="curate-sync-"))
    (work / "text.toml").write_text('[connectors.folder]\ntext_field = "text"\n')
    try:
        if args.images:
            unchanged(work, args.images)
        if args.rows:
            listing(work, args.rows)
            memory(work, args.rows)
        print(f"peak of this script itself: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
