"""The store against its numbers: scans and look-ups against Parquet, two million rows, listings, kill -9.

    python -m benchmarks.store [--part scan|large|listing|kill] [--rows 200000] [--codecs f32]
        [--large-rows 2000000] [--points 50] [--dir DIR]

Prints one line a figure, and the ratio where there is a peer measured in the same run.  CPU is process time of one thread.
"""

import argparse
import json
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from curate.store import Store
from curate.types import Batch, EmbedderSpec, Facts, Item

DATASET = "bench:rows"
DIM = 512
SPEC = EmbedderSpec("bench", "", "projected", DIM, "cosine")
REPEATS = 5


def rows_of(start, stop):
    return [
        Item(f"photos/img{n:010d}.jpg", f"photos/img{n:010d}.jpg", f"{n * 2654435761 % 2**64:016x}") for n in range(start, stop)
    ]


def vectors_of(start, stop):
    return np.random.default_rng(start).standard_normal((stop - start, DIM), dtype=np.float32)


def fill(store, count, codec, size=20_000):
    listing = store.begin_listing(DATASET)
    for at in range(0, count, size):
        listing.add(rows_of(at, min(at + size, count)))
    listing.finish()
    for at in range(0, count, size):
        items = rows_of(at, min(at + size, count))
        n = len(items)
        batch = Batch([i.id for i in items], [i.version for i in items], vectors_of(at, at + n), [Facts()] * n, [None] * n)
        store.append(DATASET, SPEC, batch, codec=codec)


def folder_bytes(path):
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


def timed(act):
    wall, cpu = time.perf_counter(), time.process_time()
    result = act()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def alternate(acts):
    """name -> (median wall s, median CPU s) of each act, interleaved."""
    seen = {name: [] for name in acts}
    for _ in range(REPEATS):
        for name, act in acts.items():
            seen[name].append(timed(act)[:2])
    return {name: tuple(statistics.median(column) for column in zip(*runs, strict=True)) for name, runs in seen.items()}


def scan(folder, count, codecs):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pa.set_cpu_count(1)
    ids = [i.id for i in rows_of(0, count)]
    keys = [ids[n] for n in np.random.default_rng(0).choice(count, 1000, replace=False)]
    for codec, dtype in (("f32", np.float32), ("f16", np.float16), ("int8", None)):
        if codec not in codecs:
            continue
        path = folder / codec
        with Store.open(path, write=True, create=True) as store:
            fill(store, count, codec)

        def ours(path=path):
            with Store.open(path) as store:
                return store.embeddings(DATASET, SPEC.fingerprint)

        def ours_keys(path=path):
            with Store.open(path) as store:
                return store.embeddings(DATASET, SPEC.fingerprint, ids=keys)

        def ours_streamed(path=path):
            with Store.open(path) as store:
                return sum(len(block) for block in store.blocks(DATASET, SPEC.fingerprint))

        acts, key_acts, streams = {"store": ours}, {"store": ours_keys}, {"store": ours_streamed}
        right = ours()
        for packing in ("snappy", "zstd") if dtype else ():
            file = folder / f"{codec}.{packing}.parquet"
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(right.vectors.astype(dtype).reshape(-1)), DIM)
            pq.write_table(pa.table({"id": ids, "vector": vectors}), file, compression=packing)

            def read(file=file, **options):
                table = pq.read_table(file, use_threads=False, **options)
                parts = [c.flatten().to_numpy(zero_copy_only=False).reshape(-1, DIM) for c in table["vector"].chunks]
                return table["id"].to_pylist(), np.concatenate(parts).astype(np.float32, copy=False)

            def read_keys(read=read):
                return read(filters=[("id", "in", keys)])

            def stream(file=file):
                rows = 0
                for piece in pq.ParquetFile(file).iter_batches(8192, use_threads=False):
                    flat = piece.column("vector").flatten().to_numpy(zero_copy_only=False)
                    rows += len(flat.astype(np.float32, copy=False).reshape(-1, DIM))
                    piece.column("id").to_pylist()
                return rows

            assert stream() == count
            streams[f"parquet {packing}"] = stream
            assert np.array_equal(read()[1], right.vectors.astype(dtype).astype(np.float32))
            acts[f"parquet {packing}"], key_acts[f"parquet {packing}"] = read, read_keys
        size = folder_bytes(path)
        print(f"scan {count:,} x {DIM} {codec}: {size / 1e6:.0f} MB on disk ({size / count:.0f} bytes a row)")
        for what, group in (("full scan", acts), ("streamed", streams), ("1,000 keys", key_acts)):
            figures = alternate(group)
            peers = [cpu for name, (_, cpu) in figures.items() if name != "store"]
            for name, (wall, cpu) in figures.items():
                print(f"  {what:10} {name:15} wall {wall:8.4f} s  CPU {cpu:8.4f} s")
            if peers:
                ours_cpu = figures["store"][1]
                ratio = ours_cpu / min(peers)
                print(f"  {what:10} store / fastest parquet CPU: {ratio:.3f} ({1 / ratio:.1f}x faster)")
        with Store.open(path) as store:
            store.embeddings(DATASET, SPEC.fingerprint, ids=keys)
            wall, cpu, _ = timed(lambda store=store: store.embeddings(DATASET, SPEC.fingerprint, ids=keys))
            one = statistics.median(
                timed(lambda store=store, k=k: store.embeddings(DATASET, SPEC.fingerprint, ids=[k]))[1] for k in keys[:200]
            )
            print(f"  1,000 keys store already open: wall {wall:.4f} s  CPU {cpu:.4f} s; one key: CPU {one * 1e3:.3f} ms")
        shutil.rmtree(path)


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def large_step(folder, count, step):
    """One step of the large store, in a process of its own so that its peak memory is its own."""
    path = folder / "large"
    if step == "append":
        with Store.open(path, write=True, create=True) as store:
            wall, cpu, _ = timed(lambda: fill(store, count, "int8"))
    elif step == "reopen":
        wall, cpu, store = timed(lambda: Store.open(path, write=True))
        store.close()
    elif step == "scan":
        with Store.open(path) as store:
            wall, cpu, seen = timed(lambda: sum(len(block) for block in store.blocks(DATASET, SPEC.fingerprint)))
        assert seen == count
    elif step == "keys":
        ids = [i.id for n in np.random.default_rng(0).choice(count, 1000, replace=False) for i in rows_of(int(n), int(n) + 1)]
        with Store.open(path) as store:
            wall, cpu, found = timed(lambda: store.embeddings(DATASET, SPEC.fingerprint, ids=ids))
        assert len(found) == 1000
    elif step == "verify":
        with Store.open(path, write=True) as store:
            wall, cpu, lines = timed(store.verify)
        assert lines == []
    elif step == "rewrite":
        with Store.open(path, write=True) as store:
            wall, cpu, _ = timed(lambda: store.rewrite(DATASET, SPEC.fingerprint, "int8"))
    print(json.dumps({"step": step, "wall": wall, "cpu": cpu, "peak_mb": peak_mb(), "disk": folder_bytes(path)}))


