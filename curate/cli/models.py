"""`curate models`: what is known by name, and fetching it."""

from __future__ import annotations

import click

from curate.cli._session import Session, verb


@click.group(invoke_without_command=True)
@verb()
@click.pass_context
def command(context: click.Context, session: Session) -> int | None:
    """List the models known by name: geometry, size, licence, and whether they are on this machine."""
    if context.invoked_subcommand is not None:
        return None
    from rich.table import Table

    from curate.embedders import catalogue

    rows = catalogue.listing()
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))  # fits 80 columns
    for column in ("name", "geometry", "dim", "MB", "licence", "here"):
        table.add_column(column, justify="right" if column in ("dim", "MB") else "left", no_wrap=True)
    for row in rows:
        size = f"{row['size_bytes'] / 1e6:,.0f}" if row["size_bytes"] else "-"
        table.add_row(row["name"], row["geometry"], str(row["dim"]), size, row["licence"], "yes" if row["cached"] else "no")
    session.emit({"models": rows}, table)
    session.say("Any Hugging Face CLIP or ResNet (hub id or directory) works too: curate models fetch NAME")
    return 0


@command.command(short_help="Bring a model to this machine and check it.")
@verb("offline")
@click.argument("name")
def fetch(session: Session, name: str) -> int:
    """Bring the files of a model to this machine, check them, and load it once."""
    from curate import embedders

    made = embedders.load(
        name, offline=bool(session["offline"]), options=dict(session.config.models.get(name, {})), notify=session.say
    )
    tokens = getattr(made, "tokenize", None)
    if tokens is not None:
        tokens(["a photo"])
    spec = made.spec
    session.emit({"model": spec.as_dict()}, f"{spec.name} is here: {spec.dim} numbers a row, {spec.geometry}")
    return 0
