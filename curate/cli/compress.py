"""`curate compress`: hold stored vectors in a smaller codec, or measure what each would cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from curate.cli._matryoshka import cut
from curate.cli._session import Session, verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from curate.cli._target import Target
    from curate.fidelity import Evaluation
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
@click.option("--dims", type=click.IntRange(min=1), metavar="N", help="Keep the first N numbers (Matryoshka models only).")
def command(
    session: Session, codec: str | None, evaluate: bool, max_recall_loss: float | None, radius: float | None, dims: int | None
) -> int:
    """Hold the stored vectors of a model in another codec; the old files go once the new ones are read back and checked.

    With --evaluate it changes no vectors: it says for every codec, on a seeded sample, what is lost in recall, order, lengths,
    duplicates, clusters and samples.  --dims adds a set of shorter vectors, and is refused unless the model declares the size.
    """
    from curate.codecs import DEFAULT, codec_named
    from curate.errors import ConfigError

    if codec is not None:
        codec_named(codec)
    if not evaluate and (max_recall_loss is not None or radius is not None):
        raise ConfigError("--max-recall-loss and --radius belong to --evaluate, which measures and changes nothing")
    if evaluate and dims is not None:
        raise ConfigError("--dims makes vectors and --evaluate measures them: cut first, then evaluate with --model NAME-N")
    with session.open_store(write=True) as store:
        target = session.stored_target(store)
        spec = session.stored_spec(store, target)
        if evaluate:
            return _evaluate(session, store, target, spec, codec=codec, loss=max_recall_loss, radius=radius)
        if dims is not None:
            return cut(session, store, target, spec, dims, codec or "f32")
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
    document["another_seed"] = _another_seed(vectors, spec.space, seed)
    store.keep(kept_as(target.key, spec.fingerprint), document)
    session.emit(document, *tables(document), *_notes(found, document), *([] if advice is None else [advised(document)]))
    return 0


def kept_as(dataset: str, fingerprint: str) -> str:
    """The key under which the store keeps the last evaluation; the report shows it."""
    return f"compression/{dataset}/{fingerprint}"


def tables(document: dict[str, Any]) -> list[Any]:
    """An evaluation as two rich tables, each of which fits 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = []
    for title, head, rows in parts(document):
        shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for name in head:
            shown.add_column(name, justify="left" if name == "codec" else "right", no_wrap=True)
        for row in rows:
            shown.add_row(*row)
        made.append(shown)
    return made


NEIGHBOURS = tuple("codec bytes ratio recall@1 @10 @100 tau-b bias".split())
REST = ("codec", "length", "angle", "dup F1", "open", "clusters", "sample", "enc/s", "dec/s")


def parts(document: dict[str, Any]) -> list[tuple[str, Sequence[str], list[tuple[str, ...]]]]:
    """(title, head, rows) of two tables, a row a codec.

    First recall, Kendall's tau-b and the bias of near distances.  Then the p99 error of lengths, the mean angle, F1 of
    duplicates at the unchanged radius with the codec's own cut, the pairs left open for one duplicate pair, the adjusted Rand
    index of clusters, the share of the selection that stays, and vectors a CPU second.
    """
    near, rest = [], []
    for c in document["codecs"]:
        recall = [f"{c['recall'][k]:.3f}" for k in ("1", "10", "100")]
        size = (f"{c['bytes_per_vector']:,}", f"{c['ratio']:.1f}x")
        near.append((c["codec"], *size, *recall, f"{c['tau']:.3f}", f"{c['bias']:+.1%}"))
        some = [("-" if c[name] is None else f"{c[name]:.2f}") for name in ("clusters", "sample")]
        copies = f"{c['debiased_f1']:.3f}" if c["decides_duplicates"] else "(never)"
        speeds = [_rounded(c[name]) for name in ("encode_per_s", "decode_per_s")]
        lost = (f"{c['norm_error']:.2%}", f"{c['angle']:.1f}°", copies, f"{c['borderline']:.2f}")
        rest.append((c["codec"], *lost, *some, *speeds))
    title = f"{document['dataset']}, {document['rows']:,} rows"
    return [(f"neighbours and order: {title}", NEIGHBOURS, near), (f"what else changes: {title}", REST, rest)]


def _rounded(per_second: float) -> str:
    return f"{per_second / 1e6:.1f}M" if per_second >= 1e6 else f"{per_second / 1e3:.0f}k"


def _clusters(x: Vectors, space: Geometry, seed: int) -> npt.NDArray[np.intp]:
    import numpy as np

    from curate.ops.clusters import clusters

    return clusters(space.prepare(x[:COMPARED]), rng=np.random.default_rng(seed))[0]


def _chosen(x: Vectors, space: Geometry, seed: int) -> npt.NDArray[np.intp]:
    import numpy as np

    from curate.ops._choose import cluster_centres

    some = space.prepare(x[:COMPARED])
    return cluster_centres(some, max(len(some) // 20, 1), space, np.random.default_rng(seed))


def _another_seed(x: Vectors, space: Geometry, seed: int) -> dict[str, float]:
    """How far clusters and selection of the floats themselves depend on chance: the same figures between two seeds."""
    import numpy as np
    from sklearn.metrics import adjusted_rand_score

    first, second = (_clusters(x, space, s) for s in (seed, seed + 1))
    chosen, other = (_chosen(x, space, s) for s in (seed, seed + 1))
    return {
        "clusters": float(adjusted_rand_score(first, second)),
        "sample": len(np.intersect1d(chosen, other)) / max(len(chosen), 1),
    }


def _notes(found: Evaluation, document: dict[str, Any]) -> list[str]:
    lines = [f"{name}: {why}" for name, why in found.refused.items()]
    chance = document["another_seed"]
    lines.append(
        f"clusters and sample hang on chance: with another seed the floats themselves give {chance['clusters']:.2f} and "
        f"{chance['sample']:.2f}"
    )
    pairs = f"duplicate pairs at {found.radius:.4g} ({found.geometry})"
    return [f"{found.queries:,} queries over {found.rows:,} rows, both sides decoded; {pairs}", *lines]


def advised(document: dict[str, Any]) -> str:
    """The recommendation of an evaluation, in a sentence."""
    advice = document["recommendation"]
    best = next(c for c in document["codecs"] if c["codec"] == advice["codec"])
    here = f"{best['ratio']:.1f} times smaller, {best['recall']['10']:.4f} here"
    line = f"To lose at most {advice['max_recall_loss']:.2%} of recall@10: {best['codec']}, {here}"
    return f"{line}." if best["decides_duplicates"] else f"{line}; decide duplicates before, it has too few bits for them."
