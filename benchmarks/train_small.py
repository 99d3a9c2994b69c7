"""The model of small pairs: judged CIFAR pairs, and edited copies of CIFAR training images among their neighbours."""

from __future__ import annotations

import csv
import tarfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import train_duplicates as large
from lookalikes import edit

from curate.geometry import EUCLIDEAN
from curate.index import nearest
from curate.ops._signature import mirrored_picture, small_picture
from curate.ops._small import SMALL_COLUMNS, SmallImages, paired

BLIND = Path(__file__).parent / "cifar_blind.csv"

EDITS = (
    "jpeg",
    "crop_little",
    "dark",
    "bright",
    "contrast",
    "colour",
    "grey",
    "noise",
    "mirror",
    "blur",
    "border",
    "rotate",
    "stretch",
)


def read_cifar(data):
    """id ("test/00001") -> RGB pixels."""
    found = {}
    with tarfile.open(data / "cifar_pairs" / "images.tar.xz") as tar:
        for member in tar:
            if member.isfile() and member.name.endswith(".jpg"):
                raw = np.frombuffer(tar.extractfile(member).read(), np.uint8)
                name = "/".join(member.name.split("/")[-2:]).removesuffix(".jpg")
                found[name] = cv2.imdecode(raw, cv2.IMREAD_COLOR)[..., ::-1]
    return found


def candidates(x, pictures):
    parts = [nearest(pictures, pictures, 9, EUCLIDEAN)[0], nearest(pictures, mirrored_picture(pictures), 4, EUCLIDEAN)[0]]
    if x is not None:
        from curate.geometry import COSINE

        parts.append(nearest(x, x, 11, COSINE)[0])
    return np.concatenate(parts, axis=1)


def judged(data, *, blind=False):
    """{(test id, train id): "dup" | "similar" | "unsure" | "no"}.

    blind: also the forty pairs of `BLIND` that nobody had judged: the pack holds what other rankings had brought up.
    """
    with (data / "cifar_pairs" / "pairs.csv").open() as file:
        found = {(f"test/{r['test']}", f"train/{r['train']}"): r["label"] for r in csv.DictReader(file)}
    return found | ({k: label for k, (pack, label) in blindly().items() if not pack} if blind else {})


def blindly():
    """{(test id, train id): (label of the pack, "" where it has none; what two of three blind judges say, else "unsure")}.

    Three machine judges (models that see), each alone, without labels, scores or pixels to compute on, saw 100 pairs, mixed, at
    seven times their size, each beginning at another sheet: the forty highest that the pack does not judge, of a model that was
    trained on the pack's labels, the 25 highest that it calls similar or no copies, and 35 of the less certain that it calls
    copies.
    """
    found = {}
    with BLIND.open() as file:
        for r in csv.DictReader(file):
            said = Counter(r[name] for name in ("first", "second", "third"))
            label, votes = said.most_common(1)[0]
            found[f"test/{r['test']}", f"train/{r['train']}"] = (r["pack"], label if votes > 1 else "unsure")
    return found


def natural(data):
    """Features of the cross pairs of the judged pack, and their (test id, train id)."""
    images = read_cifar(data)
    held = np.load(data / "cifar_pairs" / "resnet20_mid.npz")
    ids = [str(i) for i in held["ids"]]
    pixels = [images[i] for i in ids]
    pictures = np.stack([small_picture(p) for p in pixels])
    i, j, rows, _ = paired(SmallImages(pixels), candidates(held["vectors"].astype(np.float32), pictures), least=0.66)
    test = np.array([name.startswith("test/") for name in ids])
    cross = test[i] != test[j]
    i, j, rows = i[cross], j[cross], rows[cross]
    return rows, [(ids[a], ids[b]) if test[a] else (ids[b], ids[a]) for a, b in zip(i, j, strict=True)]


def truth_of(keys, labels):
    """1: a copy, 0: none, -1: unsure, or nobody has looked.

    The pack lists one copy of a test image; its pairs with other copies of the same picture were not judged, and are copies as
    often as not.  Pairs of images without any copy on the list are taken for no copies, as the pack does.
    """
    code = {"dup": 1, "similar": 0, "no": 0, "unsure": -1}
    truth = np.array([code[labels.get(k, "no")] for k in keys])
    copied = {k[0] for k, t in zip(keys, truth, strict=True) if t == 1}
    unknown = np.array([k[0] in copied and k not in labels for k in keys], dtype=bool)
    return np.where(unknown, -1, truth)


