"""Sampling against random, and planted label mistakes, on real features.

    python benchmarks/sampling.py --data ../shared/data                 # the figures of the table: cluster, 5 seeds
    python benchmarks/sampling.py --data ../shared/data --methods cluster,typicality,facility-location,k-center --seeds 2

Settings: {CIFAR-10 resnet20 features, MNIST PCA-64} x {1, 5, 10 % of a balanced pool; 2, 10 % of a pool with a 100:1 long
tail}; pools of 20,000 rows, accuracy of a logistic regression and of 1-NN on the 10,000 test rows.  Every method sees
the same pools.  Prints one table a part; --json FILE writes all of it.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np

from curate.errors import ConfigError
from curate.geometry import COSINE, EUCLIDEAN
from curate.ops.labels import Labels
from curate.ops.sampling import Sample
from curate.protocols import Context
from curate.types import EmbedderSpec, Embeddings

POOL = 20_000
SETTINGS = [("balanced", share) for share in (0.01, 0.05, 0.10)] + [("long tail", share) for share in (0.02, 0.10)]


def sets(data: Path):
    cifar, mnist = np.load(data / "sampling/cifar10_resnet20.npz"), np.load(data / "sampling/mnist_pca64.npz")
    yield "CIFAR-10 resnet20", COSINE, cifar["x_train"], cifar["y_train"], cifar["x_test"], cifar["y_test"]
    yield "MNIST PCA-64", EUCLIDEAN, mnist["X"], mnist["y"], mnist["Xt"], mnist["yt"]


def pool(y, kind, seed):
    """Rows of a pool: 20,000 at random, or class sizes that fall from the largest to a hundredth of it."""
    rng = np.random.default_rng([seed, 7])
    if kind == "balanced":
        return np.sort(rng.permutation(len(y))[:POOL])
    classes = np.unique(y)
    most = min(POOL // 3, min((y == c).sum() for c in classes))
    sizes = (most * 100.0 ** (-np.arange(len(classes)) / (len(classes) - 1))).astype(int)
    order = rng.permutation(classes)
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(y == c))[:n] for c, n in zip(order, sizes, strict=True)]))


def choose(method, x, geometry, budget, seed):
    ids = [f"{i:06d}" for i in range(len(x))]
    spec = EmbedderSpec("features", "", "", x.shape[1], geometry.label)
    found = Sample(method=method, budget=budget)(Embeddings(ids, x, spec), Context(rng=np.random.default_rng(seed)))
    return np.asarray([int(i) for i in found.evidence["ids"]]), found.evidence["coverage"]


def accuracy(x, y, test, truth, geometry):
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler

    scale = StandardScaler().fit(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        linear = LogisticRegression(max_iter=200).fit(scale.transform(x), y).score(scale.transform(test), truth)
    near = KNeighborsClassifier(1).fit(geometry.prepare(x), y).score(geometry.prepare(test), truth)
    return linear, near


def against_random(data, methods, seeds):
    lines = []
    for name, geometry, x, y, test, truth in sets(data):
        for kind, share in SETTINGS:
            for seed in range(seeds):
                rows = pool(y, kind, seed)
                inside, label = np.ascontiguousarray(x[rows], np.float32), y[rows]
                budget = round(share * len(rows))
                scores = {}
                for method in ["random", *methods]:
                    start = time.perf_counter()
                    chosen, cover = choose(method, inside, geometry, budget, seed)
                    seconds = time.perf_counter() - start
                    scores[method] = (*accuracy(inside[chosen], label[chosen], test, truth, geometry), cover, seconds)
                for method in methods:
                    (lr, nn, cover, seconds), (lr0, nn0, _, _) = scores[method], scores["random"]
                    line = {"set": name, "pool": kind, "share": share, "seed": seed, "method": method, "rows": budget}
                    line |= {"accuracy": lr, "random": lr0, "nn": nn, "nn_random": nn0, "seconds": seconds}
                    lines.append(
                        line
                        | {"cover_mean": cover["mean"] / cover["random_mean"], "cover_max": cover["max"] / cover["random_max"]}
                    )
                print(f"  {name}, {kind} {share:.0%}, seed {seed}", flush=True)
    return lines


def table(lines, methods):
    for method in methods:
        mine = [line for line in lines if line["method"] == method]
        print(f"\n{method}: accuracy against random (logistic regression | 1-NN), coverage x random, seconds")
        means = []
        for key in dict.fromkeys((line["set"], line["pool"], line["share"]) for line in mine):
            some = [line for line in mine if (line["set"], line["pool"], line["share"]) == key]
            gain = [line["accuracy"] - line["random"] for line in some]
            near = [line["nn"] - line["nn_random"] for line in some]
            cover = [line["cover_mean"] for line in some]
            means.append((np.mean(gain), np.mean(near)))
            setting = f"{key[0]:18} {key[1]:9} {key[2]:4.0%} ({some[0]['rows']:5})"
            print(
                f"  {setting}: {np.mean(gain):+.3f} (worst seed {min(gain):+.3f}) | {np.mean(near):+.3f} | "
                f"cover {np.mean(cover):.2f} | {np.mean([line['seconds'] for line in some]):.1f} s"
            )
        gains, nears = np.asarray(means).T
        every = [line["accuracy"] - line["random"] for line in mine]
        print(f"  settings: mean {gains.mean():+.4f}, worst {gains.min():+.4f}, best {gains.max():+.4f}")
        print(f"  settings, 1-NN: mean {nears.mean():+.4f}, worst {nears.min():+.4f}")
        print(f"  single runs: worst {min(every):+.4f}, {sum(g < 0 for g in every)} of {len(every)} below random")


def label_noise(data, seeds):
    from sklearn.datasets import load_digits

    digits = load_digits()
    _, _, mnist_x, mnist_y, _, _ = list(sets(data))[1]
    lines = []
    cases = [("digits (1,797)", digits.data, digits.target), ("MNIST PCA-64 (5,000)", mnist_x[:5000], mnist_y[:5000])]
    for name, x, y in cases:
        for count in (5, round(0.03 * len(y))):
            right = flagged = 0
            for seed in range(seeds):
                rng = np.random.default_rng(seed)
                rows = rng.choice(len(y), count, replace=False)
                label = y.astype(int).copy()
                label[rows] = (label[rows] + rng.integers(1, 10, count)) % 10
                found = mistakes(np.asarray(x, np.float32), label)
                right, flagged = right + len(found & set(rows.tolist())), flagged + len(found)
            line = {"set": name, "planted": count, "precision": right / max(flagged, 1), "recall": right / (count * seeds)}
            lines.append(line | {"flagged": flagged / seeds})
            shares = f"precision {line['precision']:.3f}, recall {line['recall']:.3f}"
            print(f"  {name}: {count} planted, {flagged / seeds:.1f} flagged: {shares}")
    return lines


def mistakes(x, label):
    ids = [f"{i:06d}" for i in range(len(x))]

    def field(name):
        if name != "label":
            raise ConfigError(name)
        return label.tolist()

    spec = EmbedderSpec("features", "", "", x.shape[1], "euclidean")
    found = Labels()(Embeddings(ids, x, spec), Context(rng=np.random.default_rng(0), field=field))
    return {int(m["id"]) for m in found.evidence["mistakes"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--methods", default="cluster")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=("sampling", "labels"))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    methods = args.methods.split(",")
    result = {}
    if args.only != "sampling":
        print("likely label mistakes (planted at random)")
        result["labels"] = label_noise(args.data, args.seeds)
    if args.only != "labels":
        print("sampling")
        result["sampling"] = against_random(args.data, methods, args.seeds)
        table(result["sampling"], methods)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
