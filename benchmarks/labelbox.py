"""The Labelbox connector against the stand-in on loopback: memory, requests, idempotence, faults.

    python benchmarks/labelbox.py [--rows 100000] [--sync-rows 10000] [--fault-rows 2000] [--only memory,requests,faults]

The real SDK talks to `tests/fakes/labelbox_server.py`, in a process of its own where memory is measured.  Prints one line a
figure with the bound of the project, and exits 1 when one is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # not the folder of this file: there the SDK's name is ours

from curate.protocols import ConnectorSettings  # noqa: E402
from curate.types import Change, EmbedderSpec, in_chunks  # noqa: E402
from tests.fakes.labelbox_server import Fault, LabelboxServer  # noqa: E402

DIM = 512
MB = 2**20
missed: list[str] = []


def figure(what: str, value: float, bound: float, unit: str = "") -> None:
    """Prints one figure beside its bound."""
    fine = value <= bound
    print(f"{what:<66} {value:>10,.2f}{unit:<4} bound {bound:,.2f}{unit:<4} {'ok' if fine else 'MISSED'}", flush=True)
    if not fine:
        missed.append(what)


def rss() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MB


def peak() -> float:
    """Highest resident memory since `reset`, MB."""
    return int(next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")).split()[1]) / 1024


def connector(folder: Path, **options: object):
    from connectors.labelbox import LabelboxConnector

    given = {"plan": "enterprise", **options}
    return LabelboxConnector(ConnectorSettings(options=given, results=folder, allow_hosts=("127.0.0.1",), yes=True))


def measured(job: str, dataset: str, rows: int) -> None:
    """In a process of its own: prints the growth of memory of one job, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        made = connector(Path(folder))
        made.check(dataset)
        ids = sorted(made.ids(dataset)) if job != "pull" else []
        spec = EmbedderSpec("bench", "", "projected", DIM, "cosine")
        rng = np.random.default_rng(0)
        block = rng.normal(size=(1000, DIM)).astype(np.float32)
        if job == "fields":
            # Fields, SDK modules and pydantic models are there before the first row; what grows with the rows is measured.
            made.push_fields(dataset, [Change(ids[0], f, None, v) for f, v in VALUES])
        if job == "vectors":
            made.push_vectors(dataset, spec, ids[:1], block[:1])
        Path("/proc/self/clear_refs").write_text("5")
        before, start = rss(), time.process_time()
        if job == "pull":
            assert sum(len(page.items) for page in made.pages(dataset)) == rows
        elif job == "vectors":
            for chunk in in_chunks(ids, 1000):
                assert made.push_vectors(dataset, spec, chunk, block[: len(chunk)]).accepted == len(chunk)
            made.flush(dataset)
        else:
            per_push = made.changes_per_push // len(VALUES)
            for chunk in in_chunks(ids, per_push):
                changes = [Change(i, f, None, v) for i in chunk for f, v in VALUES]
                assert not made.push_fields(dataset, changes).rejected
        print(json.dumps({"growth": peak() - before, "cpu": time.process_time() - start}))


VALUES = (("duplicate", "copy-of/c0123456789012345678901234"), ("cluster", 7), ("path", "animal/dog/beagle"))


@contextlib.contextmanager
def stand_in(rows: int) -> Iterator[dict]:
    """The stand-in in a process of its own."""
    argv = [sys.executable, "-m", "tests.fakes.labelbox_server", "--rows", str(rows)]
    child = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(child.stdout.readline())
    finally:
        child.stdin.close()
        child.wait(timeout=60)


