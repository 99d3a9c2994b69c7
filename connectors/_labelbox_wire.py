"""How requests leave for Labelbox: one token bucket for all threads, time limits, Retry-After, and a count of what was sent."""

from __future__ import annotations

import contextlib
import json
import math
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter

PLANS = {"free": 1500, "starter": 5000, "enterprise": 20000}
"""Requests a minute by plan (docs.labelbox.com/docs/limits)."""


LONG_WAIT_S = 10.0


class RateLimited(requests.RequestException):
    """HTTP 429, whatever its body.  retry_after: seconds, or None."""

    def __init__(self, retry_after: float | None) -> None:
        super().__init__("Labelbox says: too many requests (HTTP 429)")
        self.retry_after = retry_after


class Unavailable(requests.RequestException):
    """No answer in time, or HTTP 5xx: whether a write was applied is not known.

    Not a time-out to the SDK, which would send a write again without looking whether it was applied.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class GaveUp(requests.RequestException):
    """A request that may be repeated failed `attempts` times: final."""

    def __init__(self, last: requests.RequestException, attempts: int) -> None:
        super().__init__(f"{last} (gave up after {attempts} attempts; run the same command again to go on)")


class Bucket:
    """A token bucket that all threads draw from, and that can be told to wait.

    per_minute: the allowance; a tenth of it is kept back for whoever else uses the workspace.  Up to five seconds' worth may go
    out at once, so that no minute sees more than the allowance.
    """

    def __init__(self, per_minute: int, *, notify: Callable[[str], None] = lambda _line: None) -> None:
        self._notify = notify
        self.rate = per_minute * 0.9 / 60
        self.room = self.rate * 5
        self._tokens = self.room
        self._at = time.monotonic()
        self._closed_until = 0.0
        self._lock = threading.Lock()

    def take(self) -> None:
        """Waits for the next token."""
        while True:
            with self._lock:
                now = time.monotonic()
                self._tokens = min(self.room, self._tokens + (now - self._at) * self.rate)
                self._at = now
                wait = self._closed_until - now
                if wait <= 0 and self._tokens >= 1:
                    self._tokens -= 1
                    return
                wait = max(wait, (1 - self._tokens) / self.rate)
            time.sleep(wait)

    def close(self, seconds: float) -> None:
        """Nothing leaves for `seconds` from now; a wait that a person would wonder about is said."""
        with self._lock:
            until = time.monotonic() + seconds
            longer = until - self._closed_until
            self._closed_until = max(self._closed_until, until)
        if seconds >= LONG_WAIT_S and longer >= LONG_WAIT_S:
            self._notify(f"Labelbox asks to wait {seconds:.0f} s (its rate limit); going on after that")


class Wire(HTTPAdapter):
    """Mounted on the SDK's sessions: every request draws a token, has a time limit, and tells about its answer.

    The SDK has no time limit for vector uploads, never looks at Retry-After, hides the status of what it cannot parse, and
    sends writes again after a 5xx without looking; so failures are told as such, and `Platform.call` decides what follows.
    What is safe to repeat is repeated here, at most `attempts` times: a request that was refused with a 429, and a query.
    Most calls of the SDK are several requests, and would begin anew (an export would be started twice).
    """

    def __init__(self, bucket: Bucket, *, timeout_s: float, threads: int, attempts: int = 1) -> None:
        self.bucket, self.timeout_s, self.attempts = bucket, timeout_s, attempts
        self.sent: Counter[str] = Counter()
        self._here = threading.local()
        super().__init__(pool_maxsize=threads + 2)

    @property
    def status(self) -> int:
        """Status of the last answer on this thread; 0 before one."""
        return int(getattr(self._here, "status", 0))

    @property
    def internal(self) -> bool:
        """Whether that answer said INTERNAL_SERVER_ERROR, which may mean anything."""
        return bool(getattr(self._here, "internal", False))

    def forget(self) -> None:
        """Starts a call: no answer yet."""
        self._here.status, self._here.internal = 0, False

    def send(self, request: requests.PreparedRequest, *args: Any, **settings: Any) -> requests.Response:
        """As HTTPAdapter.send.  Raises RateLimited for a 429, Unavailable for a 5xx and a time-out, GaveUp."""
        asked = settings.get("timeout")
        # The SDK's own limit is 60 s; starting an export of millions of rows may take longer, which a longer limit allows.
        asked = asked if isinstance(asked, (int, float)) and self.timeout_s <= asked else self.timeout_s
        settings["timeout"] = (min(10.0, self.timeout_s), min(asked, self.timeout_s))
        whole, query = isinstance(request.body, (bytes, str)) or request.body is None, is_query(request)
        attempt = 1
        while True:
            try:
                return self._once(request, *args, **settings)
            except (RateLimited, Unavailable) as err:
                if not (query or (whole and isinstance(err, RateLimited))):
                    raise
                if attempt >= self.attempts:
                    raise GaveUp(err, attempt) from None
                if err.retry_after is None:  # else the bucket is closed for as long
                    time.sleep(pause(attempt))
            attempt += 1

    def _once(self, request: requests.PreparedRequest, *args: Any, **settings: Any) -> requests.Response:
        self.bucket.take()
        self.forget()
        self.sent[str(request.method)] += 1
        try:
            response = super().send(request, *args, **settings)
            told = response.content  # here, so that an answer that is cut is this request's failure
        except requests.Timeout:
            raise Unavailable(f"no answer within {self.timeout_s:g} s") from None
        except requests.RequestException as err:
            raise Unavailable(f"no whole answer ({type(err).__name__})") from None
        self._here.status = response.status_code
        wait = retry_after(response.headers.get("Retry-After"))
        if wait is not None and response.status_code in (429, 503):
            self.bucket.close(wait)
        if response.status_code == 429:
            raise RateLimited(wait)
        if response.status_code >= 500:
            raise Unavailable(f"HTTP {response.status_code}", wait)
        if b"INTERNAL_SERVER_ERROR" in told:
            self._here.internal = True
            if not _final_internal(told):
                # The SDK would repeat it for two minutes, writes too, without looking whether they were applied.
                raise Unavailable("an internal error of Labelbox")
        return response


_QUERY = re.compile(rb'\{"query":\s*"(?:\s|\\n)*query\b')


def is_query(request: requests.PreparedRequest) -> bool:
    """Whether a request only reads."""
    body = request.body.encode() if isinstance(request.body, str) else request.body
    return request.method == "GET" or (isinstance(body, bytes) and bool(_QUERY.match(body)))


def _final_internal(body: bytes) -> bool:
    """Whether an INTERNAL_SERVER_ERROR carries a status that the SDK maps to an error of its own and does not repeat."""
    try:
        errors = [e["extensions"] for e in json.loads(body).get("errors", ())]
        found = next(e for e in errors if e.get("code") == "INTERNAL_SERVER_ERROR")
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return True
    try:
        return int(found["exception"]["status"]) in (400, 422, 426, 500)
    except (ValueError, KeyError, TypeError):
        return True  # the SDK reads a missing one as 500


def pause(attempt: int) -> float:
    """Seconds before the next attempt, doubling from 0.5 s with jitter, at most 30 s."""
    return min(30.0, math.ldexp(0.5, attempt - 1)) * (0.5 + random.random() / 2)


def retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date), at most an hour; None where it says nothing usable."""
    if not value:
        return None
    with contextlib.suppress(ValueError):
        return min(3600.0, max(0.0, float(value)))
    with contextlib.suppress(ValueError, TypeError):
        return min(3600.0, max(0.0, parsedate_to_datetime(value).timestamp() - time.time()))
    return None
