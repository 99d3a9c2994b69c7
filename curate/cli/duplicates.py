"""`curate duplicates`: find near duplicates and say which copy to keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curate.cli._session import Session, verb

if TYPE_CHECKING:
    from curate.protocols import Context
    from curate.store import Store
    from curate.types import Embeddings, Findings

SHOWN = 20


@click.command()
@verb("dataset", "model", "seed")
@click.option(
    "--precision", type=float, default=None, metavar="P", help="Share of duplicate decisions that must be right (0.99)."
)
@click.option("--radius", type=float, default=None, metavar="R", help="Decide by distance alone, in the model's unit.")
@click.option("--keep", default=None, metavar="A,B,...", help="Which copy stays: labeled,resolution,sharpness,size,oldest.")
@click.option("--protect", multiple=True, metavar="FIELD=VALUE", help="Rows that are never called copies.")
@click.option("--between", default=None, metavar="FIELD", help="Only copies between different values, such as split (leakage).")
@click.option("--reach", type=float, default=None, metavar="X", help="Keep pairs up to X times the radius for other cuts (1).")
@click.option(
    "--strategy", default=None, metavar="S", help="Search of pairs by distance: auto, blas, projection, bf16 or gpu (auto)."
)
@click.option("--pairs", default=None, metavar="FILE.csv", help="Write every pair that was looked at.")
@click.option("--suggest", is_flag=True, help="Show pairs around the cut, and how many rows other cuts would remove.")
@click.option("--audit", type=int, default=None, metavar="N", help="Draw N decided pairs to judge by eye.")
@click.option("--audit-file", default="audit.html", metavar="FILE", help="Where --audit writes: .html or .csv (audit.html).")
@click.option("--judged", default=None, metavar="FILE.csv", help="Read judged pairs: what precision was reached.")
def command(session: Session, **asked: Any) -> int:
    """Find copies, group them around the row that stays, and say why it stays.

    Works on stored vectors and thumbnails; `curate plan` shows what would be pushed.
    """
    if asked["judged"]:
        return _judged(session, Path(asked["judged"]))
    from curate.cli._ops import build_op
    from curate.ops.duplicates import Duplicates, in_id_order
    from curate.pipeline.judge import context_of

    op = build_op("duplicates", _options(session, asked), "curate duplicates")
    if not isinstance(op, Duplicates):
        raise click.UsageError("the op 'duplicates' was replaced by another package's; this verb shows the built-in one")
    with session.open_store(write=True) as store:
        target = session.stored_target(store)
        raw = session.stored_embeddings(store, target)
        context = context_of(
            store,
            target.key,
            raw,
            seed=session["seed"],
            embed_pixels=_embed_pixels(session, raw) if op.needs_model(raw, store.cached) else None,
            reporter=session.terminal,
            op=op.name,
        )
        embeddings, context = in_id_order(raw, context)
        scored, basis = op.scored(embeddings, context)
        findings = op.findings_of(scored, basis, embeddings, context)
        store.save_findings(target.key, raw.spec.fingerprint, findings)
        document: dict[str, Any] = {
            "dataset": target.address,
            **{name: findings.evidence[name] for name in ("precision", "radius", "unit", "groups")},
            **{name: value for name, value in findings.evidence.items() if name not in ("groups",)},
            "between": op.between,
            "counts": findings.summary,
        }
        if asked["pairs"]:
            document["pairs"] = _write_pairs(Path(asked["pairs"]), scored, embeddings.ids)
        if asked["suggest"]:
            document["suggest"] = _suggested(op, scored, basis, embeddings, context)
        if asked["audit"] is not None:
            document["audit"] = _audit(store, target.key, findings, asked, context)
    session.emit(document, *_shown(target.address, document))
    return 0


def _options(session: Session, asked: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = dict(session.config.ops.get("duplicates", {}))
    options.setdefault("precision", session["precision"])
    if asked["keep"] is not None:
        options["keep"] = [name.strip() for name in asked["keep"].split(",") if name.strip()]
    if asked["protect"]:
        options["protect"] = list(asked["protect"])
    return options | {
        name: asked[name] for name in ("precision", "radius", "between", "reach", "strategy") if asked[name] is not None
    }


def _embed_pixels(session: Session, embeddings: Embeddings) -> Callable[[Sequence[Any]], Any] | None:
    """The model behind the stored vectors as a function of pixels; None where it is not at hand (imported, no weights)."""
    import cv2
    import numpy as np

    from curate.cli._vectors import model_of
    from curate.errors import CurateError

    try:
        model = model_of(session, embeddings.spec)
    except CurateError as err:
        session.say(f"the cut is not fitted to this model: {err}")
        return None

    def embed(batch: Sequence[Any]) -> Any:
        coded: list[Any] = [cv2.imencode(".png", np.ascontiguousarray(p[..., ::-1]))[1].tobytes() for p in batch]
        prepared = [model.prepare(data) for data in coded]
        return np.concatenate([model.embed(prepared[at : at + 32]) for at in range(0, len(prepared), 32)])

    return embed


def _write_pairs(path: Path, scored: Any, ids: Sequence[str]) -> dict[str, Any]:
    from curate.cli._audit_page import write_table

    rows = [
        {"a": ids[i], "b": ids[j], "distance": f"{d:.9g}", "probability": "" if p != p else f"{p:.6f}"}
        for i, j, d, p in zip(scored.i, scored.j, scored.distance, scored.probability, strict=True)
    ]
    write_table(path, rows, ("a", "b", "distance", "probability"))
    return {"file": str(path), "rows": len(rows)}


def _suggested(op: Any, scored: Any, basis: dict[str, Any], embeddings: Embeddings, context: Context) -> dict[str, Any]:
    from curate.ops._audit import around, other_cuts

    cuts = []
    for cut, decided in other_cuts(scored, basis):
        summary = op.findings_of(decided, basis, embeddings, context).summary
        cuts.append({"cut": cut, "groups": summary["groups"], "rows": summary["rows"]})
    return {"cuts": cuts, "around": around(scored, basis, embeddings.ids, SHOWN)}


def _audit(store: Store, key: str, findings: Findings, asked: dict[str, Any], context: Context) -> dict[str, Any]:
    from curate.cli._audit_page import write_audit
    from curate.errors import ConfigError
    from curate.ops._audit import drawn, lower_bound

    if asked["audit"] < 1:
        raise ConfigError(f"--audit {asked['audit']}: draw at least one pair")
    path = Path(asked["audit_file"])
    pairs = drawn(findings, asked["audit"], context.rng)
    write_audit(path, pairs, lambda item: store.thumb(key, item))
    best = lower_bound(len(pairs), len(pairs)) if pairs else 0.0
    return {"file": str(path), "pairs": len(pairs), "bound_if_all_are_copies": round(best, 4)}


def _judged(session: Session, path: Path) -> int:
    from curate.cli._audit_page import read_table
    from curate.ops._audit import lower_bound, read_judgements

    right, judged, left = read_judgements(read_table(path))
    document: dict[str, Any] = {"judged": judged, "right": right, "open": left}
    document |= {"precision": right / judged if judged else None, "confidence": 0.95}
    document["at_least"] = round(lower_bound(right, judged), 4)
    line = (
        f"{right} of {judged} judged pairs are copies: the precision is at least {document['at_least']:.3f} (95 % confidence)"
    )
    if not judged:
        line = f"no pair of {path} is judged yet: write yes or no into the column 'copy'"
    session.emit(document, line, *([f"{left} pairs are not judged yet"] if left else []))
    return 0


def _shown(address: str, document: dict[str, Any]) -> list[Any]:
    from rich.table import Table

    from curate.report._words import counted

    counts, by_pixels = document["counts"], document["decided_by"] == "pixels"
    how = f"probability >= {document['cut']:.3g}, by pixels" if by_pixels else f"{document['unit']} <= {document['radius']:.4g}"
    found = f"{counted(counts['rows'], 'copy', 'copies')} in {counted(counts['groups'], 'group')}"
    across = f" between different values of {document['between']!r}" if document["between"] else ""
    table = Table(title=f"{found} of {address}{across} ({how})")
    for column in ("stays", "why", "copies"):
        table.add_column(column, overflow="fold")
    for group in document["groups"][:SHOWN]:
        copies = ", ".join(f"{c['id']} ({c['kind']})" for c in group["copies"][:6])
        rest = len(group["copies"]) - 6
        table.add_row(group["keep"], group["why"], copies + (f" and {rest} more" if rest > 0 else ""))
    lines: list[Any] = [table, f"candidates: {document['strategy']}, {counts['candidates']:,} pairs looked at"]
    if len(document["groups"]) > SHOWN:
        lines.append(f"{len(document['groups']) - SHOWN:,} more groups: --json lists them all")
    if not by_pixels and document.get("calibration") is None:
        lines.append("decided by distance alone: there are no thumbnails; give --radius, or look at --suggest")
    if "suggest" in document:
        cuts = Table(title="other cuts")
        for column in ("cut", "groups", "rows removed"):
            cuts.add_column(column, justify="right")
        for row in document["suggest"]["cuts"]:
            cuts.add_row(f"{row['cut']:.4g}", f"{row['groups']:,}", f"{row['rows']:,}")
        lines += [_pairs_around(document["suggest"]["around"], by_pixels), cuts]
    for name in ("pairs", "audit"):
        if name in document:
            lines.append(f"wrote {document[name]['file']}")
    if "audit" in document:
        drawn = document["audit"]
        if drawn["pairs"]:
            bound = f"the precision is at least {drawn['bound_if_all_are_copies']:.3f} (95 % confidence)"
            lines.append(f"{counted(drawn['pairs'], 'pair')} to judge; if all are copies, {bound}; then --judged FILE.csv")
        else:
            lines.append("no pair was decided by pixels or distance: there is nothing to judge")
    return lines


def _pairs_around(pairs: list[dict[str, Any]], by_pixels: bool) -> Any:
    """The pairs nearest to the cut, those above it first."""
    from rich.table import Table

    value = "probability" if by_pixels else "distance"
    table = Table(title="pairs around the cut")
    for column in ("row", "row", value, "decided"):
        table.add_column(column, overflow="fold", justify="right" if column == value else "left")
    for pair in pairs:
        table.add_row(pair["a"], pair["b"], f"{pair[value]:.4g}", "copy" if pair["decided"] else "no copy")
    return table