def memory(rows: int) -> None:
    with stand_in(rows) as there:
        env = {**os.environ, "LABELBOX_API_KEY": there["key"], "LABELBOX_ENDPOINT": there["endpoint"], "OMP_NUM_THREADS": "1"}
        for job, bound in (("pull", 100), ("vectors", 100), ("fields", 150)):
            argv = [sys.executable, __file__, "--measure", job, "--dataset", there["dataset"], "--rows", str(rows)]
            start = time.perf_counter()
            done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr)
            told = json.loads(done.stdout)
            figure(f"memory growth, {job} of {rows:,} rows", told["growth"], bound, " MB")
            print(f"    {told['cpu']:.1f} s of CPU, {time.perf_counter() - start:.1f} s in all, both processes on this machine")


def sync(box: LabelboxServer, dataset: str, store: Path, **options: object) -> dict:
    """One `curate sync` of the pixels model in this process."""
    from curate.cli import main

    os.environ |= {"LABELBOX_API_KEY": box.key, "LABELBOX_ENDPOINT": box.endpoint}
    config = store.with_suffix(".toml")
    config.write_text(
        "[connectors.labelbox]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in {"plan": "enterprise", **options}.items())
    )
    out = store.with_suffix(".json")
    flags = ("--dataset", f"labelbox:{dataset}", "--model", "pixels", "--store", str(store), "--allow-host", "127.0.0.1")
    with out.open("w") as file, contextlib.redirect_stdout(file):
        code = main(["sync", *flags, "--yes", "--sample", "10%", "--config", str(config), "--json", "-q"])
    if code:
        raise SystemExit(f"sync ended with {code}")
    return json.loads(out.read_text())


def filled(rows: int) -> tuple[LabelboxServer, str]:
    box = LabelboxServer(plan="enterprise")
    box.__enter__()
    dataset = box.state.add_dataset()
    for number in range(rows):
        box.state.add_row(dataset, f"img/{number - 1 if number % 10 == 9 else number}.png")
    return box, dataset


def api_calls(box: LabelboxServer) -> int:
    return box.calls() - box.calls("image")


