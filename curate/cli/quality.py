"""`curate quality`: image issues, outliers, likely label mistakes, and where a model fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from curate.cli._session import Session, verb
from curate.types import Findings

SHOWN = 10


@click.command()
@verb("dataset", "model", "seed")
@click.option("--labels", default=None, metavar="FIELD", help="Judge the labels of this field too.")
@click.option("--predictions", default=None, metavar="FIELD", help="A model's answers: error rates by class, cluster and tag.")
@click.option("--confidence", default=None, metavar="FIELD", help="The model's confidence in them.")
@click.option("--by", multiple=True, metavar="FIELD", help="Further fields to break error rates down by.")
@click.option("--no-images", is_flag=True, help="Leave the thumbnails alone.")
def command(session: Session, no_images: bool, **asked: Any) -> int:
    """Look for blurry, dark, bright, nearly empty or odd-sized images, and for rows unlike all others.

    Works on stored vectors and thumbnails; changes nothing on the platform.
    """
    from curate.cli._ops import build_op
    from curate.pipeline.judge import judge

    ops = [build_op("quality", _quality(session, no_images), "curate quality")]
    if (options := _labels(session, asked)) is not None:
        ops.append(build_op("labels", options, "curate quality"))
    with session.open_store(write=True) as store:
        target = session.stored_target(store)
        embeddings = session.stored_embeddings(store, target)
        found = judge(store, target.key, embeddings, ops, seed=session["seed"], reporter=session.terminal)
    quality, labels = found["quality"], found.get("labels")
    document = {"dataset": target.address, "summary": dict(quality.summary), **quality.evidence}
    document["labels"] = None if labels is None else {**labels.summary, **labels.evidence}
    session.emit(document, *_shown(target.address, quality, labels))
    return 0


def _quality(session: Session, no_images: bool) -> dict[str, Any]:
    options: dict[str, Any] = dict(session.config.ops.get("quality", {}))
    return options | {"images": False} if no_images else options


def _labels(session: Session, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    options: dict[str, Any] = dict(session.config.ops.get("labels", {}))
    names = {"labels": "field"}
    flags = {names.get(key, key): value for key, value in asked.items() if value}
    return options | flags if options or flags else None


def _shown(title: str, quality: Findings, labels: Findings | None) -> list[Any]:
    from curate.report._judged import ISSUES
    from curate.report.parts import Table
    from curate.report.text import table_of

    lines: list[tuple[str, ...]] = []
    for key, issues in quality.evidence["issues"].items():
        lines += [(ISSUES[key][0].lower(), line["id"], line["text"]) for line in issues[:SHOWN]]
    lines += [("outlier", line["id"], line["text"]) for line in quality.evidence["outliers"][:SHOWN]]
    summary = quality.summary
    head = [f"{summary['checked']:,} images checked; {summary['unseen']:,} rows without a thumbnail"]
    counts = {key: count for key, count in summary.items() if key not in ("checked", "unseen") and count}
    head.append("found: " + (", ".join(f"{count:,} {key}" for key, count in counts.items()) or "nothing unusual"))
    shown = [table_of(Table(f"quality of {title}", ("what", "row", "why"), lines), most=len(lines))] if lines else []
    return [*shown, *head, *(_labels_shown(labels) if labels is not None else [])]


def _labels_shown(labels: Findings) -> list[Any]:
    from curate.report import _judged
    from curate.report.text import table_of

    told = _judged.classes(labels, {})
    tables: Sequence[Any] = [table_of(table) for table in told.section.tables] if told is not None else []
    mistakes = labels.evidence["mistakes"]
    lines = [f"{len(mistakes):,} labels are likely wrong"]
    lines += [
        f"  {m['id']}: is {m['label']}, looks like {m['suggested']} ({m['agreement']:.0%} agree)" for m in mistakes[:SHOWN]
    ]
    if len(mistakes) > SHOWN:
        lines.append(f"  ... and {len(mistakes) - SHOWN:,} more; --json has all")
    return [*tables, *lines]
