"""Near duplicates measured: photo copies, judged CIFAR pairs, look-alikes, exact search.  Prints one table.

    python benchmarks/duplicates.py --data ../shared/data [--only photos peers cifar lookalikes search throughput photographs]

`peers` makes a virtual environment for each of imagededup, cleanvision, SemHash and FiftyOne under --peers and runs them on the
same photographs.  `photographs` makes 10,000 (--rows) of 500 px and decides them in a process of its own; it takes a quarter of
an hour and runs when asked for only.  Published figures of peers stand beside the rest.  CPU seconds are of this process and
its threads.
"""

from __future__ import annotations

import argparse
import csv
import io
import tarfile
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import duplicate_peers
import numpy as np
import pair_data
import photograph_set
import train_duplicates as training
import train_small
from duplicate_context import context_of, embeddings_of, thumb

from curate.geometry import COSINE
from curate.index import neighbours_within
from curate.ops._pixels import PAIR_COLUMNS as COLUMNS
from curate.ops._verify_model import shipped_model
from curate.ops.duplicates import Duplicates, in_id_order

PARTS = ("photos", "peers", "cifar", "lookalikes", "search", "throughput")
ASKED = ("photographs",)


def say(what, ours, target, peer="-"):
    print(f"{what:64s} {ours:>28s}   at least {target:18s} best peer {peer}", flush=True)


def read_tar(path):
    with tarfile.open(path) as tar:
        return {m.name.split("/")[-1]: tar.extractfile(m).read() for m in tar if m.isfile()}


def photo_set(data):
    folder = data / "photo_copies"
    rows = list(csv.DictReader(io.StringIO((folder / "manifest.csv").read_text())))
    held = np.load(folder / "mobilenetv2_features.npz")
    vectors = dict(zip(held["files"].tolist(), held["F"], strict=True))
    files = read_tar(folder / "dev.tar")
    ids = [r["file"] for r in rows]
    group = {r["file"]: r["group"] for r in rows}
    edit = {r["file"]: r["transform"] for r in rows}
    return ids, np.stack([vectors[i] for i in ids]), {i: files[i] for i in ids}, group, edit


def unseen(data):
    """The files whose photograph is none of those that the shipped model was trained on."""
    trained = {path.stem for path in (data / "photos").iterdir()}
    rows = csv.DictReader(io.StringIO((data / "photo_copies" / "manifest.csv").read_text()))
    return {r["file"] for r in rows if r["source"] not in trained}


def run(op, ids, vectors, thumbs, **more):
    embeddings, context = in_id_order(embeddings_of(ids, vectors), context_of(ids, thumbs, **more))
    began, wall = time.process_time(), time.perf_counter()
    scored, basis = op.scored(embeddings, context)
    findings = op.findings_of(scored, basis, embeddings, context)
    return embeddings.ids, scored, findings, (time.process_time() - began, time.perf_counter() - wall)


