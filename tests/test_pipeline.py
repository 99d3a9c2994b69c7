"""The stages on objects in memory: what a platform, a model or a store does in the middle of a run."""

import io

import numpy as np
import pytest
from PIL import Image

from curate.errors import ConnectorError, StalePlan, Transient
from curate.ops.duplicates import Duplicates
from curate.pipeline import Silent
from curate.pipeline.plan import make_plan
from curate.pipeline.platform import HeldVectors
from curate.pipeline.pull import pull
from curate.pipeline.push import push
from curate.pipeline.sync import Job, sync
from curate.store import Store
from curate.testing import FakeConnector, FakeEmbedder
from curate.types import EmbedderSpec, Findings, Item

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


class Marks:
    """An op that gives every row a cluster."""

    name, owns = "marks", frozenset({"cluster"})

    def __call__(self, embeddings, context):
        return Findings(self.name, {"cluster": dict.fromkeys(embeddings.ids, 1)}, {}, {})


def interrupted(store, connector, stop, *ops):
    with pytest.raises(KeyboardInterrupt):
        sync(store, connector, FakeEmbedder(), job(*ops or (Marks(),)), stop=stop)
    assert store.runs()[-1].state == "interrupted"


def test_ctrl_c_in_any_stage_ends_the_run_there_and_the_next_one_goes_on(store, monkeypatch):
    monkeypatch.setattr("curate.pipeline.push.CHUNK", 5)
    connector, ran = FakeConnector(rows(), page_size=4), []

    class Watched(Marks):
        def __call__(self, embeddings, context):
            ran.append(1)
            return super().__call__(embeddings, context)

    interrupted(store, connector, lambda: connector.calls["pages"] > 0)
    assert store.count(DATASET) == 0  # half a listing is none
    interrupted(store, connector, lambda: bool(ran), Watched(), Watched())
    assert len(ran) == 1 and connector.writes == 0
    interrupted(store, connector, lambda: connector.writes > 0)
    assert connector.writes == 5
    interrupted(store, connector, lambda: len(connector.vectors) > 0)
    assert connector.writes == 13 and len(connector.vectors) == 5
    done = sync(store, connector, FakeEmbedder(), job(Marks()))
    assert done.embedded.embedded == 0 and done.plan.changes == () and len(done.plan.vectors) == 8
    assert len(connector.vectors) == 13 and store.runs()[-1].state == "done"


def test_ctrl_c_ends_a_wait_for_the_platform(store):
    connector, said = FakeConnector(rows()), []
    sync(store, connector, FakeEmbedder(), job(Marks(), dry_run=True))

    class Says(Silent):
        def say(self, line):
            said.append(line)

    plan = make_plan(store, DATASET, findings=store.findings(DATASET).values(), owned={"cluster"})
    connector.fail_next(1, Transient("too many requests", retry_after=600.0))
    with pytest.raises(KeyboardInterrupt):
        push(store, connector, "rows", plan, reporter=Says(), stop=lambda: bool(said))
    assert "trying again in 600 s" in said[0]


def test_a_run_that_fails_is_not_shown_as_running(store):
    connector = FakeConnector(rows())
    connector.fail_next(1, ConnectorError("the platform is down"))
    with pytest.raises(ConnectorError):
        sync(store, connector, FakeEmbedder(), job(Marks()))
    assert (store.runs()[-1].state, store.runs()[-1].summary) == ("failed", {"error": "the platform is down"})


def test_a_platform_that_gives_a_vector_twice_costs_nothing():
    class Source:
        def model_vectors(self, dataset_id, spec, wanted):
            for item_id in ("a", "a", "b", "a"):
                yield item_id, np.ones(2, np.float32)

    held = HeldVectors(Source(), "rows", EmbedderSpec("platform:x", "", "", 2, "cosine"))
    batches = list(held.batches([Item("a", "", "1"), Item("b", "", "1")]))
    assert [list(b.ids) for b in batches] == [["a", "b"]]
