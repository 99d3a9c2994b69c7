"""Labeling projects, the cost of a push, and what `curate` made itself."""

import pytest

from curate.errors import ConfigError, ConnectorError, NotFound
from curate.types import Plan
from tests.connectors.conftest import changes, custom, spec, vectors
from tests.fakes.labelbox_server import CLIP


def test_a_batch_is_sent_once_and_named_after_what_was_chosen(box, connect, rows):
    project = box.state.add_project()
    ids = [r.id for r in rows[:10]]
    connector = connect(batch_project=project, priority=2)
    extras = connector.plan_extras({"name": "first", "ids": ids}, [])
    assert connector.plan_extras({"name": "first", "ids": ids[::-1]}, []) == extras
    for _ in range(2):
        assert connector.push_extras("d", extras).rejected == ()
    there = box.state.projects[project]
    assert len(there.batches) == 1 and set(there.rows) == set(ids) and {r["priority"] for r in there.rows.values()} == {2}
    assert connector.plan_extras({"name": "first", "ids": ids}, []) == {}
    assert connector.undo_extras("d", extras) == 1
    assert there.rows == {} and there.batches == {}


@pytest.mark.parametrize("fault", ["503_after", "drop_after", "drop", "429"])
def test_a_batch_is_sent_once_whatever_happens_to_the_answer(box, connect, rows, fault):
    project = box.state.add_project()
    connector = connect(batch_project=project)
    box.faults.add("createBatchV2PyApi", fault, seconds=0.1)
    connector.push_extras("d", connector.plan_extras({"name": "s", "ids": [r.id for r in rows]}, []))
    assert [b["size"] for b in box.state.projects[project].batches.values()] == [30]


@pytest.fixture
def large(box):
    """1,200 rows, more than are sent in one request, by id."""
    return sorted(r.id for r in box.add_images(box.state.add_dataset(), 1200))


def batches(box, project):
    """Name and true content of every batch of a project."""
    there = box.state.projects[project]
    return {b["name"]: sorted(r for r, v in there.rows.items() if v["batch"] == b["id"]) for b in there.batches.values()}


LARGE = ["createEmptyBatchPyApi", "addDataRowsToBatchAsyncPyApi", "GetUserCreatedTasksPyApi", "GetProjectBatchesPyApi"]


@pytest.mark.parametrize("operation", LARGE)
@pytest.mark.parametrize("fault", ["drop", "503_after", "drop_after"])
def test_a_large_batch_is_whole_whatever_breaks_off(box, connect, large, operation, fault):
    project = box.state.add_project()
    connector = connect(batch_project=project)
    extras = connector.plan_extras({"name": "s", "ids": large}, [])
    box.faults.add(operation, fault)
    done = connector.push_extras("d", extras)
    assert done.accepted == 1200 and not done.rejected
    assert list(batches(box, project).values()) == [large]


def test_a_task_that_fails_half_way_is_completed(box, connect, large):
    project = box.state.add_project()
    connector = connect(batch_project=project)
    box.state.broken_adds = [700, 0, 100]
    assert connector.push_extras("d", connector.plan_extras({"name": "s", "ids": large}, [])).accepted == 1200
    assert list(batches(box, project).values()) == [large]


def test_a_task_that_always_fails_is_said_and_not_taken_for_done(box, connect, large):
    project = box.state.add_project()
    connector = connect(batch_project=project, attempts=2)
    extras = connector.plan_extras({"name": "s", "ids": large}, [])
    box.state.broken_adds = [10, 10]
    with pytest.raises(ConnectorError, match=r"ended as FAILED.*gave up after 2"):
        connector.push_extras("d", extras)
    assert connector.push_extras("d", extras).accepted == 1200
    assert list(batches(box, project).values()) == [large]


@pytest.mark.parametrize("filled", [0, 1, 700, 1200])
def test_the_next_run_completes_a_batch_that_a_killed_one_left(box, connect, large, said, filled):
    """The first run ends between any two of its requests: nothing is noted, and the batch holds some of its rows."""
    project = box.state.add_project()
    connector = connect(batch_project=project, attempts=1)
    extras = connector.plan_extras({"name": "s", "ids": large}, [])
    box.state.broken_adds = [filled]
    with pytest.raises(ConnectorError):
        connector.push_extras("d", extras)
    again = connect(batch_project=project)
    rest = again.plan_extras({"name": "s", "ids": large}, [])
    assert [b["rows"] for b in rest.get("batches", [])] == ([large[filled:]] if filled < 1200 else [])
    assert (f"lacks {1200 - filled:,} of 1,200" if filled < 1200 else "is not sent again") in said[-1]
    for plan in (rest, extras):
        assert not again.push_extras("d", plan).rejected
        assert list(batches(box, project).values()) == [large]
    box.reset_counts()
    assert again.plan_extras({"name": "s", "ids": large}, []) == {}
    assert box.calls("exportDataRowsInProjectPyApi") == 0, "a batch that is known to be complete is not read again"
    assert again.undo_extras("d", extras) == 1 and batches(box, project) == {}
    assert len(again.plan_extras({"name": "s", "ids": large}, [])["batches"][0]["rows"]) == 1200


