"""Answers of the Labelbox stand-in, one method per field of the schema's Query and Mutation."""

from __future__ import annotations

import time
from typing import Any

from tests.fakes._labelbox_state import FIELDS_LIMIT, Project, State, iso, refuse, uid

NOW = "2026-01-01T00:00:00.000Z"


def _identified(project_or_batch: dict[str, Any]) -> dict[str, Any]:
    return {"createdAt": NOW, "updatedAt": NOW, **project_or_batch}


class Query:
    """Root of queries."""

    def __init__(self, state: State) -> None:
        self.state = state

    def dataset(self, _info: Any, where: dict[str, str]) -> dict[str, Any]:
        if where["id"] not in self.state.datasets:
            raise refuse("RESOURCE_NOT_FOUND", "dataset not found")
        count = len(self.state.by_dataset[where["id"]])
        return _identified({"id": where["id"], "name": self.state.datasets[where["id"]], "description": "", "rowCount": count})

    def datasets(self, info: Any, where: dict[str, Any], skip: int = 0, first: int = 100) -> list[dict[str, Any]]:
        return [self.dataset(info, {"id": d}) for d in list(self.state.datasets)[skip : skip + first]]

    def project(self, _info: Any, where: dict[str, str]) -> dict[str, Any]:
        project = _project(self.state, where["id"])

        def batches(
            _info: Any, where: dict[str, str] | None = None, after: str | None = None, first: int = 100
        ) -> dict[str, Any]:
            found = [b for b in project.batches.values() if where is None or b["id"] == where["id"]]
            start = int(after or 0)
            page = [_identified({k: b[k] for k in ("id", "name", "size")}) for b in found[start : start + first]]
            more = str(start + first) if start + first < len(found) else None
            return {"nodes": page, "pageInfo": {"endCursor": more}}

        return _identified({"id": project.id, "name": project.name, "uploadType": "MANUAL", "batches": batches})

    def organization(self, _info: Any) -> dict[str, Any]:
        return _identified({"id": uid("organization"), "name": "stand-in"})

    def user(self, _info: Any, where: dict[str, str] | None = None) -> dict[str, Any]:
        def created(_info: Any, where: dict[str, str], skip: int = 0, first: int = 100) -> list[dict[str, Any]]:
            return [self._task(where["id"])] if where["id"] in self.state.tasks and skip == 0 else []

        person = {"id": uid("user"), "email": "somebody@example.com", "name": "Somebody", "nickname": "s", "isViewer": False}
        zone = self.state.switches.user_timezone
        return _identified({**person, "isExternalUser": False, "createdTasks": created, "timezone": zone})

    def _task(self, task_id: str) -> dict[str, Any]:
        task, export = self.state.tasks[task_id], self.state.exports.get(task_id)
        status = "COMPLETE"
        if export is not None:
            status = "IN_PROGRESS" if export.polls > 0 else export.status
            export.polls -= 1
        return _identified({"id": task_id, "status": status, "completionPercentage": 1.0, **task})

    def task(self, _info: Any, where: dict[str, str]) -> dict[str, Any]:
        export = self.state.exports.get(where["id"])
        if export is None:
            raise refuse("RESOURCE_NOT_FOUND", "task not found")

        def header(_info: Any, streamType: str) -> dict[str, int] | None:
            if streamType == "ERRORS" or not export.lines:
                return None
            return {"totalSize": export.size, "totalLines": export.lines}

        def piece(_info: Any, streamType: str, offset: int) -> dict[str, Any] | None:
            if streamType == "ERRORS" or int(offset) >= export.size:
                return None
            start, end = self.state.piece(export, int(offset))
            url = f"{self.state.image_host}/_export/{export.id}/{start}-{end}?X-Signature=s{uid('export', export.id)}"
            return {"offsets": {"start": start, "end": end}, "lines": {"start": 0, "end": export.lines}, "file": url}

        return {"id": export.id, "exportMetadataHeader": header, "exportFileFromOffset": piece, "status": export.status}

    def embeddings(self, _info: Any) -> list[dict[str, Any]]:
        return list(self.state.embeddings.values())

    def customMetadataOntology(self, _info: Any) -> list[dict[str, Any]]:
        return list(self.state.fields.values())

    def dataRowCustomMetadata(self, _info: Any, where: dict[str, Any]) -> list[dict[str, Any]]:
        rows = [self.state.rows[i] for i in where["dataRowIdentifiers"]["ids"] if i in self.state.rows]
        return [
            {
                "dataRowId": r.id,
                "globalKey": r.global_key,
                "fields": [{"schemaId": s, "value": v} for s, v in r.metadata.items()],
            }
            for r in rows
        ]

    def queryAllDataRowsHaveBeenProcessed(self, _info: Any, dataRowIds: Any = None, globalKeys: Any = None) -> dict[str, bool]:
        return {"allDataRowsHaveBeenProcessed": True}

    def getSavedQuery(self, _info: Any, id: str) -> dict[str, Any]:
        if id not in self.state.slices:
            raise refuse("RESOURCE_NOT_FOUND", "slice not found")
        return _identified({"id": id, "name": "slice", "filter": {}})

    def catalogSavedQueries(self, info: Any) -> list[dict[str, Any]]:
        return [self.getSavedQuery(info, s) for s in self.state.slices]

    def datasetDataRows(self, _info: Any, id: str, first: int = 500, where: Any = None, **more: str) -> dict[str, Any]:
        rows = list(reversed(self.state.by_dataset.get(id, {}).values()))  # newest first
        start = int(more.get("from") or 0)
        page = [
            _identified(
                {
                    "id": row.id,
                    "externalId": row.external_id,
                    "globalKey": row.global_key,
                    "mediaAttributes": {"mimeType": row.mime},
                    "rowData": self.state.image_url(row),
                    "customMetadata": [],
                    "metadataFields": [],
                }
            )
            for row in rows[start : start + first]
        ]
        more_there = start + first < len(rows)
        return {
            "nodes": page,
            "pageInfo": {"hasNextPage": more_there, "startCursor": str(start + first) if more_there else None},
        }

    def getDataRowIdentifiersBySavedQuery(self, _info: Any, input: dict[str, Any]) -> dict[str, Any]:
        rows, start = self.state.slices[input["savedQueryId"]], int(input.get("after") or 0)
        page = [{"id": i, "globalKey": self.state.rows[i].global_key} for i in rows[start : start + input["first"]]]
        end = start + input["first"]
        cursor = str(end) if end < len(rows) else None
        return {"totalCount": len(rows), "nodes": page, "pageInfo": {"hasNextPage": cursor is not None, "endCursor": cursor}}


