"""kill -9 during a Labelbox sync loses nothing and sends at most one chunk again; 50 points: benchmarks/kill_labelbox.py."""

import pytest

pytest.importorskip("labelbox")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_labelbox_sync_ends_as_an_uninterrupted_one():
    from benchmarks.kill_labelbox import kill_points

    for point in kill_points(8, 2000, seed=1):
        assert point.fine, point