def made(data, count=1_500, seed=0):
    """Features and truth of edited copies of training images among their neighbours."""
    rng = np.random.default_rng(seed)
    images = read_cifar(data)
    names = sorted(n for n in images if n.startswith("train/"))
    chosen = rng.permutation(len(names))[: 3 * count]
    pixels = [images[names[n]] for n in chosen]
    group = list(range(len(pixels)))
    for n in range(count):
        large_pixels = cv2.resize(pixels[n], (128, 128), interpolation=cv2.INTER_CUBIC)
        copy, _ = edit(large_pixels, rng, str(rng.choice(EDITS)))
        small = cv2.resize(copy, (32, 32), interpolation=cv2.INTER_AREA)
        pixels.append(cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 96))])[1], 1))
        group.append(n)
    pictures = np.stack([small_picture(p) for p in pixels])
    near = candidates(None, pictures)
    own = np.array(group)[:, None]
    i, j, rows, _ = paired(SmallImages(pixels), np.concatenate([near, own], axis=1), least=0.0)
    truth = (np.array(group)[i] == np.array(group)[j]).astype(int)
    keep = (truth == 1) | (rng.random(len(truth)) < 0.3)
    return rows[keep], truth[keep], np.array([f"made/{group[a]}" for a in i[keep]])


def image_figures(scores, truth, owner, lost=0):
    """F1, AP and recall at 95 % precision of "does this test image have a copy", unsure images left out."""
    images, place = np.unique(owner, return_inverse=True)
    best = np.full(len(images), -np.inf)
    np.maximum.at(best, place[truth >= 0], scores[truth >= 0])
    copy = np.zeros(len(images), bool)
    copy[place[truth == 1]] = True
    unsure = np.zeros(len(images), bool)
    unsure[place[truth == -1]] = True
    use = np.isfinite(best) & (copy | ~unsure)
    best, copy = best[use], copy[use]
    order = np.argsort(-best, kind="stable")
    hits = np.cumsum(copy[order])
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / (copy.sum() + lost)
    f1 = (2 * precision * recall / np.maximum(precision + recall, 1e-9)).max()
    ap = float((np.diff(np.r_[0, recall]) * precision).sum())
    at95 = max([float(r) for r, p in zip(recall, precision, strict=True) if p >= 0.95] + [0.0])
    return float(f1), ap, at95


def train(data, cache, out):
    kept = cache / "small.npz"
    if not kept.exists():
        (a, keys), (b, tb, ob) = natural(data), made(data)
        ta, oa = truth_of(keys, judged(data, blind=True)), np.array([k[0] for k in keys])
        np.savez(kept, rows=np.concatenate([a, b]), truth=np.concatenate([ta, tb]), owner=np.concatenate([oa, ob]))
    held = np.load(kept)
    rows, truth, owner = held["rows"], held["truth"], held["owner"]
    rng = np.random.default_rng(0)
    # Most pairs are far from any doubt: a twentieth of those is enough.
    useful = (truth == 1) | (rows[:, SMALL_COLUMNS.index("gradient")] > 0.35) | (rng.random(len(truth)) < 0.05)
    sure = (truth >= 0) & useful
    synthetic = np.char.startswith(owner, "made/")
    weight = np.where(synthetic, 0.3, 1.0)
    folds = np.array([sum(map(ord, o)) % 5 for o in owner])
    scores = np.full(len(truth), -40.0)
    for fold in range(5):
        fitted = sure & (folds != fold)
        model = large.fit(rows[fitted], truth[fitted] == 1, SMALL_COLUMNS, weight=weight[fitted])
        scores[folds == fold] = model.log_odds(rows[folds == fold])
    real = ~synthetic
    f1, ap, at95 = image_figures(scores[real], truth[real], owner[real])
    print(f"small, five folds over test images: F1 {f1:.3f}  AP {ap:.3f}  recall at 95 % precision {at95:.3f}")
    model = large.fit(rows[sure], truth[sure] == 1, SMALL_COLUMNS, weight=weight[sure])
    known = truth >= 0
    # Calibrated on all candidates, the easy ones too: that is what the probability is about.
    model = large.calibrated(model, scores[known], truth[known] == 1, weight[known])
    np.savez_compressed(out / "small.npz", **model.arrays())
