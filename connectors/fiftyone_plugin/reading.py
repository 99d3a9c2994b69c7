"""What the panel shows, read from the store: plain values, no FiftyOne, no layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from curate.store import Store
from curate.types import EmbedderSpec

UNDOABLE = ("sync", "apply")
RUNS = 8


@dataclass(frozen=True, slots=True)
class Held:
    """What of a dataset a store holds.

    key: as the store files it.  keys: of all views of it that are there.  models: names of the stored vectors, newest last.
    """

    key: str
    keys: Sequence[str]
    models: Sequence[str]
    spec: EmbedderSpec | None


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run for people.  changes: values pushed.  undoable: it pushed, and was not undone."""

    id: str
    command: str
    state: str
    started: str
    changes: int
    undoable: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """The first page.  results: op -> the summary of its findings.  left: rows that have no vector yet and did not fail."""

    rows: int
    vectors: int
    failed: int
    left: int
    size_bytes: int
    codec: str
    results: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failures: Sequence[tuple[str, str]] = ()
    runs: Sequence[RunLine] = ()


def held(store: Store, name: str, *, key: str = "", model: str = "") -> Held | None:
    """What the store has of the dataset `name`; None when it has nothing.

    key: one of several views of it, "" for the whole dataset, or the only view there is.  model: a name, "" for the newest.
    """
    whole = f"fiftyone:{name}"
    keys = [k for k in store.datasets() if k == whole or k.startswith(f"{whole}/")]
    if not keys:
        return None
    chosen = key if key in keys else (whole if whole in keys else keys[0])
    specs = [s for s in store.specs(chosen) if s.rows or s.imported]
    models = list(dict.fromkeys(s.spec.name for s in specs))
    named = [s.spec for s in specs if s.spec.name == model] or [s.spec for s in specs]
    return Held(chosen, keys, models, named[-1] if named else None)


def overview(store: Store, found: Held) -> Overview:
    """Counts, sizes, results and the last runs."""
    runs = run_lines(store, found.key)
    rows = store.count(found.key)
    if found.spec is None:
        return Overview(rows, 0, 0, rows, 0, "", runs=runs)
    print_ = found.spec.fingerprint
    failures = store.failures(found.key, print_)
    called = names(store, found.key, [f.id for f in failures])
    stored = next(s for s in store.specs(found.key) if s.spec.fingerprint == print_)
    left = len(store.missing(found.key, found.spec))
    results = {op: summary for op, (_, summary) in store.summaries(found.key, print_).items()}
    return Overview(
        rows,
        stored.rows,
        len(failures),
        left,
        size_of(store.path),
        stored.codec,
        results,
        [(called[f.id], f"{f.reason} {f.detail}".strip()) for f in failures],
        runs,
    )


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def run_lines(store: Store, key: str) -> list[RunLine]:
    """The last runs, newest first."""
    lines = []
    for run in reversed(store.runs(key)[-RUNS:]):
        pushed = run.summary.get("pushed") if run.command == "sync" else run.summary
        changes = int((pushed or {}).get("accepted") or 0)
        undoable = run.command in UNDOABLE and run.state == "done" and changes > 0
        lines.append(RunLine(run.id, run.command, run.state, run.started, changes, undoable))
    return lines


def next_step(found: Held | None, seen: Overview | None) -> str:
    """What to do next, in a sentence; "" when everything is there."""
    if found is None or seen is None:
        return (
            "Nothing is stored for this dataset yet. Sync it: the images are embedded once, near duplicates are found, and the "
            "samples are grouped."
        )
    if found.spec is None:
        return "The rows are listed, but no vectors are there yet. Sync the dataset to compute them."
    if seen.left:
        return f"{seen.left:,} samples are new or changed since the last sync. Sync again: only they are embedded."
    if "duplicates" not in seen.results:
        return "Vectors are there. Find near duplicates next."
    if seen.failed:
        return f"{seen.failed:,} samples could not be read; they are listed below."
    if "sample" not in seen.results:
        return "Look through the duplicates, then choose a sample worth labeling."
    return ""


def failed_lines(failures: Sequence[tuple[str, str]], most: int = 5) -> list[str]:
    """The first failures, and how many more there are."""
    lines = [f"{item}: {why}" for item, why in failures[:most]]
    return [*lines, f"and {len(failures) - most:,} more"] if len(failures) > most else lines


def names(store: Store, key: str, ids: Collection[str]) -> dict[str, str]:
    """Id -> the name of its file, which people know; the id itself for rows that are gone."""
    found = {item.id: unquote(urlsplit(item.uri).path).rpartition("/")[2] for item in store.items(key, ids=set(ids))}
    return {i: shortened(found.get(i) or i) for i in ids}


def shortened(name: str, most: int = 30) -> str:
    """A long name with its middle left out: both ends tell files apart."""
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half:]}"


def class_fields(store: Store, key: str, most: int = 60) -> list[str]:
    """Fields whose values group the rows: texts, whole numbers or flags with 2 to `most` values."""
    named = []
    for name in store.field_names(key):
        if name.startswith(("curate", "duplicate", "sample", "path", "cluster")):
            continue
        values = list(store.fields(key, name).values())
        kinds = {type(v) for v in values}
        if kinds <= {str, int, bool} and 2 <= len(set(values)) <= most:
            named.append(name)
    return named


def counted(values: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Values with how often each is there, the most frequent first."""
    return sorted(Counter(str(v) for v in values.values() if v is not None).items(), key=lambda p: (-p[1], p[0]))
