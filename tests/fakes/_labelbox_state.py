"""What the Labelbox stand-in keeps: datasets, rows, metadata fields, embeddings, projects, tasks; and the limits it has."""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from graphql import GraphQLError

from tests.fakes._labelbox_faults import Switches

FIELDS_LIMIT = {"free": 5, "starter": 100, "enterprise": 500}
CLIP = "Image Embedding V2 (CLIP ViT-B/32)"
TAG, SPLIT = "reserved tag", "reserved split"


def uid(*parts: object) -> str:
    """A 25-character identifier, as everywhere in Labelbox."""
    return "c" + hashlib.sha1("/".join(map(str, parts)).encode()).hexdigest()[:24]


def iso(moment: float) -> str:
    """A time as exports write it."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")


def refuse(code: str, message: str, status: int = 0) -> GraphQLError:
    """A GraphQL error with a Labelbox code."""
    extensions: dict[str, Any] = {"code": code}
    if status:
        extensions["exception"] = {"status": status}
    return GraphQLError(message, extensions=extensions)


@dataclass(slots=True)
class Row:
    """One data row.  asset: what it shows (path under the image host, or an address of its own)."""

    id: str
    dataset: str
    asset: str
    global_key: str | None = None
    external_id: str | None = None
    mime: str | None = "image/png"
    width: int | None = 64
    height: int | None = 64
    created: float = 0.0
    active: float = 0.0
    metadata: dict[str, Any] = field(default_factory=dict)
    vectors: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Export:
    """A finished or running export: a file on disk, handed out in pieces."""

    id: str
    path: Path
    size: int
    lines: int
    polls: int
    status: str = "COMPLETE"


@dataclass
class Project:
    """A labeling project: which rows are in it, and in what state."""

    id: str
    name: str
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)


class State:
    """All of it, behind one lock.  sign: the path of an image -> an address that is valid now."""

    def __init__(self, switches: Switches, plan: str = "free") -> None:
        self.switches, self.plan = switches, plan
        self.lock = threading.RLock()
        self.folder = tempfile.TemporaryDirectory(prefix="labelbox-stand-in-")
        self.datasets: dict[str, str] = {}
        self.rows: dict[str, Row] = {}
        self.by_dataset: dict[str, dict[str, Row]] = {}
        self.slices: dict[str, list[str]] = {}
        self.projects: dict[str, Project] = {}
        self.exports: dict[str, Export] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.embeddings: dict[str, dict[str, Any]] = {}
        self.fields: dict[str, dict[str, Any]] = {}
        self.extra_counts: dict[str, int] = {}
        self.lag: dict[str, int] = {}
        self.broken_adds: list[int] = []  # how many rows each of the next tasks that fill a batch adds before it fails
        self.export_polls = 0
        self.epoch = 0
        self.image_host = ""
        self.metadata_writes = self.vector_writes = 0
        self.add_embedding(CLIP, 512, custom=False)
        self._field("tag", "CustomMetadataString", reserved=True)
        self._field("split", "CustomMetadataEnum", reserved=True, options=("train", "valid", "test"))
        self._field("captureDateTime", "CustomMetadataDateTime", reserved=True)
        self._field("skipNFrames", "CustomMetadataNumber", reserved=True)

    # what a test puts in

    def add_dataset(self, name: str = "photos", dataset_id: str | None = None) -> str:
        """An empty dataset; returns its id."""
        with self.lock:
            dataset_id = dataset_id or uid("dataset", name, len(self.datasets))
            self.datasets[dataset_id] = name
            self.by_dataset[dataset_id] = {}
            return dataset_id

    def add_row(self, dataset: str, asset: str, **values: Any) -> Row:
        """One row of a dataset; returns it."""
        with self.lock:
            moment = time.time()
            row = Row(uid(dataset, asset, len(self.rows)), dataset, asset, created=moment, active=moment, **values)
            self.rows[row.id] = self.by_dataset[dataset][row.id] = row
            return row

    def remove_row(self, row_id: str) -> None:
        """Deletes a row, as a user does in the app."""
        with self.lock:
            row = self.rows.pop(row_id)
            self.by_dataset[row.dataset].pop(row_id)

    def add_project(self, name: str = "labeling", waiting: Iterable[str] = ()) -> str:
        """A project with rows that wait for a label; returns its id."""
        with self.lock:
            project = Project(uid("project", name, len(self.projects)), name)
            project.rows = {row: {"status": "TO_LABEL", "priority": 5, "batch": ""} for row in waiting}
            self.projects[project.id] = project
            return project.id

    def add_slice(self, rows: Iterable[str]) -> str:
        """A saved slice; returns its id."""
        with self.lock:
            slice_id = uid("slice", len(self.slices))
            self.slices[slice_id] = list(rows)
            return slice_id

    def add_embedding(self, name: str, dims: int, *, custom: bool = True) -> str:
        """An embedding; returns its id."""
        with self.lock:
            embedding_id = uid("embedding", name, len(self.embeddings), time.time_ns() if custom else 0)
            self.embeddings[embedding_id] = {"id": embedding_id, "name": name, "dims": dims, "custom": custom}
            return embedding_id

    def add_field(self, name: str, kind: str = "string", options: Iterable[str] = ()) -> str:
        """A custom metadata field; returns its id."""
        kinds = {"string": "String", "number": "Number", "datetime": "DateTime", "enum": "Enum"}
        return self._field(name, f"CustomMetadata{kinds[kind]}", options=options)

    def _field(self, name: str, kind: str, *, reserved: bool = False, options: Iterable[str] = ()) -> str:
        with self.lock:
            schema_id = uid("field", name, len(self.fields))
            made = [
                {"id": uid("option", schema_id, o), "name": o, "kind": "CustomMetadataEnumOption", "reserved": reserved}
                for o in options
            ]
            self.fields[schema_id] = {"id": schema_id, "name": name, "kind": kind, "reserved": reserved, "options": made}
            return schema_id

    # what a test looks at

    def field_id(self, name: str) -> str | None:
        """The id of a metadata field by name."""
        return next((f["id"] for f in self.fields.values() if f["name"] == name), None)

    def values(self, name: str) -> dict[str, Any]:
        """row id -> the value of one metadata field, rows that have one."""
        schema_id = self.field_id(name)
        return {r.id: r.metadata[schema_id] for r in self.rows.values() if schema_id in r.metadata}

    def vectors(self, name: str) -> dict[str, np.ndarray]:
        """row id -> vector of one embedding."""
        wanted = {e["id"] for e in self.embeddings.values() if e["name"] == name}
        return {r.id: np.frombuffer(v, np.float64) for r in self.rows.values() for e, v in r.vectors.items() if e in wanted}

    def digest(self) -> str:
        """One hash over all that a user can see: metadata, vectors, fields, projects."""
        seen: list[Any] = []
        for row in sorted(self.rows.values(), key=lambda r: r.id):
            named = {self.fields[s]["name"]: v for s, v in row.metadata.items()}
            vectors = {
                self.embeddings[e]["name"]: hashlib.sha1(v).hexdigest() for e, v in row.vectors.items() if e in self.embeddings
            }
            seen.append([row.id, sorted(named.items(), key=lambda kv: kv[0]), sorted(vectors.items())])
        names = sorted((f["name"], f["kind"]) for f in self.fields.values())
        embeddings = sorted((e["name"], e["dims"]) for e in self.embeddings.values())
        projects = [
            [
                p.name,
                sorted((r, s["priority"], s["status"]) for r, s in p.rows.items()),
                sorted(b["name"] for b in p.batches.values()),
            ]
            for p in self.projects.values()
        ]
        return hashlib.sha256(json.dumps([seen, names, embeddings, projects], sort_keys=True).encode()).hexdigest()

    # exports

    def image_url(self, row: Row) -> str:
        """row_data: an address that is signed and expires, or what was registered."""
        if "://" in row.asset:
            return row.asset
        if self.switches.iam:
            return f"gs://customer-bucket/{row.asset}"
        return f"{self.image_host}/{row.asset}?X-Signature={uid('signature', row.id, self.epoch)}{self.epoch}"

    def start_export(self, rows: Iterable[Row], params: dict[str, Any], project: Project | None = None) -> str:
        """Writes the export's file and registers its task; returns the task id."""
        task_id = uid("task", len(self.tasks), time.time_ns())
        path = Path(self.folder.name) / task_id
        lines = size = 0
        with path.open("wb") as file:
            for row in rows:
                line = (json.dumps(self._line(row, params, project), ensure_ascii=False) + "\n").encode()
                file.write(line)
                size, lines = size + len(line), lines + 1
        if sum(1 for e in self.exports.values() if e.polls > 0) >= 20:
            raise refuse("MALFORMED_REQUEST", "too many running exports (20)")
        self.exports[task_id] = Export(task_id, path, size, lines, self.export_polls)
        self.tasks[task_id] = {"name": "export", "type": self.switches.task_type}
        return task_id

    def _line(self, row: Row, params: dict[str, Any], project: Project | None) -> dict[str, Any]:
        data: dict[str, Any] = {"id": row.id, "row_data": self.image_url(row)}
        if row.global_key is not None:
            data["global_key"] = row.global_key
        if row.external_id is not None:
            data["external_id"] = row.external_id
        if params.get("includeDataRowDetails"):
            data["details"] = {
                "dataset_id": row.dataset,
                "dataset_name": self.datasets[row.dataset],
                "created_at": iso(row.created),
                "updated_at": iso(row.active),
                "last_activity_at": iso(row.active),
                "created_by": "somebody@example.com",
            }
        line: dict[str, Any] = {"data_row": data}
        line["media_attributes"] = {"mime_type": row.mime} if row.mime else {}
        if row.width:
            line["media_attributes"].update({"height": row.height, "width": row.width})
        if params.get("includeMetadata"):
            line["metadata_fields"] = [self._value(schema_id, value) for schema_id, value in row.metadata.items()]
        if params.get("includeEmbeddings"):
            line["embeddings"] = [self._vector(e, v) for e, v in row.vectors.items() if e in self.embeddings]
        if project is not None:
            line["projects"] = {project.id: self._in_project(project, row, params)}
        return line

    def _value(self, schema_id: str, value: Any) -> dict[str, Any]:
        schema = self.fields[schema_id]
        if schema["options"]:
            value = [{"schema_id": o["id"], "schema_name": o["name"]} for o in schema["options"] if o["id"] in value]
        shown = {"schema_id": schema_id, "schema_name": schema["name"], "value": value}
        return {**shown, "schema_kind": schema["kind"]} if self.switches.schema_kind else shown

    def _vector(self, embedding_id: str, stored: bytes) -> dict[str, Any]:
        known = self.embeddings[embedding_id]
        values = np.frombuffer(stored, np.float64).tolist()
        return {
            "id": embedding_id,
            "name": known["name"],
            "dimensions": known["dims"],
            "is_custom": known["custom"],
            "values": [{"value": values}],
        }

    def _in_project(self, project: Project, row: Row, params: dict[str, Any]) -> dict[str, Any]:
        there = project.rows[row.id]
        shown: dict[str, Any] = {"name": project.name}
        if params.get("includeLabelDetails"):
            shown["labels"] = there.get("labels", [])
        if params.get("includeProjectDetails"):
            shown["project_details"] = {
                "workflow_status": there["status"],
                "priority": there["priority"],
                "batch_id": there["batch"],
            }
        return shown

    def piece(self, export: Export, offset: int) -> tuple[int, int]:
        """First and last byte of the file that holds `offset`."""
        end = min(export.size, offset + self.switches.chunk_bytes)
        if not self.switches.cut_anywhere and end < export.size:
            with export.path.open("rb") as file:
                file.seek(end - 1)
                end = end - 1 + len(file.readline())
        return offset, end - 1

    def selected(self, filters: Iterable[dict[str, Any]], rows: Iterable[Row]) -> Iterator[Row]:
        """The rows that pass the filters of an export."""
        ids: set[str] | None = None
        keys: set[str] | None = None
        dataset, after, before, waiting = None, 0.0, float("inf"), None
        for entry in filters:
            kind = entry["type"]
            if kind in ("data_row_id", "global_key") and len(entry["ids"]) > 2000:
                raise refuse("MALFORMED_REQUEST", f"{kind}: at most 2000 ids")
            if kind == "data_row_id":
                ids = set(entry["ids"])
            elif kind == "global_key":
                keys = set(entry["ids"])
            elif kind == "dataset":
                dataset = set(entry["ids"])
            elif kind == "data_row_last_activity_at":
                after, before = self._range(entry["value"])
            elif kind == "task_queue_not_exist":
                waiting = True
            else:
                raise refuse("MALFORMED_REQUEST", f"unknown filter {kind}")
        for row in rows:
            if (ids is not None and row.id not in ids) or (keys is not None and row.global_key not in keys):
                continue
            if (dataset is not None and row.dataset not in dataset) or not after <= row.active <= before:
                continue
            if waiting and not any(p.rows.get(row.id, {}).get("status") == "TO_LABEL" for p in self.projects.values()):
                continue
            yield row

    def _range(self, value: dict[str, Any]) -> tuple[float, float]:
        def moment(text: str) -> float:
            if "T" in text:
                return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp()
            form = "%Y-%m-%d %H:%M:%S" if " " in text else "%Y-%m-%d"
            return datetime.strptime(text, form).replace(tzinfo=ZoneInfo(value["timezone"])).timestamp()

        operator, limit = value["operator"], value["value"]
        if operator == "BETWEEN":
            return moment(limit["min"]), moment(limit["max"])
        if operator == "GREATER_THAN_OR_EQUAL":
            return moment(limit), float("inf")
        return 0.0, moment(limit)

    # vectors

    def put_vectors(self, embedding_id: str, body: bytes, lines: int) -> tuple[int, dict[str, Any] | str]:
        """Takes one upload: status and body of the answer."""
        known = self.embeddings.get(embedding_id)
        if known is None or not known["custom"]:
            return 404, {"message": f"embedding {embedding_id} not found"}
        parts = [part for part in body.split(b"\n") if part.strip()]
        if len(parts) > 1000 or lines not in (len(parts), len(parts) + 1):
            return 400, {"message": f"{len(parts)} lines, {lines} announced, at most 1000"}
        good: list[tuple[Row, bytes]] = []
        for number, part in enumerate(parts, start=1):
            reason, row, stored = self._check_vector(part, known["dims"])
            if reason and self.switches.bad_vector == "skip":
                continue
            if reason:
                named = f"line {number}: {reason}" if self.switches.bad_vector == "refuse_named" else "invalid input"
                return 400, {"message": named}
            assert row is not None
            good.append((row, stored))
        if self.switches.reimport == "refuse" and any(embedding_id in row.vectors for row, _ in good):
            return 409, {"message": "vector exists"}
        for row, stored in good:
            if embedding_id in row.vectors and self.switches.reimport == "twice":
                self.extra_counts[embedding_id] = self.extra_counts.get(embedding_id, 0) + 1
            row.vectors[embedding_id] = stored
            if self.switches.vectors_bump_activity:
                row.active = time.time()
        self.vector_writes += len(good)
        self.lag[embedding_id] = self.switches.count_lag
        replies: dict[str, dict[str, Any] | str] = {"json": {"imported": len(good)}, "empty": "", "text": "OK"}
        return 200, replies[self.switches.vector_reply]

    def _check_vector(self, part: bytes, dims: int) -> tuple[str, Row | None, bytes]:
        try:
            entry = json.loads(part, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
            stored = np.array(entry["vector"], np.float64)
        except (ValueError, KeyError, TypeError) as err:
            return f"not a vector: {err}", None, b""
        row = self.rows.get(entry.get("id"))
        if row is None:
            return f"data row {entry.get('id')} not found", None, b""
        if stored.shape != (dims,):
            return f"data row {row.id}: {stored.shape} instead of ({dims},)", None, b""
        return "", row, stored.tobytes()

    def count_vectors(self, embedding_id: str) -> int:
        """Vectors of an embedding; lags when told to."""
        true = sum(embedding_id in r.vectors for r in self.rows.values()) + self.extra_counts.get(embedding_id, 0)
        if self.lag.get(embedding_id, 0) > 0:
            self.lag[embedding_id] -= 1
            return max(0, true - 3)
        return true
