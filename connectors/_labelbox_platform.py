"""The connection to one Labelbox workspace: the SDK's client, built late, and the one way to call it."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from connectors._labelbox_errors import KEY, Refused, as_ours, guard_logs, redacted
from connectors._labelbox_wire import PLANS, Bucket, Wire, pause
from curate.errors import AuthError, ConfigError, ConnectorError, MissingExtra, Transient, UnknownName

if TYPE_CHECKING:
    from tenacity import RetryCallState

ENDPOINT = "https://api.labelbox.com/graphql"
OPTIONS = {
    "endpoint": str,
    "plan": str,
    "threads": int,
    "timeout": float,
    "attempts": int,
    "create_fields": bool,
    "fields": list,
    "media_root": list,
    "embedding": str,
    "labels": bool,
    "batch_project": str,
    "priority": int,
    "queue_project": str,
}
"""Every option of [connectors.labelbox], with its type."""
UNCLEAR = 3
"""How often an "internal server error" is taken for one; after that for a refusal, which Labelbox calls by the same name."""
T = TypeVar("T")


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, each of its type.  Raises UnknownName or ConfigError naming the option."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in OPTIONS:
            raise UnknownName("option", name, OPTIONS, "([connectors.labelbox])")
        kind = OPTIONS[name]
        if kind is list:
            value = [value] if isinstance(value, str) else list(value)
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ConfigError(f"[connectors.labelbox] {name} = {value!r} must be a {kind.__name__}")
        found[name] = value
    if found.get("plan", "free") not in PLANS:
        raise UnknownName("plan", found["plan"], PLANS, "([connectors.labelbox])")
    for name, low, high in (("threads", 1, 32), ("attempts", 1, 20), ("timeout", 0.1, 600), ("priority", 1, 5)):
        if name in found and not low <= found[name] <= high:
            raise ConfigError(f"[connectors.labelbox] {name} = {found[name]} must lie between {low} and {high}")
    return found


class Platform:
    """One workspace.  Thread-safe; nothing is sent, and no SDK imported, before the first `call`."""

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        offline: bool = False,
        allow_hosts: Collection[str] = (),
        notify: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.options = checked(options)
        self.offline, self._allow_hosts = offline, frozenset(allow_hosts)
        self.plan: str = self.options.get("plan", "free")
        self.threads: int = self.options.get("threads", 6)
        self.timeout_s: float = self.options.get("timeout", 60.0)
        self.attempts: int = self.options.get("attempts", 8)
        self.bucket = Bucket(PLANS[self.plan], notify=notify)
        self.wire = Wire(self.bucket, timeout_s=self.timeout_s, threads=self.threads, attempts=self.attempts)
        self._client: Any = None
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        """Where GraphQL is served.  Raises ConfigError for an address that the SDK could not use."""
        given = str(self.options.get("endpoint") or os.environ.get("LABELBOX_ENDPOINT") or ENDPOINT).rstrip("/")
        parts = urlsplit(given)
        if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
            raise ConfigError(f"LABELBOX_ENDPOINT or --endpoint {redacted(given)!r}: say an address such as {ENDPOINT}")
        host = parts.hostname or ""
        if parts.scheme == "http" and host not in {"localhost", "127.0.0.1", "::1", *self._allow_hosts}:
            raise ConfigError(
                f"LABELBOX_ENDPOINT or --endpoint {redacted(given)!r}: over http the API key would travel unencrypted. "
                f"Say https://, or --allow-host {host} where the network between is your own."
            )
        return given if "/graphql" in given else f"{given}/graphql"

    @property
    def per_minute(self) -> int:
        """Requests a minute that the plan allows."""
        return PLANS[self.plan]

    def client(self) -> Any:
        """The SDK's client.  Raises AuthError without a key, MissingExtra without the SDK, ConnectorError when offline."""
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        if self.offline:
            raise ConnectorError("labelbox needs the network, and --offline was given")
        key = os.environ.get(KEY, "").strip()
        if not key:
            raise AuthError(
                f"no Labelbox API key: set {KEY} (Workspace settings > API keys). Keys are read from the environment only."
            )
        if not key.isascii() or not key.isprintable() or " " in key:
            raise AuthError(f"{KEY} is not a Labelbox API key: it holds spaces or other characters that no key has")
        try:
            import labelbox
        except ImportError as err:
            raise MissingExtra("labelbox", "labelbox", "the labelbox connector") from err
        guard_logs()
        parts = urlsplit(self.endpoint)
        rest = f"{parts.scheme}://{parts.netloc}/api/v1"
        # The key is passed on purpose: from the environment alone the SDK sends "Bearer None" with vectors.
        client = labelbox.Client(api_key=key, endpoint=self.endpoint, rest_endpoint=rest)
        client.set_sdk_method("curate")
        for session in (client.connection, client._adv_client.session):
            session.mount("https://", self.wire)
            session.mount("http://", self.wire)
        return client

    def call(self, what: str, function: Callable[[Any], T], *, attempts: int | None = None) -> T:
        """`function(client)`, tried again while its failure is Transient; what: for messages ("reading the dataset").

        Raises AuthError, NotFound, Refused (ConnectorError), or ConnectorError when all attempts failed.  Writes must be
        idempotent: one that failed may have been applied.
        """
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

        client = self.client()
        limit = attempts or self.attempts
        unclear = itertools.count(1)
        tries = Retrying(retry=retry_if_exception_type(Transient), stop=stop_after_attempt(limit), wait=_pause, reraise=True)
        try:
            answer: T = tries(self._once, client, what, function, unclear)
            return answer
        except Transient as err:
            raise ConnectorError(f"{err} (gave up after {limit} attempts; run the same command again to go on)") from None

    def _once(self, client: Any, what: str, function: Callable[[Any], T], unclear: Iterator[int]) -> T:
        self.wire.forget()
        try:
            client.set_sdk_method("curate")  # paging unsets it, and the SDK then walks the stack on every request
            return function(client)
        except Exception as err:  # noqa: BLE001 - the SDK raises a dozen unrelated classes; all are mapped
            ours = as_ours(err, what, self.wire.status)
            if self.wire.internal and isinstance(ours, Refused) and next(unclear) < UNCLEAR:
                ours = Transient(str(ours))
        # Outside the except block and without a cause: the SDK's own errors print addresses with their signatures.
        raise ours


def _pause(state: RetryCallState) -> float:
    """Seconds before the next attempt: what the other side asked for, else growing ones."""
    failure = state.outcome.exception() if state.outcome else None
    asked = getattr(failure, "retry_after", None)
    return float(asked) if asked is not None else pause(state.attempt_number)