def photos(data):
    ids, vectors, thumbs, group, edit = photo_set(data)
    names, scored, found, (cpu, _) = run(Duplicates(precision=0.99), ids, vectors, thumbs)
    truth = np.array([group[names[i]] == group[names[j]] for i, j in zip(scored.i, scored.j, strict=True)])
    copies = sum(n * (n - 1) // 2 for n in Counter(group.values()).values())
    order = np.argsort(-scored.probability, kind="stable")
    hits = np.cumsum(truth[order])
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / copies
    f1 = float((2 * precision * recall / np.maximum(precision + recall, 1e-9)).max())
    removed = {c["id"]: g["keep"] for g in found.evidence["groups"] for c in g["copies"]}
    left = Counter(group[i] for i in ids if i not in removed)
    lost, extra = len(set(group.values())) - len(left), sum(n - 1 for n in left.values())
    say(
        "photo copies (dev): F1 / photos lost / copies left of 600",
        f"{f1:.3f} / {lost} / {extra}",
        "0.99 / 0 / 5",
        ".94 / 3-27 / 22-28",
    )
    chosen = scored.decided
    say(
        "asked precision 0.99 (photos): found precision, recall",
        f"{truth[chosen].mean():.3f}, {(truth & chosen).sum() / copies:.3f}",
        "0.98, 0.95",
    )
    fresh = unseen(data)
    strange = np.array([names[i] in fresh and names[j] in fresh for i, j in zip(scored.i, scored.j, strict=True)])
    of_these = sum(n * (n - 1) // 2 for n in Counter(group[i] for i in ids if i in fresh).values())
    hits = np.cumsum(truth[order][strange[order]])
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / of_these
    best, right = (2 * precision * recall / np.maximum(precision + recall, 1e-9)).max(), truth & chosen & strange
    say(
        f"  the {len(fresh)} of photographs not trained on: F1; precision, recall",
        f"{best:.3f}; {right.sum() / (chosen & strange).sum():.3f}, {right.sum() / of_these:.3f}",
        "0.99; 0.98, 0.95",
    )
    decided = {(names[i], names[j]) for i, j in zip(scored.i[chosen], scored.j[chosen], strict=True)}
    for name in ("hflip", "rot15", "crop55"):
        mine = [i for i in ids if edit[i] == name]
        first = {g: i for i, g in group.items() if edit[i] == "orig"}
        reached = np.mean([tuple(sorted((i, first[group[i]]))) in decided for i in mine])
        say(f"{name}: recall", f"{reached:.3f}", "0.95", "0-0.06 (hashes)")
    say("photographs decided: CPU seconds an image", f"{cpu / len(ids):.3f}", "0.06 (10,000 in 5 min, 2 cores)", "")
    leakage(ids, vectors, thumbs, group)


def leakage(ids, vectors, thumbs, group):
    rng = np.random.default_rng(5)
    split = {i: "train" for i in ids}
    twins = [g for g, n in Counter(group.values()).items() if n > 1]
    for g in rng.choice(twins, size=20, replace=False):
        split[str(rng.choice([i for i in ids if group[i] == g]))] = "test"
    planted = {group[i] for i in ids if split[i] == "test"}
    few = [i for i in ids if group[i] in planted or rng.random() < 0.1]
    row = {i: n for n, i in enumerate(ids)}
    fields = {"split": [split[i] for i in few]}
    op = Duplicates(precision=0.99, between="split")
    _, _, found, _ = run(op, few, vectors[[row[i] for i in few]], {i: thumbs[i] for i in few}, fields=fields)
    groups = [[g["keep"], *(c["id"] for c in g["copies"])] for g in found.evidence["groups"]]
    reached = {group[i] for g in groups for i in g if len({group[n] for n in g}) == 1}
    say(
        "planted leakage between splits: found of 20 / false groups",
        f"{len(planted & reached)} / {len(groups) - len([g for g in groups if len({group[i] for i in g}) == 1])}",
        "20 / 0",
    )


def cifar(data):
    rows, keys = train_small.natural(data)
    owner = np.array([k[0] for k in keys])
    packed, blind = (train_small.truth_of(keys, train_small.judged(data, blind=b)) for b in (False, True))
    for what, labels in (("copies", ("dup",)), ("similar or no copies", ("similar", "no")), ("not judged", ("",))):
        said = [label for pack, label in train_small.blindly().values() if pack in labels]
        print(f"  blind judges: of {len(said)} pairs that the pack calls {what}, {said.count('dup')} are copies")
    shipped = shipped_model("small").log_odds(rows)
    f1, ap, at95 = train_small.image_figures(shipped, packed, owner)
    print(f"  shipped model, which has seen these pairs: F1 {f1:.3f} AP {ap:.3f} R@P95 {at95:.3f}")
    useful = (packed == 1) | (rows[:, 1] > 0.35) | (np.random.default_rng(0).random(len(packed)) < 0.05)
    folds = np.array([sum(map(ord, o)) % 5 for o in owner])
    scores = np.zeros(len(packed))
    probability, models = np.zeros(len(packed)), []
    for fold in range(5):
        rest = (folds != fold) & useful & (blind >= 0)
        models.append(training.fit(rows[rest], blind[rest] == 1, train_small.SMALL_COLUMNS))
        scores[folds == fold] = models[-1].log_odds(rows[folds == fold])
    for fold, model in enumerate(models):
        # As the shipped one: calibrated on scores of models that did not see the image.
        inside, mine = (folds != fold) & (blind >= 0), folds == fold
        probability[mine] = training.calibrated(model, scores[inside], blind[inside] == 1).probability(rows[mine])
    somebody = np.array([key in train_small.judged(data) for key in keys])
    everything = np.ones(len(keys), dtype=bool)
    measured = (
        ("what the pack judges", packed, somebody),
        ("and the forty, the rest no copies", blind, everything),
        ("what the pack does not judge no copies", packed, everything),
    )
    for what, truth, use in measured:
        f1, ap, at95 = train_small.image_figures(scores[use], truth[use], owner[use])
        say(
            f"CIFAR, five folds, {what}: F1 / AP / R@P95",
            f"{f1:.3f} / {ap:.3f} / {at95:.3f}",
            "0.88 / 0.92 / 0.80",
            ".6 / .6 / .3",
        )
    from curate.ops._pixels import cut_for

    for what, truth, use in measured:
        chosen = (truth >= 0) & (probability >= cut_for(probability[truth >= 0], 0.95))
        found, copies = (truth[chosen & use] == 1).mean(), (truth == 1).sum()
        say(
            f"CIFAR, asked 0.95, {what}: found precision, recall",
            f"{found:.3f}, {(truth[chosen] == 1).sum() / copies:.3f}",
            "0.94, 0.75",
        )


def lookalikes(data, cache, sheets=2):
    kept = cache / f"fresh_{sheets}.npz"
    if not kept.exists():
        drawn = pair_data.dataset(pair_data.read_photos(data / "photos"), sheets=sheets, seed=101, with_photos=False)
        np.savez(kept, **drawn)
    held = dict(np.load(kept))
    known = np.isfinite(held["rows"]).all(axis=1)
    rows, truth, lost = held["rows"][known], held["truth"][known], int((held["truth"] & ~known).sum())
    scores = shipped_model("large").log_odds(rows)
    say(
        "look-alikes, fresh templates: precision at recall 0.93",
        f"{training.precision_at(scores, truth, 0.93, lost):.3f}",
        "0.95",
        ".02-.11",
    )
    trained = training.joined([dict(np.load(p)) for p in sorted(cache.glob("pairs_*.npz"))])
    use = np.isfinite(trained["rows"]).all(axis=1)
    names = sorted(set(trained["kind"].tolist()))
    scores = np.full(len(truth), -40.0)
    for fold in range(5):
        out = [n for k, n in enumerate(names) if k % 5 == fold]
        rest, mine = use & ~np.isin(trained["kind"], out), np.isin(held["kind"][known], out)
        weight = training.kind_weights(trained["kind"][rest], trained["truth"][rest])
        model = training.fit(trained["rows"][rest], trained["truth"][rest], COLUMNS, weight=weight)
        scores[mine] = model.log_odds(rows[mine])
    say(
        "  the same with the kind left out: precision at recall 0.90",
        f"{training.precision_at(scores, truth, 0.90, lost):.3f}",
        "0.80",
        ".085",
    )


def vectors_like_clip(count, dim=512, seed=0):
    """Clustered unit vectors with planted near pairs."""
    rng = np.random.default_rng(seed)
    spectrum = 1 / np.sqrt(1 + np.arange(dim))
    x = rng.normal(size=(count, dim)).astype(np.float32) * spectrum.astype(np.float32)
    near = rng.choice(count, size=(count // 100, 2), replace=False)
    x[near[:, 0]] = x[near[:, 1]] + 0.02 * rng.normal(size=(len(near), dim)).astype(np.float32) * spectrum.astype(np.float32)
    return x


def timed(work):
    began = time.process_time()
    return work(), time.process_time() - began


def search(_data, counts=(50_000, 200_000)):
    for count in counts:
        x = vectors_like_clip(count)
        fast, quick = timed(lambda: neighbours_within(x, COSINE, 0.1))  # noqa: B023 - called at once
        plain, slow = timed(lambda: neighbours_within(x, COSINE, 0.1, strategy="blas"))  # noqa: B023 - called at once
        share = len(
            set(zip(fast.i.tolist(), fast.j.tolist(), strict=True)) & set(zip(plain.i.tolist(), plain.j.tolist(), strict=True))
        ) / max(len(plain.i), 1)
        say(
            f"{count:,} x 512, pairs within 0.1 ({fast.strategy}): CPU / blas CPU, found",
            f"{quick:.1f} s / {slow:.1f} s = {quick / slow:.2f}, {share:.4f}",
            "1/3, 0.999" if count > 50_000 else "equal pairs",
        )
        if count == 50_000:
            whole, brute = timed(lambda: sklearn_pairs(x))  # noqa: B023 - called at once
            say(
                "  against scikit-learn's radius search (FiftyOne's backend)",
                f"{brute / quick:.1f}x less CPU, {whole} pairs",
                "6x",
                "1",
            )


def sklearn_pairs(x):
    from sklearn.neighbors import NearestNeighbors

    unit = COSINE.prepare(x)
    found = NearestNeighbors(radius=0.1, metric="cosine", algorithm="brute").fit(unit).radius_neighbors_graph(unit)
    return (found.nnz - len(x)) // 2


def throughput(data):
    images = train_small.read_cifar(data)
    held = np.load(data / "cifar_pairs" / "resnet20_mid.npz")
    ids = [str(i) for i in held["ids"]]
    thumbs = {i: thumb(images[i], quality=95) for i in ids}
    _, _, found, (cpu, wall) = run(Duplicates(precision=0.95), ids, held["vectors"].astype(np.float32), thumbs)
    say(
        f"17,000 32-pixel images, decision included ({found.summary['rows']} copies)",
        f"{wall:.0f} s wall, {cpu:.0f} s CPU",
        "60 s on 2 cores",
        "",
    )


def photographs(data, rows=10_000, processes=2):
    ids, _, thumbs, _, edit = photo_set(data)
    small = [cv2.imdecode(np.frombuffer(thumbs[i], np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for i in ids if edit[i] == "orig"]
    with tempfile.TemporaryDirectory() as folder:
        photograph_set.make(Path(folder), [*pair_data.read_photos(data / "photos"), *small], rows, processes=processes)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            told = pool.submit(photograph_set.decide, folder).result()
    say(
        f"{rows:,} photographs of 500 px, decision included: wall, CPU s, peak MB",
        f"{told['wall_s']:.0f} / {told['cpu_s']:.0f} / {told['peak_mb']:.0f}",
        "300 / - / 2,000",
    )
    say(
        f"  {told['copies']:,} copies: looked at / found / false ({told['pairs']:,} pairs)",
        f"{told['looked_at']} / {told['found']} / {told['false']}",
        "-",
    )
    return told


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path("/tmp/duplicate-pairs"))
    parser.add_argument(
        "--peers", type=Path, default=Path("/tmp/duplicate-peers"), help="where the peers' environments are kept"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS + ASKED, default=list(PARTS))
    parser.add_argument("--rows", type=int, default=10_000, help="photographs that `photographs` makes")
    parser.add_argument("--counts", type=int, nargs="+", default=[50_000, 200_000])
    asked = parser.parse_args()
    asked.cache.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    for part in asked.only:
        if part == "lookalikes":
            lookalikes(asked.data, asked.cache)
        elif part == "peers":
            ids, vectors, thumbs, group, _ = photo_set(asked.data)
            duplicate_peers.run(asked.peers, thumbs, vectors, ids, group, say)
        elif part == "photographs":
            photographs(asked.data, asked.rows)
        elif part == "search":
            search(asked.data, asked.counts)
        else:
            {"photos": photos, "cifar": cifar, "throughput": throughput}[part](asked.data)
