"""`curate plan`: what would be pushed."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curate.cli._session import Session, verb

if TYPE_CHECKING:
    from curate.cli._target import Target
    from curate.protocols import Connector
    from curate.store import Store
    from curate.types import Plan


@click.command()
@verb("dataset", "network", "model", "loading", "fiftyone_backend")
@click.option("--to", default="", metavar="FILE", help="Also write the plan here.")
@click.option("--ops", default="", metavar="A,B", help="Plan only what these ops found.")
@click.option("--no-vectors", is_flag=True, help="Plan fields only, no vectors.")
@click.option("--batch", "batch_project", default="", metavar="PROJECT", help="Send the sample to a labeling project.")
@click.option("--priority", type=click.IntRange(1, 5), default=None, metavar="1-5", help="Priority of that batch, 1 first (5).")
@click.option(
    "--deprioritize-duplicates", "queue_project", default="", metavar="PROJECT", help="Label copies that wait there last."
)
@click.option(
    "--estimate",
    "only_estimate",
    is_flag=True,
    help="Embed 64 rows and say what embedding all of them would take; keep nothing.",
)
def command(
    session: Session,
    to: str,
    ops: str,
    no_vectors: bool,
    batch_project: str,
    priority: int | None,
    queue_project: str,
    only_estimate: bool,
) -> int:
    """Compare what was found with what the platform shows now; write plan.json; push nothing."""
    if priority is not None and not batch_project:
        raise click.UsageError("--priority is the priority of a batch; say --batch PROJECT too")
    if only_estimate:
        if to or ops or no_vectors or batch_project or queue_project:
            raise click.UsageError("--estimate makes no plan; leave --to, --ops, --no-vectors and projects out")
        return _estimate(session)
    for name in ("layer", "device", "dtype", "preprocess", "max_pixels"):
        if session.flags[name] is not None:
            raise click.UsageError(f"--{name.replace('_', '-')} is for --estimate; a plan computes no vectors")
    from curate.pipeline.plan import plan_to_json
    from curate.pipeline.pull import pull

    names = [name.strip() for name in ops.split(",") if name.strip()]
    if ops and not names:
        raise click.UsageError(f"--ops {ops!r} names no op; those with results are listed by: curate status")
    projects = {"batch_project": batch_project, "priority": priority, "queue_project": queue_project}
    session.projects = {key: value for key, value in projects.items() if value}
    target = session.target
    connector = session.connector(target.connector)
    connector.check(target.dataset_id)
    with session.open_store(write=True) as store:
        pull(store, connector, target.key, target.dataset_id, reporter=session.terminal)
        if not names:
            _draw(session, store, connector, target)
        plan = _plan(session, store, connector, target, names, vectors=not no_vectors and bool(session["vectors"]))
        run = store.new_run(target.key, "plan")
        run.write("plan.json", plan_to_json(plan))
        path = run.path / "plan.json"
        store.finish_run(run.id, "planned", {"changes": len(plan.changes), "vectors": len(plan.vectors)})
    if to:
        Path(to).write_text(plan_to_json(plan), encoding="utf-8")
        path = Path(to)
    _emit(session, connector, target, plan, path)
    return 0


def _draw(session: Session, store: Store, connector: Connector, target: Target) -> None:
    """The map that the platform will draw, where none was made yet."""
    from curate.cli._ops import map_ops
    from curate.pipeline.judge import judge
    from curate.pipeline.platform import MAP

    ops = map_ops(connector)
    if ops and MAP not in store.findings(target.key, session.stored_spec(store, target).fingerprint):
        judge(store, target.key, session.stored_embeddings(store, target), ops, reporter=session.terminal)


def _plan(session: Session, store: Store, connector: Connector, target: Target, names: Sequence[str], *, vectors: bool) -> Plan:
    """What would bring the platform to the stored findings; fields of ops that are not installed any more are kept up too.

    names: only of these ops; none for all.
    """
    from curate import registry
    from curate.errors import UnknownName
    from curate.pipeline.plan import make_plan
    from curate.pipeline.platform import fitting, project_extras, pushable, shown_anew, vector_target

    spec = session.stored_spec(store, target)
    session.warn_outdated(store, target, spec)
    findings = store.findings(target.key, spec.fingerprint)
    for name in names:
        if name not in findings:
            raise UnknownName("op with results", name, findings)
    findings = {name: found for name, found in findings.items() if not names or name in names}
    known = registry.names(registry.OPS)
    written = [frozenset(found.values) for found in findings.values()]
    owned = frozenset[str]().union(*written, *(_owns(name) for name in findings if name in known))
    sent = pushable(connector, spec, vectors=vectors)
    return make_plan(
        store,
        target.key,
        findings=findings.values(),
        owned=owned,
        spec=spec,
        target=vector_target(connector, sent) if sent is not None else None,
        fields=fitting(connector, target.dataset_id, spec=sent, fields=owned, create=False),
        extras=project_extras(connector, findings) | shown_anew(store, connector, target.key, target.dataset_id, sent),
    )


def _emit(session: Session, connector: Connector, target: Target, plan: Plan, path: Path) -> None:
    from rich.table import Table

    from curate.pipeline.platform import shown_extras
    from curate.protocols import Prepares

    fields = Counter(c.field for c in plan.changes)
    table = Table(title=f"plan for {target.address}", title_justify="left")
    for column in ("field", "set", "changed", "cleared"):
        table.add_column(column, justify="left" if column == "field" else "right")
    for name in sorted(fields):
        mine = [c for c in plan.changes if c.field == name]
        new, gone = sum(c.before is None for c in mine), sum(c.after is None for c in mine)
        table.add_row(name, f"{new:,}", f"{len(mine) - new - gone:,}", f"{gone:,}")
    document = {
        "dataset": target.address,
        "path": str(path),
        "plan": {"changes": len(plan.changes), "vectors": len(plan.vectors)},
        "fields": dict(sorted(fields.items())),
        "projects": shown_extras(plan),
    }
    lines = [f"{len(plan.vectors):,} vectors", *shown_extras(plan)]
    if isinstance(connector, Prepares):
        document["cost"] = cost = connector.estimate(plan)
        lines.append(
            f"{cost['requests']:,} requests, {cost['minutes']:g} minutes at the {cost['requests_per_minute']:,} a minute "
            f"of plan {cost['plan']!r}"
        )
    session.emit(document, table, *lines)
    session.say(f"push it with: {session.again(f'curate apply {shlex.quote(str(path))}')}")


def _estimate(session: Session) -> int:
    """Rows, bytes, time, store size and requests of a sync, from a probe of 64 rows; neither store nor platform changes."""
    from curate.pipeline.estimate import estimate
    from curate.protocols import Prepares

    target = session.target
    connector = session.connector(target.connector)
    connector.check(target.dataset_id)
    embedder = session.embedder
    rows = [item for page in connector.pages(target.dataset_id) for item in page.items]
    mine = [item for item in rows if item.media_type == embedder.spec.media]
    done = 0
    if session.store_path.exists():
        with session.open_store() as store:
            known = store.embedded_ids(target.key, embedder.spec.fingerprint) if target.key in store.datasets() else []
            held = {(item.id, item.version) for item in store.items(target.key, ids=set(known))} if known else set()
        done = sum((item.id, item.version) in held for item in mine)
        mine = [item for item in mine if (item.id, item.version) not in held]
    found = estimate(
        mine,
        embedder,
        connector.read,
        thumbs=session["thumbs"],
        max_pixels=session["max_pixels"],
        cost=connector.estimate if isinstance(connector, Prepares) else None,
    )
    document = {"dataset": target.address, "model": embedder.spec.as_dict(), "estimate": {**found.as_dict(), "reused": done}}
    session.emit(document, f"{len(rows):,} rows listed, {done:,} of them embedded already", *found.lines())
    return 0


def _owns(name: str) -> frozenset[str]:
    from curate import registry

    owns = registry.load(registry.OPS, name).owns
    return owns if isinstance(owns, frozenset) else frozenset()
