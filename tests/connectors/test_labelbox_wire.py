"""What is repeated on the wire, and what is not: requests are not wasted, and attempts are not multiplied."""

import json

import pytest
import requests

from connectors._labelbox_wire import _final_internal, is_query
from curate.errors import ConfigError, ConnectorError
from tests.connectors.conftest import changes, listed

READS = ("GetUserPyApi", "GetUserCreatedTasksPyApi", "GetExportMetadataHeaderPyApi", "GetExportFileFromOffsetPyApi")


@pytest.mark.parametrize("operation", READS)
@pytest.mark.parametrize("kind", ["503", "drop", "drop_after", "html502", "429"])
def test_a_read_that_fails_is_repeated_and_starts_no_second_export(box, connect, operation, kind):
    dataset = box.state.add_dataset()
    box.add_images(dataset, 5)
    connector = connect()
    connector.check(dataset)
    list(connector.ids(dataset))
    clean = connector.platform.wire.sent.total()
    box.faults.add(operation, kind, seconds=0.05)
    box.reset_counts()
    before = connector.platform.wire.sent.total()
    assert len(list(connector.ids(dataset))) == 5
    assert box.calls("exportDataRowsInCatalogPyApi") == 1 and box.calls(operation) == 2
    assert connector.platform.wire.sent.total() - before <= clean


def test_a_write_that_was_refused_by_the_rate_limit_is_repeated_alone(box, connect):
    dataset = box.state.add_dataset()
    box.add_images(dataset, 5)
    box.faults.add("exportDataRowsInCatalogPyApi", "429", times=2, seconds=0.05)
    assert len(list(connect().ids(dataset))) == 5
    assert box.calls("GetDatasetPyApi") == 1 and box.calls("exportDataRowsInCatalogPyApi") == 3


@pytest.mark.parametrize("operation", ["GetUserCreatedTasksPyApi", "exportDataRowsInCatalogPyApi"])
def test_attempts_are_not_multiplied(box, connect, operation):
    dataset = box.state.add_dataset()
    box.add_images(dataset, 5)
    box.faults.add(operation, "503", times=None)
    with pytest.raises(ConnectorError, match="gave up after 3 attempts"):
        list(connect(attempts=3).ids(dataset))
    assert box.calls(operation) == 3


def test_a_part_of_an_export_that_breaks_is_fetched_again_without_asking_where_it_is(box, connect):
    dataset = box.state.add_dataset()
    box.add_images(dataset, 50)
    for kind in ("503", "drop", "drop_after", "truncate"):
        box.reset_counts()
        box.faults.add("export_file", kind)
        assert len(listed(connect(), dataset)) == 50
        assert box.calls("GetExportFileFromOffsetPyApi") == 1, kind
    box.reset_counts()
    box.faults.add("export_file", "403")
    assert len(listed(connect(), dataset)) == 50
    assert box.calls("GetExportFileFromOffsetPyApi") == 2, "a signature that expired needs a new one"


def test_an_internal_error_is_not_taken_for_bad_rows(box, connect, rows):
    connector = connect()
    connector.push_fields("d", changes(rows[:1], after="x"))
    box.reset_counts()
    box.faults.add("UpsertDataRowMetadataBetaPyApi", "error:INTERNAL_SERVER_ERROR", times=2)
    assert connector.push_fields("d", changes(rows)).accepted == 30
    assert box.calls("UpsertDataRowMetadataBetaPyApi") == 3
    box.faults.add("UpsertDataRowMetadataBetaPyApi", "error:INTERNAL_SERVER_ERROR", times=None)
    done = connector.push_fields("d", changes(rows[:2], after="y"))
    assert done.accepted == 0 and len(done.rejected) == 2, "one that stays is a refusal, as Labelbox uses the code"


@pytest.mark.parametrize(("status", "final"), [(None, True), (400, True), (422, True), (426, True), (500, True), (503, False)])
def test_internal_errors_that_the_sdk_would_repeat_for_minutes(status, final):
    extensions = {"code": "INTERNAL_SERVER_ERROR", **({"exception": {"status": status}} if status else {})}
    assert _final_internal(json.dumps({"errors": [{"message": "m", "extensions": extensions}]}).encode()) is final
    assert _final_internal(b"<html>INTERNAL_SERVER_ERROR") is True


def test_queries_are_told_from_mutations():
    def asked(method, body):
        return is_query(requests.Request(method, "http://h/graphql", data=body).prepare())

    told = {"query": "\n   query XPyApi { user { id } }", "variables": None}
    assert asked("POST", json.dumps(told)) and asked("POST", json.dumps(told).encode()) and asked("GET", None)
    for text in ("mutation XPyApi { a }", "  \n mutation query { a }", "queryX"):
        assert not asked("POST", json.dumps({"query": text, "variables": {"query": "query x"}}))
    assert not asked("PUT", b'{"id": 1}')


@pytest.mark.parametrize("endpoint", ["http://api.labelbox.com/graphql", "http://10.0.0.7:8080", "http://labelbox.lan/graphql"])
def test_a_key_does_not_travel_unencrypted(connect, endpoint):
    with pytest.raises(ConfigError, match=r"unencrypted.*--allow-host"):
        connect(endpoint=endpoint).check("cabc")


def test_an_allowed_host_may_be_reached_over_http(tmp_path):
    from connectors._labelbox_platform import Platform

    made = Platform({"endpoint": "http://labelbox.lan"}, allow_hosts=("labelbox.lan",))
    assert made.endpoint == "http://labelbox.lan/graphql"


def test_a_long_wait_is_said_once():
    from connectors._labelbox_wire import Bucket

    said = []
    bucket = Bucket(1500, notify=said.append)
    for seconds in (2, 60, 60, 59.5):
        bucket.close(seconds)
    assert said == ["Labelbox asks to wait 60 s (its rate limit); going on after that"]
