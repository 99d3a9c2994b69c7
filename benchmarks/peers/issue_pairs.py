"""cleanvision's exact and near duplicates of a folder, as JSON; it has no score, so its sets stand as they are.

python issue_pairs.py IMAGES OUT.json
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path


def main(folder, out):
    from cleanvision import Imagelab

    began = time.process_time()
    lab = Imagelab(data_path=folder, verbose=False)
    lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, n_jobs=1, verbose=False)
    sets = [s for kind in ("exact_duplicates", "near_duplicates") for s in lab.info[kind]["sets"]]
    pairs = sorted({(*sorted((Path(a).name, Path(b).name)), 0) for s in sets for a, b in itertools.combinations(s, 2)})
    Path(out).write_text(
        json.dumps({"cleanvision": {"pairs": pairs, "default": 0, "unit": "-", "cpu": time.process_time() - began}})
    )


if __name__ == "__main__":
    main(*sys.argv[1:3])
