"""`curate import-vectors`: bring vectors computed elsewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from curate.cli._session import Session, verb
from curate.cli._target import IMPORTED
from curate.errors import ConfigError
from curate.store import Store
from curate.types import EmbedderSpec, Item, Vectors


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--ids", type=click.Path(path_type=Path), metavar="IDS.txt", help="One id a line, in the order of the rows.")
@click.option("--geometry", metavar="G", help="cosine or euclidean: how distances between the vectors are meant.")
@click.option("--name", metavar="NAME", help="What to call the model; later verbs take it as --model NAME.")
@click.option("--media", metavar="KIND", help="What the vectors are of: image (the default) or text.")
@click.option("--codec", default="f32", show_default=True, metavar="C", help="How the store holds them: f32, f16, int8, ...")
@verb("dataset", "network")
def command(
    session: Session, file: Path, ids: Path | None, geometry: str | None, name: str | None, media: str | None, codec: str
) -> int:
    """Bring the vectors of FILE (n x d float32 or float16 .npy, or what `curate export-vectors` wrote) into the store.

    With --dataset the ids are rows of that dataset; without it they become rows of their own, the dataset `vectors:NAME`.
    Every verb after the embedding works on them with --model NAME.
    """
    from curate.store import read_vectors

    spec, names, vectors = read_vectors(file, ids=ids, geometry=geometry, name=name, media=media)
    with session.open_store(write=True, create=True) as store:
        dataset = (
            _rows_of_dataset(session, store) if session.config["dataset"] else _own_rows(session, store, spec, names, vectors)
        )
        store.import_vectors(dataset, spec, names, vectors, codec=codec)
    model = {"name": spec.name, "fingerprint": spec.fingerprint, "dim": spec.dim, "geometry": spec.geometry}
    session.emit(
        {"dataset": dataset, "model": model, "rows": len(names), "codec": codec},
        f"{len(names):,} vectors of {spec.dim} numbers ({spec.geometry}) for {dataset}; "
        f"go on with: curate duplicates --dataset {dataset} --model {spec.name}",
    )
    return 0


def _rows_of_dataset(session: Session, store: Store) -> str:
    """The dataset of --dataset; listed now when the store does not know its rows yet."""
    target = session.stored_target(store)
    if target.key not in store.datasets():
        from curate.pipeline.pull import pull

        connector = session.connector(target.connector)
        connector.check(target.dataset_id)
        pull(store, connector, target.key, target.dataset_id, reporter=session.terminal)
    return str(target.key)


def _own_rows(session: Session, store: Store, spec: EmbedderSpec, ids: list[str], vectors: Vectors) -> str:
    """Adds the ids as rows of `vectors:NAME`; a row's version is the hash of its vector."""
    from curate.pipeline.pull import pull
    from curate.protocols import KeepsRows

    connector = session.connector(IMPORTED)
    if not isinstance(connector, KeepsRows):
        raise ConfigError(f"the connector {IMPORTED!r} was replaced by another package's, which keeps no rows")
    connector.keep_rows(spec.name, [_item(i, x.tobytes(), spec.media) for i, x in zip(ids, vectors, strict=True)])
    dataset = f"{IMPORTED}:{spec.name}"
    pull(store, connector, dataset, spec.name, reporter=session.terminal)
    return dataset


def _item(item_id: str, content: bytes, media: str) -> Item:
    return Item(item_id, item_id, hashlib.sha256(content).hexdigest()[:16], media_type=media)
