"""`curate sync`: the main job."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curate.cli._session import Session, verb
from curate.errors import ConfigError, CurateError

if TYPE_CHECKING:
    from curate.pipeline.sync import Synced

FAILED = 3


@click.command()
@verb("dataset", "network", "model", "loading", "embedding", "seed", "push", "fiftyone_backend")
@click.option("--sample", default="", metavar="N|P%", help="Choose this many rows worth labeling, or a named sample.")
@click.option("--taxonomy", default="", metavar="FILE", help="Tag the rows along this hierarchy.")
@click.option(
    "--precision", type=float, default=None, metavar="P", help="Share of duplicate decisions that must be right (0.99)."
)
@click.option("--ops", default="", metavar="A,B", help="Run these ops instead of the configured ones.")
@click.option("--no-vectors", is_flag=True, help="Push fields only, no vectors.")
@click.option("--report", "report_to", default="", metavar="FILE.html", help="Also write the report.")
@click.option("--batch", "batch_project", default="", metavar="PROJECT", help="Send the sample to a labeling project.")
@click.option("--priority", type=click.IntRange(1, 5), default=None, metavar="1-5", help="Priority of that batch, 1 first (5).")
@click.option(
    "--deprioritize-duplicates", "queue_project", default="", metavar="PROJECT", help="Label copies that wait there last."
)
@click.option("--all", "every", is_flag=True, help="Every dataset of curate.toml, one after the other; goes on when one fails.")
def command(
    session: Session,
    sample: str,
    taxonomy: str,
    precision: float | None,
    ops: str,
    no_vectors: bool,
    report_to: str,
    batch_project: str,
    priority: int | None,
    queue_project: str,
    every: bool,
) -> int:
    """Pull the rows, compute the vectors that are missing, judge, and push what changed.

    \b
    curate sync --dataset folder:photos --model pixels
    curate sync --dataset labelbox:cm1abc --sample 500 --dry-run
    """
    if priority is not None and not batch_project:
        raise click.UsageError("--priority is the priority of a batch; say --batch PROJECT too")
    names = [name.strip() for name in ops.split(",") if name.strip()]
    if ops and not names:
        raise click.UsageError(f"--ops {ops!r} names no op; list them with: curate list ops")
    if every and (session.flags["dataset"] or session.flags["connector"] or report_to):
        raise click.UsageError("--all takes every dataset of curate.toml: leave --dataset, --connector and --report out")
    projects = {"batch_project": batch_project, "priority": priority, "queue_project": queue_project}
    sessions = _each(session) if every else [session]
    documents, codes = [], []
    for one in sessions:
        one.projects = {key: value for key, value in projects.items() if value}
        options = {"sample": sample, "taxonomy": taxonomy, "precision": precision, "vectors": not no_vectors}
        try:
            document, code = _run(one, names, options, report_to)
        except CurateError as err:
            if not every:
                raise
            # One place that cannot be reached must not keep the others from their nightly sync.
            one.warn(f"error: {one.flags['dataset']}: {err}")
            document, code = {"dataset": one.flags["dataset"], "error": str(err)}, err.exit_code
        documents.append(document)
        codes.append(code)
    session.emit({"datasets": documents} if every else documents[0])
    return max(codes)


def run_sync(options: Mapping[str, Any]) -> dict[str, Any]:
    """`curate sync` as a function: flags by name ("dry_run": True) -> the JSON document; prints nothing but warnings.

    Raises ConfigError for a flag that `sync` has not, and whatever the command would print.
    """
    from curate.cli._call import call

    return call("sync", options)


def _each(session: Session) -> list[Session]:
    if not session.config.datasets:
        raise ConfigError("--all needs [datasets.NAME] tables in curate.toml; write one with: curate init")
    return [Session({**session.flags, "dataset": name}) for name in session.config.datasets]


def _run(session: Session, names: list[str], options: dict[str, Any], report_to: str) -> tuple[dict[str, Any], int]:
    from curate.cli._interrupt import graceful
    from curate.cli._ops import map_ops, ops_of
    from curate.pipeline.sync import Job, sync

    target = session.target
    ops = ops_of(session, names=names, sample=options["sample"], taxonomy=options["taxonomy"], precision=options["precision"])
    job = Job(
        target.key,
        target.dataset_id,
        target.address,
        ops,
        vectors=options["vectors"] and bool(session["vectors"]),
        dry_run=bool(session.flags["dry_run"]),
        seed=session["seed"],
        retry_failed=bool(session.flags["retry_failed"]),
        verify=bool(session.flags["verify"]),
        embed={"batch_size": session["batch_size"] or None, "thumbs": session["thumbs"], "max_pixels": session["max_pixels"]}
        | {"codec": session["codec"]},
    )
    with session.open_store(write=True, create=True) as store, graceful(session.warn) as stop:
        connector = session.connector(target.connector)
        embedder = session.model_of(store, connector, target)
        if job.vectors:
            job = replace(job, ops=[*ops, *map_ops(connector)])
        result = sync(store, connector, embedder, job, reporter=session.terminal, stop=stop)
        document = result.as_dict()
        (result.run.path / "report.json").write_text(json.dumps(document, indent=2, ensure_ascii=False), encoding="utf-8")
        if report_to:
            from curate.cli.report import write

            document["report"] = str(write(session, store, target, result.spec, Path(report_to)))
    if not session.as_json:
        session.terminal.end_progress()
        _show(session, result, document)
    tolerated = result.failed_share <= float(session["tolerate_failed"])
    return document, 0 if tolerated else FAILED


def _show(session: Session, result: Synced, document: dict[str, Any]) -> None:
    from rich.table import Table

    from curate.report._words import counted

    rows, table = document["rows"], Table(title=f"{document['dataset']} with {document['model']['name']}", title_justify="left")
    table.add_column("stage")
    table.add_column("result")
    table.add_row(
        "rows", f"{rows['seen']:,} seen, {rows['new']:,} new, {rows['changed']:,} changed, {rows['retired']:,} retired"
    )
    table.add_row("vectors", f"{rows['embedded']:,} computed, {rows['reused']:,} reused, {rows['failed']:,} failed")
    if document["duplicates"]:
        d = document["duplicates"]
        table.add_row("duplicates", f"{counted(d['rows'], 'copy', 'copies')} in {counted(d['groups'], 'group')}")
    if document["clusters"]:
        table.add_row("clusters", f"{document['clusters']['count']:,}")
    if document["sample"]:
        table.add_row("sample", f"{document['sample']['rows']:,} rows chosen as {document['sample']['name']!r}")
    if document["tags"]:
        table.add_row("tags", f"{document['tags']['tagged']:,} tagged, {document['tags']['abstained']:,} untagged")
    plan = document["plan"]
    table.add_row("plan", f"{plan['changes']:,} field changes, {plan['vectors']:,} vectors")
    pushed = document["pushed"]
    table.add_row(
        "pushed", "nothing (dry run)" if pushed is None else f"{pushed['accepted']:,} accepted, {pushed['rejected']:,} rejected"
    )
    table.add_row("time", f"{sum(document['seconds'].values()):.1f} s")
    session.terminal.show(table)
    whole = f"all of them are in {result.run.path / 'report.json'}"
    failures = [f"failed: {f['id']}: {f['reason']}: {f['detail']}".removesuffix(": ") for f in document["failures"]]
    session.warn_each(failures, rest=whole)
    session.warn_each([f"rejected: {r['id']} {r['field']}: {r['reason']}" for r in document["rejections"]], rest=whole)
    if failures:
        session.warn("Try them again with --retry-failed; accept a share of them with --tolerate-failed 1%.")
    if document.get("report"):
        session.say(f"report: {document['report']}")
    if result.pushed is None and (result.plan.changes or result.plan.vectors):
        plan_file = result.run.path / "plan.json"
        session.say(f"push it with: {session.again(f'curate apply {shlex.quote(str(plan_file))}')}")
    elif result.pushed is not None and result.pushed.accepted:
        session.say(f"take it back with: {session.again(f'curate undo {result.run.id}')}")
