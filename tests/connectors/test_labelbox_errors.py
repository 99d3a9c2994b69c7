"""Every failure of the SDK and of HTTP is one of ours, final or worth another try, and tells no secrets."""

import json

import pytest
import requests

from connectors._labelbox_errors import Refused, as_ours, redacted
from connectors._labelbox_wire import RateLimited, Unavailable
from curate.errors import AuthError, ConnectorError, NotFound, Transient

pytest.importorskip("labelbox")


def response(status, body="", headers=None):
    made = requests.Response()
    made.status_code, made._content, made.headers = status, body.encode(), headers or {}
    return requests.HTTPError(f"{status} for url: https://h/x?X-Signature=abc", response=made)


def cases():
    from google.api_core.exceptions import RetryError
    from labelbox.schema.export_task import ExportTask
    from lbox import exceptions as sdk

    yield sdk.AuthenticationError("no"), 0, AuthError
    yield sdk.AuthorizationError("no"), 0, AuthError
    yield sdk.ResourceNotFoundError(message="no"), 0, NotFound
    yield sdk.ResourceConflict("taken"), 0, Refused
    yield sdk.OperationNotAllowedException("quota"), 0, Refused
    for kind in (sdk.MalformedQueryException, sdk.InvalidQueryError, sdk.ValidationFailedError, sdk.UnprocessableEntityError):
        yield kind("bad"), 200, Refused
    for kind in (sdk.InternalServerError, sdk.TimeoutError, sdk.ApiLimitError):
        yield kind("later"), 0, Transient
    yield sdk.NetworkError(RateLimited(7.0)), 429, Transient
    yield sdk.NetworkError(Unavailable("HTTP 503", 2.0)), 503, Transient
    yield sdk.LabelboxError("Failed to parse response as JSON: <html>"), 200, Transient
    yield sdk.LabelboxError("Failed to parse response as JSON: <html>"), 401, AuthError
    yield sdk.LabelboxError("Failed to parse response as JSON: <html>"), 403, AuthError
    yield sdk.LabelboxError("Failed to parse response as JSON: <html>"), 502, Transient
    yield sdk.LabelboxError("Unknown error: something"), 200, Refused
    yield ExportTask.ExportTaskException("Task failed"), 200, Transient
    yield RetryError("gave up", None), 0, Transient
    yield KeyError("errors"), 200, Refused
    yield KeyError("code"), 200, Transient
    yield AssertionError("expected 7 bytes"), 200, Transient
    yield requests.exceptions.JSONDecodeError("x", "y", 0), 500, Transient
    yield requests.exceptions.ChunkedEncodingError("cut"), 200, Transient
    yield requests.ConnectionError("refused"), 0, Transient
    yield ValueError("odd"), 200, Refused
    for status, kind in ((400, Refused), (401, AuthError), (403, AuthError), (404, NotFound), (409, Refused), (413, Refused)):
        yield response(status, json.dumps({"message": "why"})), status, kind
    for status in (408, 425, 429, 500, 502, 503, 504):
        yield response(status, "<html>"), status, Transient


def test_every_failure_has_its_kind():
    for err, status, kind in cases():
        ours = as_ours(err, "testing", status)
        assert type(ours) is kind, (err, status, ours)
        assert isinstance(ours, ConnectorError) and "abc" not in str(ours)


def test_what_was_asked_for_and_why_it_was_refused_is_kept():
    from lbox import exceptions as sdk

    assert as_ours(sdk.NetworkError(RateLimited(7.0)), "x").retry_after == 7.0
    assert as_ours(response(409), "x").kind == "conflict"
    assert as_ours(sdk.OperationNotAllowedException("q"), "x").kind == "quota"
    assert "line 3: too long" in str(as_ours(response(400, '{"message": "line 3: too long"}'), "x"))
    kept = Transient("mine")
    assert as_ours(kept, "x") is kept


def test_secrets_are_taken_out_of_texts(monkeypatch):
    monkeypatch.setenv("LABELBOX_API_KEY", "canary")
    text = redacted('GET https://u:p@h/a.png?X-Signature=s&b=2 "GET /a.png?sig=s HTTP/1.1" Bearer canary ' + "x" * 900)
    assert "sig" not in text.lower() and "canary" not in text and "u:p" not in text and "https://***@h/a.png?..." in text
    assert len(text) <= 403
