"""FiftyOne Brain's `find_duplicates` on ready vectors (the same as ours) at several thresholds, as JSON.

python brain_pairs.py FEATURES.npz OUT.json      # files, F (n, d)
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def main(features, out):
    os.environ["FIFTYONE_DATABASE_DIR"] = tempfile.mkdtemp(prefix="brain-")
    os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"
    import fiftyone as fo
    import fiftyone.brain as fob

    held = np.load(features)
    files, vectors = held["files"].tolist(), held["F"].astype(np.float32)
    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=f"/nowhere/{name}") for name in files], progress=False)
    name_of = dict(zip(dataset.values("id"), files, strict=True))
    pairs, began = {}, time.process_time()
    index = fob.compute_similarity(dataset, embeddings=vectors, brain_key="near", backend="sklearn", metric="cosine")
    for threshold in (0.6, 0.5, 0.4, 0.333, 0.25, 0.2, 0.1):
        index.find_duplicates(thresh=threshold)
        for kept, copies in index.neighbors_map.items():
            for copy, distance in copies:
                pairs[tuple(sorted((name_of[kept], name_of[copy])))] = float(distance)
    rows = sorted((a, b, d) for (a, b), d in pairs.items())
    found = {"pairs": rows, "default": 0.2, "unit": "its own distance", "cpu": time.process_time() - began}
    Path(out).write_text(json.dumps({"FiftyOne Brain": found}))
    dataset.delete()


if __name__ == "__main__":
    main(*sys.argv[1:3])
