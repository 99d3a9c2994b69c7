"""Results of a folder dataset: `curate.parquet` (exact) and `curate.csv` (for spreadsheets), written through a journal.

A push appends to `journal.jsonl` and syncs it: acknowledged means on disk, at a cost that does not grow with the dataset.
`compact` folds the journal into the two files (tmp, fsync, rename) and then removes it, so a kill at any moment loses nothing:
replaying a journal twice gives the same values.

In the CSV a text that a spreadsheet would run as a formula (it starts with = + - @, a tab or a carriage return) gets a leading
apostrophe.  The parquet file holds every value as it is, and is the one that is read back.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.errors import ConnectorError
from curate.types import FIELDS, Applied, Change, Rejected, Scalar, field_kind

Values = dict[str, dict[str, Scalar]]
"""Field -> {item id: value}."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PARQUET, _CSV, _JOURNAL = "curate.parquet", "curate.csv", "journal.jsonl"


def place(results: Path, dataset: str) -> Path:
    """The folder that holds the results of `dataset` (its absolute path) in this store.

    The first dataset of a store owns `results/` itself; each further one gets `results/NAME-HASH/`, so that two folders of
    one name never meet.  A dataset whose folder is gone (it was moved) leaves its place to one of the same name.
    """
    name = Path(dataset).name
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "dataset"
    own = results / f"{slug[:60]}-{hashlib.sha256(os.fsencode(dataset)).hexdigest()[:8]}"
    if own.is_dir():
        return own
    owner = _owner(results)
    moved = owner is not None and Path(owner).name == name and not Path(owner).exists()
    return results if owner in (None, dataset) or moved else own


def _owner(folder: Path) -> str | None:
    """The dataset whose results lie in `folder`, None where there are none."""
    journal = folder / _JOURNAL
    try:
        with journal.open(encoding="utf-8") as file:
            return str(json.loads(file.readline())["dataset"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if not (folder / _PARQUET).is_file():
        return None
    import pyarrow.parquet as pq

    with _reading(folder / _PARQUET):
        found = (pq.read_schema(folder / _PARQUET).metadata or {}).get(b"curate.dataset")
    return os.fsdecode(found) if found else ""


def refusal(change: Change, known: set[str], theirs: Collection[str]) -> str:
    """Why a change cannot be written, "" if it can."""
    if change.item_id not in known:
        return "no such row"
    if change.field in theirs or change.field in ("", "id"):
        return f"{change.field!r} is not a field of curate's"
    value, kind = change.after, field_kind(change.field)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if (kind == "number" and value is not None and not number) or (
        kind == "string" and not isinstance(value, (str, type(None)))
    ):
        return f"{value!r} is not a {kind}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value!r} is not a finite number"
    return ""


class Results:
    """The results of one dataset.  folder: as `place` gives it; it is made at the first write.

    Who writes holds a lock on the journal from its first change to `compact`, so that a reader beside it (an estimate needs no
    store lock) never folds away a journal that is still being written.
    """

    def __init__(self, folder: Path, dataset: str) -> None:
        self.folder, self.dataset = folder, dataset
        self._journal: _Locked | None = None

    @property
    def writing(self) -> bool:
        """Whether a journal is begun."""
        return self._journal is not None

    def load(self) -> Values:
        """Every value: the parquet file with the journal replayed over it.  Raises ConnectorError for an unreadable file."""
        values = _read_parquet(self.folder / _PARQUET)
        for item_id, field, value in self._replayed():
            if value is None:
                values.get(field, {}).pop(item_id, None)
            else:
                values.setdefault(field, {})[item_id] = value
        return values

    def accept(self, changes: Sequence[Change], known: set[str], theirs: Collection[str] = ()) -> Applied:
        """Appends the changes that can be written; the others come back with the reason.

        known: ids of the dataset's rows.  theirs: fields of the user, which are never written.
        """
        rejected = [Rejected(c.item_id, c.field, why) for c in changes if (why := refusal(c, known, theirs))]
        refused = {(r.item_id, r.field) for r in rejected}
        accepted = [c for c in changes if (c.item_id, c.field) not in refused]
        if accepted:
            self.append(accepted)
        return Applied(len(accepted), tuple(rejected))

    def append(self, changes: Sequence[Change]) -> None:
        """Makes changes durable: one write and one fsync."""
        lines = [json.dumps([c.item_id, c.field, c.after], ensure_ascii=False) for c in changes]
        try:
            if self._journal is None:
                self.compact()  # A journal that a kill left may end in half a line.
                self.folder.mkdir(parents=True, exist_ok=True)
                self._journal = _Locked(self.folder / _JOURNAL)
                lines.insert(0, json.dumps({"dataset": self.dataset}))
            self._journal.append(("\n".join(lines) + "\n").encode())
        except BlockingIOError as err:
            raise ConnectorError(f"{self.folder}: another process is writing the results; wait for it to end") from err
        except OSError as err:
            raise ConnectorError(f"{self.folder}: the results cannot be written: {err.strerror or err}") from err

    def compact(self, keep: Callable[[str], bool] = lambda _id: True) -> bool:
        """Folds the journal into curate.parquet and curate.csv; False when there was none, or another process writes it.

        keep: ids that stay.
        """
        journal = self.folder / _JOURNAL
        try:
            held, self._journal = self._journal or _Locked(journal, create=False), None
        except (FileNotFoundError, NotADirectoryError, BlockingIOError):
            return False
        except OSError as err:
            raise ConnectorError(f"{journal} cannot be read: {err.strerror or err}") from err
        try:
            values = {field: {i: v for i, v in column.items() if keep(i)} for field, column in self.load().items()}
            _replace(self.folder / _PARQUET, lambda tmp: _write_parquet(tmp, values, self.dataset))
            _replace(self.folder / _CSV, lambda tmp: _write_csv(tmp, values))
            journal.unlink()
            _sync_folder(self.folder)
        except OSError as err:
            raise ConnectorError(f"{self.folder}: the results cannot be written: {err.strerror or err}") from err
        finally:
            held.close()
        return True

    def _replayed(self) -> Iterable[tuple[str, str, Scalar]]:
        try:
            lines = (self.folder / _JOURNAL).read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as err:
            raise ConnectorError(f"{self.folder / _JOURNAL} cannot be read: {err.strerror or err}") from err
        for line in lines[1:-1]:  # What follows the last line end was cut off by a kill, and never acknowledged.
            try:
                item_id, field, value = json.loads(line)
            except ValueError as err:
                raise ConnectorError(f"{self.folder / _JOURNAL} is damaged; remove it to go on without its changes") from err
            yield item_id, field, value


class _Locked:
    """A journal that is open for appending, and locked until `close` or the end of this object or process."""

    def __init__(self, path: Path, *, create: bool = True) -> None:
        """Raises FileNotFoundError, and BlockingIOError when another one holds it."""
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o666)
        self.close = weakref.finalize(self, os.close, self._fd)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(self._fd).st_ino != path.stat().st_ino:
                raise FileNotFoundError(errno.ENOENT, "folded away meanwhile", str(path))
        except BaseException:
            self.close()
            raise

    def append(self, data: bytes) -> None:
        """Writes all of `data`, durably, or nothing: half a line would spoil what follows."""
        view, before = memoryview(data), os.fstat(self._fd).st_size
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, before)
            raise


