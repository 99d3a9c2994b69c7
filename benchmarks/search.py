"""Nearest neighbours at 512 dimensions: exact, hnswlib, LSH, KD-tree and ball tree, as libraries give them.

    python benchmarks/search.py [--rows 20000] [--dim 512] [--queries 100]

Vectors: a mixture of clusters on a low-dimensional sheet with noise, unit length, as CLIP's are; queries are held-out points
of the same distribution.  For each: seconds to build, milliseconds a query (CPU of one thread), recall@10 against exact,
memory beside the vectors.  "exact (curate)" prepares all rows and computes exact distances in every call, as one search of the
command line does; "one product" is a bare matrix-vector product on prepared rows, the floor of any exact search.
LSH: signs of sklearn's random projections, 16 tables of 14 bits.
"""

import argparse
import pickle
import platform
import statistics
import sys
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
K = 10


def vectors(count, dim, seed=0):
    """Unit rows: 200 clusters on a sheet of 24 dimensions, with noise in all of them."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((dim, 24)))[0].T
    centres = rng.standard_normal((200, 24))
    x = (centres[rng.integers(200, size=count)] + 0.5 * rng.standard_normal((count, 24))) @ basis
    x += 0.05 * rng.standard_normal((count, dim)) + 1.5 * basis[0]
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


class Lsh:
    """Signs of random projections: sklearn's GaussianRandomProjection, 16 tables of 14 bits, one bit flipped on either side."""

    TABLES, BITS = 16, 14

    def __init__(self, x):
        from sklearn.random_projection import GaussianRandomProjection

        self.x = x
        self.mean = x.mean(0)
        self.draw = GaussianRandomProjection(self.TABLES * self.BITS, random_state=0).fit(x)
        self.weight = 1 << np.arange(self.BITS)
        self.tables = [defaultdict(list) for _ in range(self.TABLES)]
        for row, keys in enumerate(self._keys(x)):
            for table, key in zip(self.tables, keys, strict=True):
                table[int(key)].append(row)

    def _keys(self, x):
        signs = (self.draw.transform(x - self.mean) > 0).reshape(len(x), self.TABLES, self.BITS)
        return signs @ self.weight

    def query(self, q):
        found = set()
        for table, key in zip(self.tables, self._keys(q[None])[0], strict=True):
            for flipped in (0, *self.weight):
                found.update(table.get(int(key) ^ int(flipped), ()))
        rows = np.fromiter(found, dtype=np.int64, count=len(found))
        return rows[np.argsort(-(self.x[rows] @ q))[:K]]


def ways():
    """Name -> build(x), which gives query(q) -> rows and the bytes kept beside the vectors."""
    from sklearn.neighbors import BallTree, KDTree

    from curate.geometry import COSINE
    from curate.index import KeptIndex, nearest

    def exact(x):
        return lambda q: nearest(x, q[None], K, COSINE)[0][0], 0

    def hnsw(x):
        index = KeptIndex.build(x, COSINE)
        return lambda q: index.nearest(q[None], K)[0][0], int(len(x) * (24 * 2 * 4 + 24 + x.shape[1] * 4))

    def lsh(x):
        index = Lsh(x)
        return index.query, len(pickle.dumps([dict(t) for t in index.tables]))

    def tree(kind):
        def build(x):
            index = kind(x, leaf_size=40)
            return lambda q: index.query(q[None], k=K)[1][0], len(pickle.dumps(index)) - x.nbytes

        return build

    def product(x):
        return lambda q: np.argpartition(-(x @ q), K)[:K], 0

    return {
        "exact (curate)": exact,
        "one product": product,
        "hnswlib (curate)": hnsw,
        "LSH": lsh,
        "KD-tree": tree(KDTree),
        "ball tree": tree(BallTree),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=100)
    args = parser.parse_args()
    everything = vectors(args.rows + args.queries, args.dim)
    x, queries = everything[: args.rows], everything[args.rows :]
    packages = ", ".join(f"{p} {version(p)}" for p in ("numpy", "hnswlib", "scikit-learn"))
    print(f"{platform.machine()}, Python {platform.python_version()}, {packages}")
    print(f"{args.rows:,} x {args.dim}, {args.queries} queries, CPU of one thread")
    truth = None
    built = {}
    for name, build in ways().items():
        start = time.process_time()
        query, memory = build(x)
        built[name] = (query, time.process_time() - start, memory)
    answers = {name: [] for name in built}
    seconds = {name: [] for name in built}
    for q in queries:  # Interleaved: every way answers a query before the next one is asked.
        for name, (query, _, _) in built.items():
            start = time.process_time()
            answers[name].append(set(np.asarray(query(q)).tolist()))
            seconds[name].append(time.process_time() - start)
    truth = answers["exact (curate)"]
    print(f"{'':18} {'build s':>9} {'ms/query':>9} {'x exact':>8} {'recall@10':>10} {'MB beside':>10}")
    base = statistics.median(seconds["exact (curate)"])
    for name, (_, build_s, memory) in built.items():
        middle = statistics.median(seconds[name])
        recall = np.mean([len(a & t) / K for a, t in zip(answers[name], truth, strict=True)])
        print(f"{name:18} {build_s:9.1f} {1e3 * middle:9.2f} {base / middle:8.2f} {recall:10.3f} {memory / 1e6:10.1f}")


if __name__ == "__main__":
    main()
