"""Labeling projects: batches of chosen rows, and the priority of copies that wait for a label."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from connectors._labelbox_errors import Refused
from connectors._labelbox_export import MOST_IDS, Address, Exports
from connectors._labelbox_platform import Platform
from curate.errors import ConnectorError
from curate.types import Applied, Rejected

MOST_ROWS = 100_000
LAST = 1000
"""Priority of copies: Labelbox labels low numbers first, and batches have 1 to 5."""
USUAL = 5


class Queues:
    """Batches and priorities.  What is planned is JSON; pushing it twice is the same as pushing it once."""

    def __init__(self, platform: Platform, exports: Exports, *, notify: Callable[[str], None]) -> None:
        self.platform, self.exports, self.notify = platform, exports, notify

    def plan_batch(self, project_id: str, sample: str, rows: Collection[str], *, priority: int = USUAL) -> list[dict[str, Any]]:
        """The batches that would be made, of at most 100,000 rows, named after what was chosen; not those already there."""
        ordered = sorted(rows)
        project = Address("project", project_id).look(self.platform)
        there = {batch.name: batch.size for batch in self._batches(project)}
        planned = []
        for start in range(0, len(ordered), MOST_ROWS):
            part = ordered[start : start + MOST_ROWS]
            name = f"curate {sample[:40]} {hashlib.sha256(chr(10).join(part).encode()).hexdigest()[:12]}"
            if there.get(name):
                self.notify(f"the batch {name!r} is already in project {project.name!r}; it is not sent again")
                continue
            inside = self._inside(project, part)
            if inside:
                self.notify(f"{len(inside):,} of {len(part):,} chosen rows are in project {project.name!r} already")
            rest = [row for row in part if row not in inside]
            if rest:
                planned.append({"project": project_id, "name": name, "priority": priority, "rows": rest})
        return planned

    def _inside(self, project: Any, rows: Sequence[str]) -> set[str]:
        """Those of `rows` that are in the project already; it would refuse them."""
        filters = {"data_row_ids": list(rows)} if len(rows) <= MOST_IDS else None
        lines = self.exports.rows(project, params={}, filters=filters, what=f"the rows of project {project.name!r}")
        return {str(line["data_row"]["id"]) for line in lines} & set(rows)

    def plan_priority(self, project_id: str, copies: Collection[str]) -> dict[str, Any] | None:
        """Which copies wait for a label in a project, with their priority now; None when there is nothing to change."""
        project = Address("project", project_id).look(self.platform)
        wanted = set(copies)
        before: dict[str, int] = {}
        lines = self.exports.rows(
            project,
            params={"project_details": True},
            filters={"workflow_status": "ToLabel"},
            what=f"the rows that wait in project {project_id}",
        )
        for line in lines:
            row = str(line["data_row"]["id"])
            if row in wanted:
                details = ((line.get("projects") or {}).get(project_id) or {}).get("project_details") or {}
                before[row] = int(details.get("priority") or USUAL)
        before = {row: now for row, now in sorted(before.items()) if now != LAST}
        return {"project": project_id, "after": LAST, "before": before} if before else None

    def push(self, extras: Mapping[str, Any]) -> Applied:
        """Sends the batches and priorities of a plan."""
        done = Applied()
        for batch in extras.get("batches") or ():
            done += self._send(batch)
        change = extras.get("priority")
        if change:
            self._set(change["project"], list(change["before"]), change["after"])
            self.notify(f"{len(change['before']):,} copies in project {change['project']} wait behind all others now")
            done += Applied(len(change["before"]))
        return done

    def undo(self, extras: Mapping[str, Any]) -> int:
        """Takes rows that still wait out of the batches again, restores priorities; returns how many things were restored."""
        restored = 0
        for batch in extras.get("batches") or ():
            project = Address("project", batch["project"]).look(self.platform)
            for made in self._batches(project):
                if made.name == batch["name"]:
                    self._remove(made)
                    restored += 1
        change = extras.get("priority")
        if change:
            by_value: dict[int, list[str]] = {}
            for row, value in change["before"].items():
                by_value.setdefault(int(value), []).append(row)
            for value, rows in sorted(by_value.items()):
                self._set(change["project"], rows, value)
            restored += len(change["before"])
        return restored

    def _batches(self, project: Any) -> list[Any]:
        found: list[Any] = self.platform.call("listing the batches of the project", lambda _c: list(project.batches()))
        return found

    def _send(self, batch: Mapping[str, Any]) -> Applied:
        project = Address("project", batch["project"]).look(self.platform)
        rows, name = list(batch["rows"]), batch["name"]
        refused: list[str] = []

        def create(_client: Any) -> None:
            # Asked before every attempt: the last one may have been applied although its answer was lost.
            there = next((b for b in project.batches() if b.name == name), None)
            if there is not None and there.size:
                return
            if there is not None:
                there.delete()  # An empty one is the first half of a broken attempt.
            made = project.create_batch(name, rows, priority=batch["priority"])
            refused[:] = [str(row) for row in made.failed_data_row_ids or ()]

        try:
            self.platform.call(f"sending the batch {name!r}", create)
        except Refused:
            if not any(b.name == name and b.size for b in self._batches(project)):
                raise
        except ConnectorError as err:
            raise ConnectorError(f"{err} (project {project.name!r})") from None
        self.notify(f"sent {len(rows) - len(refused):,} rows to project {project.name!r} as the batch {name!r}")
        rejected = [
            Rejected(row, "batch", "refused by the project: it has the row by now, or the row is gone")
            for row in sorted(refused)
        ]
        return Applied(len(rows) - len(rejected), tuple(rejected))

    def _remove(self, batch: Any) -> None:
        try:
            self.platform.call(f"deleting the batch {batch.name!r}", lambda _c: batch.delete())
        except Refused:
            # A batch with labels stays; what is not labelled yet leaves the queue.
            self.platform.call(f"emptying the batch {batch.name!r}", lambda _c: batch.remove_queued_data_rows())
            self.notify(f"the batch {batch.name!r} has labels and stays; its rows without one left the queue")

    def _set(self, project_id: str, rows: Sequence[str], priority: int) -> None:
        project = Address("project", project_id).look(self.platform)

        def update(_client: Any) -> None:
            from labelbox import UniqueIds

            project.update_data_row_labeling_priority(UniqueIds(list(rows)), priority)

        self.platform.call(f"setting the priority of {len(rows):,} rows", update)
