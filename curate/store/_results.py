"""What was found and done: findings, small cached results, runs, acknowledged writes."""

from __future__ import annotations

import datetime
import io
import json
import secrets
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import StoreError
from curate.store._catalog import Catalog
from curate.store._disk import NewFile, make_folder
from curate.store._rows import basis, dataset_key, dump
from curate.types import Change, Findings, Rejected, Scalar


@dataclass(frozen=True)
class Run:
    """One call of a command.  path: its folder.  state: "running", or what the command ended with."""

    id: str
    path: Path
    dataset: str
    command: str
    started: str
    finished: str | None
    state: str
    summary: Mapping[str, Any]

    def write(self, name: str, text: str) -> None:
        """A file in the run's folder, durable when this returns: what is about to be pushed must outlive the push."""
        with NewFile(self.path / name) as file:
            file.append(text.encode("utf-8"))
            file.commit()


def _packed(array: npt.NDArray[Any]) -> bytes:
    """An array as compressed `.npy`; level 1, for what is read again at every touch of a slider."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return zlib.compress(file.getvalue(), 1)


def _unpacked(body: bytes) -> npt.NDArray[Any]:
    try:
        found: npt.NDArray[Any] = np.lib.format.read_array(io.BytesIO(zlib.decompress(body)), allow_pickle=False)
    except zlib.error as err:
        raise ValueError(f"a kept array cannot be read: {err}") from err
    return found


class Results:
    """Findings, cache, runs and pushes of a store."""

    def __init__(self, db: Catalog, root: Path) -> None:
        self.db, self.folder = db, root / "runs"

    # ---- findings

    def save_findings(self, dataset: str, fingerprint: str, findings: Findings) -> None:
        """Keeps what an op found, in place of what it found before with the same vectors."""
        body = {"values": findings.values, "evidence": findings.evidence, "summary": findings.summary}
        with self.db.transaction():
            self.db.run("INSERT OR IGNORE INTO dataset(name) VALUES(?)", (dataset,))
            key = dataset_key(self.db, dataset)
            where = (key, fingerprint, findings.op)
            old = "SELECT key FROM finding WHERE dataset=? AND fingerprint=? AND op=?"
            self.db.run(f"DELETE FROM finding_array WHERE finding IN ({old})", where)  # noqa: S608 - no text of anybody's in it
            self.db.run("DELETE FROM finding WHERE dataset=? AND fingerprint=? AND op=?", where)
            new = self.db.insert(
                "INSERT INTO finding(dataset, fingerprint, op, fields, body, basis) VALUES(?,?,?,?,?,?)",
                (*where, dump(sorted(findings.values)), dump(body), basis(self.db, dataset)),
            )
            packed = ((new, name, _packed(array)) for name, array in findings.arrays.items())
            self.db.many("INSERT INTO finding_array(finding, name, body) VALUES(?,?,?)", packed)

    def findings(self, dataset: str, fingerprint: str | None) -> dict[str, Findings]:
        """Op -> its newest findings."""
        rows = self.db.rows(
            "SELECT op, body FROM finding WHERE dataset=?1 AND (?2 IS NULL OR fingerprint=?2) ORDER BY key",
            (dataset_key(self.db, dataset), fingerprint),
        )
        newest: dict[str, str] = dict(rows)
        with self.db.decoding():
            return {op: Findings(op=op, **json.loads(newest[op])) for op in sorted(newest)}

    def outdated(self, dataset: str, fingerprint: str) -> list[str]:
        """Ops that judged other rows than there are now, sorted."""
        return [
            str(op)
            for (op,) in self.db.rows(
                "SELECT op FROM finding WHERE dataset=? AND fingerprint=? AND basis NOT IN ('', ?) ORDER BY op",
                (dataset_key(self.db, dataset), fingerprint, basis(self.db, dataset)),
            )
        ]

    def arrays(self, dataset: str, fingerprint: str, op: str) -> dict[str, npt.NDArray[Any]]:
        """Name -> the array that an op kept beside its findings; {} where there are none."""
        rows = self.db.rows(
            "SELECT a.name, a.body FROM finding_array a JOIN finding f ON f.key=a.finding "
            "WHERE f.dataset=? AND f.fingerprint=? AND f.op=?",
            (dataset_key(self.db, dataset), fingerprint, op),
        )
        with self.db.decoding():
            return {name: _unpacked(body) for name, body in rows}

    def values(self, dataset: str, fingerprint: str, op: str) -> dict[str, dict[str, Scalar]]:
        """Field -> {id: value} of one op's findings, without reading its evidence; {} where it has none."""
        text = self.db.value(
            "SELECT json_extract(body, '$.values') FROM finding WHERE dataset=? AND fingerprint=? AND op=?",
            (dataset_key(self.db, dataset), fingerprint, op),
        )
        with self.db.decoding():
            return {} if text is None else dict(json.loads(text))

    def summaries(self, dataset: str, fingerprint: str) -> dict[str, tuple[int, dict[str, Any]]]:
        """Op -> (number of its findings, which a new run changes; their summary), without reading the findings whole."""
        rows = self.db.rows(
            "SELECT op, key, json_extract(body, '$.summary') FROM finding WHERE dataset=? AND fingerprint=? ORDER BY key",
            (dataset_key(self.db, dataset), fingerprint),
        )
        with self.db.decoding():
            return {op: (int(key), json.loads(text)) for op, key, text in rows}

    def previous(self, dataset: str, field: str) -> dict[str, Scalar]:
        """Id -> value in the newest findings that hold this field."""
        number = dataset_key(self.db, dataset)
        rows = self.db.rows("SELECT key, fields FROM finding WHERE dataset=? ORDER BY key DESC", (number,))
        for key, names in rows:
            with self.db.decoding():
                if field in json.loads(names):
                    body = self.db.value("SELECT body FROM finding WHERE key=?", (key,))
                    return dict(json.loads(body)["values"][field])
        return {}

    def cached(self, key: str) -> Any:
        """The JSON value kept under `key`, or None."""
        text = self.db.value("SELECT value FROM cache WHERE key=?", (key,))
        with self.db.decoding():
            return None if text is None else json.loads(text)

    def keep(self, key: str, value: Any) -> None:
        """Keeps a small JSON value."""
        self.db.run("INSERT OR REPLACE INTO cache VALUES(?,?)", (key, dump(value)))

    # ---- runs

    def new_run(self, dataset: str, command: str) -> Run:
        """Begins a run with a folder of its own; ids sort by time."""
        now = datetime.datetime.now(datetime.UTC)
        run_id = f"{now:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(2)}"
        newest = self.db.value("SELECT max(id) FROM run")
        if newest is not None and run_id <= newest:
            run_id = f"{newest}-{secrets.token_hex(2)}"
        make_folder(self.folder / run_id)
        self.db.run(
            "INSERT INTO run VALUES(?,?,?,?,NULL,'running','{}')", (run_id, dataset, command, now.isoformat(timespec="seconds"))
        )
        return self.run(run_id)

    def run(self, run_id: str) -> Run:
        """A run by its id.  Raises StoreError, listing the last ones."""
        row = self.db.one("SELECT * FROM run WHERE id=?", (run_id,))
        if row is None:
            last = ", ".join(r.id for r in self.runs()[-5:]) or "none"
            raise StoreError(f"no run {run_id!r} in the store; the last ones: {last}")
        return self._run(row)

    def runs(self, dataset: str | None = None) -> list[Run]:
        """Runs, oldest first."""
        rows = self.db.rows("SELECT * FROM run WHERE (?1 IS NULL OR dataset=?1) ORDER BY id", (dataset,))
        return [self._run(row) for row in rows]

    def _run(self, row: tuple[Any, ...]) -> Run:
        with self.db.decoding():
            run_id, dataset, command, started, finished, state, summary = row
            return Run(run_id, self.folder / run_id, dataset, command, started, finished, state, json.loads(summary))

    def finish_run(self, run_id: str, state: str, summary: Mapping[str, Any]) -> None:
        """Records how a run ended."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        changed = self.db.run("UPDATE run SET finished=?, state=?, summary=? WHERE id=?", (now, state, dump(summary), run_id))
        if not changed:
            raise StoreError(f"no run {run_id!r} in the store")

    def interrupt_runs(self) -> None:
        """Marks runs of a writer that is gone."""
        if self.db.value("SELECT count(*) FROM run WHERE state='running'"):
            self.db.run("UPDATE run SET state='interrupted' WHERE state='running'")

    # ---- what the platform acknowledged

    def record_applied(self, run_id: str, dataset: str, changes: Sequence[Change], rejected: Sequence[Rejected]) -> None:
        """Records acknowledged changes of a run, and the refused ones with their reason.

        `before` of the first time stays: it is what undo restores.  A Rejected without a field refuses the whole row.
        """
        reasons = {(r.item_id, r.field): r.reason for r in rejected}
        done = {(c.item_id, c.field): c for c in changes}
        rows = []
        for (item_id, name), change in done.items():
            refused = reasons.get((item_id, name), reasons.get((item_id, "")))
            rows.append((run_id, item_id, name, dataset, dump(change.before), dump(change.after), change.reason, refused))
        for where, reason in reasons.items():
            if where not in done:
                rows.append((run_id, *where, dataset, "null", "null", "", reason))
        with self.db.transaction():
            self.db.many(
                "INSERT INTO applied VALUES(?,?,?,?,?,?,?,?) ON CONFLICT(run, item, field) DO UPDATE SET "
                "before=CASE WHEN refused IS NULL THEN before ELSE excluded.before END, "
                "after=CASE WHEN excluded.refused IS NULL THEN excluded.after ELSE after END, "
                "reason=CASE WHEN excluded.refused IS NULL THEN excluded.reason ELSE reason END, "
                "refused=CASE WHEN refused IS NULL THEN NULL ELSE excluded.refused END",
                rows,
            )

    def applied(self, run_id: str) -> list[Change]:
        """The changes of a run that the platform accepted, in (item, field) order."""
        rows = self.db.rows(
            "SELECT item, field, before, after, reason FROM applied WHERE run=? AND refused IS NULL ORDER BY item, field",
            (run_id,),
        )
        with self.db.decoding():
            return [Change(item, name, json.loads(b), json.loads(a), reason) for item, name, b, a, reason in rows]

    def unpushed(self, dataset: str, spec: int, target: str) -> list[str]:
        """Live rows whose current vector `target` has not acknowledged, in id order."""
        rows = self.db.rows(
            "SELECT r.id FROM row r JOIN vector v ON v.spec=:spec AND v.row=r.key AND v.edition=r.edition "
            "WHERE r.dataset=:dataset AND r.live AND NOT EXISTS(SELECT 1 FROM pushed p WHERE p.spec=:spec "
            "AND p.target=:target AND p.row=r.key AND p.edition=r.edition) ORDER BY r.id",
            {"spec": spec, "dataset": dataset_key(self.db, dataset), "target": target},
        )
        return [row[0] for row in rows]

    def mark_pushed(self, dataset: str, spec: int, target: str, ids: Collection[str]) -> None:
        """Records that `target` has the current vectors of these rows."""
        with self.db.transaction():
            rows = self.db.by_ids(
                "SELECT key, edition FROM row WHERE dataset=? AND id IN ({})", (dataset_key(self.db, dataset),), ids
            )
            marks = ((spec, target, row, edition) for row, edition in rows)
            self.db.many("INSERT OR REPLACE INTO pushed VALUES(?,?,?,?)", marks)

    def unmark_pushed(self, dataset: str, spec: int, target: str, ids: Collection[str]) -> None:
        """Takes that back."""
        with self.db.transaction():
            rows = self.db.by_ids("SELECT key FROM row WHERE dataset=? AND id IN ({})", (dataset_key(self.db, dataset),), ids)
            self.db.many("DELETE FROM pushed WHERE spec=? AND target=? AND row=?", ((spec, target, row) for (row,) in rows))
