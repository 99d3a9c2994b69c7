"""Tables beside or instead of a folder: labels from a CSV, and datasets that are one CSV or JSON Lines file of texts."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from curate.errors import ConfigError, ConnectorError, MediaError
from curate.types import Scalar, field_kind

SUFFIXES = {".csv", ".tsv", ".jsonl", ".ndjson"}
ID_COLUMNS = ("id", "file", "filename")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LONGEST_CELL = 64 * 2**20  # characters; the csv module's own limit of 128 KiB is less than many a document


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a table.  start, end: its bytes in the file.  text: None where the record has none."""

    id: str
    start: int
    end: int
    text: str | None
    fields: Mapping[str, Scalar]

    @property
    def version(self) -> str:
        """sha256 of the text, "unreadable" where there is none."""
        return (
            hashlib.sha256(self.text.encode("utf-8", "backslashreplace")).hexdigest() if self.text is not None else "unreadable"
        )


def rows(path: Path, *, text_field: str, id_field: str = "id") -> Iterator[Row]:
    """The records of a CSV, TSV or JSON Lines file, streamed; the other columns become fields.

    id: the value of `id_field` where the table has such a column, else the number of the record, from 1.
    Raises ConfigError for a table without `text_field`, naming the columns there are.
    """
    try:
        with path.open("rb") as file:
            if path.suffix.lower() in _DELIMITERS:
                yield from _csv_rows(path, file, text_field, id_field)
            else:
                yield from _json_rows(path, file, text_field, id_field)
    except (OSError, csv.Error) as err:
        raise ConnectorError(f"{path} cannot be read: {err}") from err


def read_text(path: Path, start: int, end: int, *, text_field: str) -> str:
    """The text of the record at bytes start..end.  Raises MediaError: missing, unreadable, no_text."""
    try:
        with path.open("rb") as file:
            delimiter = _DELIMITERS.get(path.suffix.lower())
            columns = next(csv.reader(_Counted(file), delimiter=delimiter), []) if delimiter else []
            file.seek(start)
            record = file.read(end - start)
    except OSError as err:
        raise MediaError("missing" if isinstance(err, FileNotFoundError) else "unreadable", f"{path}: {err.strerror}") from err
    if delimiter:
        cells = next(csv.reader(io.StringIO(record.decode("utf-8", "replace"), newline=""), delimiter=delimiter), [])
        text = dict(zip(columns, cells, strict=False)).get(text_field)
    else:
        text = _text_of(_parsed(record), text_field)
    if text is None:
        raise MediaError("no_text", f"{path}: bytes {start} to {end} hold no {text_field!r}")
    return text


class _Counted:
    """The lines of a binary file as text, with the byte where the next one starts."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.at = file, 0

    def __iter__(self) -> Iterator[str]:
        for line in self.file:
            text = line.decode("utf-8-sig" if self.at == 0 else "utf-8", "replace")
            self.at += len(line)
            yield text


def _csv_rows(path: Path, file: BinaryIO, text_field: str, id_field: str) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    lines = _Counted(file)
    reader = csv.reader(lines, delimiter=_DELIMITERS[path.suffix.lower()])
    columns = next(reader, [])
    if text_field not in columns:
        raise ConfigError(
            f"{path} has no column {text_field!r} (--text-field); its columns are: {', '.join(columns) or 'none'}"
        )
    _refuse_ours(path, columns, {text_field, id_field})
    start, number = lines.at, 0
    for cells in reader:
        if cells:
            number += 1
            record = dict(zip(columns, cells, strict=False))
            item_id = record.get(id_field) or str(number)
            fields = {k: v for k, v in record.items() if k not in (text_field, id_field) and v != ""}
            yield Row(item_id, start, lines.at, record.get(text_field), fields)
        start = lines.at


def _json_rows(path: Path, file: BinaryIO, text_field: str, id_field: str) -> Iterator[Row]:
    start = number = 0
    for line in file:
        end = start + len(line)
        if line.strip():
            number += 1
            record = _parsed(line)
            item_id = str(record[id_field]) if record.get(id_field) is not None else str(number)
            _refuse_ours(path, list(record), {text_field, id_field})
            fields = {plain(k): _scalar(v) for k, v in record.items() if k not in (text_field, id_field)}
            fields = {k: v for k, v in fields.items() if v is not None}
            yield Row(item_id, start, end, _text_of(record, text_field), fields)
        start = end


def plain(text: str) -> str:
    """`text` without what UTF-8 cannot hold (halves of surrogate pairs, which JSON allows)."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _scalar(value: object) -> Scalar:
    """A JSON value as a field; None (no field) for lists, objects and numbers that are not finite."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (bool, int, float)) else None


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _text_of(record: Mapping[str, Any], text_field: str) -> str | None:
    value = record.get(text_field)
    return value if isinstance(value, str) else None


def labels(path: Path) -> dict[str, dict[str, Scalar]]:
    """Fields of rows from a CSV: id -> {column: value}; the first of the columns id, file, filename names the row.

    Empty cells give no field; values stay text.  Raises ConfigError for a file that cannot be read, has no such column, or
    names a column as curate names a result.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=_DELIMITERS.get(path.suffix.lower(), ","))
            columns = list(reader.fieldnames or [])
            key = next((name for name in ID_COLUMNS if name in columns), None)
            if key is None:
                raise ConfigError(
                    f"{path}: a labels file needs a column {' or '.join(ID_COLUMNS)}; it has: {', '.join(columns)}"
                )
            _refuse_ours(path, columns, {key})
            return {
                row[key].removeprefix("./"): {k: v for k, v in row.items() if isinstance(k, str) and k != key and v}
                for row in reader
                if row[key]
            }
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise ConfigError(f"{path}: the labels cannot be read: {err}") from err


def _refuse_ours(path: Path, columns: list[str], but: set[str]) -> None:
    ours = [name for name in columns if field_kind(name) is not None and name not in but]
    if ours:
        raise ConfigError(f"{path}: column {ours[0]!r} has the name of a result that curate writes; rename the column")
