"""Choosing which rows to look at or label first, out of what is left after duplicates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from curate.errors import ConfigError, EmbedderError, UnknownName
from curate.geometry import Geometry
from curate.ops._choose import at_random, balanced, cluster_centres, facility_location, k_center, uncertain
from curate.ops._rows import Floats64, Mask, Ordered, Rows, copies_of, nearest, number_of, ordered, paired
from curate.protocols import Context
from curate.types import Embeddings, Findings, Scalar, Vectors

__all__ = [
    "METHODS",
    "Sample",
    "at_random",
    "balanced",
    "cluster_centres",
    "coverage",
    "facility_location",
    "k_center",
    "parse_budget",
    "uncertain",
]

METHODS: Mapping[str, str] = {
    "cluster": "one row of each of N clusters, nearest to the centre (the default; best on average below about 10 %)",
    "facility-location": "rows that lower the mean distance from every row to the nearest chosen one; steady, slower",
    "typicality": "one row of each of N clusters, from its densest part; for very small first samples",
    "k-center": "rare cases: always the row farthest from those chosen. It collects outliers, broken images among them",
    "random": "every row equally likely",
    "ordered": "ordered FIELD: smallest value first; -FIELD: largest first",
    "balanced": "balanced FIELD: as many rows of each value as can be",
    "uncertain": "uncertain FIELD: smallest confidence times farthest from those chosen; -FIELD where large means uncertain",
}
"""What `Sample.method` may be, with a line of help."""

BY_FIELD = ("ordered", "balanced", "uncertain")

LABELS = ("labeled", "labels", "label", "ground_truth")
"""The fields that say a row is labelled, for `given="labeled"`; any one that is there counts."""

MEASURED = 20_000
"""Coverage is measured on at most that many rows, drawn when there are more; `Findings.summary` says how many."""

DRAWS = 3
"""Random samples of the same size whose mean coverage stands beside the chosen one's."""


def parse_budget(budget: int | str, left: int) -> int:
    """How many rows "500", 500 or "10%" are, of `left` rows to choose from; at least 1, and not cut to `left`.

    Raises ConfigError for anything else: nothing, less than one row, more than 100 %.
    """
    text = str(budget).strip()
    try:
        if isinstance(budget, bool):
            raise ValueError
        share = float(text.removesuffix("%")) / 100 if text.endswith("%") else None
        count = int(text) if share is None else 0
    except ValueError as err:
        raise ConfigError(f"budget {budget!r} is not a number of rows or a percentage; say 500 or 10%") from err
    if share is None:
        if count < 1:
            raise ConfigError(f"budget {budget!r} is impossible; choose 1 row or more")
        return count
    if not 0 < share <= 1:
        raise ConfigError(f"budget {budget!r} is impossible; a percentage lies above 0 and up to 100")
    return max(1, int(share * left + 0.5))


def coverage(rows: Ordered, chosen: Rows, measured: Rows) -> tuple[float, float]:
    """Mean and largest distance from the rows `measured` to their nearest chosen row, in the embedder's distance."""
    if not len(chosen) or not len(measured):
        return float("nan"), float("nan")
    place, _ = nearest(rows.x[measured], rows.x[chosen], rows.geometry)
    exact = paired(rows.raw[measured], rows.raw[chosen], place, rows.geometry)
    return float(exact.mean()), float(exact.max())


