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
    from curate.ops._aligned import COLUMNS, compare
    from curate.ops._views import view_of

    views = [view_of(image) for image in images]
    rows = np.full((len(pairs), len(COLUMNS)), np.nan, dtype=np.float32)
    mirrored = np.zeros(len(pairs), dtype=bool)
    for n, (i, j) in enumerate(pairs):
        row, mirrored[n] = compare(views[i], views[j])
        if row is not None:
            rows[n] = row
    return rows, mirrored


def sheet_pairs(task):
    """(features, truth, edits) of every pair of one sheet."""
    kind, number, photos, seed = task
    sheet = build(kind, number, photos, seed=seed, originals=4)
    pairs = list(itertools.combinations(range(len(sheet.images)), 2))
    rows, _ = features_of_pairs(sheet.images, pairs)
    truth = np.array([sheet.original[i] == sheet.original[j] for i, j in pairs])
    names = [f"{sheet.edits[i]}|{sheet.edits[j]}" for i, j in pairs]
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
    pairs = same + other
    rows, _ = features_of_pairs(images, pairs)
    truth = np.array([groups[i] == groups[j] for i, j in pairs])
    return "photo", number, rows, truth, [f"{names[i]}|{names[j]}" for i, j in pairs]


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
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=one_thread) as pool:
        parts = [*pool.map(sheet_pairs, tasks, chunksize=2), *pool.map(photo_pairs, groups)]
    rows = np.concatenate([p[2] for p in parts])
    truth = np.concatenate([p[3] for p in parts])
    kind = np.concatenate([np.full(len(p[3]), p[0]) for p in parts])
    sheet = np.concatenate([np.full(len(p[3]), p[1]) for p in parts])
    names = np.array([name for p in parts for name in p[4]])
    return {"rows": rows, "truth": truth, "kind": kind, "sheet": sheet, "edits": names}
