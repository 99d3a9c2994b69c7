"""`curate baseline save`: what `max_drift` compares with."""

from __future__ import annotations

import click

from curate.cli._session import Session, verb


@click.group()
def command() -> None:
    """Keep the distribution of the vectors as it is now, for the gate max_drift."""


@command.command(short_help="Keep a sample of the stored vectors as the baseline.")
@verb("dataset", "model", "seed")
def save(session: Session) -> int:
    """Keep a seeded sample of the stored vectors; a later `curate check` measures how far the dataset has drifted from it."""
    from curate.cli._gates import save_baseline

    with session.open_store(write=True) as store:
        target = session.stored_target(store)
        path, rows = save_baseline(session, store, target)
    session.emit({"dataset": target.address, "path": str(path), "rows": rows}, f"kept {rows:,} vectors as the baseline: {path}")
    return 0
