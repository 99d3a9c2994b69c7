"""FiftyOne measured against its own Brain on the same vectors, in one run.

    python benchmarks/fiftyone.py [--rows 50000] [--only duplicates similarity push queries]

Vectors: 512-d, rows / 50 clusters, a fifth of the rows near copies.  The mongod is started here, on a port of its own, and
killed at the end.  CPU seconds are of this process with all its threads; those of mongod stand beside them where they matter.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # not the folder of this file: there the SDK's name is ours

from curate.geometry import COSINE  # noqa: E402
from curate.index import nearest  # noqa: E402
from curate.protocols import ConnectorSettings, Presentation  # noqa: E402
from curate.types import Change, EmbedderSpec, Embeddings, in_chunks  # noqa: E402
from tests.connectors.fiftyone_place import server  # noqa: E402

DIM, RADIUS, SECOND = 512, 0.05, 0.02
PARTS = ("duplicates", "similarity", "push", "queries")
SPEC = EmbedderSpec("benchmark", "1", "projected", DIM, "cosine")


def say(what, ours, theirs="-", asked="-"):
    print(f"{what:58s} ours {ours:>26s}   FiftyOne {theirs:>26s}   asked {asked}", flush=True)


class Clock:
    def __init__(self, process):
        self.process, self.cpu, self.server = process, 0.0, 0.0

    def used(self):
        times = self.process.cpu_times()
        return time.process_time(), times.user + times.system


@contextmanager
def timed(process):
    clock = Clock(process)
    cpu, there = clock.used()
    yield clock
    now = clock.used()
    clock.cpu, clock.server = now[0] - cpu, now[1] - there


def vectors(rows, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(rows // 50, 1), DIM))
    x = centres[rng.integers(len(centres), size=rows)] + 0.8 * rng.normal(size=(rows, DIM))
    copies = rng.choice(rows, rows // 5, replace=False)
    sources = rng.integers(rows, size=len(copies))
    x[copies] = x[sources] + 0.05 * rng.normal(size=(len(copies), DIM))
    return x.astype(np.float32)


def mongod(uri):
    import psutil

    port = int(uri.rsplit(":", 1)[1])
    found = [c.pid for c in psutil.Process().children(recursive=True) if str(port) in c.cmdline()]
    return psutil.Process(found[0])


def samples(fo, name, rows):
    made = fo.Dataset(name, persistent=True)
    made.add_samples([fo.Sample(filepath=f"/nowhere/{n:06d}.jpg") for n in range(rows)])
    return made, made.values("id")


def duplicates(process, x, theirs):
    from curate.ops.duplicates import Duplicates, in_id_order
    from curate.testing import make_context

    ids = [f"{n:08d}" for n in range(len(x))]
    op = Duplicates(radius=RADIUS)
    embeddings, context = in_id_order(Embeddings(ids, x, SPEC), make_context(Embeddings(ids, x, SPEC)))
    with timed(process) as first:
        scored, basis = op.scored(embeddings, context)
        found = op.findings_of(scored, basis, embeddings, context)
    graph = op.graph(scored, basis, embeddings, context)  # kept by the first run, as `findings_of` does
    with timed(process) as second:
        again = graph.stars(graph.cut(radius=SECOND))
    with timed(process) as one:
        theirs.find_duplicates(thresh=RADIUS)
    copies = sum(len(group["copies"]) for group in found.evidence["groups"])
    say("copies found", f"{copies:,}", f"{len(theirs.duplicate_ids):,}")
    say(f"duplicates at {RADIUS}, CPU s", f"{first.cpu:.2f} ({one.cpu / first.cpu:.1f}x less)", f"{one.cpu:.1f}", "6x")
    with timed(process) as two:
        theirs.find_duplicates(thresh=SECOND)
    say(f"again at {SECOND}, CPU s", f"{second.cpu:.3f} ({two.cpu / second.cpu:.0f}x less)", f"{two.cpu:.1f}", "100x")
    assert 0 < len(again) <= len(found.evidence["groups"])


def connector(folder, **options):
    from connectors.fiftyone import FiftyOneConnector

    return FiftyOneConnector(ConnectorSettings(options=options, results=folder))


def changes(ids):
    """Three results a sample, of the kinds that a sync pushes; a fifth are copies."""
    for n, item in enumerate(ids):
        if n % 5 == 0:
            yield Change(item, "duplicate", None, f"copy-of/{ids[n - 1]}")
            yield Change(item, "duplicate_score", None, 0.99)
        yield Change(item, "cluster", None, n % 97)


def push(fo, process, x, folder):
    made, ids = samples(fo, "ours", len(x))
    theirs, others = samples(fo, "theirs", len(x))
    points = {i: [float(a), float(b)] for i, (a, b) in zip(ids, x[:, :2], strict=True)}
    with timed(process) as bare:
        theirs.set_values("cluster", {i: n % 97 for n, i in enumerate(others)}, key_field="id")
        copies = {others[n]: f"copy-of/{others[n - 1]}" for n in range(0, len(others), 5)}
        theirs.set_values("duplicate", copies, key_field="id")
        theirs.set_values("duplicate_score", dict.fromkeys(copies, 0.99), key_field="id")
        theirs.set_values("vector", dict(zip(others, x, strict=True)), key_field="id")
    ours = connector(folder)
    todo = list(changes(ids))
    with timed(process) as fields:
        for chunk in in_chunks(todo, ours.changes_per_push):
            assert not ours.push_fields("ours", chunk).rejected
        ours.flush("ours")
    with timed(process) as held:
        for rows in in_chunks(range(len(ids)), 1000):
            assert not ours.push_vectors("ours", SPEC, [ids[n] for n in rows], x[rows[0] : rows[-1] + 1]).rejected
    with timed(process) as shown:
        ours.present("ours", {"shown": []}, Presentation(SPEC, points, "map"))
    total = fields.cpu + held.cpu + shown.cpu
    say(
        "fields (3), vectors, tags, views, search, map: CPU s",
        f"{total:.1f} ({total / bare.cpu:.2f}x)",
        f"{bare.cpu:.1f}",
        "1.3x",
    )
    say("  of it fields with tags and views, vectors, search and map", f"{fields.cpu:.1f}, {held.cpu:.1f}, {shown.cpu:.1f}")
    say("  CPU s of mongod", f"{fields.server + held.server + shown.server:.1f}", f"{bare.server:.1f}")
    with timed(process) as again:
        assert ours.plan_presentation("ours", Presentation(SPEC, points, "map")) == {}
    say("  looking whether all of it is shown, CPU s", f"{again.cpu:.2f}")
    return made, ids


def stored(dataset, key):
    """Bytes of a run's results in the database."""
    results = dataset._doc.brain_methods[key].results
    return results.length


