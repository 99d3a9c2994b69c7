"""`curate export`: the files of the kept, chosen or duplicate rows in a folder."""

from __future__ import annotations

from pathlib import Path

import click

from curate.cli._session import Session, verb
from curate.cli._target import IMPORTED

SHOWN_FAILURES = 20


@click.command()
@verb("dataset", "network")
@click.option("--to", required=True, metavar="DIR", type=click.Path(path_type=Path), help="The folder; made if missing.")
@click.option("--copy/--link", "copy", default=True, help="Copy the files (the default), or make symbolic links to them.")
@click.option(
    "--only", default="kept", show_default=True, type=click.Choice(["kept", "sample", "duplicates"]), help="Which rows."
)
@click.option("--name", default=None, metavar="NAME", help="With --only sample: this selection only.")
def command(session: Session, to: Path, copy: bool, only: str, name: str | None) -> int:
    """Put the files of chosen rows into a folder, under their ids; run again, it writes only what is missing.

    Nothing there is overwritten, and nothing is written outside the folder.
    """
    from curate.errors import ConfigError, NotFound
    from curate.pipeline.export import chosen, export

    if name is not None and only != "sample":
        raise ConfigError(f"--name {name} needs --only sample")
    with session.open_store() as store:
        target = session.stored_target(store)
        if target.connector == IMPORTED:
            raise ConfigError(
                f"{target.address} has no files: its rows were imported as vectors. Their results are in "
                f"{store.results}, and curate export-vectors writes the vectors"
            )
        connector = session.connector(target.connector)
        # Not `check`, which also asks whether results could be pushed: files can be had from a store that is only read.
        if not connector.has(target.dataset_id):
            raise NotFound(f"{target.address} is not there any more, so its files cannot be read")
        ids = chosen(store, target.key, only, sample=name)
        items = store.items(target.key, ids=set(ids))
        done = export(
            items,
            to,
            read=connector.read,
            local_path=getattr(connector, "local_path", None),
            link=not copy,
            reporter=session.terminal,
        )
    session.emit(
        {
            "dataset": target.address,
            "to": str(to),
            "only": only,
            "mode": "copy" if copy else "link",
            "rows": len(ids),
            "written": done.written,
            "present": done.present,
            "others": done.others,
            "renamed": dict(done.renamed),
            "failures": [{"id": f.id, "reason": f.reason, "detail": f.detail} for f in done.failures],
        },
        f"{done.written:,} files written to {to}, {done.present:,} were there already ({only} rows: {len(ids):,})",
        *([f"{done.others:,} other files in {to} belong to no row of this export"] if done.others else []),
    )
    for failure in done.failures[:SHOWN_FAILURES]:
        session.warn(f"failed: {failure.id}: {failure.reason}: {failure.detail}".removesuffix(": "))
    if len(done.failures) > SHOWN_FAILURES:
        session.warn(f"... and {len(done.failures) - SHOWN_FAILURES:,} more; --json lists them all")
    return 3 if done.failures else 0
