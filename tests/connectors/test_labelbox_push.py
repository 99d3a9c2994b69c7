"""Metadata fields into Labelbox: created after a yes, only ours, through every failure of the network."""

import threading
import time

import numpy as np
import pytest

from connectors._labelbox_wire import Bucket, retry_after
from curate.errors import AuthError, ConfigError, ConnectorError
from curate.types import Change
from tests.connectors.conftest import changes, listed, spec, vectors


def test_fields_are_created_written_cleared_and_nothing_else_touched(box, connect, rows):
    tag, theirs = box.state.field_id("tag"), box.state.add_field("weather")
    for row in rows:
        row.metadata = {tag: "mine", theirs: "rain"}
    connector = connect()
    wanted = [
        *changes(rows, "duplicate", "kept"),
        *changes(rows, "cluster", np.int64(7)),
        *changes(rows[:3], "duplicate_score", np.float32(0.25)),
    ]
    assert connector.push_fields("d", wanted).accepted == 63
    assert box.state.values("curate.duplicate") == {r.id: "kept" for r in rows}
    assert box.state.values("curate.cluster") == {r.id: 7.0 for r in rows}
    assert set(box.state.values("curate.duplicate_score").values()) == {0.25}
    kinds = {f["name"]: f["kind"] for f in box.state.fields.values()}
    assert kinds["curate.duplicate"] == "CustomMetadataString" and kinds["curate.cluster"] == "CustomMetadataNumber"
    connector.push_fields("d", [Change(rows[0].id, "duplicate", "kept", None), Change(rows[0].id, "cluster", 7, 8)])
    assert rows[0].id not in box.state.values("curate.duplicate") and box.state.values("curate.cluster")[rows[0].id] == 8.0
    assert all(r.metadata[tag] == "mine" and r.metadata[theirs] == "rain" for r in rows)
    assert not any(f["options"] for f in box.state.fields.values() if f["name"].startswith("curate."))


def test_a_new_process_clears_values_too(box, connect, rows):
    connect().push_fields("d", changes(rows))
    later = connect()
    listed(later, rows[0].dataset)
    assert later.push_fields("d", [Change(r.id, "duplicate", "kept", None) for r in rows]).accepted == 30
    assert box.state.values("curate.duplicate") == {}


def test_calls_have_fifty_rows_and_fields_of_a_row_go_together(box, connect):
    dataset = box.state.add_dataset()
    some = box.add_images(dataset, 1000)
    connect().push_fields(dataset, [c for r in some for c in (*changes([r]), *changes([r], "cluster", 1))])
    assert box.calls("UpsertDataRowMetadataBetaPyApi") == 20


@pytest.mark.parametrize("cap", [50, 25, 7])
@pytest.mark.parametrize("answer", ["listed", "whole_call"])
def test_a_refused_row_is_named_and_the_others_written(box, connect, rows, cap, answer):
    box.switches.metadata_rows_per_call, box.switches.bad_field = cap, answer
    box.state.remove_row(rows[11].id)
    done = connect().push_fields("d", changes(rows))
    assert done.accepted == 29 and [r.item_id for r in done.rejected] == [rows[11].id]
    assert len(box.state.values("curate.duplicate")) == 29


def test_a_smaller_cap_on_rows_is_learned(box, connect):
    box.switches.metadata_rows_per_call = 25
    dataset = box.state.add_dataset()
    some = box.add_images(dataset, 500)
    connector = connect(threads=1)
    connector.push_fields(dataset, changes(some))
    box.reset_counts()
    connector.push_fields(dataset, changes(some, after="other"))
    assert box.calls("UpsertDataRowMetadataBetaPyApi") == 20


def test_values_that_cannot_be_stored_come_back_and_the_rest_is_written(box, connect, rows):
    wanted = [
        Change(rows[0].id, "duplicate", None, "x" * 4097),
        Change(rows[1].id, "duplicate", None, ""),
        Change(rows[2].id, "duplicate_score", None, float("nan")),
        Change(rows[3].id, "duplicate_score", None, "high"),
        Change(rows[4].id, "nonsense", None, "x"),
        Change(rows[5].id, "duplicate", None, 7),
        Change(rows[6].id, "duplicate", None, "copy-of/żółć"),
    ]
    done = connect().push_fields("d", wanted)
    assert {r.item_id for r in done.rejected} == {r.id for r in rows[:5]} and done.accepted == 2
    assert box.state.values("curate.duplicate") == {rows[5].id: "7", rows[6].id: "copy-of/żółć"}


