"""`curate export-vectors`: write stored vectors for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from curate.cli._session import Session, verb


@click.command()
@click.option("--to", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Where to write.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["npy", "parquet", "safetensors"]),
    default="npy",
    show_default=True,
    help="npy writes vectors.npy, ids.txt and spec.json; the others one file.",
)
@verb("dataset", "model")
def command(session: Session, to: Path, kind: str) -> int:
    """Write the vectors of a dataset as decoded float32, with ids, geometry and fingerprint.

    `curate import-vectors DIR` reads every format back.  ids.txt has one id a line; a line that begins with a double quote is a
    JSON string (ids with line breaks, leading quotes or white space at the ends).
    """
    from curate.store import export_vectors

    with session.open_store() as store:
        target = session.stored_target(store)
        spec = session.stored_spec(store, target)
        files = export_vectors(store, target.key, spec.fingerprint, to, kind)
        rows = len(store.embedded_ids(target.key, spec.fingerprint))
    model = {"name": spec.name, "fingerprint": spec.fingerprint, "dim": spec.dim, "geometry": spec.geometry}
    session.emit(
        {
            "dataset": target.address,
            "model": model,
            "rows": rows,
            "format": kind,
            "to": str(to),
            "files": [str(file) for file in files],
        },
        f"{rows:,} vectors of {spec.name} ({spec.dim} numbers each, {spec.geometry}) in {', '.join(str(f) for f in files)}",
    )
    return 0
