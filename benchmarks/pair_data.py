"""Labelled pairs to train and measure the duplicate decision on: look-alike sheets and edited photographs, as features."""

from __future__ import annotations

import itertools
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from lookalikes import build, edit, kinds, thumbnail


def read_photos(folder):
    """The photographs of a folder, RGB, at most 640 px."""
    import cv2

    found = []
    for path in sorted(Path(folder).iterdir()):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            image = cv2.imread(str(path))[..., ::-1]
            scale = min(1.0, 640 / max(image.shape[:2]))
            found.append(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    return found


def features_of_pairs(images, pairs):
    """Features (m, d) of pairs (i, j, mirrors tried), NaN where they cannot be laid over each other."""
    from curate.ops._aligned import Way, compare
    from curate.ops._pixels import PAIR_COLUMNS

    described = described_images(images)
    rows = np.full((len(pairs), len(PAIR_COLUMNS)), np.nan, dtype=np.float32)
    mirrored = np.zeros(len(pairs), dtype=bool)
    i, j, turned = (np.array(column) for column in zip(*pairs, strict=True))
    for n, (a, b, mirrors, kin) in enumerate(zip(i, j, turned, described.kin(i, j), strict=True)):
        row, mirrored[n] = compare(described.view(int(a)), described.view(int(b)), Way(mirrors=bool(mirrors), kin=bool(kin)))
        if row is not None:
            rows[n, :-2] = row
    found = np.isfinite(rows[:, 0])
    rows[found, -2:] = described.likeness(i[found], j[found], mirrored[found])
    return rows, mirrored


def described_images(images):
    from curate.ops._memory import Remembered
    from curate.ops._pixels import describe_images

    ids = [str(n) for n in range(len(images))]
    nothing = Remembered(lambda _: None, lambda *_: None, "")
    return describe_images(ids, [""] * len(ids), lambda item: images[int(item)], nothing)


def sheet_pairs(task):
    """(features, truth, edits) of every pair of one sheet."""
    kind, number, photos, seed = task
    sheet = build(kind, number, photos, seed=seed, originals=4)
    pairs = [(i, j, True) for i, j in itertools.combinations(range(len(sheet.images)), 2)]
    rows, _ = features_of_pairs(sheet.images, pairs)
    truth = np.array([sheet.original[i] == sheet.original[j] for i, j, _ in pairs])
    names = [f"{sheet.edits[i]}|{sheet.edits[j]}" for i, j, _ in pairs]
    return kind, number, rows, truth, names


def photo_pairs(task):
    """(features, truth, edits) of some photographs with edited copies, and of pairs of different photographs."""
    number, photos, seed = task
    rng = np.random.default_rng([seed, 77, number])
    images, groups, names = [], [], []
    for group, photo in enumerate(photos):
        for n in range(5):
            image, name = (photo, "") if n == 0 else edit(photo, rng)
            images.append(thumbnail(image, side=int(rng.choice([224, 288, 320]))))
            groups.append(group)
            names.append(name)
    same = [(i, j) for i, j in itertools.combinations(range(len(images)), 2) if groups[i] == groups[j]]
    other = [(i, j) for i, j in itertools.combinations(range(len(images)), 2) if groups[i] != groups[j]]
    other = [other[k] for k in rng.choice(len(other), size=min(len(other), 3 * len(same)), replace=False)]
    pairs = [(i, j, True) for i, j in same + other]
    rows, _ = features_of_pairs(images, pairs)
    truth = np.array([groups[i] == groups[j] for i, j, _ in pairs])
    return "photo", number, rows, truth, [f"{names[i]}|{names[j]}" for i, j, _ in pairs]


def stranger_pairs(task):
    """(features, truth, edits) of the candidates among images that have nothing in common: what most sets are full of."""
    from curate.geometry import EUCLIDEAN
    from curate.ops._pixels import propose

    number, photos, seed = task
    rng = np.random.default_rng([seed, 99, number])
    images, names = [], []
    for photo in photos:
        image, name = edit(photo, rng) if rng.random() < 0.5 else (photo, "")
        images.append(thumbnail(image, side=int(rng.choice([224, 288, 320]))))
        names.append(name)
    for kind in kinds():
        few = [photos[k] for k in rng.choice(len(photos), size=2, replace=False)]
        sheet = build(kind, 1_000 + number, few, seed=seed, originals=1)
        images.append(sheet.images[-1])
        names.append(sheet.edits[-1])
    described = described_images(images)
    pairs = propose(rng.normal(size=(len(images), 4)).astype(np.float32), EUCLIDEAN, described)
    rows, _ = features_of_pairs(images, list(zip(pairs.i, pairs.j, pairs.turned, strict=True)))
    found = np.isfinite(rows).all(axis=1)
    edits = [f"{names[i]}|{names[j]}" for i, j in zip(pairs.i[found], pairs.j[found], strict=True)]
    return "stranger", number, rows[found], np.zeros(int(found.sum()), dtype=bool), edits


def one_thread():
    import cv2

    cv2.setNumThreads(1)


def dataset(photos, *, sheets, seed, processes=1, chosen=None, with_photos=True):
    """Features (n, d), truth, kind, sheet number and edit names of all pairs; NaN rows could not be laid over each other."""
    rng = np.random.default_rng(seed)
    tasks = []
    for kind in chosen or kinds():
        for number in range(sheets):
            few = [photos[k] for k in rng.choice(len(photos), size=min(len(photos), 12), replace=False)]
            tasks.append((kind, number, few, seed))
    groups = [(n, photos[n : n + 4], seed) for n in range(0, len(photos), 4)] if with_photos else []
    strangers = [(n, photos[n::2], seed) for n in range(2)] if with_photos else []
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=one_thread) as pool:
        parts = [
            *pool.map(sheet_pairs, tasks, chunksize=2),
            *pool.map(photo_pairs, groups),
            *pool.map(stranger_pairs, strangers),
        ]
    rows = np.concatenate([p[2] for p in parts])
    truth = np.concatenate([p[3] for p in parts])
    kind = np.concatenate([np.full(len(p[3]), p[0]) for p in parts])
    sheet = np.concatenate([np.full(len(p[3]), p[1]) for p in parts])
    names = np.array([name for p in parts for name in p[4]])
    return {"rows": rows, "truth": truth, "kind": kind, "sheet": sheet, "edits": names}
