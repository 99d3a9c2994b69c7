"""`curate tag`: a path along a taxonomy for every row, as deep as the evidence goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curate.cli._session import Session, verb
from curate.errors import ConfigError

if TYPE_CHECKING:
    from curate.cli._target import Target
    from curate.ops.hierarchy import Tag
    from curate.protocols import Context
    from curate.store import Store
    from curate.types import Embeddings, Scalar

FILE_FIELD = "the labels file"


@click.command()
@verb("dataset", "model", "seed")
@click.option("--taxonomy", default="", metavar="FILE", help="The tags: .yaml, .csv, .tsv, or WordNet is-a lines (.txt).")
@click.option("--labels", multiple=True, metavar="FIELD|FILE.csv", help="True tags of some rows; FACET=FIELD for one facet.")
@click.option("--risk", default=None, metavar="P", help="Share of images that may get a wrong tag, such as 0.1 or 10%.")
@click.option("--tau", type=float, default=None, metavar="P", help="A threshold of your own instead of a risk (0.6).")
@click.option("--scores", default=None, metavar="S", help="text, prototypes (from labelled rows), or auto.")
@click.option("--evaluate", is_flag=True, help="Hold the tags against --labels, each row tagged without its own.")
def command(
    session: Session,
    taxonomy: str,
    labels: tuple[str, ...],
    risk: str | None,
    tau: float | None,
    scores: str | None,
    evaluate: bool,
) -> int:
    """Tag the rows along a hierarchy; rows where nothing is probable enough stay untagged and are counted.

    Works on stored vectors; `curate plan` shows what would be pushed.  See docs/hierarchy.md.
    """
    from curate.cli._ops import build_op
    from curate.config import fraction

    options: dict[str, Any] = dict(session.config.ops.get("tag", {}))
    asked = {"risk": None if risk is None else fraction(risk, "--risk"), "tau": tau, "scores": scores}
    if risk is not None or tau is not None:
        options.pop("risk", None), options.pop("tau", None)
    options |= {key: value for key, value in asked.items() if value is not None}
    with session.open_store(write=True) as store:
        target = session.stored_target(store)
        options["taxonomy"] = _taxonomy(session, taxonomy or str(options.get("taxonomy", "")))
        from_file: Mapping[str, Scalar] = {}
        if labels:
            options["labels_field"], from_file = _labels(labels)
        op: Any = build_op("tag", options, "curate tag")
        embeddings = session.stored_embeddings(store, target)
        document = _tag(session, store, target, embeddings, op, from_file, evaluate)
    session.emit(document, *_shown(target.address, document))
    return 0


def _taxonomy(session: Session, path: str) -> Any:
    from curate.taxonomy import read_taxonomy

    path = path or str(session.entry.get("taxonomy") or "")
    if not path:
        raise ConfigError('which tags? Say --taxonomy FILE, or taxonomy = "tags.yaml" in [ops.tag] of curate.toml')
    return read_taxonomy(path)


def _labels(given: Sequence[str]) -> tuple[str | dict[str, str], Mapping[str, Scalar]]:
    """The op's labels_field, and labels from a file."""
    from curate.cli._text_files import read_labels_file

    if len(given) == 1 and given[0].endswith(".csv"):
        return FILE_FIELD, read_labels_file(Path(given[0]))
    if len(given) == 1 and "=" not in given[0]:
        return given[0], {}
    fields = {}
    for one in given:
        facet, sign, field = one.partition("=")
        if not sign or not field:
            raise ConfigError(f"--labels {one!r}: with several facets, say FACET=FIELD for each")
        fields[facet] = field
    return fields, {}


