"""kill -9 during a sync loses nothing and computes at most one batch again; all 50 points are in benchmarks/kill.py."""

import pytest

from benchmarks.kill import BATCH, kill_points


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_sync_ends_as_an_uninterrupted_one():
    for point in kill_points(8, 1000, seed=1):
        assert point.same, point
        assert point.computed_twice <= BATCH, point
