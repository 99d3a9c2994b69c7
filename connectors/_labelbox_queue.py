"""Labeling projects: batches of chosen rows, and the priority of copies that wait for a label."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from connectors._labelbox_created import created, forget_created, note_created
from connectors._labelbox_errors import Refused
from connectors._labelbox_export import MOST_IDS, Address, Exports
from connectors._labelbox_platform import Platform
from curate.errors import ConnectorError, Transient
from curate.types import Applied, Rejected

MOST_ROWS = 100_000
LAST = 1000
"""Priority of copies: Labelbox labels low numbers first, and batches have 1 to 5."""
USUAL = 5
AT_ONCE = 1000
"""From so many rows on a batch is made empty and filled by a task of Labelbox."""
WAIT_S = 3600
_EMPTY = (
    "mutation createEmptyBatchPyApi($projectId: ID!, $input: CreateEmptyBatchInput!)"
    "{project(where: {id: $projectId}) {createEmptyBatch(input: $input) {id}}}"
)
_ADD = (
    "mutation addDataRowsToBatchAsyncPyApi($projectId: ID!, $input: AddDataRowsToBatchInput!)"
    "{project(where: {id: $projectId}) {addDataRowsToBatchAsync(input: $input) {taskId}}}"
)


class Queues:
    """Batches and priorities.  What is planned is JSON; pushing it twice is the same as pushing it once.

    folder: where complete batches are noted, so that a run need not read what is in them; a cache, safe to delete.
    """

    def __init__(self, platform: Platform, exports: Exports, *, folder: Path, notify: Callable[[str], None]) -> None:
        self.platform, self.exports, self.notify, self._folder = platform, exports, notify, folder

    def plan_batch(self, project_id: str, sample: str, rows: Collection[str], *, priority: int = USUAL) -> list[dict[str, Any]]:
        """The batches that would be made, of at most 100,000 rows, named after what was chosen; not those already there.

        One that a broken run left half filled is planned with the rows that it lacks.
        """
        ordered = sorted(rows)
        project = Address("project", project_id).look(self.platform)
        there = {batch.name for batch in self._batches(project)}
        complete = set(created(self._folder).get("batches", ()))
        planned = []
        for start in range(0, len(ordered), MOST_ROWS):
            part = ordered[start : start + MOST_ROWS]
            name = f"curate {sample[:40]} {hashlib.sha256(chr(10).join(part).encode()).hexdigest()[:12]}"
            inside = set(part) if name in there and _noted(project_id, name) in complete else self._inside(project, part)
            rest = [row for row in part if row not in inside]
            if name in there:
                said = f"lacks {len(rest):,} of {len(part):,} rows, which are added" if rest else "is not sent again"
                self.notify(f"the batch {name!r} is already in project {project.name!r}; it {said}")
            elif inside:
                self.notify(f"{len(inside):,} of {len(part):,} chosen rows are in project {project.name!r} already")
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
        """Makes the batch, or completes the one that is there: whatever broke off before, it holds all rows in the end."""
        project = Address("project", batch["project"]).look(self.platform)
        rows, name = list(batch["rows"]), batch["name"]
        forget_created(self._folder, "batches", _noted(batch["project"], name))
        refused: list[str] | None = None

        def fill(client: Any) -> None:
            from lbox.exceptions import ResourceConflict

            try:
                complete(client)
            except ResourceConflict:
                raise Transient(f"the batch {name!r} exists and is not listed yet") from None

        def complete(client: Any) -> None:
            nonlocal refused
            # Looked for before every attempt: the last one may have been applied although its answer was lost.
            there = next((b.uid for b in project.batches() if b.name == name), None)
            if there is None and len(rows) < AT_ONCE:
                made = project.create_batch(name, rows, priority=batch["priority"])
                refused = [str(row) for row in made.failed_data_row_ids or ()]
                return
            if there is None:
                asked = {"projectId": batch["project"], "input": {"name": name, "consensusSettings": None}}
                there = client.execute(_EMPTY, asked, timeout=180.0, experimental=True)["project"]["createEmptyBatch"]["id"]
                missing = rows
            else:
                inside = self._inside(project, rows)
                missing = [row for row in rows if row not in inside]
            if missing:
                self._add(client, project, there, missing, batch["priority"])

        try:
            self.platform.call(f"sending the batch {name!r}", fill)
            if refused is None:  # no answer names them: what is not there now was refused
                inside = self._inside(project, rows)
                refused = [row for row in rows if row not in inside]
        except ConnectorError as err:
            raise ConnectorError(f"{err} (project {project.name!r})") from None
        note_created(self._folder, "batches", _noted(batch["project"], name))
        self.notify(f"sent {len(rows) - len(refused):,} rows to project {project.name!r} as the batch {name!r}")
        rejected = [
            Rejected(row, "batch", "refused by the project: it has the row by now, or the row is gone")
            for row in sorted(refused)
        ]
        return Applied(len(rows) - len(rejected), tuple(rejected))

    @staticmethod
    def _add(client: Any, project: Any, batch_id: str, rows: Sequence[str], priority: int) -> None:
        """Adds rows to a batch, which the SDK offers only for one it is making.  Raises Transient when the task breaks off."""
        from labelbox.schema.task import Task

        project._wait_until_data_rows_are_processed(list(rows), None)
        asked = {"batchId": batch_id, "dataRowIds": list(rows), "globalKeys": None, "priority": priority}
        told = client.execute(_ADD, {"projectId": project.uid, "input": asked}, timeout=180.0, experimental=True)
        task = Task.get_task(client, told["project"]["addDataRowsToBatchAsync"]["taskId"])
        task.wait_till_done(WAIT_S)
        if task.status != "COMPLETE":
            raise Transient(f"Labelbox, adding {len(rows):,} rows to a batch: the task ended as {task.status}")

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


def _noted(project_id: str, name: str) -> str:
    return f"{project_id}/{name}"
