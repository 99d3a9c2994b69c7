"""`curate traverse`: the texts met on the way from an image to [ROOT]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from curate.cli._session import Session, verb
from curate.errors import ConfigError, EmbedderError


@click.command()
@verb("dataset", "offline", "model", "loading")
@click.argument("image")
@click.option("--taxonomy", default="", metavar="FILE", help="Meet the tags of a taxonomy.")
@click.option("--texts", default="", metavar="FILE", help="Meet these texts, one a line.")
@click.option("--steps", type=click.IntRange(min=2), default=50, metavar="N", help="Points on the way (50).")
def command(session: Session, image: str, taxonomy: str, texts: str, steps: int) -> int:
    """Walk from IMAGE (a file, or the id of a row of --dataset) to [ROOT] and print the texts met, each once.

    [ROOT] is the origin for EuCLIP and MERU.  For CLIP it is the mean of the rows of --dataset and the texts.
    """
    from curate.cli._geometry_parts import keep_walk, walks_key
    from curate.ops.traversal import traverse

    if bool(taxonomy) == bool(texts):
        raise ConfigError("what may be met on the way? Say --taxonomy FILE or --texts FILE")
    corpus, model, start = _start(session, image)
    names, vectors = _vocabulary(model, taxonomy, texts)
    geometry = model.spec.space
    root = _root(session, geometry, corpus if corpus is not None else start[None], vectors, whole=corpus is not None)
    met = traverse(start, names, vectors, geometry, root=root, steps=steps, logit=model.logit)
    document = {"image": image, "model": model.spec.name, "unit": geometry.unit_name, "steps": steps}
    document["met"] = [one.as_dict() for one in met]
    if corpus is not None:
        with session.open_store(write=True) as store:
            keep_walk(store, walks_key(session.stored_target(store).key, model.spec.fingerprint), document)
    session.emit(document, _table(image, document))
    return 0


def _start(session: Session, image: str) -> tuple[Any, Any, Any]:
    """The stored rows (None without a dataset), the model, and the vector of the image."""
    import numpy as np

    from curate.cli._vectors import model_of

    if not session.config["dataset"]:
        model = _with_texts(session.embedder)
        return None, model, _embed(model, image)
    with session.open_store() as store:
        target = session.stored_target(store)
        rows = session.stored_embeddings(store, target)
    model = _with_texts(model_of(session, rows.spec))
    if image in rows.ids:
        return rows.vectors, model, np.asarray(rows.vectors[list(rows.ids).index(image)])
    return rows.vectors, model, _embed(model, image)


def _with_texts(model: Any) -> Any:
    if getattr(model, "embed_text", None) is None:
        raise EmbedderError(f"model {model.spec.name!r} has no text tower, so it meets no texts; use CLIP, EuCLIP or MERU")
    return model


def _embed(model: Any, image: str) -> Any:
    from curate.cli._vectors import vector_of_file

    if not Path(image).is_file():
        raise ConfigError(f"{image}: neither a file nor the id of a stored row")
    return vector_of_file(model, Path(image))


def _vocabulary(model: Any, taxonomy: str, texts: str) -> tuple[list[str], Any]:
    import numpy as np

    from curate.cli.clusters import _lines
    from curate.ops._leaf_scores import text_vectors
    from curate.taxonomy import read_taxonomy

    if texts:
        lines = list(dict.fromkeys(_lines(texts)))
        return lines, np.asarray(model.embed_text(lines), np.float32)
    facets = read_taxonomy(taxonomy).facets.values()
    names = [facet.path(v) for facet in facets for v in range(len(facet))]
    parts = [text_vectors(facet, range(len(facet)), model.spec.space, model.embed_text) for facet in facets]
    return names, np.concatenate(parts)


def _root(session: Session, geometry: Any, images: Any, texts: Any, *, whole: bool) -> Any:
    from curate.ops.distributions import common_root

    if geometry.kind == "cosine" and not whole:
        session.warn("without --dataset, [ROOT] is the mean of the texts and this image alone; a corpus gives a better one")
    return common_root(geometry, images, texts)


def _table(title: str, document: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"from {title} to [ROOT]", title_justify="left")
    table.add_column("step", justify="right")
    table.add_column("text")
    table.add_column(document["unit"], justify="right")
    for one in document["met"]:
        table.add_row(str(one["step"]), Text(one["text"]), f"{one['distance']:.4g}")
    return table
