"""Ctrl-C finishes the batch in flight; a corrupt file is named and its rows computed again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from curate.store import Store

ROOT = Path(__file__).parent.parent.parent


class Slow:
    """The pixels embedder at ten rows a second."""

    def __init__(self, **options):
        from curate import embedders

        inner = embedders.load("pixels", **options)
        self.prepare, self.spec, self._embed = inner.prepare, inner.spec, inner.embed

    def embed(self, batch):
        time.sleep(0.1 * len(batch))
        return self._embed(batch)


def test_ctrl_c_finishes_the_batch_exits_130_and_says_how_to_go_on(photos, curate, tmp_path):
    command = ["sync", "--dataset", "folder:photos", "--model", "tests.cli.test_interrupt:Slow", "--batch-size", "4"]
    child = subprocess.Popen(
        [sys.executable, "-m", "curate", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob(".curate/segments/*.seg")):
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert "finishing the batch" in said and "again to go on" in said
    with Store.open(tmp_path / ".curate") as store:
        held = sum(found.rows for found in store.specs(store.datasets()[0]))
    assert held in (4, 8, 12)
    _, document, _ = curate(*command, "--json")
    assert document["rows"]["embedded"] == 14 - held and document["rows"]["reused"] == held


def test_a_corrupt_segment_is_named_dropped_and_computed_again(photos, curate, tmp_path):
    command = ("sync", "--dataset", "folder:photos", "--model", "pixels", "--batch-size", "7", "--json")
    curate(*command)
    segment = sorted((tmp_path / ".curate/segments").glob("*.seg"))[0]
    damaged = bytearray(segment.read_bytes())
    damaged[-5] ^= 0xFF
    segment.chmod(0o600)
    segment.write_bytes(damaged)
    code, _, said = curate("duplicates", "--dataset", "folder:photos", "--model", "pixels", "--json")
    assert code == 2 and segment.name in said
    code, document, said = curate(*command)
    assert code == 0 and segment.name in said
    assert 0 < document["rows"]["embedded"] <= 7 + 7
    assert document["rows"]["embedded"] + document["rows"]["reused"] == 14
    assert document["plan"]["changes"] == 0, json.dumps(document)


@pytest.mark.parametrize("kind", ["segments/*.seg", "thumbs/*.pack"])
def test_a_file_that_rotted_in_place_is_made_again_in_the_sync_that_reads_it(photos, curate, tmp_path, kind):
    command = ("sync", "--dataset", "folder:photos", "--model", "pixels", "--batch-size", "7", "--ops", "duplicates", "--json")
    curate(*command)
    _, _, said = curate(*command)
    assert "damaged" not in said
    file = sorted((tmp_path / ".curate").glob(kind))[0]
    before, data = file.stat(), bytearray(file.read_bytes())
    for at in range(len(data) // 4, len(data), 97):
        data[at] ^= 0xFF
    file.chmod(0o600)
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    code, document, said = curate("doctor", "--verify", "--offline", "--json")
    assert code == 2 and file.name in document["damaged"][0] and file.name in said
    (photos / "new.png").write_bytes((photos / "02.png").read_bytes())
    code, document, said = curate(*command, *(["--verify"] if "thumbs" in kind else []))
    assert code == 0 and file.name in said, said
    assert document["rows"]["embedded"] > 1 and document["rows"]["embedded"] + document["rows"]["reused"] == 15
    code, document, _ = curate("doctor", "--verify", "--offline", "--json")
    assert code == 0 and document["damaged"] == []
