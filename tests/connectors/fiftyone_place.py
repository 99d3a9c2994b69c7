"""A real mongod for the tests of FiftyOne: one a process, with an explicit address, killed afterwards."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SETTINGS = {
    "FIFTYONE_DO_NOT_TRACK": "1",
    "FIFTYONE_DATABASE_VALIDATION": "false",
    "FIFTYONE_SHOW_PROGRESS_BARS": "false",
}
"""Nothing leaves the machine, and the notice about old versions of MongoDB is not printed."""


def mongod() -> Path | None:
    """The server that the package fiftyone brings; None where it is not installed."""
    spec = importlib.util.find_spec("fiftyone")
    found = spec and spec.origin and Path(spec.origin).parent / "db" / "bin" / "mongod"
    return found if found and found.is_file() else None


@contextmanager
def server() -> Iterator[dict[str, str]]:
    """A mongod on a free port of 127.0.0.1: the environment that leads to it and to a home folder of its own."""
    program = mongod()
    assert program is not None
    folder = Path(tempfile.mkdtemp(prefix="curate-fiftyone-"))
    (folder / "db").mkdir()
    port = _free_port()
    arguments = ["--dbpath", folder / "db", "--port", port, "--bind_ip", "127.0.0.1", "--wiredTigerCacheSizeGB", "0.25"]
    # A session of its own: Ctrl-C in the test run must not take the server away before the tests have ended.
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, *map(str, arguments)], stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(port, process, folder / "log")
        yield {
            **SETTINGS,
            "HOME": str(folder),
            "FIFTYONE_DATABASE_URI": f"mongodb://127.0.0.1:{port}",
            "FIFTYONE_DATABASE_NAME": f"curate_test_{os.getpid()}",
            "FIFTYONE_PLUGINS_DIR": str(folder / "plugins"),
        }
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()[-2000:]
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"mongod does not listen: {log.read_text()[-2000:]}")


def pictures(folder: Path, count: int = 12, seed: int = 0) -> list[Path]:
    """Distinct pictures, then a re-encoded copy and a copy of the bytes of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, paths = np.random.default_rng(seed), []
    for i in range(count):
        coarse = rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        paths.append(folder / f"{i:02d}.png")
        Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC).save(paths[-1])
    Image.open(paths[0]).save(folder / "again.jpg", quality=70)
    (folder / "copy.png").write_bytes(paths[0].read_bytes())
    return [*paths, folder / "again.jpg", folder / "copy.png"]


def dataset(name: str, paths: Sequence[Path]) -> Any:
    """A persistent dataset of these files, replaced if there is one: labels by turns, the split as a tag, a score."""
    import fiftyone as fo

    made = fo.Dataset(name, persistent=True, overwrite=True)
    made.add_samples(
        [
            fo.Sample(
                filepath=str(path),
                tags=["train" if n % 3 else "test", "mine"],
                ground_truth=fo.Classification(label="cat" if n % 2 else "dog"),
                score=n / 10,
            )
            for n, path in enumerate(paths)
        ]
    )
    return made
