"""Counts as sentences: what was done, what would change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from connectors.fiftyone_plugin.jobs import PlanView

FIELD_WORDS: Mapping[str, str] = {
    "duplicate": "which samples are copies, and of which one",
    "duplicate_score": "how sure that is",
    "cluster": "the group of similar samples",
    "sample": "samples chosen for labeling",
    "path": "the tag along the taxonomy",
    "path_confidence": "how sure the tag is",
}


def counted(number: int, what: str) -> str:
    """A number with its noun: 1 sample, 2 samples."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def done_line(verb: str, document: Mapping[str, Any]) -> str:
    """What a verb did, in a sentence."""
    told: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "sync": _synced,
        "duplicates": lambda d: (
            f"{counted(d['counts']['rows'], 'copy').replace('copys', 'copies')} in {counted(d['counts']['groups'], 'group')}"
        ),
        "sample": lambda d: f"{counted(len(d['ids']), 'sample')} chosen as {d['name']!r}",
        "tag": lambda d: f"{counted(d['summary']['tagged'], 'sample')} tagged, {d['summary']['abstained']:,} left untagged",
        "map": lambda d: f"{counted(d['rows'], 'sample')} mapped by {d['method']}",
        "apply": _applied,
        "undo": lambda d: counted(d["restored"], "value") + " restored" + _unless(len(d["conflicts"]), "kept: edited since"),
    }
    return told[verb](document)


def _applied(document: Mapping[str, Any]) -> str:
    plan, refused = document["plan"], document["pushed"]["rejected"]
    parts = [counted(plan["changes"], "value")] if plan["changes"] or not plan["vectors"] else []
    parts += [counted(plan["vectors"], "vector")] if plan["vectors"] else []
    return " and ".join(parts) + (" sent" if refused else " written") + _unless(refused, "refused")


def _unless(number: int, words: str) -> str:
    return f", {number:,} {words}" if number else ""


def _synced(document: Mapping[str, Any]) -> str:
    rows, found = document["rows"], document["duplicates"]
    parts = [f"{rows['embedded']:,} embedded, {rows['reused']:,} reused"]
    if rows["failed"]:
        parts.append(f"{rows['failed']:,} failed")
    if found:
        parts.append(f"{found['rows']:,} copies in {counted(found['groups'], 'group')}")
    return ", ".join(parts)


def plan_line(plan: PlanView) -> str:
    """What a plan changes, in a sentence."""
    parts = []
    if plan.changes:
        parts.append(f"{counted(plan.changes, 'value')} of {counted(plan.samples, 'sample')}")
    if plan.vectors:
        parts.append(f"the vectors of {counted(plan.vectors, 'sample')}")
    if plan.also:
        parts.append(", ".join(plan.also))
    return " and ".join(parts) or "nothing: the dataset shows all of this already"


def size(number: int) -> str:
    """Bytes for people."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:,.0f} {unit}" if unit in ("B", "kB") else f"{value:,.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def when(started: str) -> str:
    """An ISO time as minutes for people: "2026-11-20 10:32"."""
    return started[:16].replace("T", " ")