def _tag(
    session: Session,
    store: Store,
    target: Target,
    embeddings: Embeddings,
    op: Tag,
    from_file: Mapping[str, Scalar],
    evaluate: bool,
) -> dict[str, Any]:
    from dataclasses import replace

    from curate.pipeline.judge import context_of

    model = None if op.scores == "prototypes" else text_model(session, store, target, embeddings)
    context: Context = context_of(
        store,
        target.key,
        embeddings,
        seed=session["seed"],
        embed_text=getattr(model, "embed_text", None),
        logit=getattr(model, "logit", ""),
        logit_scale=getattr(model, "logit_scale", None),
        reporter=session.terminal,
        op=op.name,
    )
    if from_file:
        strange = sorted(set(from_file) - set(embeddings.ids))
        if strange:
            session.warn(f"{len(strange)} labelled ids have no vector and are left out: {', '.join(strange[:3])}")
        context = replace(context, field=_field_from(from_file, embeddings.ids))
    document: dict[str, Any] = {"dataset": target.address}
    if evaluate:
        document["evaluation"] = op.evaluate(embeddings, context)
    found = op(embeddings, context)
    store.save_findings(target.key, embeddings.spec.fingerprint, found)
    kept = {key: value for key, value in found.evidence.items() if key in ("facets", "rows")}
    return document | kept | {"summary": found.summary}


def _field_from(values: Mapping[str, Scalar], ids: Sequence[str]) -> Callable[[str], Sequence[Scalar]]:
    return lambda _name: [values.get(i) for i in ids]


def text_model(session: Session, store: Store, target: Target, embeddings: Embeddings) -> Any:
    """The model behind stored vectors if it has a text tower, else None (imported vectors, image models)."""
    from curate.cli._vectors import model_of

    fingerprint = embeddings.spec.fingerprint
    if any(held.imported for held in store.specs(target.key) if held.spec.fingerprint == fingerprint):
        return None
    model = model_of(session, embeddings.spec)
    return model if getattr(model, "embed_text", None) is not None else None


def _shown(title: str, document: Mapping[str, Any]) -> list[Any]:
    from collections import Counter

    from rich.table import Table
    from rich.text import Text

    counts = Counter((row.get("facet", ""), row["path"]) for row in document["rows"] if row["path"])
    table = Table(title=f"tags of {title}", title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("path")
    shown = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:20]
    for (facet, path), count in shown:
        table.add_row(f"{count:,}", Text(f"{facet}: {path}" if facet else path))
    lines = [f"{len(counts):,} different paths; the 20 commonest are shown, --json has all"] if len(counts) > 20 else []
    for name, facet in document["facets"].items():
        how = f"tau {facet['tau']:.3g}" if facet["tau"] is not None else "no tau"
        how += f", at most {100 * facet['risk_bound']:.1f} % wrong" if facet["calibrated"] else ", uncalibrated"
        near = f", {len(facet['borderline']):,} borderline" if facet["borderline"] else ""
        lines.append(f"{name}: {facet['tagged']:,} tagged, {facet['abstained']:,} untagged ({how}){near}")
    lines += document["summary"]["notes"]
    evaluation = document.get("evaluation")
    return [*([table] if counts else []), *lines, *([_figures(evaluation)] if evaluation else [])]


def _figures(evaluation: Mapping[str, Mapping[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(title="against the labels, five-fold", title_justify="left")
    table.add_column("")
    for name in evaluation:
        table.add_column(name, justify="right")
    plain = {"rows": "labelled rows", "precision": "hierarchical precision", "recall": "hierarchical recall"}
    plain |= {"f1": "hierarchical F1", "wrong": "images with a wrong tag", "untagged": "untagged", "depth": "mean depth"}
    plain |= {"exact": "exactly the label", "unjudged": "deeper than the label", "tree_distance": "tree distance"}
    plain |= {"calibration_error": "calibration error"}
    for key, words in plain.items():
        table.add_row(words, *(f"{some[key]:,}" if key == "rows" else f"{some[key]:.3f}" for some in evaluation.values()))
    for key, words in (("depth_at_90", "depth at 90 % correct paths"), ("depth_at_95", "depth at 95 % correct paths")):
        table.add_row(words, *(f"{some[key]['depth']:.2f}" for some in evaluation.values()))
    table.add_row("ancestor violations", *(str(some["violations"]) for some in evaluation.values()))
    return table
