"""Trains what `curate duplicates` ships: keypoint words and the two pair models (see curate/ops/data/README.md).

    python benchmarks/train_duplicates.py --data ../shared/data --cache /tmp/pairs --out curate/ops/data

Look-alike sheets and edited photographs give the large pairs; the judged CIFAR pairs and edited CIFAR training images the small
ones.  Prints leave-one-kind-out figures.  Features are kept in --cache, because they take most of the time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pair_data
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from curate.ops._pixels import PAIR_COLUMNS as COLUMNS
from curate.ops._verify_model import LIMIT, PairModel

UP = (
    "zncc gradient ssim ssim_p01 ssim_p05 ssim_p20 block_worst block_p10 tone block_second block_mean fine chroma_match hue "
    "near_p01 near_p05 near_p20 signature picture hue_kept beside_near_p01 beside_near_p05 beside_near_p20"
).split()
DOWN = (
    "both mutual both_wide mutual_wide other residual residual_p95 residual_p99 residual_peak chroma_peak gain offset clash "
    "clash_share clash_largest hue_turn beside_p998 beside_peak beside_mutual beside_both_p998 beside_both_peak "
    "beside_both_mutual beside_clash beside_clash_share beside_clash_largest"
).split()


def fit(rows, truth, columns, *, weight=None, trees=120, seed=0):
    """The logistic part and the trees, not yet calibrated (slope 1, offset 0)."""
    weight = np.ones(len(truth)) if weight is None else weight
    clipped = np.clip(rows.astype(np.float64), -LIMIT, LIMIT)
    centre, spread = clipped.mean(axis=0), clipped.std(axis=0) + 1e-6
    line = LogisticRegression(C=1.0, max_iter=3_000).fit((clipped - centre) / spread, truth, sample_weight=weight)
    sense = [1 if c in UP else -1 if c in DOWN else 0 for c in columns]
    forest = HistGradientBoostingClassifier(
        max_iter=trees, max_leaf_nodes=12, learning_rate=0.08, min_samples_leaf=25, l2_regularization=2.0,
        monotonic_cst=sense, random_state=seed,
    ).fit(rows, truth, sample_weight=weight)  # fmt: skip
    nodes = [tree[0].nodes for tree in forest._predictors]
    roots = np.cumsum([0, *(len(n) for n in nodes)])
    joined = np.concatenate(nodes)
    shift = np.repeat(roots[:-1], [len(n) for n in nodes])
    leaf = joined["is_leaf"].astype(bool)
    return PairModel(
        centre=centre, spread=spread, weights=line.coef_[0], bias=float(line.intercept_[0]),
        feature=np.where(leaf, -1, joined["feature_idx"]).astype(np.int32),
        threshold=np.where(leaf, 0, joined["num_threshold"]),
        left=(joined["left"] + shift).astype(np.int32), right=(joined["right"] + shift).astype(np.int32),
        value=joined["value"].astype(np.float64), roots=roots[:-1].astype(np.int32),
        start=float(np.ravel(forest._baseline_prediction)[0]), slope=1.0, offset=0.0,
    )  # fmt: skip


def crossed(rows, truth, columns, folds, *, weight=None):
    """Log odds of every row by models that did not see its fold."""
    scores = np.full(len(truth), -40.0)
    for fold in np.unique(folds):
        rest = folds != fold
        model = fit(rows[rest], truth[rest], columns, weight=None if weight is None else weight[rest])
        scores[~rest] = model.log_odds(rows[~rest])
    return scores


def calibrated(model, scores, truth, weight=None):
    """The model with slope and offset that make cross-fitted scores probabilities (Platt)."""
    from dataclasses import replace

    line = LogisticRegression(C=1e6, max_iter=1_000).fit(scores[:, None], truth, sample_weight=weight)
    return replace(model, slope=float(line.coef_[0, 0]), offset=float(line.intercept_[0]))


def precision_at(scores, truth, recall, lost=0):
    """The best precision at no less than a recall; `lost`: copies that have no score at all."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    reached = np.searchsorted(hits, recall * (truth.sum() + lost))
    return float((hits / np.arange(1, len(hits) + 1))[reached:].max()) if reached < len(hits) else 0.0


def kind_weights(kind, truth):
    """Every kind counts the same, whatever its number of pairs; photographs five times."""
    weight = np.ones(len(kind))
    for name in np.unique(kind):
        weight[kind == name] = (5_000 if name == "photo" else 1_000) / (kind == name).sum()
    return weight * len(kind) / weight.sum()


def joined(parts):
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def large(data, cache, out, seeds=(1, 2), sheets=4, by_kind=True):
    photos = pair_data.read_photos(data / "photos")
    parts = []
    for seed in seeds:
        kept = cache / f"pairs_{seed}.npz"
        if not kept.exists():
            np.savez(kept, **pair_data.dataset(photos, sheets=sheets, seed=seed))
        parts.append(dict(np.load(kept)))
    held = joined(parts)
    known = np.isfinite(held["rows"]).all(axis=1)
    rows, truth, kind = held["rows"][known], held["truth"][known], held["kind"][known]
    weight = kind_weights(kind, truth)
    lost = int((held["truth"] & ~known).sum())
    names = list(np.unique(kind))
    # Kinds are left out six at a time: harder than one at a time, and a quarter of the work.
    folds = np.array([names.index(k) % 5 for k in kind])
    scores = crossed(rows, truth, COLUMNS, folds, weight=weight) if by_kind else np.zeros(len(rows))
    alike = ~np.isin(kind, ("photo", "stranger"))
    print(f"large: {len(held['truth']):,} pairs, {held['truth'].sum():,} copies, {lost} cannot be laid over each other")
    if by_kind:
        pooled = precision_at(scores[alike], truth[alike], 0.90, lost)
        print(f"kinds left out (a fifth of them at a time), pooled: precision {pooled:.3f} at recall 0.90")
        for name in np.unique(kind[alike]):
            mine = kind == name
            print(f"  {name:9s} precision at recall 0.90: {precision_at(scores[mine], truth[mine], 0.90):.3f}")
    # The shipped model knows every kind: it is calibrated on scores of models that did not see the template.
    sheet = held["sheet"][known] + np.array([names.index(k) for k in kind])
    within = crossed(rows, truth, COLUMNS, sheet % 5, weight=weight)
    print(f"templates left out: precision {precision_at(within[alike], truth[alike], 0.93, lost):.3f} at recall 0.93")
    model = calibrated(fit(rows, truth, COLUMNS, weight=weight), within, truth, weight)
    likely = model.slope * within + model.offset > np.log(0.02 / 0.98)
    share = float(np.average(truth[likely], weights=weight[likely]))
    print(f"share of copies among pairs above 0.02: {share:.3f}  (curate.ops._pixels.USUAL_SHARE)")
    np.savez_compressed(out / "large.npz", **model.arrays())
    return model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--cache", type=Path, default=Path("/tmp/duplicate-pairs"))
    parser.add_argument("--out", type=Path, default=Path("curate/ops/data"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="no figures with whole kinds left out")
    parser.add_argument("--only", choices=["words", "large", "small"])
    asked = parser.parse_args()
    asked.cache.mkdir(parents=True, exist_ok=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    import train_small
    import train_words

    if asked.only in (None, "words"):
        train_words.train(asked.data, asked.out)
    if asked.only in (None, "large"):
        large(asked.data, asked.cache, asked.out, seeds=asked.seeds, by_kind=not asked.quick)
    if asked.only in (None, "small"):
        train_small.train(asked.data, asked.cache, asked.out)
