"""One adapter: every failure of the Labelbox SDK or of HTTP becomes one of ours, retryable (Transient) or final.

Messages never hold the API key or the signature of an address; the SDK's own loggers are filtered the same way.
"""

from __future__ import annotations

import json
import logging
import os
import re
from typing import Any

from connectors._labelbox_wire import GaveUp
from curate.errors import AuthError, ConnectorError, CurateError, NotFound, Transient

KEY = "LABELBOX_API_KEY"
_SIGNED = re.compile(r"(https?://[^\s?'\"<>\\]+|(?<=[\s\"'])/[^\s?'\"<>\\]+)\?[^\s'\"<>\\)]*")
_LOGIN = re.compile(r"://[^/\s@]+@")
_SDK_LOGGERS = ("lbox.request_client", "labelbox.adv_client", "labelbox.schema.task", "google.api_core.retry")
_LOGGERS = (*_SDK_LOGGERS, "urllib3.connectionpool", "urllib3.util.retry")
_AGAIN = {408, 425, 429}


class Refused(ConnectorError):
    """Labelbox understood the request and said no.  kind: "conflict", "quota" or "invalid"."""

    def __init__(self, message: str, kind: str = "invalid") -> None:
        super().__init__(message)
        self.kind = kind


def redacted(text: object) -> str:
    """`text` without the API key and without login and query of any address, at most 400 characters."""
    plain = _LOGIN.sub("://***@", _SIGNED.sub(r"\1?...", str(text)))
    key = os.environ.get(KEY, "").strip()
    plain = plain.replace(key, "***") if key else plain
    return plain if len(plain) <= 400 else plain[:400] + "..."


class _Redacting(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), ()
        record.exc_info = record.exc_text = None
        if record.name in _SDK_LOGGERS:
            # What the SDK calls an error may be tried again; what is final is raised, so nothing is printed for these.
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return True


def guard_logs() -> None:
    """Makes the SDK's loggers, which print whole replies, drop keys and signatures; once a process."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(f, _Redacting) for f in logger.filters):
            logger.addFilter(_Redacting())


def as_ours(err: BaseException, what: str, status: int = 0) -> CurateError:
    """The error of ours that `err` means.  what: what was being done.  status: of the last HTTP answer on this thread.

    GraphQL errors have a class each in the SDK; what it cannot read at all (HTML pages, cut replies) is told apart by `status`.
    """
    if isinstance(err, CurateError):
        return err
    gave_up = err if isinstance(err, GaveUp) else getattr(err, "cause", None)
    if isinstance(gave_up, GaveUp):
        return ConnectorError(f"Labelbox, {what}: {redacted(gave_up)}")
    return _of_sdk(err, what, status) or _of_http(err, what, status)


def _of_sdk(err: BaseException, what: str, status: int) -> CurateError | None:
    from lbox import exceptions as sdk

    said = f"Labelbox, {what}: {redacted(err)}"
    waits = getattr(getattr(err, "cause", None), "retry_after", None)
    if isinstance(err, sdk.AuthenticationError):
        return AuthError(
            f"Labelbox refused the API key ({KEY}) while {what}. Make a new one under Workspace settings > API keys."
        )
    if isinstance(err, sdk.AuthorizationError):
        return AuthError(f"this API key may not do that: {said}. It needs a role that may write (such as Admin).")
    if isinstance(err, sdk.ResourceNotFoundError):
        return NotFound(f"not found in Labelbox, {what}")
    if isinstance(err, sdk.ResourceConflict):
        return Refused(said, "conflict")
    if isinstance(err, sdk.OperationNotAllowedException):
        return Refused(said, "quota")
    if isinstance(err, (sdk.InternalServerError, sdk.TimeoutError, sdk.NetworkError, sdk.ApiLimitError)):
        return Transient(said, waits)
    if isinstance(
        err, (sdk.MalformedQueryException, sdk.InvalidQueryError, sdk.ValidationFailedError, sdk.UnprocessableEntityError)
    ):
        return Refused(said)
    if type(err).__name__ == "ExportTaskException":
        return Transient(said)
    if isinstance(err, sdk.LabelboxError):
        if "Failed to parse response" in str(err) and status < 400:
            return Transient(f"Labelbox, {what}: a reply that is not JSON (cut, or from a proxy)")
        return by_status(status, what, redacted(err)) or Refused(said)
    return None


def _of_http(err: BaseException, what: str, status: int) -> CurateError:
    import requests
    from google.api_core.exceptions import RetryError

    said = f"Labelbox, {what}: {redacted(err)}"
    if isinstance(err, RetryError):
        return Transient(said)
    if isinstance(err, requests.HTTPError) and err.response is not None:
        reason = _reason(err.response)
        return by_status(err.response.status_code, what, reason) or Transient(said)
    if isinstance(err, requests.exceptions.JSONDecodeError):
        return by_status(status, what, "a reply that is not JSON") or Transient(said)
    if isinstance(err, (requests.RequestException, AssertionError)):
        return Transient(said, getattr(err, "retry_after", None))
    if isinstance(err, KeyError):
        # The SDK reads error["errors"] on a refused export, and error["extensions"]["code"] where there is none.
        final = err.args[:1] == ("errors",)
        return (
            Refused(f"Labelbox, {what}: the request was refused")
            if final
            else Transient(f"Labelbox, {what}: an error without code")
        )
    return by_status(status, what, redacted(err)) or Refused(said)


def by_status(status: int, what: str, reason: str) -> CurateError | None:
    """The error that an HTTP status means; None for a status that is none."""
    said = f"Labelbox, {what}: HTTP {status}: {reason}"
    if status == 401:
        return AuthError(
            f"Labelbox refused the API key ({KEY}) while {what}. Make a new one under Workspace settings > API keys."
        )
    if status == 403:
        return AuthError(f"this API key may not do that: {said}")
    if status in _AGAIN or status >= 500:
        return Transient(said)
    if status == 404:
        return NotFound(said)
    if status >= 400:
        return Refused(said, "conflict" if status == 409 else "invalid")
    return None


def _reason(response: Any) -> str:
    text = redacted(response.text)
    try:
        return redacted(json.loads(response.text).get("message") or text)
    except (ValueError, AttributeError):
        return text