def test_the_free_plan_gets_four_fields_and_the_rest_is_named(box, connect, said):
    six = ["path_confidence", "cluster", "path", "sample", "duplicate_score", "duplicate"]
    connector = connect(plan="free")
    assert connector.prepare("d", spec=None, fields=six, create=True) == ["duplicate", "sample", "path", "cluster"]
    assert "duplicate_score, path_confidence" in said[-1]
    for number in range(3):
        box.state.add_field(f"theirs {number}")
    assert connect(plan="free").prepare("d", spec=None, fields=six, create=True) == ["duplicate", "sample"]
    assert connect(plan="starter").prepare("d", spec=None, fields=six, create=True)[:2] == ["duplicate", "sample"]
    assert connect(plan="free", fields=["cluster"]).prepare("d", spec=None, fields=six, create=True) == ["cluster"]
    with pytest.raises(ConfigError, match="none of curate's fields"):
        connect(fields=["mine"])


def test_a_workspace_with_less_room_than_its_plan_says_loses_a_field_not_the_run(box, connect, rows, said):
    for number in range(4):
        box.state.add_field(f"theirs {number}")
    done = connect(plan="enterprise").push_fields("d", [*changes(rows), *changes(rows, "sample", "s")])
    assert done.accepted == 30 and len(done.rejected) == 30
    assert any("curate.sample is not pushed" in line for line in said)


def test_fields_are_created_only_after_a_yes(box, connect, rows):
    asked = []

    def answer(value):
        def ask(question):
            asked.append(question)
            return value

        return ask

    no = connect(yes=False, ask=answer(False))
    with pytest.raises(ConfigError, match="create_fields"):
        no.prepare("d", spec=None, fields=["duplicate", "sample"], create=True)
    assert no.prepare("d", spec=None, fields=["duplicate"], create=False) == ["duplicate"]
    with pytest.raises(ConfigError):
        no.push_fields("d", changes(rows))
    assert box.state.field_id("curate.duplicate") is None and len(asked) == 2
    with pytest.raises(ConfigError):
        connect(yes=False, ask=answer(False)).push_fields("d", [*changes(rows), *changes(rows, "sample", "s")])
    assert "curate.duplicate, curate.sample" in asked.pop()
    yes = connect(yes=False, ask=answer(True))
    yes.prepare("d", spec=None, fields=["duplicate", "sample"], create=True)
    yes.push_fields("d", [*changes(rows), *changes(rows, "sample", "s")])
    assert len(asked) == 3, "asked once for all"
    connect(yes=False, create_fields=True).push_fields("d", changes(rows, "cluster", 1))
    connect(yes=False).push_fields("d", changes(rows, "cluster", 2))
    assert len(box.state.values("curate.cluster")) == 30


def test_a_field_of_another_kind_under_our_name_is_left_alone(box, connect, rows):
    for kind, options in (("enum", ("a", "b")), ("number", ())):
        schema = box.state.add_field("curate.duplicate", kind, options)
        with pytest.raises(ConfigError, match=r"curate\.duplicate exists as"):
            connect().prepare("d", spec=None, fields=["duplicate"], create=True)
        with pytest.raises(ConfigError, match=r"curate\.duplicate exists as"):
            connect().push_fields("d", changes(rows))
        del box.state.fields[schema]


@pytest.mark.parametrize("fault", ["503_after", "drop_after", "drop"])
def test_a_field_is_created_once_whatever_happens_to_the_answer(box, connect, rows, fault):
    box.faults.add("UpsertCustomMetadataSchemaPyApi", fault)
    assert connect().push_fields("d", changes(rows)).accepted == 30
    assert sum(f["name"] == "curate.duplicate" for f in box.state.fields.values()) == 1


def test_a_user_enum_survives_our_writes(box, connect, rows):
    for how in ("replace", "add"):
        box.switches.enum_write = how
        split = next(f for f in box.state.fields.values() if f["name"] == "split")
        rows[0].metadata[split["id"]] = [split["options"][1]["id"]]
        connect().push_fields("d", changes(rows, after=how))
        assert rows[0].metadata[split["id"]] == [split["options"][1]["id"]]


# permission, rate, failures


