"""`curate apply PLAN.json`: push a plan."""

from __future__ import annotations

from pathlib import Path

import click

from curate.cli._session import Session, verb

REJECTED = 3


@click.command()
@verb("network", "push", "fiftyone_backend")
@click.argument("plan_file", type=click.Path(path_type=Path))
def command(session: Session, plan_file: Path) -> int:
    """Push a plan; refused when the dataset changed since it was made.  A plan that was pushed in part is finished."""
    from curate.cli._interrupt import graceful
    from curate.cli._stored import connected
    from curate.pipeline.plan import check_fresh, plan_to_json, read_plan
    from curate.pipeline.pull import pull
    from curate.pipeline.push import ending, push

    plan = read_plan(plan_file)
    connector, dataset_id = connected(session, plan.dataset_id)
    connector.check(dataset_id)
    with session.open_store(write=True) as store:
        pull(store, connector, plan.dataset_id, dataset_id, reporter=session.terminal)
        todo = check_fresh(store, plan)
        if session.flags["dry_run"]:
            session.emit(
                {"plan": {"changes": len(todo), "vectors": len(plan.vectors)}, "pushed": None},
                f"{len(todo):,} field changes and {len(plan.vectors):,} vectors would be pushed",
            )
            return 0
        run = store.new_run(plan.dataset_id, "apply")
        with ending(store, run), graceful(session.warn) as stop:
            run.write("plan.json", plan_to_json(plan))
            applied = push(store, connector, dataset_id, plan, run_id=run.id, reporter=session.terminal, stop=stop)
            pushed = {"accepted": applied.accepted, "rejected": len(applied.rejected)}
            store.finish_run(run.id, "done", pushed)
    session.emit(
        {
            "run_id": run.id,
            "plan": {"changes": len(todo), "vectors": len(plan.vectors)},
            "pushed": pushed,
            "rejections": applied.rejections(),
        },
        f"{applied.accepted:,} accepted, {len(applied.rejected):,} rejected; "
        f"take it back with: {session.again(f'curate undo {run.id}')}",
    )
    refused = [f"rejected: {r.item_id} {r.field}: {r.reason}" for r in applied.rejected]
    session.warn_each(refused, rest="--json lists them all")
    return REJECTED if applied.rejected else 0
