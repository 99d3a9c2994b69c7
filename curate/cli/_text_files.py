"""Small files that verbs take: true tags of rows (a CSV of ids and labels), and texts, one a line."""

from __future__ import annotations

import csv
from pathlib import Path

from curate.errors import ConfigError
from curate.types import Scalar


def read_labels_file(path: Path) -> dict[str, Scalar]:
    """`id,label` rows of a CSV, with or without that header: id -> label.  Raises ConfigError with the line."""
    found: dict[str, Scalar] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, row in enumerate(csv.reader(file), start=1):
                if not row or (line == 1 and [cell.strip().lower() for cell in row[:2]] == ["id", "label"]):
                    continue
                if len(row) != 2:
                    raise ConfigError(f"{path}:{line}: {len(row)} columns where two are expected: id,label")
                if row[0] in found:
                    raise ConfigError(f"{path}:{line}: {row[0]!r} is labelled twice")
                found[row[0]] = row[1].strip()
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise ConfigError(f"{path}: cannot be read: {err}") from err
    return found


def read_texts_file(path: Path) -> list[str]:
    """The different texts of a file, one a line, in order.  Raises ConfigError for none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: cannot be read: {err}") from err
    lines = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not lines:
        raise ConfigError(f"{path}: the file has no texts; write one a line")
    return lines