def _columns(values: Mapping[str, Mapping[str, Scalar]]) -> list[str]:
    order = list(FIELDS)
    used = [name for name, column in values.items() if column or name in FIELDS]
    return sorted({*used, *order}, key=lambda name: (order.index(name) if name in order else len(order), name))


def _ids(values: Mapping[str, Mapping[str, Scalar]]) -> list[str]:
    return sorted({item_id for column in values.values() for item_id in column})


def _read_parquet(path: Path) -> Values:
    if not path.is_file():
        return {}
    import pyarrow.parquet as pq

    with _reading(path):
        table = pq.read_table(path)
    ids, values = table.column("id").to_pylist(), {}
    for field in table.schema:
        if field.name != "id":
            column = table.column(field.name).to_pylist()
            as_json = (field.metadata or {}).get(b"curate") == b"json"
            values[field.name] = {i: json.loads(v) if as_json else v for i, v in zip(ids, column, strict=True) if v is not None}
    return values


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException) as err:
        raise ConnectorError(f"{path} cannot be read ({err}); remove it, and the next sync writes it again") from err


def _write_parquet(path: Path, values: Values, dataset: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = _ids(values)
    fields, arrays = [pa.field("id", pa.string())], [pa.array(ids, pa.string())]
    for name in _columns(values):
        column = [values.get(name, {}).get(i) for i in ids]
        kind, as_json = _kind(name, column)
        fields.append(pa.field(name, kind, metadata={"curate": "json"} if as_json else None))
        arrays.append(pa.array([json.dumps(v) if as_json and v is not None else v for v in column], kind))
    schema = pa.schema(fields, metadata={"curate.dataset": os.fsencode(dataset)})
    pq.write_table(pa.table(arrays, schema=schema), path)


def _kind(name: str, column: Sequence[Scalar]) -> tuple[Any, bool]:
    """The parquet type that holds every value of a column exactly, and whether they must be written as JSON for that."""
    import pyarrow as pa

    kinds = {type(v) for v in column if v is not None}
    if kinds <= {str}:
        return (pa.float64() if not kinds and FIELDS.get(name) == "number" else pa.string()), False
    if kinds == {bool}:
        return pa.bool_(), False
    if kinds == {int} and all(isinstance(v, int) and abs(v) < 2**63 for v in column if v is not None):
        return pa.int64(), False
    if kinds <= {int, float} and all(isinstance(v, float) or abs(int(v)) < 2**53 for v in column if v is not None):
        return pa.float64(), False
    return pa.string(), True


def _write_csv(path: Path, values: Values) -> None:
    columns = _columns(values)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", *columns])
        for item_id in _ids(values):
            writer.writerow([_cell(item_id), *(_cell(values.get(name, {}).get(item_id)) for name in columns)])


def _cell(value: Scalar) -> Scalar:
    return "'" + value if isinstance(value, str) and value.startswith(_FORMULA) else value


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Writes a file beside `path` and renames it there: what has the final name is always whole."""
    tmp = path.with_name(path.name + ".tmp")
    write(tmp)
    with tmp.open("rb+") as file:
        os.fsync(file.fileno())
    tmp.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