def test_rows_that_a_large_batch_refused_are_named(box, connect, large):
    project = box.state.add_project()
    connector = connect(batch_project=project)
    extras = connector.plan_extras({"name": "s", "ids": large}, [])
    box.state.remove_row(large[3])
    done = connector.push_extras("d", extras)
    assert done.accepted == 1199 and [r.item_id for r in done.rejected] == [large[3]]


@pytest.mark.parametrize("most", [2000, 3])
def test_rows_already_in_the_project_are_left_out_and_said(box, connect, rows, said, monkeypatch, most):
    monkeypatch.setattr("connectors._labelbox_queue.MOST_IDS", most)
    project = box.state.add_project(waiting=[rows[0].id])
    connector = connect(batch_project=project)
    extras = connector.plan_extras({"name": "s", "ids": [r.id for r in rows]}, [])
    assert [len(b["rows"]) for b in extras["batches"]] == [29] and "1 of 30" in said[-1]
    box.state.remove_row(rows[5].id)
    done = connector.push_extras("d", extras)
    assert done.accepted == 28 and [r.item_id for r in done.rejected] == [rows[5].id]
    assert connector.plan_extras({"name": "s", "ids": [r.id for r in rows]}, []) == {}
    assert connector.plan_extras({"name": "t", "ids": [r.id for r in rows if r.id != rows[5].id]}, []) == {}


def test_waiting_copies_go_to_the_end_and_back(box, connect, rows):
    project = box.state.add_project(waiting=[r.id for r in rows[:6]])
    there = box.state.projects[project].rows
    there[rows[1].id]["priority"] = 1
    there[rows[2].id]["status"] = "DONE"
    connector = connect(queue_project=project)
    copies = [rows[1].id, rows[2].id, rows[3].id, rows[20].id]
    extras = connector.plan_extras(None, copies)
    assert extras["priority"]["before"] == {rows[1].id: 1, rows[3].id: 5}
    for _ in range(2):
        assert connector.push_extras("d", extras).accepted == 2
    assert there[rows[1].id]["priority"] > 5 and there[rows[0].id]["priority"] == 5
    assert connector.plan_extras(None, copies) == {}
    assert connector.undo_extras("d", extras) == 2
    assert [there[rows[n].id]["priority"] for n in (0, 1, 3)] == [5, 1, 5]


def test_an_unknown_project_is_refused_before_compute(box, connect):
    for option in ("batch_project", "queue_project"):
        with pytest.raises(NotFound, match="project cnothere"):
            connect(**{option: "cnothere"}).prepare("d", spec=None, fields=["sample"], create=False)
    with pytest.raises(ConfigError, match="--sample"):
        connect(batch_project=box.state.add_project()).prepare("d", spec=None, fields=["duplicate"], create=False)


# cost, and what was made


def test_the_estimate_is_what_a_push_takes(box, connect):
    dataset = box.state.add_dataset()
    some = box.add_images(dataset, 700)
    wanted = [*changes(some), *changes(some, "cluster", 1)]
    connector = connect(plan="free")
    connector.push_fields(dataset, [*changes(some[:1], after="x"), *changes(some[:1], "cluster", 0)])
    ids, x = [r.id for r in some], vectors(700)
    told = connector.estimate(Plan("d", wanted, ids, spec(), "b"))
    box.reset_counts()
    connector.push_fields(dataset, wanted)
    connector.push_vectors(dataset, spec(), ids, x)
    connector.flush(dataset)
    assert told["requests_per_minute"] == 1500 and told["minutes"] == pytest.approx(told["requests"] / 1350, abs=0.01)
    assert abs(told["requests"] - box.calls()) <= 2


def test_only_what_curate_made_is_offered_for_removal(box, connect, rows):
    box.state.add_field("curate.sample")
    box.state.add_embedding("theirs", 4)
    connector = connect()
    connector.push_fields("d", [*changes(rows), *changes(rows, "sample", "s")])
    connector.push_vectors("d", spec(), [r.id for r in rows], vectors(30))
    found = connect().made()
    assert found["fields"] == ["duplicate"] and len(found["embeddings"]) == 1
    assert connect().remove_made() == found
    assert box.state.field_id("curate.sample") and not box.state.field_id("curate.duplicate")
    assert [e["name"] for e in custom(box)] == ["theirs"]
    assert connect().made() == {"fields": [], "embeddings": []}


def test_deleting_embeddings(box, connect):
    box.state.add_embedding("mine", 4)
    connector = connect()
    with pytest.raises(NotFound, match="no embedding"):
        connector.embeddings.delete("nothing")
    with pytest.raises(ConfigError, match="own"):
        connector.embeddings.delete(CLIP)
    box.faults.add("DeleteEmbeddingPyApi", "503_after")
    connector.embeddings.delete("mine")
    assert custom(box) == []