def large(folder, count):
    for step in ("append", "reopen", "scan", "keys", "verify"):
        command = [sys.executable, "-m", "benchmarks.store", "--dir", str(folder), "--large-rows", str(count), "--step", step]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        f = json.loads(done.stdout)
        print(
            f"large {count:,} x {DIM} int8 {step:8} wall {f['wall']:8.2f} s  CPU {f['cpu']:8.2f} s  "
            f"peak RSS {f['peak_mb']:7.0f} MB  disk {f['disk'] / 1e9:.3f} GB"
        )


def listing(folder, count=100_000):
    with Store.open(folder / "listing", write=True, create=True) as store:
        for what in ("first", "unchanged"):

            def act(store=store):
                under_way = store.begin_listing(DATASET)
                for at in range(0, count, 1000):
                    under_way.add(rows_of(at, at + 1000))
                return under_way.finish()

            wall, cpu, counts = timed(act)
            print(f"listing {count:,} rows, {what:9}: wall {wall:.2f} s  CPU {cpu:.2f} s  {counts}")
        for what, act in {
            "items": lambda: sum(1 for _ in store.items(DATASET)),
            "missing": lambda: len(store.missing(DATASET, SPEC)),
            "basis": lambda: store.basis(DATASET),
        }.items():
            wall, cpu, _ = timed(act)
            print(f"{what} of {count:,} rows: wall {wall:.2f} s  CPU {cpu:.2f} s")
    print(f"peak RSS {peak_mb():.0f} MB")


def kill(folder, points):
    from tests.store import crash

    crash.prepare(folder / "made")
    for name in crash.ACTS:
        shutil.copytree(folder / "made", folder / "whole")
        _, lines = crash.run(folder / "whole", name, 0)
        shutil.rmtree(folder / "whole")
        events = int(lines[-1].split()[1])
        seconds = []
        for number in np.random.default_rng(7).choice(np.arange(1, events + 1), min(points, events), replace=False):
            shutil.copytree(folder / "made", folder / "killed")
            status, lines = crash.run(folder / "killed", name, number)
            assert status == -signal.SIGKILL
            seconds.append(crash.check_recovery(folder / "killed", name, lines))
            shutil.rmtree(folder / "killed")
        print(
            f"kill -9 {name:8} {len(seconds)} of {events} points: 0 committed rows lost, 0 wrong vectors, "
            f"recovery max {max(seconds):.3f} s, median {statistics.median(seconds):.3f} s"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["scan", "large", "listing", "kill"], action="append")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--large-rows", type=int, default=2_000_000)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--codecs", nargs="*", default=("f32", "f16", "int8"), help="of the scan")
    parser.add_argument("--dir", type=Path)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        large_step(args.dir, args.large_rows, args.step)
        return
    folder = Path(tempfile.mkdtemp(prefix="curate-bench-", dir=args.dir))
    parts = {
        "scan": lambda: scan(folder, args.rows, args.codecs),
        "listing": lambda: listing(folder),
        "kill": lambda: kill(folder, args.points),
        "large": lambda: large(folder, args.large_rows),
    }
    try:
        for part in args.part or parts:
            parts[part]()
            sys.stdout.flush()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