def test_a_key_that_may_only_read(box, connect, rows, monkeypatch):
    monkeypatch.setenv("LABELBOX_API_KEY", box.reader)
    dataset = rows[0].dataset
    connector = connect()
    connector.check(dataset)
    for push in (
        lambda: connector.push_fields("d", changes(rows)),
        lambda: connector.push_vectors("d", spec(), [r.id for r in rows], vectors(30)),
    ):
        with pytest.raises(AuthError, match="may not"):
            push()


@pytest.mark.parametrize("body", ["json", "html", "graphql"])
@pytest.mark.parametrize("header", [True, False])
def test_a_429_of_any_shape_is_waited_out(box, connect, rows, body, header):
    box.switches.too_many, box.switches.retry_after = body, header
    connector = connect()
    connector.push_fields("d", changes(rows))
    box.faults.add("UpsertDataRowMetadataBetaPyApi", "429", times=2, seconds=0.2)
    box.faults.add("import_vectors", "429", times=1, seconds=0.2)
    assert connector.push_fields("d", changes(rows, after="b")).accepted == 30
    assert connector.push_vectors("d", spec(), [r.id for r in rows], vectors(30)).accepted == 30
    assert set(box.state.values("curate.duplicate").values()) == {"b"}


def test_all_threads_keep_to_retry_after(box, connect, monkeypatch):
    dataset = box.state.add_dataset()
    some = box.add_images(dataset, 1000)
    connector = connect(threads=8)
    connector.push_fields(dataset, changes(some[:1]))
    bucket, told, left = connector.platform.bucket, [], []
    close, take = bucket.close, bucket.take
    monkeypatch.setattr(bucket, "close", lambda seconds: (told.append(time.monotonic()), close(seconds)))
    monkeypatch.setattr(bucket, "take", lambda: (take(), left.append(time.monotonic())))
    box.faults.add("UpsertDataRowMetadataBetaPyApi", "429", times=1, seconds=1.0)
    connector.push_fields(dataset, changes(some, after="b"))
    later = [at for at in left if at > told[0]]
    assert len(later) >= 10, "most requests were still to come"
    assert 0.9 <= min(later) - told[0] <= 1.1


@pytest.mark.parametrize("kind", ["503", "503_after", "drop", "drop_after", "html502", "hang"])
def test_a_write_that_fails_once_ends_as_if_it_had_not(box, connect, rows, kind):
    connector = connect(timeout=0.5)
    connector.push_fields("d", changes(rows))
    for operation in ("UpsertDataRowMetadataBetaPyApi", "DeleteDataRowMetadataBetaPyApi", "import_vectors"):
        box.faults.add(operation, kind, seconds=3)
    start = time.monotonic()
    wanted = [*changes(rows[:20], after="b"), *(Change(r.id, "duplicate", "kept", None) for r in rows[20:])]
    assert connector.push_fields("d", wanted).accepted == 30
    assert connector.push_vectors("d", spec(), [r.id for r in rows], vectors(30)).accepted == 30
    connector.flush("d")
    assert box.state.values("curate.duplicate") == {r.id: "b" for r in rows[:20]}
    assert len(box.faults.hit) == 3
    assert time.monotonic() - start < 15, "a hang ends with the time limit"


def test_a_failure_without_end_is_one_final_error(box, connect, rows):
    connector = connect(attempts=2)
    connector.push_fields("d", changes(rows))
    for operation in ("UpsertDataRowMetadataBetaPyApi", "import_vectors"):
        box.faults.add(operation, "drop", times=None)
    for push in (
        lambda: connector.push_fields("d", changes(rows, after="b")),
        lambda: connector.push_vectors("d", spec(), [r.id for r in rows], vectors(30)),
    ):
        with pytest.raises(ConnectorError, match="gave up after 2 attempts"):
            push()


def test_the_bucket_keeps_the_rate_over_threads():
    bucket = Bucket(6000)
    bucket._tokens = 0
    taken = []

    def work():
        for _ in range(15):
            bucket.take()
            taken.append(time.monotonic())

    threads = [threading.Thread(target=work) for _ in range(4)]
    start = time.monotonic()
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(taken) == 60 and time.monotonic() - start >= 60 / 90 * 0.9


def test_retry_after_in_both_spellings():
    from email.utils import formatdate

    assert retry_after("2.5") == 2.5 and retry_after("-3") == 0 and retry_after("soon") is None and retry_after(None) is None
    assert 25 < retry_after(formatdate(time.time() + 30, usegmt=True)) <= 30
    assert retry_after("99999999") == 3600
