"""The stages on objects in memory: what a platform, a model or a store does in the middle of a run."""

import io

import numpy as np
import pytest
from PIL import Image

from curate.errors import StalePlan
from curate.ops.duplicates import Duplicates
from curate.pipeline.platform import HeldVectors
from curate.pipeline.pull import pull
from curate.pipeline.push import push
from curate.pipeline.sync import Job, sync
from curate.store import Store
from curate.testing import FakeConnector, FakeEmbedder
from curate.types import EmbedderSpec, Item

DATASET = "fake:rows"


def png(*colour):
    out = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(out, format="PNG")
    return out.getvalue()


def rows(count=12):
    found = {f"r{n:02d}": png(n * 8, 255 - n * 8, n) for n in range(count)}
    return {**found, "twin": found["r03"]}


def job(*ops, **options):
    return Job(DATASET, "rows", DATASET, ops or (Duplicates(),), **options)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store", write=True, create=True) as opened:
        yield opened


def test_a_plan_whose_vectors_are_not_in_this_store_is_refused_before_anything_is_pushed(store, tmp_path):
    connector = FakeConnector(rows())
    plan = sync(store, connector, FakeEmbedder(), job(dry_run=True)).plan
    assert plan.changes and plan.vectors
    with Store.open(tmp_path / "other", write=True, create=True) as other:
        pull(other, connector, DATASET, "rows")
        with pytest.raises(StalePlan, match=r"no vectors of fake for 13 rows.*curate embed"):
            push(other, connector, "rows", plan)
    assert connector.writes == 0 and not connector.vectors
    assert push(store, connector, "rows", plan).accepted == len(plan.changes) + 13


def test_a_platform_that_gives_a_vector_twice_costs_nothing():
    class Source:
        def model_vectors(self, dataset_id, spec, wanted):
            for item_id in ("a", "a", "b", "a"):
                yield item_id, np.ones(2, np.float32)

    held = HeldVectors(Source(), "rows", EmbedderSpec("platform:x", "", "", 2, "cosine"))
    batches = list(held.batches([Item("a", "", "1"), Item("b", "", "1")]))
    assert [list(b.ids) for b in batches] == [["a", "b"]]
