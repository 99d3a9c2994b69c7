"""`curate compress`: hold stored vectors in a smaller codec, or measure what each would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from curate.cli._session import Session, verb

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from curate.cli._target import Target
    from curate.fidelity import Evaluation, Fidelity
    from curate.geometry import Geometry
    from curate.store import Store
    from curate.types import EmbedderSpec, Vectors

COMPARED = 2_000
"""Rows whose clusters and selection are compared; exact distances are compared on more."""


@click.command()
@verb("dataset", "model", "seed")
@click.option("--codec", default=None, metavar="C", help="f32, f16, int8 (the default), int4 or tc:BITS.")
@click.option("--evaluate", is_flag=True, help="Measure every codec (or the one of --codec) on these vectors; change nothing.")
@click.option("--max-recall-loss", type=float, metavar="P", help="Recommend the smallest codec that loses at most P.")
@click.option("--radius", type=float, metavar="R", help="Evaluate duplicate pairs at this distance.")
def command(session: Session, codec: str | None, evaluate: bool, max_recall_loss: float | None, radius: float | None) -> int:
    """Hold the stored vectors of a model in another codec; the old files go once the new ones are read back and checked.

    With --evaluate it changes no vectors: it says for every codec, on a seeded sample, what is lost in recall, order, lengths,
    duplicates, clusters and samples.
    """
    from curate.codecs import DEFAULT, codec_named
    from curate.errors import ConfigError

    if codec is not None:
        codec_named(codec)
    if not evaluate and (max_recall_loss is not None or radius is not None):
        raise ConfigError("--max-recall-loss and --radius belong to --evaluate, which measures and changes nothing")
    with session.open_store(write=True) as store:
        target = session.stored_target(store)
        spec = session.stored_spec(store, target)
        if evaluate:
            return _evaluate(session, store, target, spec, codec=codec, loss=max_recall_loss, radius=radius)
        return _rewrite(session, store, target, spec, codec or DEFAULT)


def _rewrite(session: Session, store: Store, target: Target, spec: EmbedderSpec, codec: str) -> int:
    from curate.codecs import codec_named
    from curate.errors import ConfigError

    wanted = codec_named(codec)
    if wanted.name.startswith("binary"):
        raise ConfigError("binary keeps signs and is an index, never the only copy of a vector; the smallest to hold is tc:1")
    held = [c.name for c in store.codecs(target.key, spec.fingerprint)]
    if any(c != "f32" for c in held) and held != [wanted.name]:
        session.warn(f"these vectors are held as {', '.join(held)}; what that lost stays lost")
    if not wanted.decides_duplicates:
        session.warn(f"{wanted.name} has too few bits to decide duplicates; search, clusters and samples remain")
    before, after = store.rewrite(target.key, spec.fingerprint, wanted.name)
    model = {"name": spec.name, "fingerprint": spec.fingerprint, "dim": spec.dim, "geometry": spec.geometry}
    document = {
        "dataset": target.address,
        "model": model,
        "codec": wanted.name,
        "before": held,
        "bytes_before": before,
        "bytes_after": after,
        "decides_duplicates": wanted.decides_duplicates,
    }
    line = f"{spec.name} is held as {wanted.name}: {before / 1e6:,.2f} MB before, {after / 1e6:,.2f} MB now"
    session.emit(document, f"{line} ({before / max(after, 1):.1f} times smaller)" if after < before else line)
    return 0


def _evaluate(
    session: Session,
    store: Store,
    target: Target,
    spec: EmbedderSpec,
    *,
    codec: str | None,
    loss: float | None,
    radius: float | None,
) -> int:
    import numpy as np

    from curate.codecs import NAMES
    from curate.fidelity import FIT_ROWS, ROWS, check_loss, evaluate

    if radius is not None:
        spec.space.check_radius(radius)
    if loss is not None:
        check_loss(loss)
    seed = int(session["seed"])
    ids = store.embedded_ids(target.key, spec.fingerprint)
    drawn = np.sort(np.random.default_rng(seed).permutation(len(ids))[: ROWS + FIT_ROWS])
    vectors = store.embeddings(target.key, spec.fingerprint, ids=[ids[i] for i in drawn]).vectors
    held = [c.name for c in store.codecs(target.key, spec.fingerprint)]
    if held != ["f32"]:
        session.warn(f"these vectors are held as {', '.join(held)}: losses are measured against that, not against the floats")
    found = evaluate(
        vectors,
        spec.space,
        rng=np.random.default_rng(seed),
        codecs=NAMES if codec is None else tuple(dict.fromkeys(("f32", codec))),
        radius=radius,
        cluster=lambda x: _clusters(x, spec.space, seed),
        choose=lambda x: _chosen(x, spec.space, seed),
    )
    advice = None if loss is None else found.recommend(loss)
    document = {"dataset": target.address, "model": {"name": spec.name, "fingerprint": spec.fingerprint}, **found.as_dict()}
    document["recommendation"] = None if advice is None else {"codec": advice.codec, "max_recall_loss": loss}
    store.keep(kept_as(target.key, spec.fingerprint), document)
    session.emit(document, table(document), *_notes(found), *([] if advice is None else [_advice(advice, loss or 0.0)]))
    return 0


def kept_as(dataset: str, fingerprint: str) -> str:
    """The key under which the store keeps the last evaluation; the report shows it."""
    return f"compression/{dataset}/{fingerprint}"


def table(document: dict[str, Any]) -> Any:
    """An evaluation as a rich table."""
    from rich.table import Table

    shown = Table(title=f"codecs for {document['dataset']}, {document['rows']:,} rows", title_justify="left")
    for name in HEAD:
        shown.add_column(name, justify="left" if name == "codec" else "right")
    for row in cells(document):
        shown.add_row(*row)
    return shown


HEAD = tuple("codec bytes ratio recall@1 @10 @100 tau-b bias length angle duplicates open clusters sample".split())


def cells(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The columns of `HEAD`, a row a codec: recall, Kendall's tau-b, bias of near distances, p99 error of lengths, mean angle.

    "duplicates" is F1 at the unchanged radius with the codec's own cut; "open" the pairs left open for one duplicate pair;
    "clusters" the adjusted Rand index, "sample" the share of the selection that stays.
    """
    rows = []
    for c in document["codecs"]:
        some = [("-" if c[name] is None else f"{c[name]:.2f}") for name in ("clusters", "sample")]
        recall = [f"{c['recall'][k]:.3f}" for k in ("1", "10", "100")]
        rows.append(
            (
                c["codec"],
                f"{c['bytes_per_vector']:,}",
                f"{c['ratio']:.1f}x",
                *recall,
                f"{c['tau']:.3f}",
                f"{c['bias']:+.1%}",
                f"{c['norm_error']:.2%}",
                f"{c['angle']:.1f}°",
                f"{c['debiased_f1']:.3f}" if c["decides_duplicates"] else "(never)",
                f"{c['borderline']:.2f}",
                *some,
            )
        )
    return rows


def _clusters(x: Vectors, space: Geometry, seed: int) -> npt.NDArray[np.intp]:
    import numpy as np

    from curate.ops.clusters import clusters

    return clusters(space.prepare(x[:COMPARED]), rng=np.random.default_rng(seed))[0]


def _chosen(x: Vectors, space: Geometry, seed: int) -> npt.NDArray[np.intp]:
    import numpy as np

    from curate.ops._choose import cluster_centres

    some = space.prepare(x[:COMPARED])
    return cluster_centres(some, max(len(some) // 20, 1), space, np.random.default_rng(seed))


def _notes(found: Evaluation) -> list[str]:
    lines = [f"{name}: {why}" for name, why in found.refused.items()]
    pairs = f"duplicate pairs at {found.radius:.4g} ({found.geometry})"
    return [f"{found.queries:,} queries over {found.rows:,} rows, both sides decoded; {pairs}", *lines]


def _advice(best: Fidelity, loss: float) -> str:
    line = f"to lose at most {loss:.2%} of recall@10: {best.codec}, {best.ratio:.1f} times smaller ({best.recall[10]:.4f} here)"
    return line if best.decides_duplicates else f"{line}; decide duplicates before, {best.codec} has too few bits for it"
