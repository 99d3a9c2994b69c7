"""`curate undo RUN`: restore what a run changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from curate.cli._session import Session, verb

if TYPE_CHECKING:
    from curate.protocols import Connector

REJECTED = 3


@click.command()
@verb("network", "push")
@click.argument("run_id")
@click.option("--remove-created", is_flag=True, help="Also delete the fields and embeddings that curate created there.")
def command(session: Session, run_id: str, remove_created: bool) -> int:
    """Restore what was there before a run; values that somebody edited since are kept and listed."""
    from curate.cli._stored import connected
    from curate.pipeline.plan import read_plan
    from curate.pipeline.pull import pull
    from curate.pipeline.push import undo

    with session.open_store(write=True) as store:
        run = store.run(run_id)
        plan = read_plan(run.path / "plan.json")
        connector, dataset_id = connected(session, plan.dataset_id)
        connector.check(dataset_id)
        pull(store, connector, plan.dataset_id, dataset_id, reporter=session.terminal)
        if session.flags["dry_run"]:
            session.emit({"run_id": run_id, "restored": None}, f"{len(plan.changes):,} changes of {run_id} would be looked at")
            return 0
        done = undo(store, connector, dataset_id, plan, run_id=run_id, reporter=session.terminal)
        counts = {"restored": done.restored, "conflicts": len(done.conflicts), "rejected": len(done.applied.rejected)}
        store.finish_run(run_id, "undone" if not done.applied.rejected else "undone in part", {**run.summary, "undone": counts})
        removed = _created(session, connector, remove_created)
    conflicts = [{"id": c.item_id, "field": c.field, "ours": c.after, "now": now} for c, now in done.conflicts]
    session.emit(
        {
            "run_id": run_id,
            "restored": done.restored,
            "conflicts": conflicts,
            "rejections": done.applied.rejections(),
            "removed": removed,
        },
        f"{done.restored:,} values restored, {len(conflicts):,} kept because somebody changed them since",
    )
    refused = [f"not restored: {r.item_id} {r.field}: {r.reason}" for r in done.applied.rejected]
    if not session.as_json:
        kept = [f"kept: {c['id']} {c['field']}: {c['now']!r} (we had set {c['ours']!r})" for c in conflicts]
        session.warn_each(kept, rest="--json lists them all")
    session.warn_each(refused, rest="--json lists them all")
    return REJECTED if refused else 0


def _created(session: Session, connector: Connector, remove: bool) -> dict[str, list[str]]:
    """Deletes what `curate` created on the platform, when asked to or when the user says yes; else says how to."""
    from curate.protocols import HasProjects

    if not isinstance(connector, HasProjects):
        return {}
    made = {kind: list(names) for kind, names in connector.made().items() if names}
    if not made:
        return {}
    shown = "; ".join(f"{kind} {', '.join(names)}" for kind, names in made.items())
    if remove or session.terminal.ask(f"curate created {shown}. Delete them in the whole workspace, with all their values?"):
        connector.remove_made()
        return made
    session.say(f"kept, in the whole workspace: {shown}. Delete them, with all their values: curate undo RUN --remove-created")
    return {}
