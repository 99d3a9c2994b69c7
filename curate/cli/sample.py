"""`curate sample`: choose the rows worth labeling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from curate.cli._session import Session, verb

SHOWN = 20


class _Sample(click.Command):
    """Lists the methods below the options without importing numpy for `curate --help`."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from curate.ops.sampling import METHODS

        with formatter.section("Methods"):
            formatter.write_dl(list(METHODS.items()))


@click.command(cls=_Sample)
@verb("dataset", "model", "seed")
@click.option("--budget", default=None, metavar="N|P%", help="How many rows, or a share of those that can be chosen.")
@click.option("--method", default=None, metavar="METHOD [FIELD]", help="How to choose (cluster); see below.")
@click.option(
    "--field", default=None, metavar="FIELD", help="The field of ordered, balanced and uncertain; -FIELD turns it round."
)
@click.option("--name", default=None, metavar="NAME", help="Name of the selection, or a named sample of curate.toml.")
@click.option("--given", default=None, metavar="labeled|FIELD[=VALUE]", help="Rows one has already: no more of what they have.")
@click.option("--like", multiple=True, metavar="FILE_OR_ID", help="Sample toward these images.")
@click.option("--text", multiple=True, metavar="WORDS", help="Sample toward these words (models with a text tower).")
@click.option(
    "--reach", type=float, default=None, metavar="X", help="With --like: choose among the X times budget nearest (5)."
)
@click.option("--steady", is_flag=True, help="Rows chosen under this name in the last run stay chosen.")
def command(session: Session, like: tuple[str, ...], text: tuple[str, ...], steady: bool, **asked: Any) -> int:
    """Choose rows out of what is left after duplicates; reports how well they cover the rest, beside a random choice.

    Works on stored vectors; `curate plan` shows what would be pushed.
    """
    from curate.cli._ops import build_op
    from curate.cli._vectors import vectors_like
    from curate.pipeline.judge import judge

    options = _options(session, asked)
    if steady:
        options["steady"] = True
    with session.open_store(write=True) as store:
        target = session.stored_target(store)
        embeddings = session.stored_embeddings(store, target)
        toward = vectors_like(session, embeddings, like, text)
        if toward is not None:
            options["like"] = toward
        op = build_op("sample", options, "curate sample")
        found = judge(store, target.key, embeddings, [op], seed=session["seed"], reporter=session.terminal)["sample"]
    summary, evidence = found.summary, found.evidence
    document = {"dataset": target.address, "method": evidence["method"], "seed": session["seed"], "ids": evidence["ids"]}
    document |= {"name": summary["name"], "unit": evidence["unit"], "coverage": evidence["coverage"]}
    document |= {key: value for key, value in summary.items() if key not in ("coverage", "method", "name")}
    session.emit(document, *_shown(target.address, evidence, summary))
    return 0


def _options(session: Session, asked: Mapping[str, Any]) -> dict[str, Any]:
    from curate.errors import ConfigError

    options: dict[str, Any] = dict(session.config.ops.get("sample", {}))
    if asked["name"] in session.config.samples:
        options |= session.config.samples[asked["name"]]
    names = {"field": "by", "name": "called"}
    flags = {names.get(key, key): value for key, value in asked.items() if value is not None}
    if "method" in flags:
        options.pop("by", None)  # the field of another method
    options |= flags
    if "budget" not in options:
        raise ConfigError("how many rows? Say --budget 500 or --budget 10%")
    return options


def _shown(title: str, evidence: Mapping[str, Any], summary: Mapping[str, Any]) -> list[Any]:
    from rich.table import Table
    from rich.text import Text

    ids, cover = evidence["ids"], evidence["coverage"]
    table = Table(title=f"sample {summary['name']!r} of {title}, by {evidence['method']}", title_justify="left")
    table.add_column("", justify="right")
    table.add_column("row")
    for place, item in enumerate(ids[:SHOWN], start=1):
        table.add_row(str(place), Text(item))
    lines = [f"{len(ids):,} rows chosen of {summary['left']:,}"]
    if len(ids) > SHOWN:
        lines[0] += f"; the first {SHOWN} are shown, --json has all"
    lines.append(f"left out: {summary['copies_left_out']:,} copies, {summary['given']:,} rows one has already")
    if cover["mean"] is not None:
        lines.append(
            f"distance to the nearest chosen row: mean {cover['mean']:.3g} (random {cover['random_mean']:.3g}), "
            f"largest {cover['max']:.3g} (random {cover['random_max']:.3g}), in {evidence['unit']}"
        )
    return [table, *lines, summary["note"]] if "note" in summary else [table, *lines]
