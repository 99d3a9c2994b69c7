"""Which FiftyOne database is meant, reached before FiftyOne is imported: it would wait half a minute for one that is down."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curate.errors import ConfigError, ConnectorError, MissingExtra, NotFound, UnknownName

URI = "FIFTYONE_DATABASE_URI"
NAME = "FIFTYONE_DATABASE_NAME"
DEFAULT_NAME = "fiftyone"
TIMEOUT_MS = 3000
"""How long a database may take to answer the first ping."""
BACKENDS = ("curate", "sklearn")
OPTIONS: Mapping[str, type] = {
    "database_uri": str,
    "database_name": str,
    "field": str,
    "backend": str,
    "similarity_key": str,
    "map_key": str,
}
"""Every option of [connectors.fiftyone], with its type."""
_PASSWORD = re.compile(r"(//[^/@:]*:)[^@]*@")
_LOCAL = re.compile(r"^mongodb://([^/@]*@)?(localhost|127\.[0-9.]+|\[::1\])(:\d+)?(/|$|\?)")


def masked(uri: str) -> str:
    """An address without its password."""
    return _PASSWORD.sub(r"\1***@", uri)


def checked(options: Mapping[str, Any]) -> dict[str, str]:
    """The options.  Raises UnknownName or ConfigError naming the option."""
    found: dict[str, str] = {}
    for name, value in options.items():
        if name not in OPTIONS:
            raise UnknownName("option", name, OPTIONS, "([connectors.fiftyone])")
        if not isinstance(value, str) or not value:
            raise ConfigError(f"[connectors.fiftyone] {name} = {value!r} must be a text")
        found[name] = value
    if found.get("backend", BACKENDS[0]) not in BACKENDS:
        raise UnknownName("backend", found["backend"], BACKENDS, "([connectors.fiftyone])")
    for name in ("field", "similarity_key", "map_key"):
        if name in found and not re.fullmatch(r"[a-z][a-z0-9_]*", found[name]):
            raise ConfigError(f"[connectors.fiftyone] {name} = {found[name]!r}: say a name of a-z, 0-9 and _")
    return found


class Database:
    """One FiftyOne database.  Nothing is imported, started or reached before it is asked something.

    Where neither option, environment nor FiftyOne's own configuration names an address, FiftyOne starts a database of its own
    when it is first used.
    """

    def __init__(self, options: Mapping[str, str], *, offline: bool, notify: Callable[[str], None]) -> None:
        self._options, self._offline, self._notify = options, offline, notify
        self._fiftyone: Any = None

    @staticmethod
    def configured() -> bool:
        """Whether FiftyOne is installed and a database named: without both a bare ID is not looked for here."""
        return importlib.util.find_spec("fiftyone") is not None and bool(_setting("database_uri", URI))

    @property
    def uri(self) -> str:
        """The address as it is used; "" for the database that FiftyOne itself starts.  Holds a password, if there is one."""
        if self._fiftyone is not None:
            return str(self._fiftyone.config.database_uri or "")
        return self._options.get("database_uri") or _setting("database_uri", URI)

    @property
    def name(self) -> str:
        """The name of the database."""
        if self._fiftyone is not None:
            return str(self._fiftyone.config.database_name)
        return self._options.get("database_name") or _setting("database_name", NAME) or DEFAULT_NAME

    @property
    def shown(self) -> str:
        """What the user is told: name and address, without a password."""
        address = masked(self.uri) if self.uri else "the mongod that FiftyOne starts on this machine"
        return f"database {self.name!r} at {address}"

    def holds(self, dataset: str) -> bool:
        """Whether a dataset of that name is there, asked of the database itself: FiftyOne is not imported, nothing started.

        False where no address is known and FiftyOne not in use.  Raises ConnectorError when nothing answers.
        """
        if self._fiftyone is None and "fiftyone" not in sys.modules:
            if not self.uri or importlib.util.find_spec("pymongo") is None:
                return False
            with self._client() as client, self.reaching():
                return client[self.name].datasets.find_one({"name": dataset}, {"_id": 1}) is not None
        with self.reaching():
            return bool(self.fiftyone().dataset_exists(dataset))

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """A client of the address, which has answered."""
        import pymongo

        if self._offline and not _LOCAL.match(self.uri):
            raise ConnectorError(f"FiftyOne's {self.shown} needs the network, and --offline was given")
        try:
            client: Any = pymongo.MongoClient(self.uri, serverSelectionTimeoutMS=TIMEOUT_MS, connectTimeoutMS=TIMEOUT_MS)
        except Exception as err:  # the driver raises a dozen classes for an address that is none
            raise ConfigError(f"{URI} {masked(self.uri)!r} is no address of a MongoDB: {err}") from err
        try:
            with self.reaching():
                client.admin.command("ping")
            yield client
        finally:
            client.close()

    def fiftyone(self) -> Any:
        """The module `fiftyone`, connected to this database.

        Raises MissingExtra, ConfigError (this process already uses another database), ConnectorError (nothing answers).
        """
        if self._fiftyone is not None:
            return self._fiftyone
        if importlib.util.find_spec("fiftyone") is None:
            raise MissingExtra("fiftyone", "fiftyone", "the fiftyone connector")
        uri, name = self.uri, self.name
        if uri:
            with self._client():
                pass
        ours = "fiftyone" not in sys.modules
        if ours:
            # FiftyOne reads them once, at import; programs started from here must agree with it.
            os.environ.update({URI: uri, NAME: name} if uri else {NAME: name})
        import fiftyone
        import fiftyone.core.odm as odm

        if ours:
            _quiet_stdout()

        there = (fiftyone.config.database_uri or "", fiftyone.config.database_name)
        if there != (uri, name):
            raise ConfigError(
                f"this process already uses FiftyOne's database {there[1]!r} at {masked(there[0]) or 'its own mongod'}; "
                f"database {name!r} at {masked(uri) or 'its own mongod'} needs a process of its own"
            )
        with self.reaching():
            odm.get_db_conn()
        self._fiftyone = fiftyone
        self._notify(f"FiftyOne {fiftyone.__version__}, {self.shown}")
        return fiftyone

    def dataset_names(self) -> list[str]:
        """The datasets there are."""
        with self.reaching():
            return list(self.fiftyone().list_datasets())

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Turns what the driver raises into one line.  Raises ConnectorError."""
        try:
            yield
        except Exception as err:
            if not _of_database(err):
                raise
            # Without a cause: the driver's texts hold topologies of a page, and may hold the password.
            problem: ConnectorError = ConnectorError(
                f"FiftyOne's {self.shown} does not answer ({type(err).__name__}). Start it, or say where it is with "
                f"{URI} and {NAME}"
            )
        else:
            return
        raise problem


