"""`curate clusters`: group the rows."""

from __future__ import annotations

from typing import Any

import click

from curate.cli._session import Session, verb


@click.command()
@verb("dataset", "model", "seed")
@click.option("--count", type=int, default=None, metavar="N", help="How many clusters (chosen from the number of rows).")
@click.option("--describe", default="", metavar="FILE", help="Texts, one a line, that may describe a cluster (text models).")
def command(session: Session, count: int | None, describe: str) -> int:
    """Group the rows with k-means; numbers stay what they were where the rows do.

    Works on stored vectors; `curate plan` shows what would be pushed.
    """
    from curate.cli._ops import build_op
    from curate.cli._vectors import model_of
    from curate.pipeline.judge import judge

    options: dict[str, Any] = dict(session.config.ops.get("clusters", {}))
    if count is not None:
        options["count"] = count
    if describe:
        options["vocabulary"] = _lines(describe)
    op = build_op("clusters", options, "curate clusters")
    with session.open_store(write=True) as store:
        target = session.stored_target(store)
        embeddings = session.stored_embeddings(store, target)
        embed_text = getattr(model_of(session, embeddings.spec), "embed_text", None) if options.get("vocabulary") else None
        if options.get("vocabulary") and embed_text is None:
            session.warn(f"{embeddings.spec.name} has no text tower, so clusters are shown by typical rows only")
        found = judge(
            store, target.key, embeddings, [op], seed=session["seed"], embed_text=embed_text, reporter=session.terminal
        )
    findings = found["clusters"]
    clusters = findings.evidence["clusters"]
    document = {"dataset": target.address, **findings.summary, "unit": findings.evidence["unit"], "clusters": clusters}
    session.emit(document, _table(target.address, clusters), *_notes(findings.summary))
    return 0


def _lines(path: str) -> list[str]:
    from pathlib import Path

    from curate.errors import ConfigError

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"--describe {path}: {err}") from err
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ConfigError(f"--describe {path}: the file has no texts; write one a line")
    return lines


def _notes(summary: Any) -> list[str]:
    how = {"first": "fitted for the first time", "kept": "kept from the last run", "refit": "fitted again"}[summary["fit"]]
    lines = [
        f"{summary['count']:,} clusters of {summary['rows']:,} rows, {how}; {summary['moved']:,} earlier rows changed theirs"
    ]
    return [*lines, summary["note"]] if "note" in summary else lines


def _table(title: str, clusters: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"clusters of {title}", title_justify="left")
    for column in ("cluster", "rows", "spread"):
        table.add_column(column, justify="right")
    described = any(entry["description"] for entry in clusters)
    table.add_column("what" if described else "typical rows")
    for entry in clusters:
        words = entry["description"] if described else ", ".join(entry["medoids"][:3])
        table.add_row(str(entry["cluster"]), f"{entry['size']:,}", f"{entry['spread']:.3g}", Text(words))
    return table
