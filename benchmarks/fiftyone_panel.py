"""The Curate panel on a large dataset: how long each click takes in the App's server.

    python benchmarks/fiftyone_panel.py --rows 100000

A real mongod with that many samples, a store with as many vectors of which a fifth are near copies; the events go through the
server's own executor (plugin loading, database, layout and JSON included), the browser's drawing is not.  CPU seconds of the
process, mongod excluded, and wall seconds; the second of two calls, the first in brackets.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
# The folder of this file holds a fiftyone.py that is not the package.
sys.path[0] = str(ROOT)

from tests.connectors.fiftyone_place import server  # noqa: E402


def vectors(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    """Clusters of rows, every fifth row a near copy of the one before it."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (max(rows // 500, 1), dim))
    x = centres[rng.integers(0, len(centres), rows)] + rng.normal(0, 0.35, (rows, dim))
    copies = np.arange(1, rows, 5)
    x[copies] = x[copies - 1] + rng.normal(0, 0.002, (len(copies), dim)) * rng.uniform(0.2, 4, (len(copies), 1))
    return x.astype(np.float32)


def made(rows: int, dim: int, folder: Path) -> None:
    """The dataset, and its store with duplicates, clusters and a map."""
    import fiftyone as fo

    from curate.ops.clusters import Clusters
    from curate.ops.duplicates import Duplicates
    from curate.ops.projection import Projection
    from curate.pipeline.judge import judge
    from curate.store import Store
    from curate.types import EmbedderSpec, Item

    samples = fo.Dataset("large", persistent=True)
    samples.add_samples([fo.Sample(filepath=f"/none/{n:06d}.jpg", split="train" if n % 5 else "test") for n in range(rows)])
    samples.info["curate"] = {"store": str(folder)}
    samples.save()
    ids = sorted(samples.values("id"))
    spec = EmbedderSpec("made", "1", "", dim, "euclidean")
    with Store.open(folder, write=True, create=True) as store:
        listing = store.begin_listing("fiftyone:large")
        listing.add(
            [Item(i, f"file:///none/{n:06d}.jpg", "1", {"split": "train" if n % 5 else "test"}) for n, i in enumerate(ids)]
        )
        listing.finish(cursor=None, complete=True)
        store.import_vectors("fiftyone:large", spec, ids, vectors(rows, dim))
        embeddings = store.embeddings("fiftyone:large", spec.fingerprint)
        ops = [Duplicates(radius=0.05, reach=1.5), Clusters(count=50), Projection("pca")]
        for name, found in judge(store, "fiftyone:large", embeddings, ops).items():
            print(f"{name}: { {k: v for k, v in found.summary.items() if k in ('groups', 'rows', 'candidates', 'count')} }")
        body = store._db.rows("SELECT sum(length(body)) FROM finding_array WHERE name NOT LIKE 'points'")[0][0]
        print(f"kept beside the findings: {body / 1e6:.1f} MB")


def timed(what: str, panel: object, method: str, **params: object) -> None:
    """One event, twice."""
    took = []
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        getattr(panel, method)(**params) if method == "moved" else panel.call(method, **params)
        took.append((time.process_time() - cpu, time.perf_counter() - wall))
    size = len(json.dumps(panel.output)) + len(json.dumps(panel.data))
    print(f"| {what} | {took[1][0]:.2f} ({took[0][0]:.2f}) | {took[1][1]:.2f} ({took[0][1]:.2f}) | {size / 1e6:.2f} |")
    panel.data.clear()


def sheets_timed() -> None:
    """The pictures of a page, which the samples here lack: five groups of six thumbnails, twice."""
    from PIL import Image

    from connectors.fiftyone_plugin import sheets

    cells = np.random.default_rng(0).integers(0, 255, (16, 21, 3)).repeat(12, 0).repeat(12, 1)
    file = io.BytesIO()
    Image.fromarray(cells.astype(np.uint8)).save(file, "JPEG", quality=85)
    took = []
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        drawn = [sheets.sheet([("", "near copy 99%", sheets.COPY)] * 6, lambda _: file.getvalue()) for _ in range(5)]
        took.append((time.process_time() - cpu, time.perf_counter() - wall))
    line = f"{took[1][0]:.2f} ({took[0][0]:.2f}) | {took[1][1]:.2f} ({took[0][1]:.2f}) | {sum(map(len, drawn)) / 1e6:.2f}"
    print(f"| besides: pictures of a page of large groups | {line} |")


def main() -> None:
    """Makes the dataset and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=64)
    asked = parser.parse_args()
    with server() as environment, tempfile.TemporaryDirectory() as scratch:
        os.environ.update(environment)
        plugins = Path(environment["FIFTYONE_PLUGINS_DIR"])
        from tests.browser.fiftyone_app import link_plugin
        from tests.fiftyone_plugin.driven import Panel

        link_plugin(plugins)
        made(asked.rows, asked.dim, Path(scratch) / "store")
        print("\n| click | CPU s: second (first) | wall s | MB sent |\n|---|---|---|---|")
        wall, cpu = time.perf_counter(), time.process_time()
        panel = Panel("large")
        print(f"| opening the panel | {time.process_time() - cpu:.2f} | {time.perf_counter() - wall:.2f} | |")
        timed("refresh of the overview", panel, "refresh")
        timed("tab Duplicates", panel, "on_tab", value="duplicates")
        for radius in (0.075, 0.02, 0.04):
            timed(f"distance slider to {radius}", panel, "moved", radius_at=radius)
            print(f"|   {panel.number('copies would go'):,} copies in {panel.number('groups'):,} groups | | | |")
        timed("all copies into the grid", panel, "show_copies")
        timed("tab Map", panel, "on_tab", value="map")
        timed("map by duplicate", panel, "on_colour", value="duplicate")
        timed("tab Sample", panel, "on_tab", value="sample")
        sheets_timed()


if __name__ == "__main__":
    main()
