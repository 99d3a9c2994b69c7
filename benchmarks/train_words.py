"""The words of keypoint signatures: principal axes of SIFT descriptors and k-means centres on them."""

from __future__ import annotations

import cv2
import numpy as np
import pair_data
from lookalikes import build, kinds, thumbnail
from sklearn.cluster import KMeans

from curate.ops._views import keypoints, sized
from curate.ops._words import rooted


def train(data, out, *, axes=24, centres=32):
    photos = pair_data.read_photos(data / "photos")
    found = [_described(thumbnail(p)) for p in photos]
    for kind in kinds():
        for number in range(2):
            sheet = build(kind, 90 + number, photos[:40], seed=9, originals=2)
            found += [_described(i) for i, e in zip(sheet.images, sheet.edits, strict=True) if e == ""]
    rng = np.random.default_rng(0)
    rows = np.concatenate([d[rng.permutation(len(d))[:150]] for d in found if len(d)])
    middle = rows.mean(axis=0)
    turn = np.linalg.eigh(np.cov((rows - middle).T))[1][:, ::-1][:, :axes]
    words = KMeans(centres, n_init=2, random_state=0).fit((rows - middle) @ turn).cluster_centers_
    arrays = {"axes": turn, "middle": middle, "centres": words}
    np.savez_compressed(out / "words.npz", **{name: a.astype(np.float16) for name, a in arrays.items()})


def _described(image):
    return rooted(keypoints(cv2.cvtColor(sized(image), cv2.COLOR_RGB2GRAY))[2])