@dataclass(frozen=True, slots=True)
class Sample:
    """A selection of rows, by `method`.

    method: a key of `METHODS`; those by field take it as "balanced split" or in `by`.  budget: rows, or "P%" of the rows
    that can be chosen.  called: the value that the field `sample` gets.  given: rows one has already ("labeled", "FIELD" or
    "FIELD=VALUE"): never chosen, and no more of what they have.  like: (m, d) vectors to sample toward: only the `reach` x
    budget rows nearest to one of them can be chosen.  steady: rows called so in the last run stay chosen.
    """

    method: str = "cluster"
    budget: int | str = "10%"
    called: str = "sample"
    by: str = ""
    given: str = ""
    like: Vectors | None = field(default=None, compare=False)
    reach: float = 5.0
    steady: bool = False
    name: str = "sample"

    def __post_init__(self) -> None:
        method, _, by = self.method.strip().partition(" ")
        if method not in METHODS:
            raise UnknownName("sampling method", method, METHODS)
        if by.strip() and self.by and by.strip() != self.by:
            raise ConfigError(f"sample: method {self.method!r} and by = {self.by!r} name two fields; give one")
        object.__setattr__(self, "method", method)
        object.__setattr__(self, "by", by.strip() or self.by)
        if method in BY_FIELD and not self.by:
            raise ConfigError(f'sample: method {method!r} needs a field: method = "{method} FIELD"')
        if method not in BY_FIELD and self.by:
            raise ConfigError(f"sample: method {method!r} takes no field; {self.by!r} would be ignored")
        if not self.called.strip():
            raise ConfigError("sample: the selection has an empty name; it is the value that chosen rows get")
        if not self.reach >= 1:
            raise ConfigError(f"sample: reach {self.reach!r} is impossible; 1 takes just the nearest rows, 5 leaves a choice")
        parse_budget(self.budget, 1)

    @property
    def owns(self) -> frozenset[str]:
        """It writes `sample`."""
        return frozenset({"sample"})

    def __call__(self, embeddings: Embeddings, context: Context) -> Findings:
        """Chooses rows; copies found by the duplicates op of this run, or of the last one, are left out."""
        rows = ordered(embeddings)
        copies, given = copies_of(rows, context), _given(rows, self.given, context)
        kept = self._steady(rows, context) & ~copies & ~given
        values = [_known(value) for value in rows.aligned(context.field(self.by.removeprefix("-")))] if self.by else []
        left = ~copies & ~given
        left &= np.asarray([value is not None for value in values], bool) if values else True
        asked = parse_budget(self.budget, int(left.sum()))
        pool, toward = self._pool(rows, left | kept, asked)
        chosen = np.flatnonzero(kept)[:asked]
        have = given | _mask(len(rows), chosen)
        more = self._choose(rows, pool & ~have, have & ~copies, asked - len(chosen), values, context.rng)
        chosen = np.concatenate([chosen, more]).astype(np.intp)
        summary: dict[str, Any] = {"name": self.called, "method": self._label(), "rows": len(chosen), "left": int(left.sum())}
        summary |= {"copies_left_out": int(copies.sum()), "given": int(given.sum())} | toward
        if len(chosen) < asked:
            summary |= {"asked": asked, "note": f"{asked} rows asked; {len(chosen)} could be chosen"}
        cover = _compare(rows, chosen, given, ~copies, pool, context.rng)
        ids = [rows.ids[i] for i in chosen]
        evidence = {"ids": ids, "method": self._label(), "unit": rows.geometry.unit_name, "coverage": cover}
        picked: dict[str, Scalar] = dict.fromkeys(ids, self.called)
        return Findings(self.name, {"sample": picked}, evidence, summary | {"coverage": cover})

    def _label(self) -> str:
        return f"{self.method} {self.by}".strip()

    def _steady(self, rows: Ordered, context: Context) -> Mask:
        before = rows.previous(context, "sample") if self.steady else [None] * len(rows)
        return np.asarray([value == self.called for value in before], bool)

    def _pool(self, rows: Ordered, left: Mask, asked: int) -> tuple[Mask, dict[str, Any]]:
        if self.like is None:
            return left, {}
        like = np.asarray(self.like, np.float32)
        if like.ndim != 2 or not len(like) or like.shape[1] != rows.raw.shape[1]:
            raise EmbedderError(f"like: vectors of {rows.raw.shape[1]} numbers are needed, got an array of shape {like.shape}")
        if not np.isfinite(like).all():
            raise EmbedderError("like: a vector is not finite")
        inside = np.flatnonzero(left)
        away = nearest(rows.x[inside], rows.geometry.prepare(like), rows.geometry)[1]
        close = np.argsort(away, kind="stable")[: int(np.ceil(self.reach * asked))]
        farthest = float(away[close].max()) if close.size else 0.0
        return _mask(len(rows), inside[close]), {"pool": int(close.size), "pool_farthest": round(farthest, 6)}

    def _choose(
        self, rows: Ordered, pool: Mask, have: Mask, k: int, values: Sequence[Scalar], rng: np.random.Generator
    ) -> Rows:
        inside = np.flatnonzero(pool | have)
        if not pool.any() or k < 1:
            return np.zeros(0, np.intp)
        x, given = rows.x[inside], have[inside] if have.any() else None
        some = [values[i] for i in inside.tolist()] if values else []
        return inside[_by_method(self.method, x, k, rows.geometry, rng, given=given, values=some, by=self.by)]


