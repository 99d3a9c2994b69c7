"""Ten thousand photographs of 500 px with known copies, made from the six hundred at hand, and the decision over them.

There are 100 large photographs (`photos/`) and 500 of 288 px (`photo_copies/`).  A picture is two of them, each turned by any
angle, mirrored or not, enlarged, bent by a smooth random displacement (so that no affine map takes one picture's piece to
another's), its channels mixed, laid side by side along a smooth random border.  So these are no photographs but collages of
them: soft at 500 px, sharp at the 320 px that are compared; one photograph has a bent piece in about thirty pictures.  A tenth
of the rows are edited copies (`lookalikes.edit`, as in training) of one picture each.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from duplicate_context import context_of, embeddings_of, thumb
from lookalikes import edit

SIDE = 500
COPIES = 0.1
_BATCH = 50


def make(folder, sources, rows, *, seed=0, processes=1):
    """Writes `rows` JPEG files, their thumbnails, vectors.npy and truth.json (file -> number of its picture).

    sources: RGB images.
    """
    copies = round(COPIES * rows)
    rng = np.random.default_rng(seed)
    # The pictures that are copied, once each; every file's name says nothing.
    copied = rng.choice(rows - copies, size=copies, replace=False)
    names = [f"{n:06d}.jpg" for n in rng.permutation(rows)]
    twins = dict(zip(copied.tolist(), names[rows - copies :], strict=True))
    tasks = [
        (str(folder), [(n, names[n], twins.get(n)) for n in range(at, min(at + _BATCH, rows - copies))], seed)
        for at in range(0, rows - copies, _BATCH)
    ]
    (folder / "thumbnails").mkdir(exist_ok=True)
    np.savez(folder / "sources.npz", **{str(n): s for n, s in enumerate(sources)})
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_read_sources, initargs=(str(folder),)) as pool:
        vectors = {name: row for part in pool.map(_made, tasks) for name, row in part}
    (folder / "sources.npz").unlink()
    np.save(folder / "vectors.npy", np.stack([vectors[name] for name in sorted(names)]))
    truth = {names[n]: n for n in range(rows - copies)} | {twin: n for n, twin in twins.items()}
    (folder / "truth.json").write_text(json.dumps(truth))


_SOURCES: list = []


def _read_sources(folder):
    cv2.setNumThreads(1)
    with np.load(Path(folder) / "sources.npz") as held:
        _SOURCES[:] = [held[name] for name in held.files]


def _made(task):
    folder, rows, seed = task
    found = []
    for number, name, twin in rows:
        rng = np.random.default_rng([seed, 500, number])
        picture = _picture(rng)
        for file, image in ((name, picture), (twin, None if twin is None else edit(picture, rng)[0])):
            if file is not None:
                found.append((file, _written(Path(folder) / file, image, rng)))
    return found


def _written(path, image, rng):
    scale = SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(82, 95))])
    # What the embedding stage keeps of it.
    (path.parent / "thumbnails" / path.name).write_bytes(thumb(cv2.imread(str(path))[..., ::-1]))
    # A cheap embedding: a small picture, contrast taken out, through a fixed random projection.
    small = cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    axes = np.random.default_rng(1).normal(size=(len(small), 64)).astype(np.float32)
    return (small - small.mean()) @ axes


def _picture(rng):
    """One picture of 500 px on the longer side, RGB."""
    high, wide = [(375, 500), (333, 500), (500, 375), (500, 500), (281, 500)][
        int(rng.choice(5, p=[0.55, 0.2, 0.15, 0.05, 0.05]))
    ]
    pieces = [_piece(_SOURCES[k], high, wide, rng) for k in rng.choice(len(_SOURCES), size=2, replace=False)]
    border = cv2.resize(rng.normal(size=(3, 4)).astype(np.float32), (wide, high), interpolation=cv2.INTER_CUBIC)
    share = 1 / (1 + np.exp(-np.clip(12 * (border - np.median(border)), -20, 20)))[..., None]
    return (pieces[0] * share + pieces[1] * (1 - share)).astype(np.uint8)


def _piece(source, high, wide, rng):
    y, x = np.mgrid[0:high, 0:wide].astype(np.float32)
    angle, grow = rng.uniform(0, 2 * np.pi), max(high, wide) / max(source.shape[:2]) * rng.uniform(1.0, 1.6)
    c, s = np.cos(angle) / grow, np.sin(angle) / grow
    bend = [
        cv2.resize(rng.normal(scale=14, size=(4, 5)).astype(np.float32), (wide, high), interpolation=cv2.INTER_CUBIC)
        for _ in "xy"
    ]
    x, y = x - wide / 2 + bend[0], y - high / 2 + bend[1]
    x = -x if rng.random() < 0.5 else x
    middle = np.array(source.shape[1::-1]) * rng.uniform(0.35, 0.65, 2)
    at_x, at_y = (c * x - s * y + middle[0]).astype(np.float32), (s * x + c * y + middle[1]).astype(np.float32)
    moved = cv2.remap(source, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT).astype(np.float32)
    mix = np.eye(3)[rng.permutation(3)] * 0.7 + rng.dirichlet(np.ones(3), size=3) * 0.3
    return np.clip(moved @ mix.T.astype(np.float32) * rng.uniform(0.8, 1.15) + rng.uniform(-15, 15), 0, 255)


def decide(folder):
    """Near duplicates of the files of a folder, vectors and thumbnails ready as `curate sync` leaves them.

    Run in a process of its own, whose peak memory is told.
    """
    from curate.ops.duplicates import Duplicates, in_id_order

    folder = Path(folder)
    truth = json.loads((folder / "truth.json").read_text())
    ids = sorted(truth)

    def pixels(item):
        return cv2.cvtColor(cv2.imread(str(folder / "thumbnails" / item)), cv2.COLOR_BGR2RGB)

    context = context_of(ids, {})
    facts = {"content_hash": ids, "size_bytes": [(folder / i).stat().st_size for i in ids]}
    context = replace(context, pixels=pixels, fact=lambda name: facts.get(name, ()))
    embeddings, context = in_id_order(embeddings_of(ids, np.load(folder / "vectors.npy"), "euclidean"), context)
    began, wall = time.process_time(), time.perf_counter()
    op = Duplicates(precision=0.99)
    scored, basis = op.scored(embeddings, context)
    op.findings_of(scored, basis, embeddings, context)
    cpu, wall = time.process_time() - began, time.perf_counter() - wall
    right = np.array([truth[ids[i]] == truth[ids[j]] for i, j in zip(scored.i, scored.j, strict=True)], dtype=bool)
    return {
        "wall_s": wall,
        "cpu_s": cpu,
        "peak_mb": _peak_mb(),
        "pairs": len(right),
        "copies": len(ids) - len(set(truth.values())),
        "looked_at": int(right.sum()),
        "found": int((right & scored.decided).sum()),
        "false": int((~right & scored.decided).sum()),
    }


def _peak_mb():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")
