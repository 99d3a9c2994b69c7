"""`curate pull`: list the rows of a dataset into the store."""

from __future__ import annotations

import click

from curate.cli._session import Session, verb


@click.command()
@verb("dataset", "network")
def command(session: Session) -> int:
    """List the rows of a dataset into the store; computes and pushes nothing."""
    from curate.pipeline.pull import pull

    target = session.target
    connector = session.connector(target.connector)
    connector.check(target.dataset_id)
    with session.open_store(write=True, create=True) as store:
        pulled = pull(store, connector, target.key, target.dataset_id, reporter=session.terminal)
    counts = pulled.counts
    rows = {"seen": counts.seen, "new": counts.new, "changed": counts.changed, "retired": counts.retired}
    session.emit(
        {"dataset": target.address, "connector": target.connector, "rows": rows, "media": dict(pulled.media)},
        f"{counts.seen:,} rows: {counts.new:,} new, {counts.changed:,} changed, {counts.retired:,} retired "
        f"({', '.join(f'{n:,} {kind}' for kind, n in sorted(pulled.media.items()))})",
    )
    return 0
