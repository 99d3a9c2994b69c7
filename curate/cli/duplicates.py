"""`curate duplicates`: find near duplicates and say which copy to keep."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curate.cli._session import Session, verb

if TYPE_CHECKING:
    from curate.ops._scored import Scored
    from curate.types import Findings

SHOWN_GROUPS = 10
SHOWN_PAIRS = 8


@click.command()
@verb("dataset", "model", "seed")
@click.option("--precision", type=float, default=None, metavar="P", help="Precision asked of the decisions (0.99).")
@click.option("--radius", type=float, default=None, metavar="R", help="Decide by this distance instead, in the model's unit.")
@click.option("--keep", default="", metavar="A,B", help="Which copy stays: labeled,resolution,sharpness,size,oldest.")
@click.option("--protect", multiple=True, metavar="FIELD=VALUE", help="Never call such a row a copy.")
@click.option("--between", default="", metavar="FIELD", help="Compare only rows that differ in this field (leakage).")
@click.option("--pairs", default="", metavar="FILE.csv", help="Write every pair that was scored.")
@click.option("--suggest", is_flag=True, help="Show pairs around the cut, and how many rows each cut would remove.")
def command(
    session: Session,
    precision: float | None,
    radius: float | None,
    keep: str,
    protect: Sequence[str],
    between: str,
    pairs: str,
    suggest: bool,
) -> int:
    """Find copies among the stored vectors, group them around the row that stays, and say why.

    Works on stored results; `curate plan` shows what would be pushed.
    """
    from curate.cli._ops import build_op
    from curate.ops.duplicates import Duplicates, in_id_order
    from curate.pipeline.judge import context_of

    options: dict[str, Any] = {"precision": session["precision"], **session.config.ops.get("duplicates", {})}
    given = {"precision": precision, "radius": radius, "between": between or None}
    options |= {name: value for name, value in given.items() if value is not None}
    if keep:
        options["keep"] = tuple(part.strip() for part in keep.split(",") if part.strip())
    if protect:
        options["protect"] = tuple(protect)
    op = build_op("duplicates", options, "curate duplicates")
    assert isinstance(op, Duplicates)
    with session.open_store(write=True) as store:
        target = session.stored_target(store)
        embeddings = session.stored_embeddings(store, target)
        context = context_of(
            store,
            target.key,
            embeddings,
            seed=session["seed"],
            reporter=session.terminal,
            op=op.name,
            embed_pixels=None if op.radius is not None else _embed_pixels(session, embeddings.spec),
        )
        embeddings, context = in_id_order(embeddings, context)
        scored, basis = op.scored(embeddings, context)
        findings = op.findings_of(scored, basis, embeddings, context)
        store.save_findings(target.key, embeddings.spec.fingerprint, findings)
    if pairs:
        _write_pairs(Path(pairs), scored, embeddings.ids)
    document: dict[str, Any] = {
        "dataset": target.address,
        "precision": op.precision,
        "radius": basis.get("radius"),
        **{name: basis[name] for name in ("unit", "strategy", "decided_by") if name in basis},
        "summary": dict(findings.summary),
        "groups": findings.evidence["groups"],
        "borderline": findings.evidence["borderline"],
    }
    if suggest:
        document["suggest"] = suggestions(scored, embeddings.ids)
    session.emit(document, *_renderables(findings, document, basis))
    return 0


def suggestions(scored: Scored, ids: Sequence[str]) -> dict[str, Any]:
    """How many pairs each cut would decide, and the pairs nearest to the present cut on both sides, as JSON values."""
    import numpy as np

    by_probability = bool(len(scored)) and not np.isnan(scored.probability).all()
    value = np.nan_to_num(scored.probability, nan=0.0) if by_probability else scored.distance
    levels = np.quantile(value, [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95]) if len(scored) else np.zeros(0)
    steps = [0.5, 0.8, 0.9, 0.95, 0.99, 0.999] if by_probability else sorted({float(f"{v:.4g}") for v in levels})
    cuts = []
    for step in steps:
        inside = value >= step if by_probability else value <= step
        cuts.append({"cut": step, "pairs": int(inside.sum()), "rows": len(set(scored.j[inside].tolist()))})
    order = np.lexsort((scored.j, scored.i, -value if by_probability else value))
    decided, others = ([p for p in order if bool(scored.decided[p]) is state] for state in (True, False))
    near = [*decided[-SHOWN_PAIRS:], *others[:SHOWN_PAIRS]]
    shown = [
        {
            "a": ids[scored.i[p]],
            "b": ids[scored.j[p]],
            "copy": bool(scored.decided[p]),
            "distance": round(float(scored.distance[p]), 6),
            **scored.describe(int(p)),
        }
        for p in near
    ]
    return {"by": "probability" if by_probability else "distance", "cuts": cuts, "pairs": shown}


def _embed_pixels(session: Session, spec: Any) -> Any:
    """The model as a function of images, for calibration; None where it cannot be loaded here (then only pixels decide)."""
    from curate.cli._vectors import model_of
    from curate.errors import CurateError

    try:
        return getattr(model_of(session, spec), "embed_pixels", None)
    except CurateError as err:
        session.terminal.detail(f"no calibration on edited images: {err}")
        return None


def _write_pairs(path: Path, scored: Scored, ids: Sequence[str]) -> None:
    from curate.errors import ConfigError

    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["a", "b", "distance", "probability", "copy"])
            for p in range(len(scored)):
                known = "" if scored.probability[p] != scored.probability[p] else f"{scored.probability[p]:.6f}"
                row = [ids[scored.i[p]], ids[scored.j[p]], f"{scored.distance[p]:.9g}", known, int(scored.decided[p])]
                table.writerow([_cell(value) for value in row])
    except OSError as err:
        raise ConfigError(f"--pairs {path}: cannot be written: {err.strerror}") from err


def _cell(value: object) -> object:
    # A spreadsheet takes such a cell for a formula; the apostrophe is what it shows text with.
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "@", "\t", "\r") else value


def _renderables(findings: Findings, document: Mapping[str, Any], basis: Mapping[str, Any]) -> list[Any]:
    from rich.table import Table

    groups: Sequence[Mapping[str, Any]] = findings.evidence["groups"]
    table = Table(title=f"{document['dataset']}: the largest groups", title_justify="left")
    for column in ("kept", "copies", "kinds", "why it stays"):
        table.add_column(column, justify="right" if column == "copies" else "left")
    for group in sorted(groups, key=lambda g: (-len(g["copies"]), str(g["keep"])))[:SHOWN_GROUPS]:
        kinds = ", ".join(sorted({str(copy["kind"]) for copy in group["copies"]}))
        table.add_row(str(group["keep"]), f"{len(group['copies']):,}", kinds, str(group["why"]))
    lines: list[Any] = [table] if groups else []
    rows, count = findings.summary["rows"], findings.summary["groups"]
    lines.append(f"{rows:,} copies in {count:,} groups; decided by {basis['decided_by']} ({basis['strategy']})")
    if document["borderline"]:
        lines.append(
            f"{len(document['borderline']):,} pairs stand on the cut itself; they are listed under borderline in --json"
        )
    if "suggest" in document:
        lines += _suggested(document["suggest"])
    return lines


def _suggested(suggest: Mapping[str, Any]) -> list[Any]:
    from rich.table import Table

    cuts = Table(title=f"what each cut would remove ({suggest['by']})", title_justify="left")
    for column in ("cut", "pairs", "rows"):
        cuts.add_column(column, justify="right")
    for cut in suggest["cuts"]:
        cuts.add_row(f"{cut['cut']:g}", f"{cut['pairs']:,}", f"{cut['rows']:,}")
    pairs = Table(title="pairs around the cut", title_justify="left")
    for column in ("a", "b", "copy", "distance", "probability"):
        pairs.add_column(column)
    for pair in suggest["pairs"]:
        known = f"{pair['probability']:.4f}" if "probability" in pair else ""
        pairs.add_row(str(pair["a"]), str(pair["b"]), "yes" if pair["copy"] else "no", f"{pair['distance']:.5g}", known)
    return [cuts, pairs]
