"""Fifth stage: a plan is pushed in small acknowledged chunks; a run can be undone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from curate.errors import CurateError, Lost, StalePlan, Transient
from curate.pipeline import Reporter, Silent
from curate.pipeline.plan import check_fresh, rounded
from curate.pipeline.platform import present, push_extras, undo_extras, vector_target
from curate.protocols import Connector
from curate.store import Run, Store
from curate.types import Applied, Change, Plan, Scalar, in_chunks

CHUNK = 1000
ATTEMPTS = 5
T = TypeVar("T")


@contextmanager
def ending(store: Store, run: Run) -> Iterator[None]:
    """Around the work of a run: an error or Ctrl-C is recorded as its end, so that nobody takes it for running still."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as err:
        with suppress(CurateError):
            store.finish_run(run.id, "interrupted" if isinstance(err, KeyboardInterrupt) else "failed", {"error": str(err)})
        raise


def push(
    store: Store,
    connector: Connector,
    dataset_id: str,
    plan: Plan,
    *,
    run_id: str = "",
    reporter: Reporter | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Applied:
    """Pushes what is left of `plan`; every chunk is acknowledged in the store before the next is sent.

    Every write is an idempotent upsert: after a kill the same plan is finished by calling this again.
    stop: asked before each chunk and while waiting; once it says True, KeyboardInterrupt is raised.
    Raises StalePlan when the dataset changed since, ConnectorError when the platform refuses as a whole.
    """
    reporter = reporter or Silent()
    todo = check_fresh(store, plan)
    applied = Applied()
    for chunk in in_chunks(todo, int(getattr(connector, "changes_per_push", CHUNK))):
        answer = _retried(partial(connector.push_fields, dataset_id, chunk), reporter, stop)
        applied += answer
        refused = {(r.item_id, r.field) for r in answer.rejected}
        done = [c for c in chunk if (c.item_id, c.field) not in refused]
        store.update_fields(plan.dataset_id, done)
        if run_id:
            store.record_applied(run_id, plan.dataset_id, done, answer.rejected)
        reporter.progress("push", applied.accepted + len(applied.rejected), len(todo))
    if plan.vectors and plan.spec is not None:
        applied += _push_vectors(store, connector, dataset_id, plan, reporter, stop)
    applied += push_extras(connector, dataset_id, plan)
    present(store, connector, dataset_id, plan)
    flush = getattr(connector, "flush", None)
    if flush is not None and (todo or plan.vectors):
        try:
            flush(dataset_id)
        except Lost as err:
            if plan.spec is not None:
                target = vector_target(connector, plan.spec)
                store.unmark_pushed(plan.dataset_id, plan.spec.fingerprint, target, err.ids)
            raise
    return applied


def _push_vectors(
    store: Store, connector: Connector, dataset_id: str, plan: Plan, reporter: Reporter, stop: Callable[[], bool]
) -> Applied:
    spec = plan.spec
    assert spec is not None
    left = set(store.unpushed(plan.dataset_id, spec.fingerprint, vector_target(connector, spec)))
    ids = [i for i in plan.vectors if i in left]
    applied = Applied()
    for chunk in in_chunks(ids, CHUNK):
        rows = store.embeddings(plan.dataset_id, spec.fingerprint, ids=chunk)
        answer = _retried(partial(connector.push_vectors, dataset_id, spec, list(rows.ids), rows.vectors), reporter, stop)
        refused = {r.item_id for r in answer.rejected}
        target = vector_target(connector, spec)  # known by now: the first chunk makes the place
        store.mark_pushed(plan.dataset_id, spec.fingerprint, target, [i for i in rows.ids if i not in refused])
        applied += answer
        reporter.progress("vectors", applied.accepted + len(applied.rejected), len(ids))
    return applied


def _retried(call: Callable[[], T], reporter: Reporter, stop: Callable[[], bool]) -> T:
    for attempt in range(1, ATTEMPTS + 1):
        _wait(0, stop)
        try:
            return call()
        except Transient as err:
            if attempt == ATTEMPTS:
                raise
            wait = err.retry_after if err.retry_after is not None else min(2.0**attempt, 30) * (0.5 + random.random() / 2)
            reporter.say(f"{err}; trying again in {wait:.0f} s ({attempt} of {ATTEMPTS - 1})")
            _wait(wait, stop)
    raise AssertionError("unreachable")


def _wait(seconds: float, stop: Callable[[], bool]) -> None:
    """Raises KeyboardInterrupt as soon as `stop` says so."""
    ends = time.monotonic() + seconds
    while not stop():
        left = ends - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, 0.2))
    raise KeyboardInterrupt


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo did.  conflicts: changes left alone because somebody edited the value since, with what is shown now."""

    applied: Applied
    restored: int
    conflicts: Sequence[tuple[Change, Scalar]]


def undo(
    store: Store, connector: Connector, dataset_id: str, plan: Plan, *, run_id: str = "", reporter: Reporter | None = None
) -> Undone:
    """Restores what was there before `plan`, the platform having just been pulled.

    A value that is neither the plan's nor the one before is somebody's edit: it stays, and is reported.
    """
    reporter = reporter or Silent()
    shown = {name: store.fields(plan.dataset_id, name) for name in {c.field for c in plan.changes}}
    live = {item.id for item in store.items(plan.dataset_id, ids={c.item_id for c in plan.changes})}
    back, conflicts = [], []
    for change in plan.changes:
        if change.item_id not in live:
            continue
        now = rounded(shown[change.field].get(change.item_id))
        if now == change.after:
            back.append(Change(change.item_id, change.field, change.after, change.before, f"undo {run_id}".strip()))
        elif now != change.before:
            conflicts.append((change, now))
    inverse = Plan(plan.dataset_id, tuple(back), (), None, store.basis(plan.dataset_id))
    try:
        applied = push(store, connector, dataset_id, inverse, reporter=reporter)
    except StalePlan as err:  # the store was pulled just before; only a concurrent edit gets here
        raise StalePlan(f"{err} (while undoing; nothing more was written)") from err
    restored = len(back) - len(applied.rejected) + undo_extras(connector, dataset_id, plan)
    return Undone(applied, restored, tuple(conflicts))