class Mutation:
    """Root of mutations."""

    def __init__(self, state: State) -> None:
        self.state = state

    def exportDataRowsInCatalog(self, _info: Any, input: dict[str, Any]) -> dict[str, Any]:
        filters = input["filters"]["searchQuery"]["query"] or []
        pool = next((self.state.by_dataset.get(f["ids"][0], {}) for f in filters if f["type"] == "dataset"), self.state.rows)
        return self._export(self.state.selected(filters, pool.values()), input["params"])

    def exportDataRowsInProject(self, _info: Any, input: dict[str, Any]) -> dict[str, Any]:
        project = _project(self.state, input["filters"]["projectId"])
        pool = [self.state.rows[r] for r in project.rows if r in self.state.rows]
        return self._export(self.state.selected(input["filters"]["searchQuery"]["query"] or [], pool), input["params"], project)

    def exportDataRowsInSlice(self, _info: Any, input: dict[str, Any]) -> dict[str, Any]:
        slice_id = input["filters"]["sliceId"]
        if slice_id not in self.state.slices:
            raise refuse("RESOURCE_NOT_FOUND", "slice not found")
        return self._export([self.state.rows[r] for r in self.state.slices[slice_id] if r in self.state.rows], input["params"])

    def _export(self, rows: Any, params: dict[str, Any], project: Project | None = None) -> dict[str, Any]:
        return {"taskId": self.state.start_export(rows, params, project), "isStreamable": True}

    def createEmbedding(self, _info: Any, data: dict[str, Any]) -> dict[str, Any]:
        if not 0 < data["dims"] <= 2048:
            raise refuse("MALFORMED_REQUEST", "dims must lie between 1 and 2048")
        custom = [e for e in self.state.embeddings.values() if e["custom"]]
        if any(e["name"] == data["name"] for e in self.state.embeddings.values()):
            if self.state.switches.taken_name == "conflict":
                raise refuse("RESOURCE_CONFLICT", f"embedding {data['name']!r} exists")
            if self.state.switches.taken_name == "malformed":
                raise refuse("MALFORMED_REQUEST", "name taken")
        if len(custom) >= self.state.switches.embedding_limit:
            raise refuse("OPERATION_NOT_ALLOWED", f"at most {self.state.switches.embedding_limit} custom embeddings")
        return self.state.embeddings[self.state.add_embedding(data["name"], data["dims"])]

    def deleteEmbedding(self, _info: Any, data: dict[str, Any]) -> bool:
        known = self.state.embeddings.get(data["id"])
        if known is None or not known["custom"]:
            raise refuse("RESOURCE_NOT_FOUND", "embedding not found")
        del self.state.embeddings[data["id"]]
        for row in self.state.rows.values():
            row.vectors.pop(data["id"], None)
        return True

    def upsertCustomMetadataSchema(self, _info: Any, data: dict[str, Any]) -> dict[str, Any]:
        if any(f["name"] == data["name"] and f["id"] != data.get("id") for f in self.state.fields.values()):
            raise refuse("MALFORMED_REQUEST", f"metadata field {data['name']!r} exists")
        if len(data["name"]) > 100 or len(data.get("options") or ()) > 64:
            raise refuse("MALFORMED_REQUEST", "name over 100 characters or more than 64 options")
        limit = FIELDS_LIMIT[self.state.plan]
        if sum(not f["reserved"] for f in self.state.fields.values()) >= limit:
            raise refuse("OPERATION_NOT_ALLOWED", f"at most {limit} custom metadata fields on this plan")
        made = self.state._field(data["name"], data["kind"], options=[o["name"] for o in data.get("options") or ()])
        return self.state.fields[made]

    def deleteCustomMetadataSchema(self, _info: Any, schema: dict[str, str]) -> dict[str, bool]:
        known = self.state.fields.get(schema["id"])
        if known is None or known["reserved"]:
            return {"success": False}
        del self.state.fields[schema["id"]]
        for row in self.state.rows.values():
            row.metadata.pop(schema["id"], None)
        return {"success": True}

    def upsertDataRowCustomMetadata(self, _info: Any, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self._rows_per_call(len(data))
        answers = [(entry, *self._check(entry)) for entry in data]
        failed = [_failure(entry, reason) for entry, reason, _ in answers if reason]
        if failed and self.state.switches.bad_field == "whole_call":
            raise refuse("MALFORMED_REQUEST", "invalid metadata")
        for entry, reason, row in answers:
            if not reason:
                self._write(row, entry["fields"])
        return failed

    def deleteDataRowCustomMetadata(self, _info: Any, dataRowIdentifiers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self._rows_per_call(len(dataRowIdentifiers))
        failed = []
        for entry in dataRowIdentifiers:
            row = self.state.rows.get(entry["dataRowIdentifier"]["id"])
            if row is None:
                failed.append({"dataRowId": entry["dataRowIdentifier"]["id"], "error": "data row not found", "fields": []})
                continue
            for schema_id in entry["schemaIds"]:
                row.metadata.pop(schema_id, None)
            row.active = time.time()
            self.state.metadata_writes += 1
        return failed

    def _rows_per_call(self, rows: int) -> None:
        if rows > self.state.switches.metadata_rows_per_call:
            raise refuse("MALFORMED_REQUEST", "too many data rows in one request")

    def _check(self, entry: dict[str, Any]) -> tuple[str, Any]:
        row = self.state.rows.get(entry.get("dataRowId"))
        if row is None:
            return "data row not found", None
        for value in entry["fields"]:
            schema = self.state.fields.get(value["schemaId"])
            option = any(o["id"] == value["schemaId"] for f in self.state.fields.values() for o in f["options"])
            if schema is None and not option:
                return f"schema {value['schemaId']} not found", None
            if schema and schema["kind"] == "CustomMetadataNumber" and not isinstance(value["value"], (int, float)):
                return "a number is needed", None
            if schema and schema["kind"] == "CustomMetadataString":
                if not isinstance(value["value"], str):
                    return "a string is needed", None
                if len(value["value"]) > 4096:
                    return "string over 4096 characters", None
        return "", row

    def _write(self, row: Any, values: list[dict[str, Any]]) -> None:
        enum: str | None = None
        for value in values:
            schema = self.state.fields.get(value["schemaId"])
            if schema is None:
                had = row.metadata.get(enum, []) if self.state.switches.enum_write == "add" else []
                row.metadata[enum] = [*had, value["schemaId"]]
            elif schema["kind"] == "CustomMetadataEnum":
                enum = schema["id"]
            else:
                row.metadata[schema["id"]] = value["value"]
        row.active = time.time()
        self.state.metadata_writes += 1

    def project(self, _info: Any, where: dict[str, str]) -> dict[str, Any]:
        writer = ProjectWriter(self.state, _project(self.state, where["id"]))
        names = "createBatchV2 createEmptyBatch addDataRowsToBatchAsync createQueuePriorityUpdateTask"
        names += " removeQueuedDataRowsFromBatch deleteBatch"
        return {name: getattr(writer, name) for name in names.split()}


class ProjectWriter:
    """Mutations inside a project."""

    def __init__(self, state: State, project: Project) -> None:
        self.state, self.there = state, project

    def createBatchV2(self, _info: Any, input: dict[str, Any]) -> dict[str, Any]:
        batch = self._empty(input["name"])
        failed = self._fill(batch, input["dataRowIds"], input.get("priority") or 5)
        return {"batch": _identified({k: batch[k] for k in ("id", "name", "size")}), "failedDataRowIds": failed}

    def createEmptyBatch(self, _info: Any, input: dict[str, Any]) -> dict[str, Any]:
        return {"id": self._empty(input["name"])["id"]}

    def addDataRowsToBatchAsync(self, _info: Any, input: dict[str, Any]) -> dict[str, Any]:
        breaks = self.state.broken_adds.pop(0) if self.state.broken_adds else None
        self._fill(self.there.batches[input["batchId"]], input["dataRowIds"][:breaks], input.get("priority") or 5)
        return {"taskId": self._task("add-data-rows-to-batch", "COMPLETE" if breaks is None else "FAILED")}

    def createQueuePriorityUpdateTask(self, _info: Any, data: dict[str, Any]) -> dict[str, Any]:
        for row in data["dataRowIdentifiers"]["ids"]:
            if row in self.there.rows:
                self.there.rows[row]["priority"] = data["priority"]
        return {"taskId": self._task("queue-priority-update")}

    def removeQueuedDataRowsFromBatch(self, _info: Any, batchId: str) -> dict[str, Any]:
        for row, there in list(self.there.rows.items()):
            if there["batch"] == batchId and there["status"] == "TO_LABEL":
                del self.there.rows[row]
        return {"id": batchId}

    def deleteBatch(self, info: Any, batchId: str) -> dict[str, Any]:
        if any(r["batch"] == batchId and r["status"] != "TO_LABEL" for r in self.there.rows.values()):
            raise refuse("MALFORMED_REQUEST", "a batch with labels cannot be deleted")
        self.removeQueuedDataRowsFromBatch(info, batchId)
        self.there.batches.pop(batchId, None)
        return {"deletedBatchId": batchId}

    def _empty(self, name: str) -> dict[str, Any]:
        if any(b["name"] == name for b in self.there.batches.values()):
            raise refuse("RESOURCE_CONFLICT", f"batch {name!r} exists")
        batch = {"id": uid("batch", self.there.id, name), "name": name, "size": 0}
        self.there.batches[batch["id"]] = batch
        return batch

    def _fill(self, batch: dict[str, Any], rows: list[str], priority: int) -> list[str]:
        if len(rows) > 100_000:
            raise refuse("MALFORMED_REQUEST", "at most 100,000 rows a batch")
        failed = [r for r in rows if r in self.there.rows or r not in self.state.rows]
        refused = set(failed)
        for row in rows:
            if row not in refused:
                self.there.rows[row] = {"status": "TO_LABEL", "priority": priority, "batch": batch["id"]}
        batch["size"] += len(rows) - len(failed)
        return failed

    def _task(self, kind: str, status: str = "COMPLETE") -> str:
        task_id = uid("task", len(self.state.tasks), time.time_ns())
        self.state.tasks[task_id] = {"name": kind, "type": kind, "status": status}
        return task_id


def _project(state: State, project_id: str) -> Project:
    if project_id not in state.projects:
        raise refuse("RESOURCE_NOT_FOUND", "project not found")
    return state.projects[project_id]


def _failure(entry: dict[str, Any], reason: str) -> dict[str, Any]:
    return {"dataRowId": entry.get("dataRowId"), "globalKey": None, "error": reason, "fields": entry["fields"]}


__all__ = ["Mutation", "Query", "iso"]
