"""`curate embeddings list|delete`: the custom embeddings of the Labelbox workspace, and how many it may have."""

from __future__ import annotations

import click

from connectors.labelbox import LabelboxConnector
from curate.cli._session import Session, verb
from curate.errors import ConfigError


@click.group(name="embeddings")
def embeddings() -> None:
    """The embeddings of the Labelbox workspace."""


@embeddings.command("list")
@verb("network")
def list_(session: Session) -> int:
    """List the embeddings with their dims and vectors, and the quota used."""
    from rich.table import Table

    from connectors._labelbox_vectors import MOST_EMBEDDINGS

    store = _connector(session).embeddings
    table = Table()
    for column in ("name", "dims", "made by", "vectors", "id"):
        table.add_column(column, justify="right" if column in ("dims", "vectors") else "left")
    rows = []
    for found in sorted(store.all(), key=lambda e: (not e.custom, e.name)):
        count = store.count(found) if found.custom else None
        rows.append({"name": found.name, "dims": found.dims, "custom": found.custom, "vectors": count, "id": found.id})
        table.add_row(
            found.name,
            f"{found.dims:,}",
            "you" if found.custom else "Labelbox",
            "" if count is None else f"{count:,}",
            found.id,
        )
    used = sum(row["custom"] for row in rows)
    session.emit(
        {"embeddings": rows, "used": used, "limit": MOST_EMBEDDINGS},
        table,
        f"{used} of {MOST_EMBEDDINGS} custom embeddings used",
    )
    return 0


@embeddings.command("delete")
@verb("network", "push")
@click.argument("name")
def delete(session: Session, name: str) -> int:
    """Delete a custom embedding with all its vectors, by name or id."""
    connector = _connector(session)
    found = connector.embeddings.find(name)
    if session.flags["dry_run"]:
        session.emit({"deleted": None, "would_delete": found.name}, f"{found.name!r} ({found.dims} dims) would be deleted")
        return 0
    question = f"Delete the embedding {found.name!r} and all its vectors in the whole workspace?"
    if not session.flags["yes"] and not session.terminal.ask(question):
        raise ConfigError(f"{found.name!r} is deleted with all its vectors in the whole workspace only after a yes; say --yes")
    connector.embeddings.delete(found.id)
    session.emit({"deleted": found.name}, f"deleted {found.name!r}")
    return 0


def _connector(session: Session) -> LabelboxConnector:
    found = session.connector("labelbox")
    if not isinstance(found, LabelboxConnector):
        raise ConfigError("the connector named labelbox is not the one these commands are for")
    return found
