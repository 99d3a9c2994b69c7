import json

import numpy as np
import pytest

from curate import embedders
from curate.errors import MediaError
from curate.pipeline.estimate import estimate
from curate.types import EmbedderSpec, Item
from tests.embedders.test_stage import jpeg

DATA = [jpeg(n) for n in range(8)]
ROWS = [Item(f"{n:05d}", "", "v") for n in range(1000)]


def read(item):
    return DATA[int(item.id) % 8]


class Steps:
    """A clock on which every look takes a second."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def test_sizes_are_those_of_the_probe_times_the_rows():
    found = estimate(ROWS, embedders.load("pixels"), read)
    assert (found.rows, found.probe, found.failed) == (1000, 64, 0)
    lengths = [len(d) for d in DATA]
    assert 1000 * min(lengths) < found.bytes_to_fetch < 1000 * max(lengths)
    thumbs = found.store_bytes["f32"] - 1000 * 112 * 4
    assert thumbs > 0
    assert found.store_bytes["f16"] - thumbs == 1000 * 112 * 2 and found.store_bytes["int8"] < found.store_bytes["f16"]
    without = estimate(ROWS, embedders.load("pixels"), read, thumbs="off")
    assert without.store_bytes["f32"] == 1000 * 112 * 4
    assert json.loads(json.dumps(found.as_dict()))["rows"] == 1000


def test_the_time_is_that_of_the_slowest_stage():
    class Slow:
        spec = EmbedderSpec("slow", "1", "x", 3, "euclidean")
        batch_size = 16

        def prepare(self, data):
            return np.zeros((2, 2, 3), np.uint8)

        def embed(self, batch):
            clock.now += 10.0 * len(batch)
            return np.zeros((len(batch), 3), np.float32)

    clock = Steps()
    found = estimate(ROWS, Slow(), read, clock=clock, workers=4)
    assert found.bound == "device"
    assert found.seconds == pytest.approx(1000 * (64 * 10 + 1) / 64, rel=0.01)
    assert "hours on cpu, bound by device" in found.lines()[1]


def test_rows_that_cannot_be_embedded_are_counted_and_cost_nothing():
    def bad(item):
        if int(item.id) % 2:
            raise MediaError("http_404")
        return b"no image" if int(item.id) % 8 == 0 else read(item)

    found = estimate(ROWS, embedders.load("pixels"), bad)
    assert 20 < found.failed < 60 and any("cannot be embedded" in line for line in found.lines())
    assert estimate([], embedders.load("pixels"), read).seconds == 0


def test_the_platform_says_what_pushing_takes():
    asked = []

    def cost(plan):
        asked.append(plan)
        return {"requests": len(plan.vectors) // 100, "minutes": 1.5}

    found = estimate(ROWS, embedders.load("pixels"), read, cost=cost)
    assert len(asked[0].vectors) == len(asked[0].changes) == 1000 and asked[0].spec.name == "pixels"
    assert found.platform == {"requests": 10, "minutes": 1.5} and "requests 10" in found.lines()[-1]


def test_the_probe_does_not_depend_on_the_order():
    seen = []
    for order in (ROWS, ROWS[::-1]):
        ids = []
        estimate(order, embedders.load("pixels"), lambda item, ids=ids: (ids.append(item.id), read(item))[1])
        seen.append(sorted(ids))
    assert seen[0] == seen[1] and len(seen[0]) == 64
