"""`curate search`: the rows nearest to an image or a text."""

from __future__ import annotations

from pathlib import Path

import click

from curate.cli._session import Session, verb


@click.command()
@verb("dataset", "model", "offline", "device", "max_pixels")
@click.option("--text", default=None, metavar="TEXT", help="Rows that look like this text, such as 'a red bus'.")
@click.option(
    "--image", default=None, metavar="FILE", type=click.Path(exists=True, dir_okay=False), help="Rows like this image."
)
@click.option("-k", "count", type=click.IntRange(1), default=10, show_default=True, help="How many rows.")
def command(session: Session, text: str | None, image: str | None, count: int) -> int:
    """Find the rows nearest to an image, or to a text with a model that has both (CLIP, EuCLIP, MERU)."""
    from rich.table import Table

    from curate.embedders import load_as, query_vector
    from curate.errors import ConfigError, MediaError
    from curate.pipeline.search import search

    if (text is None) == (image is None):
        raise click.UsageError("say either --text TEXT or --image FILE")
    with session.open_store() as store:
        target = session.stored_target(store)
        spec = session.stored_spec(store, target)
        embedder = load_as(
            spec,
            device=session["device"],
            offline=bool(session["offline"]),
            options=dict(session.config.models.get(spec.name, {})),
            max_pixels=session["max_pixels"],
            notify=session.say,
        )
        try:
            query = query_vector(embedder, text=text, image=None if image is None else Path(image).read_bytes())
        except MediaError as err:
            raise ConfigError(f"--image {image}: {err}") from err
        hits = search(store, target.key, spec, query, count, notify=session.say)
    table = Table(title=f"nearest to {text if text is not None else image}", title_justify="left")
    table.add_column("row", overflow="fold")
    table.add_column(spec.space.unit_name, justify="right")
    for name, distance in zip(hits.ids, hits.distances, strict=True):
        table.add_row(name, f"{distance:.4f}")
    document = {
        "query": {"text": text} if text is not None else {"image": str(image)},
        "unit": spec.space.unit_name,
        "by": hits.by,
        "hits": [{"id": n, "distance": d} for n, d in zip(hits.ids, hits.distances, strict=True)],
    }
    session.emit(document, table)
    return 0
