"""Fourth stage: what would change on the platform, as a value that can be read, kept, refused and undone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from curate.errors import ConfigError, StalePlan
from curate.store import Store
from curate.types import Change, EmbedderSpec, Findings, Plan, Scalar

FORMAT = 1
DECIMALS = 6
"""Scores are pushed with six decimals: more would make two equal runs differ by the thread count."""


def make_plan(
    store: Store,
    dataset: str,
    *,
    findings: Iterable[Findings],
    owned: Iterable[str],
    spec: EmbedderSpec | None = None,
    target: str | None = None,
    fields: Iterable[str] | None = None,
    extras: Mapping[str, Any] | None = None,
) -> Plan:
    """The changes that bring the platform from what it shows now to `findings`.

    owned: the fields that may be written or cleared; a live row without a finding loses its stale value.
    target: name of the connector that takes vectors, None to push none.  fields: push only these (a platform's quota).
    Changes are in (item id, field) order; the same input gives the same plan.
    """
    wanted: dict[str, dict[str, Scalar]] = {name: {} for name in owned}
    reasons: dict[tuple[str, str], str] = {}
    for found in findings:
        for name, values in found.values.items():
            wanted.setdefault(name, {}).update({i: rounded(v) for i, v in values.items()})
        for name, texts in found.evidence.get("reasons", {}).items():
            reasons.update({(i, name): text for i, text in texts.items()})
    allowed = set(wanted) if fields is None else set(fields) & set(wanted)
    changes = [
        Change(item.id, name, rounded(item.fields.get(name)), wanted[name].get(item.id), reasons.get((item.id, name), ""))
        for item in store.items(dataset)
        for name in sorted(allowed)
        if rounded(item.fields.get(name)) != wanted[name].get(item.id)
    ]
    vectors = store.unpushed(dataset, spec.fingerprint, target) if spec and target else []
    return Plan(dataset, tuple(changes), tuple(vectors), spec, store.basis(dataset), dict(extras or {}))


def rounded(value: Scalar) -> Scalar:
    """A value as it is compared and pushed: floats with six decimals, whole ones as integers."""
    if isinstance(value, float) and not isinstance(value, bool):
        # 3.0 from a platform that knows only numbers is our 3.
        return int(value) if value.is_integer() else round(value, DECIMALS)
    return value


def plan_to_json(plan: Plan) -> str:
    """The plan as readable JSON without time or run id: the same plan gives the same text."""
    head = {
        "format": FORMAT,
        "dataset": plan.dataset_id,
        "basis": plan.basis,
        "model": plan.spec.as_dict() if plan.spec else None,
        "extras": dict(plan.extras),
    }
    changes = [
        {"id": c.item_id, "field": c.field, "before": c.before, "after": c.after, "reason": c.reason} for c in plan.changes
    ]
    # One change a line: a diff of two plans is then a diff of their changes.
    lines = ",\n".join("    " + json.dumps(change, ensure_ascii=False) for change in changes)
    text = json.dumps(head, ensure_ascii=False, indent=2, sort_keys=True).removesuffix("\n}")
    body = f"[\n{lines}\n  ]" if lines else "[]"
    return f'{text},\n  "changes": {body},\n  "vectors": {json.dumps(list(plan.vectors), ensure_ascii=False)}\n}}\n'


def plan_from_json(text: str, where: str = "plan") -> Plan:
    """Reads what `plan_to_json` wrote.  Raises ConfigError naming `where` for anything else."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise ConfigError(f"{where}: plan format {document['format']} is not known here (this curate writes {FORMAT})")
        spec = EmbedderSpec(**document["model"]) if document["model"] else None
        changes = tuple(Change(c["id"], c["field"], c["before"], c["after"], c["reason"]) for c in document["changes"])
        return Plan(document["dataset"], changes, tuple(document["vectors"]), spec, document["basis"], document["extras"])
    except (ValueError, KeyError, TypeError) as err:
        raise ConfigError(
            f"{where}: this is not a plan of curate ({err}). Make one with: curate plan --dataset ID --to FILE"
        ) from err


def read_plan(path: Path) -> Plan:
    """The plan in a file.  Raises ConfigError when it cannot be read."""
    try:
        return plan_from_json(path.read_text(encoding="utf-8"), str(path))
    except OSError as err:
        raise ConfigError(f"{path}: cannot be read: {err.strerror or err}") from err
    except UnicodeDecodeError as err:
        raise ConfigError(f"{path}: this is not a plan of curate ({err})") from err


def check_fresh(store: Store, plan: Plan) -> list[Change]:
    """The changes of `plan` that are still to be made, the platform having just been pulled.

    A change that is already there is left out, so that an interrupted push can be finished with the same plan.
    Raises StalePlan when rows came, went or changed, when a field shows neither the value before nor the one after, or when
    this store has not the vectors that are to be pushed.
    """
    if store.basis(plan.dataset_id) != plan.basis:
        raise StalePlan(
            f"the rows of {plan.dataset_id} changed since the plan was made; make a new one with: "
            f"curate plan --dataset {plan.dataset_id}"
        )
    if plan.vectors and plan.spec is not None:
        lost = len(set(plan.vectors).difference(store.embedded_ids(plan.dataset_id, plan.spec.fingerprint)))
        if lost:
            raise StalePlan(
                f"the store {store.path} has no vectors of {plan.spec.name} for {lost:,} rows of the plan; compute them with: "
                f"curate embed --dataset {plan.dataset_id} --model {plan.spec.name}, or make a new plan"
            )
    shown = {name: store.fields(plan.dataset_id, name) for name in {c.field for c in plan.changes}}
    todo = []
    for change in plan.changes:
        now = rounded(shown[change.field].get(change.item_id))
        if now == change.after:
            continue
        if now != change.before:
            raise StalePlan(
                f"field {change.field!r} of row {change.item_id!r} shows {now!r}; the plan expected {change.before!r}. "
                f"Make a new plan with: curate plan --dataset {plan.dataset_id}"
            )
        todo.append(change)
    return todo
