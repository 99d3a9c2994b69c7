"""SemHash on ready vectors (the same as ours): what it removes at several thresholds, as JSON.

python vector_pairs.py FEATURES.npz OUT.json      # files, F (n, d)
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np


class Ready:
    """An encoder that is never asked: the vectors are given."""

    def encode(self, inputs, **_):
        raise RuntimeError("the vectors are ready")


def main(features, out):
    from semhash import SemHash

    held = np.load(features)
    files, vectors = held["files"].tolist(), held["F"].astype(np.float32)
    pairs, began = {}, time.process_time()
    for threshold in (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.667, 0.65, 0.6):
        index = SemHash.from_embeddings(embeddings=vectors, records=files, model=Ready())
        for gone in index.self_deduplicate(threshold=threshold).filtered:
            for other, score in gone.duplicates:
                key = tuple(sorted((str(gone.record), str(other))))
                pairs[key] = max(pairs.get(key, -1.0), float(score))
    rows = sorted((a, b, 1 - s) for (a, b), s in pairs.items())
    Path(out).write_text(
        json.dumps({"SemHash": {"pairs": rows, "default": 0.1, "unit": "1 - cosine", "cpu": time.process_time() - began}})
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
