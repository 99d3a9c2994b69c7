"""How requests leave for Labelbox: one token bucket for all threads, time limits, Retry-After, and a count of what was sent."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from requests.adapters import HTTPAdapter

PLANS = {"free": 1500, "starter": 5000, "enterprise": 20000}
"""Requests a minute by plan (docs.labelbox.com/docs/limits)."""


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


class Bucket:
    """A token bucket that all threads draw from, and that can be told to wait.

    per_minute: the allowance; a tenth of it is kept back for whoever else uses the workspace.  Up to five seconds' worth may go
    out at once, so that no minute sees more than the allowance.
    """

    def __init__(self, per_minute: int) -> None:
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
        """Nothing leaves for `seconds` from now."""
        with self._lock:
            self._closed_until = max(self._closed_until, time.monotonic() + seconds)


class Wire(HTTPAdapter):
    """Mounted on the SDK's sessions: every request draws a token, has a time limit, and tells about its answer.

    The SDK has no time limit for vector uploads, never looks at Retry-After, hides the status of what it cannot parse, and
    sends writes again after a 5xx without looking; so failures are told as such, and `Platform.call` decides what follows.
    """

    def __init__(self, bucket: Bucket, *, timeout_s: float, threads: int) -> None:
        self.bucket, self.timeout_s = bucket, timeout_s
        self.sent: Counter[str] = Counter()
        self._here = threading.local()
        super().__init__(pool_maxsize=threads + 2)

    @property
    def status(self) -> int:
        """Status of the last answer on this thread; 0 before one."""
        return int(getattr(self._here, "status", 0))

    def forget(self) -> None:
        """Starts a call: no answer yet."""
        self._here.status = 0

    def send(self, request: requests.PreparedRequest, *args: Any, **settings: Any) -> requests.Response:
        """As HTTPAdapter.send.  Raises RateLimited for a 429, Unavailable for a 5xx and a time-out."""
        self.bucket.take()
        asked = settings.get("timeout")
        # The SDK's own limit is 60 s; starting an export of millions of rows may take longer, which a longer limit allows.
        asked = asked if isinstance(asked, (int, float)) and self.timeout_s <= asked else self.timeout_s
        settings["timeout"] = (min(10.0, self.timeout_s), min(asked, self.timeout_s))
        self._here.status = 0
        self.sent[str(request.method)] += 1
        try:
            response = super().send(request, *args, **settings)
        except requests.Timeout:
            raise Unavailable(f"no answer within {self.timeout_s:g} s") from None
        self._here.status = response.status_code
        wait = retry_after(response.headers.get("Retry-After"))
        if wait is not None and response.status_code in (429, 503):
            self.bucket.close(wait)
        if response.status_code == 429:
            response.close()
            raise RateLimited(wait)
        if response.status_code >= 500:
            response.close()
            raise Unavailable(f"HTTP {response.status_code}", wait)
        return response


def retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date), at most an hour; None where it says nothing usable."""
    if not value:
        return None
    with contextlib.suppress(ValueError):
        return min(3600.0, max(0.0, float(value)))
    with contextlib.suppress(ValueError, TypeError):
        return min(3600.0, max(0.0, parsedate_to_datetime(value).timestamp() - time.time()))
    return None
