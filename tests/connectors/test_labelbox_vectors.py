"""Vectors into Labelbox: as they are, once, counted, within limits."""

import numpy as np
import pytest

from curate.errors import ConfigError, ConnectorError
from tests.connectors.conftest import custom, spec, vectors
from tests.fakes.labelbox_server import CLIP


def test_vectors_arrive_as_they_are_and_are_counted(box, connect, rows, said):
    connector, x = connect(), vectors(30)
    assert connector.push_vectors("d", spec(), [r.id for r in rows], x).accepted == 30
    connector.flush("d")
    made = custom(box)[0]
    assert made["name"].startswith("curate pixels ") and made["dims"] == 8
    stored = box.state.vectors(made["name"])
    assert all((stored[r.id].astype(np.float32) == x[n]).all() for n, r in enumerate(rows))
    assert any("1,000" in line and "30" in line for line in said)


def test_one_file_of_at_most_1000_lines_a_call(box, connect):
    dataset = box.state.add_dataset()
    ids = [r.id for r in box.add_images(dataset, 2300)]
    connect().push_vectors(dataset, spec(2), ids, vectors(2300, 2))
    assert box.calls("import_vectors") == 3


@pytest.mark.parametrize("reply", ["json", "empty", "text"])
@pytest.mark.parametrize("reimport", ["overwrite", "refuse", "twice"])
def test_pushing_vectors_again_changes_nothing(box, connect, rows, reply, reimport, tmp_path):
    box.switches.vector_reply, box.switches.reimport = reply, reimport
    ids, x = [r.id for r in rows], vectors(30)
    connect().push_vectors("d", spec(), ids, x)
    box.reset_counts()
    assert connect().push_vectors("d", spec(), ids, x).accepted == 30
    assert box.calls("import_vectors") == 0, "the journal knows the chunk"
    (tmp_path / "results" / "labelbox" / "vectors.jsonl").unlink()
    connector = connect()
    assert connector.push_vectors("d", spec(), ids, x).rejected == ()
    connector.flush("d")
    assert len(custom(box)) == 1 and len(box.state.vectors(custom(box)[0]["name"])) == 30


def test_rows_that_are_there_do_not_keep_others_out(box, connect, rows, tmp_path):
    box.switches.reimport = "refuse"
    ids, x = [r.id for r in rows], vectors(30)
    connect().push_vectors("d", spec(), ids[:10], x[:10])
    (tmp_path / "results" / "labelbox" / "vectors.jsonl").unlink()
    changed = x.copy()
    changed[3] += 1
    answer = connect().push_vectors("d", spec(), ids, changed)
    assert answer.accepted == 29 and [r.item_id for r in answer.rejected] == [ids[3]]


@pytest.mark.parametrize("how", ["refuse_named", "refuse"])
def test_one_refused_vector_is_found_and_named(box, connect, rows, how):
    box.switches.bad_vector = how
    ids = [r.id for r in rows]
    box.state.remove_row(ids[17])
    answer = connect().push_vectors("d", spec(), ids, vectors(30))
    assert answer.accepted == 29 and [r.item_id for r in answer.rejected] == [ids[17]]
    assert box.calls("import_vectors") < 14


def test_a_silently_dropped_vector_is_noticed_and_named(box, connect, rows, monkeypatch):
    monkeypatch.setattr("connectors._labelbox_vectors.COUNT_WAITS", (0.01,))
    box.switches.bad_vector = "skip"
    ids = [r.id for r in rows]
    box.state.remove_row(ids[4])
    connector = connect()
    connector.push_vectors("d", spec(), ids, vectors(30))
    with pytest.raises(ConnectorError, match=ids[4]):
        connector.flush("d")


def test_a_count_that_lags_is_waited_for(box, connect, rows):
    box.switches.count_lag = 2
    connector = connect()
    connector.push_vectors("d", spec(), [r.id for r in rows], vectors(30))
    connector.flush("d")
    assert box.calls("count_vectors") == 3


def test_values_that_are_not_finite_never_leave(box, connect, rows):
    x = vectors(30)
    x[2, 3], x[5, 0] = np.nan, np.inf
    answer = connect().push_vectors("d", spec(), [r.id for r in rows], x)
    assert {r.item_id for r in answer.rejected} == {rows[2].id, rows[5].id} and answer.accepted == 28


@pytest.mark.parametrize("taken", ["conflict", "second", "malformed"])
@pytest.mark.parametrize("fault", ["503_after", "drop_after", "drop", "429"])
def test_an_embedding_is_created_once_whatever_happens_to_the_answer(box, connect, rows, taken, fault):
    box.switches.taken_name = taken
    box.faults.add("CreateEmbeddingPyApi", fault, seconds=0.05)
    connector = connect()
    assert connector.push_vectors("d", spec(), [r.id for r in rows], vectors(30)).accepted == 30
    assert len(custom(box)) == 1


def test_vectors_that_have_no_place_are_refused_before_compute(box, connect):
    with pytest.raises(ConfigError, match="2048"):
        connect().prepare("d", spec=spec(2049), fields=[], create=True)
    box.state.add_embedding("mine", 16)
    with pytest.raises(ConfigError, match="16 dims"):
        connect(embedding="mine").prepare("d", spec=spec(8), fields=[], create=True)
    with pytest.raises(ConfigError, match="own"):
        connect(embedding=CLIP).prepare("d", spec=spec(512), fields=[], create=True)
    for number in range(99):
        box.state.add_embedding(f"e{number}", 4)
    with pytest.raises(ConfigError, match="100 custom embeddings"):
        connect().prepare("d", spec=spec(8), fields=[], create=True)


def test_a_lower_limit_than_documented_is_told(box, connect, rows):
    box.switches.embedding_limit = 2
    box.state.add_embedding("a", 3)
    box.state.add_embedding("b", 3)
    with pytest.raises(ConfigError, match="curate embeddings delete"):
        connect().push_vectors("d", spec(), [r.id for r in rows], vectors(30))


def test_a_deleted_embedding_is_another_place(box, connect, rows):
    connector, ids = connect(), [r.id for r in rows]
    assert connector.vector_target(spec()) == "labelbox:"
    connector.push_vectors("d", spec(), ids, vectors(30))
    first = connector.vector_target(spec())
    connector.embeddings.delete(custom(box)[0]["name"])
    again = connect()
    again.push_vectors("d", spec(), ids, vectors(30))
    assert again.vector_target(spec()) != first
    assert len(box.state.vectors(custom(box)[0]["name"])) == 30


def test_platform_vectors_are_not_sent_back(box, connect, rows):
    box.add_clip(rows)
    connector = connect()
    held = connector.model_spec(f"platform:{CLIP}")
    box.reset_counts()
    connector.push_vectors("d", held, [r.id for r in rows], vectors(30, 512))
    connector.flush("d")
    assert box.calls() == 0
