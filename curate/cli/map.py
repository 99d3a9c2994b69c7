"""`curate map`: the stored vectors in two or three dimensions, and how they are distributed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from curate.cli._session import Session, verb


@click.command()
@verb("dataset", "model", "seed")
@click.option("--method", default="umap", metavar="M", help="pca, tsne or umap.")
@click.option("--dims", type=int, default=2, metavar="N", help="2 or 3.")
@click.option("--out", default="", metavar="FILE.csv", help="Write id,x,y[,z].")
@click.option("--texts", default="", metavar="FILE", help="Compare with these texts, one a line (text models).")
def command(session: Session, method: str, dims: int, out: str, texts: str) -> int:
    """Map the stored vectors; prints how far neighbours stay neighbours (trustworthiness).

    The coordinates are kept in the store for reports and panels; the reducer itself is not.
    """
    from curate.cli._geometry_parts import spread_key
    from curate.cli._text_files import read_texts_file
    from curate.cli.tag import text_model
    from curate.ops.distributions import describe
    from curate.ops.projection import Projection
    from curate.pipeline.judge import judge

    op = Projection(method=method, dims=dims, seed=session["seed"])
    lines = read_texts_file(Path(texts)) if texts else []
    with session.open_store(write=True) as store:
        target = session.stored_target(store)
        embeddings = session.stored_embeddings(store, target)
        model = text_model(session, store, target, embeddings) if lines else None
        if lines and model is None:
            session.warn(f"{embeddings.spec.name} has no text tower, so the texts are left out")
        vectors = model.embed_text(lines) if model is not None else None
        found = judge(store, target.key, embeddings, [op], seed=session["seed"], reporter=session.terminal)["map"]
        spread = describe(embeddings.geometry, embeddings.vectors, vectors, logit=getattr(model, "logit", ""))
        if vectors is not None:
            store.keep(spread_key(target.key, embeddings.spec.fingerprint), spread)
    if out:
        _write(Path(out), found.evidence["points"], dims)
    document = {"dataset": target.address, **found.summary, "points": found.evidence["points"], "distribution": spread}
    session.emit(document, *_shown(document, out))
    return 0


def _write(path: Path, points: dict[str, list[float]], dims: int) -> None:
    import csv

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *"xyz"[:dims]])
        writer.writerows([item, *place] for item, place in points.items())


def _shown(document: dict[str, Any], out: str) -> list[str]:
    trust, spread = document["trustworthiness"], document["distribution"]
    lines = [f"{document['rows']:,} rows by {document['method']} in {document['dims']} dimensions"]
    if trust is not None:
        lines[0] += f", trustworthiness {trust:.3f} (1 = every neighbour kept, over {document['trust_rows']:,} rows)"
    if out:
        lines.append(f"written to {out}")
    depth, norm = spread["from_root"]["images"], spread["norms"]
    lines.append(
        f"distance from [ROOT] (5 %, 50 %, 95 %): {_three(depth)} {spread['from_root']['unit']}; norm: {_three(norm)}; "
        f"dead dimensions: {len(spread['dead_dimensions'])} of {spread['dim']}"
    )
    if spread["modality_gap"] is not None:
        lines.append(
            f"texts: distance from [ROOT] {_three(spread['from_root']['texts'])}, nearer to it than an image with probability "
            f"{spread['from_root']['separation']:.2f}; modality gap {spread['modality_gap']:.3g}; texts met on the way to "
            f"[ROOT]: {spread['captions_met']['mean']:.1f} an image"
        )
    return lines


def _three(histogram: dict[str, Any]) -> str:
    return ", ".join(f"{histogram['quantiles'][key]:.3g}" for key in ("0.05", "0.5", "0.95"))