def least(box: LabelboxServer, rows: int, fields: int) -> int:
    """Requests that the SDK's page sizes do not let anybody go below, for a first sync of `rows` rows."""
    export = 4 + 2 * max(
        1, box.requests["GetExportFileFromOffsetPyApi"]
    )  # start, user, task, size; place and file of each piece
    schema = 1 + 2 * fields  # the SDK reads the fields again after creating one
    writes = -(-rows // 50) + -(-rows // 1000)
    return 1 + export + schema + 2 + writes + 1  # dataset; embeddings listed and created; vectors counted


def requests_of_a_sync(rows: int) -> None:
    box, dataset = filled(rows)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        first = sync(box, dataset, Path(folder) / "store")
        took = time.perf_counter() - start
        fields = sum(f["name"].startswith("curate.") for f in box.state.fields.values())
        touched = len(
            {i for f in box.state.fields.values() if f["name"].startswith("curate.") for i in box.state.values(f["name"])}
        )
        floor = least(box, touched, fields)
        used = api_calls(box)
        print(f"clean sync of {rows:,} rows: {used} API requests (least {floor}), {box.calls('image'):,} images, {took:.0f} s")
        figure("requests of a clean sync over the least possible", used / floor, 1.1, "x")
        figure("image requests a row", box.calls("image") / rows, 1.0)
        assert first["rows"]["embedded"] == rows, first["rows"]
        box.reset_counts()
        second = sync(box, dataset, Path(folder) / "store")
        figure("unchanged second sync: image downloads", box.calls("image"), 0)
        figure("unchanged second sync: embeddings", second["rows"]["embedded"], 0)
        figure("unchanged second sync: writes", box.state.metadata_writes + box.state.vector_writes, 0)
        print(f"    {api_calls(box)} requests in the second sync")
    box.__exit__()


RATES = [("503", 0.05), ("503_after", 0.05), ("429", 0.05), ("drop", 0.015), ("drop_after", 0.015), ("hang", 0.02)]
HANG_S, RETRY_S, TIMEOUT_S = 30.0, 0.5, 3.0


def faults(rows: int) -> None:
    ends, calls = [], []
    for broken in (False, True):
        box, dataset = filled(rows)
        if broken:
            rules = [Fault("*", kind, None, rate, HANG_S if kind == "hang" else RETRY_S) for kind, rate in RATES]
            box.faults.random(7, [Fault("export_file", "truncate", 2), *rules])
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            done = sync(box, dataset, Path(folder) / "store", timeout=TIMEOUT_S)
            took = time.perf_counter() - start
        assert done["rows"]["embedded"] == rows, done["rows"]
        ends.append(box.state.digest())
        calls.append((api_calls(box), box.calls()))
        if broken:
            kinds = {kind: sum(k == kind for _, k in box.faults.hit) for kind in {k for _, k in box.faults.hit}}
            print(f"faults met in {box.calls():,} requests, {took:.0f} s: {dict(sorted(kinds.items()))}")
        box.__exit__()
    figure("faults: end state differs (0 = the same)", float(ends[0] != ends[1]), 0)
    figure("faults: requests, all of them", calls[1][1] / calls[0][1], 1.3, "x")
    figure(f"faults: requests of the API alone ({calls[1][0]} after {calls[0][0]})", calls[1][0] / calls[0][0], 1.3, "x")


def waiting() -> None:
    """Retry-After over 8 threads, and the end of a hang."""
    worst = 0.0
    for seconds in (0.5, 1.0, 2.0):
        box, dataset = filled(1000)
        os.environ |= {"LABELBOX_API_KEY": box.key, "LABELBOX_ENDPOINT": box.endpoint}
        with tempfile.TemporaryDirectory() as folder:
            made = connector(Path(folder), threads=8)
            ids = sorted(made.ids(dataset))
            made.push_fields(dataset, [Change(ids[0], "duplicate", None, "kept")])
            box.reset_counts()
            box.faults.add("UpsertDataRowMetadataBetaPyApi", "429", times=1, seconds=seconds)
            bucket, told, left = made.platform.bucket, list[float](), list[float]()
            close, take = bucket.close, bucket.take
            bucket.close = lambda s, close=close, told=told: (told.append(time.monotonic()), close(s))
            bucket.take = lambda take=take, left=left: (take(), left.append(time.monotonic()))
            made.push_fields(dataset, [Change(i, "duplicate", None, "b") for i in ids])
            # From when the answer came to when the next request was let go; those on their way by then do not count.
            later = min(at for at in left if at > told[0])
            worst = max(worst, abs((later - told[0]) / seconds - 1))
        box.__exit__()
    figure("Retry-After, worst deviation of 8 threads", 100 * worst, 10, " %")
    box, dataset = filled(10)
    os.environ |= {"LABELBOX_API_KEY": box.key, "LABELBOX_ENDPOINT": box.endpoint}
    with tempfile.TemporaryDirectory() as folder:
        made = connector(Path(folder), timeout=1.0, attempts=1)
        made.check(dataset)
        box.faults.add("import_vectors", "hang", times=None, seconds=60)
        start = time.perf_counter()
        with contextlib.suppress(Exception):
            made.push_vectors(
                dataset, EmbedderSpec("m", "", "p", 4, "euclidean"), sorted(made.ids(dataset)), np.ones((10, 4), np.float32)
            )
        figure("a hung upload ends within the time limit of 1 s", time.perf_counter() - start, 1.5, " s")
    box.__exit__()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--sync-rows", type=int, default=10_000)
    parser.add_argument("--fault-rows", type=int, default=2000)
    parser.add_argument("--only", default="memory,requests,faults,waiting")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--dataset", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measured(args.measure, args.dataset, args.rows)
        return 0
    chosen = args.only.split(",")
    if "memory" in chosen:
        memory(args.rows)
    if "requests" in chosen:
        requests_of_a_sync(args.sync_rows)
    if "faults" in chosen:
        faults(args.fault_rows)
    if "waiting" in chosen:
        waiting()
    print("all bounds held" if not missed else f"missed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
