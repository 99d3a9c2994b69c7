"""Child-parent pairs: CSV, TSV, and the WordNet-style is-a files that ImageNet comes with."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from curate.errors import ConfigError, UnknownName
from curate.taxonomy._model import Taxonomy
from curate.taxonomy._records import Record, build

COLUMNS = ("child", "parent", "name", "child_name", "parent_name", "synonyms", "templates", "facet")
_SYNSET = re.compile(r"[nvars]\d{8}")
_SYNSET_PAIR = re.compile(r"[nvars]\d{8}\s+[nvars]\d{8}")


def read_pairs(text: str, source: str, *, words: str = "") -> Taxonomy:
    """The taxonomy of rows `child,parent` (comma or tab), or of `PARENT CHILD` lines of WordNet ids.

    A header names more columns: name, synonyms and templates (separated by |), facet, child_name, parent_name.  Without one,
    the first column is the child.  Several rows of one child are its several parents.  An empty parent puts a tag at the top;
    once a file does so, every other parent must have a row of its own.  Lines that start with # are left out.
    """
    rows = _rows(text, source)
    if not rows:
        return build({}, source)
    if all(len(cells) == 1 and _SYNSET_PAIR.fullmatch(cells[0]) for _, cells in rows):
        rows = [(line, cells[0].split()[::-1]) for line, cells in rows]
    columns = _columns(rows[0], source)
    if columns is None:
        columns = ["child", "parent"]
    else:
        rows = rows[1:]
    known = _names_of(words)
    records: dict[str, Record] = {}
    parent_lines: dict[str, tuple[int, str]] = {}
    for line, cells in rows:
        _add_row(records, parent_lines, line, dict(zip(columns, cells, strict=False)), len(columns), len(cells), source, known)
    declared = any(not record.parents for record in records.values())
    if not declared:
        for key, (line, name) in parent_lines.items():
            if key not in records:
                records[key] = _record(key, name, line, known)
    facets = [record.facet for record in records.values() if record.facet]
    return build(records, source, facets=list(dict.fromkeys(facets)))


def _rows(text: str, source: str) -> list[tuple[int, list[str]]]:
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    reader = csv.reader(io.StringIO(text), delimiter="\t" if "\t" in first else ",", strict=True)
    rows = []
    try:
        for cells in reader:
            bare = [cell.strip() for cell in cells]
            if any(bare) and not bare[0].startswith("#"):
                rows.append((reader.line_num, bare))
    except csv.Error as err:
        raise ConfigError(f"{source}:{reader.line_num}: {err}") from err
    return rows


def _columns(row: tuple[int, list[str]], source: str) -> list[str] | None:
    line, cells = row
    low = [cell.lower() for cell in cells]
    if not ("child" in low and "parent" in low):
        return None
    for cell in low:
        if cell not in COLUMNS:
            raise UnknownName("column", cell, COLUMNS, f"({source}:{line})")
    return low


def _add_row(
    records: dict[str, Record],
    parent_lines: dict[str, tuple[int, str]],
    line: int,
    row: dict[str, str],
    expected: int,
    found: int,
    source: str,
    known: dict[str, list[str]],
) -> None:
    if found > expected or "parent" not in row:
        raise ConfigError(f"{source}:{line}: {found} columns where {expected} are expected (child and parent, comma or tab)")
    key, parent = row["child"], row["parent"]
    if not key:
        raise ConfigError(f"{source}:{line}: the child is empty")
    record = records.get(key)
    if record is None:
        record = records[key] = _record(key, row.get("name") or row.get("child_name") or "", line, known)
    elif not (parent and record.parents):
        raise ConfigError(f"{source}:{line}: {key!r} is already at line {record.line}, at the top and under a parent")
    if parent in record.parents:
        raise ConfigError(f"{source}:{line}: {key!r} under {parent!r} is already at line {record.parents[parent]}")
    if parent:
        record.parents[parent] = line
        parent_lines.setdefault(parent, (line, row.get("parent_name", "")))
    record.synonyms = tuple(dict.fromkeys([*record.synonyms, *_listed(row.get("synonyms", ""))]))
    record.templates = record.templates or tuple(_listed(row.get("templates", "")))
    facet = row.get("facet", "")
    if facet and record.facet and facet != record.facet:
        raise ConfigError(f"{source}:{line}: {key!r} is under two facets, {record.facet!r} (line {record.line}) and {facet!r}")
    record.facet = record.facet or facet


def _record(key: str, name: str, line: int, known: dict[str, list[str]]) -> Record:
    words = known.get(key) or ([part.strip() for part in name.split(",")] if _SYNSET.fullmatch(key) else [name])
    words = [word for word in words if word] or [key]
    return Record(key, words[0], line, synonyms=tuple(words[1:]))


def _names_of(words: str) -> dict[str, list[str]]:
    known = {}
    for line in words.splitlines():
        key, _, names = line.partition("\t")
        if names.strip():
            known[key.strip()] = [part.strip() for part in names.split(",")]
    return known


def _listed(cell: str) -> Sequence[str]:
    return [part.strip() for part in cell.split("|") if part.strip()]