def similarity(process, made, theirs_of, n):
    index = made.load_brain_results("curate_sim", cache=False)
    size = index._sidecar.bytes_per_sample + stored(made, "curate_sim") / n
    other = stored(theirs_of, "theirs") / n
    say("bytes a sample of the similarity run", f"{size:.0f} (1/{other / size:.1f})", f"{other:,.0f}", "1/15")
    ours, theirs = [], []
    for _ in range(3):
        with timed(process) as mine:
            made.load_brain_results("curate_sim", cache=False)
        ours.append(mine.cpu)
    with timed(process) as one:
        theirs_of.load_brain_results("theirs", cache=False)
    theirs.append(one.cpu)
    say("loading it, CPU s", f"{np.median(ours):.2f} ({theirs[0] / np.median(ours):.0f}x less)", f"{theirs[0]:.2f}", "10x")
    return index


def queries(process, index, theirs, made_ids, their_ids, x, count=30, k=10):
    rng = np.random.default_rng(1)
    asked = rng.choice(len(x), count, replace=False)
    truth = nearest(x, x[asked], k, COSINE)[0]
    order = np.argsort(made_ids)
    decoded = index._vectors(None)
    on_decoded = nearest(decoded, decoded[np.argsort(order)[asked]], k, COSINE)[0]

    def ours(by_id):
        hits, same = 0, 0
        for n, row in enumerate(asked):
            query = made_ids[row] if by_id else x[row]
            found, _ = index._kneighbors(query=query, k=k)
            hits += len({made_ids.index(i) for i in found} & set(truth[n].tolist()))
            same += list(found) == [made_ids[order[p]] for p in on_decoded[n]]
        return hits / count / k, same / count

    with timed(process) as clock:
        vector = ours(by_id=False)
    by_id = ours(by_id=True)
    again = ours(by_id=False)
    say("recall@10 by vector, by id, by vector again", f"{vector[0]:.3f}, {by_id[0]:.3f}, {again[0]:.3f}", asked="0.99")
    say("by id: same order as on the decoded vectors", f"{by_id[1]:.2f}", asked="1.00")
    say("a query, CPU ms", f"{1000 * clock.cpu / count:.0f}")

    def native():
        return np.mean(
            [
                len(
                    {their_ids.index(i) for i in theirs._kneighbors(query=x[row], k=k, aggregation="mean")[0]}
                    & set(truth[n].tolist())
                )
                / k
                for n, row in enumerate(asked[:20])
            ]
        )

    before = native()
    theirs._kneighbors(query=[their_ids[0]], k=k)
    say("FiftyOne: recall@10 by vector, after one query by id", "-", f"{before:.3f}, {native():.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args()
    with server() as environment, tempfile.TemporaryDirectory() as folder:
        os.environ.update(environment)
        import fiftyone as fo
        import fiftyone.brain as fob

        process, x = mongod(environment["FIFTYONE_DATABASE_URI"]), vectors(args.rows)
        print(f"{args.rows:,} x {DIM}, FiftyOne {fo.__version__}, {os.cpu_count()} cores", flush=True)
        if "duplicates" in args.only:
            dataset, names = samples(fo, "duplicates", len(x))
            native = fob.compute_similarity(dataset, embeddings=False, backend="sklearn")
            native.add_to_index(x.copy(), np.array(names))
            duplicates(process, x, native)
        if not {"push", "similarity", "queries"} & set(args.only):
            return
        made, ids = push(fo, process, x, Path(folder))
        theirs = fo.load_dataset("theirs")
        with timed(process) as clock:
            fob.compute_similarity(theirs, embeddings=x.copy(), brain_key="theirs", backend="sklearn")
        print(f"(making FiftyOne's similarity run took {clock.cpu:.1f} CPU s)", flush=True)
        theirs._brain_cache.clear()
        index = similarity(process, made, theirs, args.rows)
        if "queries" in args.only:
            queries(process, index, theirs.load_brain_results("theirs", cache=False), ids, theirs.values("id"), x)


if __name__ == "__main__":
    main()
