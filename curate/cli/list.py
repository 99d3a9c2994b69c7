"""`curate list connectors|embedders|ops`."""

from __future__ import annotations

import click

from curate.cli._session import Session, verb


@click.command()
@verb()
@click.argument("kind", type=click.Choice(["connectors", "embedders", "ops"]))
def command(session: Session, kind: str) -> int:
    """List what is installed, with where each comes from; third parties add theirs through entry points."""
    from rich.table import Table

    from curate import registry

    group = {"connectors": registry.CONNECTORS, "embedders": registry.EMBEDDERS, "ops": registry.OPS}[kind]
    rows = [{"name": name, "source": registry.source(group, name)} for name in registry.names(group)]
    table = Table()
    table.add_column(kind)
    table.add_column("from")
    for row in rows:
        table.add_row(row["name"], row["source"])
    session.emit({kind: rows}, table)
    return 0
