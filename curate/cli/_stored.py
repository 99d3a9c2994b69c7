"""From a dataset key in a plan or a run back to its connector."""

from __future__ import annotations

from curate.cli._session import Session
from curate.errors import ConfigError
from curate.protocols import Connector


def connected(session: Session, key: str) -> tuple[Connector, str]:
    """The connector and the dataset ID of a store key "CONNECTOR:ID"; prints it."""
    kind, colon, dataset_id = key.partition(":")
    if not colon or not dataset_id:
        raise ConfigError(f"{key!r} is not a dataset key such as folder:/data/photos")
    session.say(f"dataset {key}")
    return session.connector(kind), dataset_id