class _Stderr:
    """The stream of errors as it is when something is written."""

    def write(self, text: str) -> int:
        """Writes."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flushes."""
        sys.stderr.flush()


def _quiet_stdout() -> None:
    """Sends FiftyOne's log to stderr: stdout holds results only, and what reads them wants nothing else there."""
    for name in ("fiftyone", "eta"):
        logger = logging.getLogger(name)
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and getattr(handler.stream, "name", "") == "<stdout>":
                handler.setStream(_Stderr())
                logger.propagate = False  # FiftyOne's own handler prints it already


def _of_database(err: Exception) -> bool:
    """Whether an error says that the database cannot be reached: the driver's, or FiftyOne's own of its service."""
    return type(err).__module__.startswith(("pymongo", "mongoengine.connection", "fiftyone.core.service")) or isinstance(
        err, ConnectionError
    )


def _setting(key: str, variable: str) -> str:
    """FiftyOne's setting: its variable, else its configuration file; "" where neither says it."""
    if os.environ.get(variable):
        return os.environ[variable]
    path = Path(os.environ.get("FIFTYONE_CONFIG_PATH") or Path.home() / ".fiftyone" / "config.json")
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get(key) or "")
    except (OSError, ValueError, AttributeError):
        return ""


def missing(database: Database, dataset: str) -> NotFound:
    """The error for a dataset that is not there, with those that are."""
    names = sorted(database.dataset_names())
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return NotFound(f"FiftyOne has no dataset {dataset!r} in {database.shown}; there are: {shown or 'none'}")
