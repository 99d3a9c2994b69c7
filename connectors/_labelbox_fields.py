"""Metadata fields `curate.*`: found or created within the plan's quota, written in calls of 50 rows from several threads."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from connectors._labelbox_created import created, note_created
from connectors._labelbox_errors import Refused
from connectors._labelbox_platform import Platform
from connectors._labelbox_rows import PREFIX
from curate.errors import ConfigError, ConnectorError, NotFound
from curate.types import FIELDS, Applied, Change, Rejected, Scalar, field_kind

QUOTA = {"free": 5, "starter": 100, "enterprise": 500}
"""Custom metadata fields of a workspace by plan."""
BY_DEFAULT = 4
"""Fields pushed on the Free plan when nothing else is said: it has room for five, and one is left to the user."""
LONGEST = 4096
ROWS = 50
"""Rows in one call of the SDK."""
KINDS = {"string": "CustomMetadataString", "number": "CustomMetadataNumber"}


class MetadataFields:
    """The metadata fields of a workspace that are ours.  ask: puts a question to the user, or answers no."""

    def __init__(
        self,
        platform: Platform,
        *,
        folder: Path,
        allowed: bool,
        ask: Callable[[str], bool],
        notify: Callable[[str], None],
        chosen: Sequence[str] = (),
    ) -> None:
        self.platform, self.folder, self.notify, self.ask = platform, folder, notify, ask
        self.allowed, self.chosen = allowed, tuple(chosen)
        for name in self.chosen:
            if field_kind(name) is None:
                raise ConfigError(f"[connectors.labelbox] fields: {name!r} is none of curate's fields: {', '.join(FIELDS)}")
        self._ontology: Any = None
        self._schemas: dict[str, Any] = {}
        self._checked = False
        self._refused: dict[str, str] = {}
        self._rows_per_call = ROWS
        self._lock = threading.Lock()

    def fingerprint(self) -> str:
        """Which metadata fields the workspace has: to delete one changes rows without any activity of theirs."""
        if self._ontology is None:
            self._load()
        told = sorted((f.uid, f.name) for f in self._ontology.fields)
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def _load(self) -> None:
        def load(client: Any) -> Any:
            if self._ontology is None:
                return client.get_data_row_metadata_ontology()
            self._ontology.refresh_ontology()
            return self._ontology

        self._ontology = self.platform.call("reading the metadata fields", load)

    def read(self) -> dict[str, Any]:
        """House name -> schema of every field of ours that the workspace has.  Raises ConfigError for one of another kind."""
        self._load()
        self._schemas = {
            f.name.removeprefix(PREFIX): f
            for f in self._ontology.custom_fields
            if f.name.startswith(PREFIX) and field_kind(f.name.removeprefix(PREFIX))
        }
        for name, schema in self._schemas.items():
            wanted = KINDS[str(field_kind(name))]
            if schema.kind.value != wanted:
                raise ConfigError(
                    f"the metadata field {PREFIX}{name} exists as {schema.kind.value} and curate writes {wanted}. "
                    "Rename or delete it in Labelbox (Schema > Metadata); curate does not touch it."
                )
        self._checked = True
        return self._schemas

    def fit(self, wanted: Iterable[str], *, create: bool) -> list[str]:
        """The fields of `wanted` that have a place, in the order in which a quota is filled; says which have not.

        create: whether the run will write, so that the user is asked for the ones to be created, once.
        Raises ConfigError when he says no, or cannot be asked.
        """
        order = {name: n for n, name in enumerate(FIELDS)}
        base = sorted(set(wanted), key=lambda n: (order.get(n, len(order)), n))
        if self.chosen:
            base = [name for name in base if name in self.chosen]
        mine = base[:BY_DEFAULT] if self.platform.plan == "free" and not self.chosen else base
        known = self.read()
        used = len(self._ontology.custom_fields)
        new = [name for name in mine if name not in known][: max(0, QUOTA[self.platform.plan] - used)]
        kept = [name for name in mine if name in known or name in new]
        dropped = [name for name in base if name not in kept]
        if dropped:
            self.notify(
                f"not pushed: {', '.join(dropped)}. Plan {self.platform.plan} has room for "
                f"{QUOTA[self.platform.plan]} metadata fields, "
                f'{used} are used. Choose with fields = [...], name your plan with plan = "..." in [connectors.labelbox].'
            )
        if create and new:
            self._consent(new)
        return kept

    def _consent(self, names: Sequence[str]) -> None:
        if self.allowed:
            return
        shown = ", ".join(PREFIX + name for name in names)
        question = f"Labelbox has no metadata fields {shown}. They are visible in the whole workspace. Create them?"
        if not self.ask(question):
            raise ConfigError(
                f"the metadata fields {shown} would have to be created in the whole workspace. Allow it with "
                "--yes, or with create_fields = true "
                "in [connectors.labelbox]; or look at the plan with --dry-run."
            )
        self.allowed = True

    def push(self, changes: Sequence[Change]) -> Applied:
        """Writes changes: values of 50 rows a call, from several threads; refused rows come back with their reason."""
        with self._lock:
            self._prepare({c.field for c in changes if c.after is not None})
        sets: dict[str, dict[str, Scalar]] = {}
        clears: dict[str, list[str]] = {}
        rejected: list[Rejected] = []
        for change in changes:
            schema = self._schemas.get(change.field)
            if change.after is None:
                if schema is not None:
                    clears.setdefault(change.item_id, []).append(change.field)
                continue
            wrong = (
                self._refused.get(change.field)
                or ("" if schema else "not a field of curate")
                or unfit(change.field, change.after)
            )
            if wrong:
                rejected.append(Rejected(change.item_id, change.field, wrong))
            else:
                sets.setdefault(change.item_id, {})[change.field] = change.after
        jobs: list[Callable[[], list[Rejected]]] = []
        for rows in _pieces(sets, self._rows_per_call):
            jobs.append(lambda rows=rows: self._write(rows, self._upsert))  # type: ignore[misc]
        for gone in _pieces(clears, self._rows_per_call):
            jobs.append(lambda rows=gone: self._write(rows, self._delete))  # type: ignore[misc]
        with ThreadPoolExecutor(self.platform.threads, thread_name_prefix="curate-labelbox") as pool:
            for answer in pool.map(lambda job: job(), jobs):
                rejected += answer
        rejected.sort(key=lambda r: (r.item_id, r.field))
        return Applied(len(changes) - len(rejected), tuple(rejected))

    def _prepare(self, names: Iterable[str]) -> None:
        """Creates the fields that are missing, all before the threads start: the SDK's schema cache is not safe to share."""
        if not self._checked:
            self.read()
        known = {*self._schemas, *self._refused}
        missing = [name for name in sorted(set(names)) if name not in known and field_kind(name)]
        if missing:
            self._consent(missing)
        for name in missing:
            try:
                self._schemas[name] = self._create(name)
            except Refused as err:
                self._refused[name] = f"the field could not be created: {err}"
                self.notify(f"{PREFIX}{name} is not pushed: {self._refused[name]}")

    def _create(self, name: str) -> Any:
        from labelbox.schema.data_row_metadata import DataRowMetadataKind

        kind = DataRowMetadataKind(KINDS[str(field_kind(name))])

        tries = itertools.count()

        def create(_client: Any) -> Any:
            if next(tries):  # the last attempt may have been applied although its answer was lost
                self._ontology.refresh_ontology()
            there = next((f for f in self._ontology.custom_fields if f.name == PREFIX + name), None)
            return there or self._ontology.create_schema(PREFIX + name, kind)

        try:
            made = self.platform.call(f"creating the metadata field {PREFIX}{name}", create)
        except Refused:
            made = self.read().get(name)
            if made is None:
                raise
        self.notify(f"created the metadata field {PREFIX}{name}")
        note_created(self.folder, "fields", name)
        return made

    def _write(self, rows: Mapping[str, Any], send: Callable[[Mapping[str, Any]], list[Any]]) -> list[Rejected]:
        """One call; when all of it is refused, halves, until the rows at fault are alone."""
        try:
            failed = self.platform.call(f"writing metadata of {len(rows)} rows", lambda _c: send(rows))
        except (Refused, NotFound) as err:
            if len(rows) == 1:
                return [Rejected(i, field, str(err)) for i, fields in rows.items() for field in fields]
            half = math.ceil(len(rows) / 2)
            refused = [r for part in _pieces(rows, half) for r in self._write(part, send)]
            if not refused:  # Every row is fine: it was their number.
                self._rows_per_call = min(self._rows_per_call, half)
            return refused
        return [Rejected(f.data_row_id, field, str(f.error)) for f in failed for field in rows.get(f.data_row_id, ())]

    def _upsert(self, rows: Mapping[str, Mapping[str, Scalar]]) -> list[Any]:
        from labelbox.schema.data_row_metadata import DataRowMetadata, DataRowMetadataField

        # Built anew on every attempt: the SDK changes the objects it is handed.
        sent = [
            DataRowMetadata(
                data_row_id=item_id,
                fields=[
                    DataRowMetadataField(schema_id=self._schemas[f].uid, value=wire_value(f, v)) for f, v in fields.items()
                ],
            )
            for item_id, fields in rows.items()
        ]
        answer: list[Any] = self._ontology.bulk_upsert(sent)
        return answer

    def _delete(self, rows: Mapping[str, Sequence[str]]) -> list[Any]:
        from labelbox.schema.data_row_metadata import DeleteDataRowMetadata

        sent = [
            DeleteDataRowMetadata(data_row_id=item_id, fields=[self._schemas[f].uid for f in fields])
            for item_id, fields in rows.items()
        ]
        answer: list[Any] = self._ontology.bulk_delete(sent)
        return answer

    def made(self) -> list[str]:
        """Fields that `curate` created and that are still there, by house name."""
        known = self.read()
        return [name for name in created(self.folder).get("fields", []) if name in known]

    def remove(self, names: Iterable[str]) -> None:
        """Deletes fields with all their values, in the whole workspace."""
        for name in names:

            def delete(_client: Any, name: str = name) -> None:
                self._ontology.refresh_ontology()
                if any(f.name == PREFIX + name for f in self._ontology.custom_fields):
                    self._ontology.delete_schema(PREFIX + name)

            self.platform.call(f"deleting the metadata field {PREFIX}{name}", delete)
            if name in self.read():
                raise ConnectorError(f"Labelbox did not delete the metadata field {PREFIX}{name}")


def unfit(field: str, value: Scalar) -> str:
    """Why a value cannot be stored, or ""."""
    if field_kind(field) == "number":
        number = math.nan if value is None or isinstance(value, (str, bool)) else float(value)
        return "" if math.isfinite(number) else f"{value!r} is not a finite number"
    if len(str(value)) > LONGEST:
        return f"longer than {LONGEST:,} characters"
    return "" if str(value) else "an empty string cannot be filtered for"


def wire_value(field: str, value: Scalar) -> str | float:
    """A value as the SDK takes it: plain float or str, whatever scalar type it came as."""
    return float(value) if field_kind(field) == "number" and value is not None else str(value)


def _pieces(rows: Mapping[str, Any], size: int) -> list[dict[str, Any]]:
    items = list(rows.items())
    return [dict(items[start : start + size]) for start in range(0, len(items), size)]
