"""kill -9 at seeded points of append, upsert, rewrite and prune: nothing committed is lost, nothing is wrong."""

import shutil
import signal

import numpy as np
import pytest

from tests.store import crash


@pytest.mark.slow
@pytest.mark.parametrize("name", crash.ACTS)
def test_a_killed_writer_loses_nothing(tmp_path, name):
    crash.prepare(tmp_path / "made")
    shutil.copytree(tmp_path / "made", tmp_path / "whole")
    status, lines = crash.run(tmp_path / "whole", name, 0)
    assert status == 0
    events = int(lines[-1].split()[1])
    for number in np.random.default_rng(7).choice(np.arange(1, events + 1), 8, replace=False):
        path = tmp_path / str(number)
        shutil.copytree(tmp_path / "made", path)
        status, lines = crash.run(path, name, number)
        assert status == -signal.SIGKILL
        assert crash.check_recovery(path, name, lines) < 1
