"""Quality gates for CI: numbers of a stored dataset against the limits of `[check]`; pure, no platform needed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from curate.errors import ConfigError, UnknownName
from curate.geometry import Geometry
from curate.types import Scalar, Vectors

DRIFT_SAMPLE = 2000


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate.  value and limit share a unit; passed is value <= limit (>= for `min_` gates); detail names the worst."""

    name: str
    value: float
    limit: float
    passed: bool
    unit: str = "share"
    detail: str = ""

    def line(self) -> str:
        """One line for people: value, limit, and what to look at when it failed."""
        shown, limit = (f"{v:.2%}" if self.unit == "share" else f"{v:g}" for v in (self.value, self.limit))
        sign = "at least" if self.name.startswith("min_") else "at most"
        detail = f": {self.detail}" if self.detail else ""
        return f"{'ok  ' if self.passed else 'FAIL'} {self.name}: {shown} ({sign} {limit}){detail}"


@dataclass(frozen=True, slots=True)
class Stored:
    """What the gates look at.

    rows: rows seen.  failed: rows without a vector.  copies: row id -> id of the kept row it copies, None when duplicates
    were never judged.  untagged, tagged: counts, None without tags.  fields: name -> {row id: value} of the platform.
    results: names of the ops that have results.  drift: computes the drift against the saved baseline.
    """

    rows: int
    failed: int
    copies: Mapping[str, str] | None = None
    tagged: int | None = None
    untagged: int | None = None
    fields: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    results: frozenset[str] = frozenset()
    drift: Callable[[], float] | None = None


def run_gates(limits: Mapping[str, Any], stored: Stored) -> list[Gate]:
    """The gates of a `[check]` table, in its order.

    Raises ConfigError for an empty table, a limit that is no number, or results that a gate needs and are not there (with
    the command that makes them); UnknownName for a gate that does not exist.
    """
    settings = {"split": str(limits.get("split", "split")), "label": str(limits.get("label", "label"))}
    names = [name for name in limits if name not in settings]
    if not names:
        raise ConfigError("no gates: add a [check] table to curate.toml, such as max_duplicate_rate = 0.05")
    found: list[Gate] = []
    for name in names:
        if name == "require":
            found += [_required(str(op), stored) for op in _listed(limits[name])]
        elif name not in _GATES:
            raise UnknownName("gate", name, [*_GATES, "require"])
        else:
            found.append(_GATES[name](name, _limit(name, limits[name]), stored, settings))
    return found


def drift(geometry: Geometry, before: Vectors, now: Vectors) -> float:
    """How far two sets of vectors differ in distribution: the energy coefficient, in [0, 1]; 0 for equal distributions.

    before, now: (n, d), (m, d).  (2 E|X-Y| - E|X-X'| - E|Y-Y'|) / (2 E|X-Y|) with the geometry's distance between prepared
    rows (Szekely & Rizzo 2013, "Energy statistics", section 4); U-statistics, so that a set against itself gives about 0.
    """

    def mean_within(x: Vectors) -> float:
        total = geometry.pairwise(x, x).astype(np.float64)
        np.fill_diagonal(total, 0)
        return float(total.sum() / max(len(x) * (len(x) - 1), 1))

    across = float(geometry.pairwise(before, now).mean(dtype=np.float64))
    if across <= 0:
        return 0.0
    return float(np.clip((2 * across - mean_within(before) - mean_within(now)) / (2 * across), 0, 1))


def _limit(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ConfigError(f"[check] {name} = {value!r}: a number of at least 0 is needed")
    if name.startswith("max_") and value > 1:
        raise ConfigError(f"[check] {name} = {value!r} would never fail: it is a share between 0 and 1 (5 % is 0.05)")
    return float(value)


def _listed(value: Any) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f'[check] require = {value!r}: a list of ops is needed, such as ["duplicates"]')
    return value


def _at_most(name: str, value: float, limit: float, detail: str = "") -> Gate:
    return Gate(name, value, limit, value <= limit, detail="" if value <= limit else detail)


