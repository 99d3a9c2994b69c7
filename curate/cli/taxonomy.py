"""`curate taxonomy check`: what is in a taxonomy file, and which of its tags the model cannot tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curate.cli._session import Session, verb

if TYPE_CHECKING:
    from curate.taxonomy import Facet, Taxonomy

SHOWN = 20

command = click.Group("taxonomy", help="Look at a taxonomy file before tagging with it.")


@command.command("check")
@verb("offline", "model", "loading")
@click.argument("file", type=click.Path(path_type=Path))
def check(session: Session, file: Path) -> int:
    """Print depth, leaves, and the tags of FILE whose texts the model cannot tell apart.

    The texts are compared with --model, or with the default model where it is installed.
    """
    from curate.taxonomy import read_taxonomy

    taxonomy = read_taxonomy(file)
    document: dict[str, Any] = {
        "file": str(file),
        "model": None,
        "facets": {name: _counts(facet) for name, facet in taxonomy.facets.items()},
    }
    model = _model(session)
    if model is not None:
        document["model"] = model.spec.name
        for name, facet in taxonomy.facets.items():
            document["facets"][name] |= _texts(facet, model)
    session.emit(document, *_shown(taxonomy, document))
    return 0


def _counts(facet: Facet) -> dict[str, Any]:
    return {
        "tags": len(facet),
        "leaves": len(facet.leaves),
        "depth": max(facet.levels),
        "top": [facet.shown[v] for v in facet.tops[:SHOWN]],
        "several_parents": sum(len(above) > 1 for above in facet.parents),
        "without_choice": sum(len(below) == 1 for below in facet.children),
        "says_nothing": [facet.path(v) for v in sorted(facet.trivial)],
        "texts": sum(len(facet.texts(v)) for v in range(len(facet))),
        "alike": None,
    }


def _model(session: Session) -> Any:
    from curate.errors import CurateError

    try:
        model = session.embedder
    except CurateError as err:
        if session.is_set("model"):
            raise
        session.warn(f"texts are not compared: {err}")
        return None
    if getattr(model, "embed_text", None) is None:
        session.warn(f"texts are not compared: {model.spec.name} has no text tower")
        return None
    return model


def _texts(facet: Facet, model: Any) -> dict[str, Any]:
    from curate.ops._leaf_scores import text_vectors
    from curate.ops.entailment import confusable, edge_health

    vectors = text_vectors(facet, range(len(facet)), model.spec.space, model.embed_text)
    leaves = list(facet.leaves)
    scale, logit = getattr(model, "logit_scale", 1.0), getattr(model, "logit", "")
    pairs = confusable(vectors[leaves], model.spec.space, scale=scale, logit=logit)
    alike = [{"tags": [facet.path(leaves[i]), facet.path(leaves[j])], "probability": round(p, 4)} for i, j, p in pairs]
    return {"alike": alike, "edges": edge_health(facet, vectors, model.spec.space)}


def _shown(taxonomy: Taxonomy, document: dict[str, Any]) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=document["file"], title_justify="left")
    table.add_column("facet")
    for column in ("tags", "leaves", "depth", "several parents", "texts"):
        table.add_column(column, justify="right")
    lines: list[Any] = []
    for name, counts in document["facets"].items():
        figures = (counts[key] for key in ("tags", "leaves", "depth", "several_parents", "texts"))
        table.add_row(Text(name), *(f"{figure:,}" for figure in figures))
        lines.append(Text(f"{name}: at the top {', '.join(counts['top'])}"))
        if counts["says_nothing"]:
            lines.append(Text(f"{name}: holds for every image, never a tag alone: {', '.join(counts['says_nothing'])}"))
        if counts["without_choice"]:
            lines.append(f"{name}: {counts['without_choice']:,} tags have one child only, which adds a level and no choice")
        for pair in (counts["alike"] or [])[:SHOWN]:
            lines.append(Text(f"{name}: hard to tell apart (P {pair['probability']:.2f}): {' and '.join(pair['tags'])}"))
        if counts["alike"] is not None and len(counts["alike"]) > SHOWN:
            lines.append(f"{name}: {len(counts['alike']):,} such pairs; --json has all")
    return [table, *lines]
