"""`curate plan`: what would be pushed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from curate.cli._session import Session, verb


@click.command()
@verb("dataset", "network", "model")
@click.option("--to", default="", metavar="FILE", help="Also write the plan here.")
@click.option("--no-vectors", is_flag=True, help="Plan fields only, no vectors.")
def command(session: Session, to: str, no_vectors: bool) -> int:
    """Compare what was found with what the platform shows now; write plan.json; push nothing."""
    from rich.table import Table

    from curate import registry
    from curate.pipeline.plan import make_plan, plan_to_json
    from curate.pipeline.pull import pull

    target = session.target
    connector = session.connector(target.connector)
    connector.check(target.dataset_id)
    with session.open_store(write=True) as store:
        pull(store, connector, target.key, target.dataset_id, reporter=session.terminal)
        spec = session.stored_spec(store, target)
        findings = store.findings(target.key, spec.fingerprint)
        known = registry.names(registry.OPS)
        owned = frozenset[str]().union(
            *(f.values for f in findings.values()), *(_owns(name) for name in findings if name in known)
        )
        plan = make_plan(
            store,
            target.key,
            findings=findings.values(),
            owned=owned,
            spec=spec,
            target=connector.name if connector.takes_vectors and not no_vectors and session["vectors"] else None,
        )
        run = store.new_run(target.key, "plan")
        path = run.path / "plan.json"
        path.write_text(plan_to_json(plan), encoding="utf-8")
        store.finish_run(run.id, "planned", {"changes": len(plan.changes), "vectors": len(plan.vectors)})
    if to:
        Path(to).write_text(plan_to_json(plan), encoding="utf-8")
        path = Path(to)
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
    }
    session.emit(document, table, f"{len(plan.vectors):,} vectors", f"push it with: curate apply {path}")
    return 0


def _owns(name: str) -> frozenset[str]:
    from curate import registry

    owns = registry.load(registry.OPS, name).owns
    return owns if isinstance(owns, frozenset) else frozenset()