def _by_method(
    method: str,
    x: Vectors,
    k: int,
    geometry: Geometry,
    rng: np.random.Generator,
    *,
    given: Mask | None,
    values: Sequence[Scalar],
    by: str,
) -> Rows:
    if method == "random":
        return at_random(len(x), k, rng, given=given)
    if method == "ordered":
        return _in_order(values, k, given, down=by.startswith("-"))
    if method == "facility-location":
        return facility_location(x, k, geometry, given=given, rng=rng)
    if method == "k-center":
        return k_center(x, k, geometry, rng, given=given)
    if method == "balanced":
        return balanced(x, k, geometry, rng, values, given=given)
    if method == "uncertain":
        doubt = _numbers(values, by)
        return uncertain(x, k, geometry, rng, doubt if by.startswith("-") else -doubt, given=given)
    return cluster_centres(x, k, geometry, rng, given=given, typical=method == "typicality")


def _in_order(values: Sequence[Scalar], k: int, given: Mask | None, *, down: bool) -> Rows:
    rows = [i for i, value in enumerate(values) if value not in (None, "") and (given is None or not given[i])]
    numbers = {i: number_of(values[i]) for i in rows}
    numeric = all(number is not None and math.isfinite(number) for number in numbers.values())
    rows.sort(key=lambda i: (numbers[i] or 0.0) if numeric else str(values[i]), reverse=down)  # stable: ties by id
    return np.asarray(rows[:k], np.intp)


def _numbers(values: Sequence[Scalar], by: str) -> Floats64:
    numbers = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        if value in (None, ""):
            continue
        number = number_of(value)
        if number is None:
            raise ConfigError(f"sample: field {by.removeprefix('-')!r} holds {value!r}, which is not a number")
        numbers[row] = number
    return numbers


def _known(value: Scalar) -> Scalar:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _mask(n: int, rows: Rows) -> Mask:
    mask = np.zeros(n, bool)
    mask[rows] = True
    return mask


def _given(rows: Ordered, given: str, context: Context) -> Mask:
    if not given:
        return np.zeros(len(rows), bool)
    if given == "labeled":
        return labelled(rows, context)
    name, equals, wanted = given.partition("=")
    values = rows.aligned(context.field(name))
    return np.asarray([str(value) == wanted if equals else _says_yes(value) for value in values], bool)


def labelled(rows: Ordered, context: Context) -> Mask:
    """Which rows have a label: a value in one of `LABELS`.  Raises ConfigError when no row has any of those fields."""
    have, known = np.zeros(len(rows), bool), False
    for name in LABELS:
        try:
            values = rows.aligned(context.field(name))
        except ConfigError:
            continue
        known = known or bool(values)
        have |= np.asarray([_says_yes(value) for value in values], bool) if values else False
    if not known:
        raise ConfigError(f"given 'labeled': no row has one of the fields {', '.join(LABELS)}; name the field that says so")
    return have


def _says_yes(value: Scalar) -> bool:
    return value not in (None, False, "", 0)


def _compare(
    rows: Ordered, chosen: Rows, given: Mask, population: Mask, pool: Mask, rng: np.random.Generator
) -> dict[str, float | int | None]:
    every, have = np.flatnonzero(population), np.flatnonzero(given & population)
    measured = every if len(every) <= MEASURED else np.sort(rng.choice(every, MEASURED, replace=False))
    if not len(chosen):
        return {"mean": None, "max": None, "random_mean": None, "random_max": None, "measured_on": 0}
    mean, most = coverage(rows, np.concatenate([have, chosen]).astype(np.intp), measured)
    candidates = np.flatnonzero(pool)
    draws = [rng.permutation(candidates)[: len(chosen)] for _ in range(DRAWS)]
    beside = np.asarray([coverage(rows, np.concatenate([have, draw]).astype(np.intp), measured) for draw in draws]).mean(axis=0)
    found = {"mean": mean, "max": most, "random_mean": float(beside[0]), "random_max": float(beside[1])}
    return {**{name: round(value, 6) for name, value in found.items()}, "measured_on": len(measured)}
