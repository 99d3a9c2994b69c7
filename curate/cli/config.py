"""`curate config show`: the configuration that holds here."""

from __future__ import annotations

import json

import click

from curate.cli._session import Session, verb


@click.group()
def command() -> None:
    """Show the configuration and where each value comes from."""


@command.command(short_help="Print every setting and where it comes from.")
@verb()
@click.option("--origin", is_flag=True, help="Show where each value comes from.")
def show(session: Session, origin: bool) -> int:
    """Print every setting: flag over environment over project file over user file over default."""
    from rich.table import Table

    config = session.config
    settings = {
        key: {"value": list(value) if isinstance(value, tuple) else value, "origin": config.origins[key]}
        for key, value in config.settings.items()
    }
    table = Table()
    for column in ("setting", "value", *(["from"] if origin else [])):
        table.add_column(column)
    for key, row in settings.items():
        table.add_row(key, json.dumps(row["value"], ensure_ascii=False), *([str(row["origin"])] if origin else []))
    tables = {name: dict(getattr(config, name)) for name in ("datasets", "connectors", "models", "ops", "samples", "check")}
    session.emit({"path": str(config.path) if config.path else None, "settings": settings, **tables}, table)
    return 0