def _copies(stored: Stored, name: str) -> Mapping[str, str]:
    if stored.copies is None:
        raise ConfigError(f"[check] {name} needs duplicates, which were not judged yet: run curate sync or curate duplicates")
    return stored.copies


def _field(stored: Stored, name: str, gate: str) -> Mapping[str, Scalar]:
    if name not in stored.fields or not stored.fields[name]:
        known = ", ".join(sorted(stored.fields)) or "none"
        raise ConfigError(f"[check] {gate} needs the field {name!r}, which no row has. Fields there are: {known}")
    return stored.fields[name]


def _duplicates(name: str, limit: float, stored: Stored, _settings: Mapping[str, str]) -> Gate:
    copies = _copies(stored, name)
    return _at_most(name, len(copies) / max(stored.rows, 1), limit, f"{len(copies):,} copies among {stored.rows:,} rows")


def _leakage(name: str, limit: float, stored: Stored, settings: Mapping[str, str]) -> Gate:
    """Fewest rows to take out so that no group reaches over two splits; which copy of a group is kept plays no part."""
    splits = _field(stored, settings["split"], name)
    groups: dict[str, list[str]] = defaultdict(list)
    for copy, kept in sorted(_copies(stored, name).items()):
        groups[kept].append(copy)
    leaked, first = 0, ""
    for kept, copies in sorted(groups.items()):
        members = [row for row in (kept, *copies) if splits.get(row) is not None]
        counts = Counter(splits[row] for row in members)
        leaked += len(members) - max(counts.values(), default=0)
        if len(counts) > 1 and not first:
            other = next(row for row in members if splits[row] != splits[members[0]])
            first = f", such as {other} ({splits[other]}) of {members[0]} ({splits[members[0]]})"
    return _at_most(name, leaked / max(stored.rows, 1), limit, f"{leaked:,} copies across splits{first}")


def _failed(name: str, limit: float, stored: Stored, _settings: Mapping[str, str]) -> Gate:
    return _at_most(
        name, stored.failed / max(stored.rows, 1), limit, f"{stored.failed:,} of {stored.rows:,} rows have no vector"
    )


def _classes(name: str, limit: float, stored: Stored, settings: Mapping[str, str]) -> Gate:
    counts = Counter(str(v) for v in _field(stored, settings["label"], name).values() if v is not None)
    rare, least = min(counts.items(), key=lambda pair: (pair[1], pair[0]))
    return Gate(
        name, least, limit, least >= limit, unit="rows", detail="" if least >= limit else f"class {rare!r} has {least:,}"
    )


def _untagged(name: str, limit: float, stored: Stored, _settings: Mapping[str, str]) -> Gate:
    if stored.untagged is None or stored.tagged is None:
        raise ConfigError(f"[check] {name} needs tags, which are not there yet: run curate tag --taxonomy FILE")
    total = stored.untagged + stored.tagged
    return _at_most(name, stored.untagged / max(total, 1), limit, f"{stored.untagged:,} of {total:,} rows are untagged")


def _drift(name: str, limit: float, stored: Stored, _settings: Mapping[str, str]) -> Gate:
    if stored.drift is None:
        raise ConfigError(f"[check] {name} needs a baseline: save one with curate baseline save")
    value = stored.drift()
    return Gate(name, round(value, 6), limit, value <= limit, unit="energy coefficient")


def _required(op: str, stored: Stored) -> Gate:
    there = op in stored.results
    return Gate(f"require_{op}", float(not there), 0.0, there, unit="missing", detail="" if there else f"no results of {op!r}")


_GATES: Mapping[str, Callable[[str, float, Stored, Mapping[str, str]], Gate]] = {
    "max_duplicate_rate": _duplicates,
    "max_leakage": _leakage,
    "max_failed_rate": _failed,
    "min_class_count": _classes,
    "max_untagged_rate": _untagged,
    "max_drift": _drift,
}
