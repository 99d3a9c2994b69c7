"""`check_op`: the demands on an op."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from curate.errors import ConfigError
from curate.protocols import Context, CurationOp
from curate.testing._demand import demand, raising
from curate.types import EmbedderSpec, Embeddings, Findings, Pixels, Scalar, field_kind

ContextMaker = Callable[[Embeddings], Context]


def sample_embeddings(rows: int = 60, *, dim: int = 16, geometry: str = "cosine", seed: int = 0) -> Embeddings:
    """Vectors in five loose groups, with one exact copy and one near copy among them; ids in order."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(5, dim))
    vectors = (centres[np.arange(rows) % 5] + 0.3 * rng.normal(size=(rows, dim))).astype(np.float32)
    if rows >= 12:
        vectors[11] = vectors[1]
        vectors[7] = vectors[2] + np.float32(1e-3)
    spec = EmbedderSpec("contract-check", "1", "check", dim, geometry)
    return Embeddings([f"row-{n:04d}" for n in range(rows)], vectors, spec)


def make_context(
    embeddings: Embeddings,
    *,
    seed: int = 0,
    fields: Mapping[str, Mapping[str, Scalar]] | None = None,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
    previous: Mapping[str, Mapping[str, Scalar]] | None = None,
    pixels: Mapping[str, Pixels] | None = None,
    **others: Any,
) -> Context:
    """A context over plain mappings, aligned with `embeddings.ids` as the protocol says.

    fields, facts, previous: name -> {item id: value}.  pixels: item id -> uint8 (h, w, 3).  others: further attributes of
    Context.  Without facts every row gets a size, a byte count and a hash of its own (drawn from its id).
    """
    ids, made = list(embeddings.ids), _facts(embeddings.ids) if facts is None else facts

    def field(name: str) -> Sequence[Scalar]:
        if name not in (fields or {}):
            raise ConfigError(f"no row has a field {name!r}")
        return [(fields or {})[name].get(i) for i in ids]

    def fact(name: str) -> Sequence[Any]:
        if name not in made:
            raise ConfigError(f"unknown fact {name!r}")
        return [made[name].get(i) for i in ids]

    return Context(
        rng=np.random.default_rng(seed),
        field=field,
        fact=fact,
        previous=lambda name: [(previous or {}).get(name, {}).get(i) for i in ids],
        pixels=lambda item_id: (pixels or {}).get(item_id),
        **others,
    )


def _facts(ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {
        "width": {i: 100 + sum(i.encode()) % 50 for i in ids},
        "height": {i: 80 + sum(i.encode()) % 40 for i in ids},
        "size_bytes": {i: 10_000 + sum(i.encode()) for i in ids},
        "content_hash": {i: f"content-{i}" for i in ids},
        "pixel_hash": {i: f"pixels-{i}" for i in ids},
        "uri": {i: f"memory:{i}" for i in ids},
    }


def check_op(
    op: CurationOp,
    *,
    embeddings: Embeddings | None = None,
    context: ContextMaker | None = None,
    least: int = 0,
) -> None:
    """Holds an op to its protocol.

    embeddings: rows to judge; None makes 60 in cosine geometry.  context: builds a fresh context for given rows (fields, facts
    and all must follow their ids); None uses `make_context`.  least: how many rows the op needs.

    Demands:
    1. It has a `name`, and `owns` is a frozenset of field names.
    2. It returns Findings under its name whose values are of fields it owns, of rows it was given, scalar and finite, and of
       the field's kind (a text for `duplicate`, a number for `cluster`, ...).
    3. `evidence` and `summary` are JSON values without NaN.
    4. The same rows and seed give the same findings, also from a second instance of equal settings, and whatever the global
       random state, which it leaves alone.
    5. Neither values nor evidence depend on the order of the rows; lists of evidence may follow it.
    6. It changes neither the vectors nor its own settings.
    7. No rows give no values, and one row is judged; an op that needs more raises ConfigError for fewer than `least`.
    """
    rows = embeddings if embeddings is not None else sample_embeddings()
    make = context if context is not None else make_context
    demand(isinstance(op.name, str) and bool(op.name), "`name` is a non-empty text")
    owned = isinstance(op.owns, frozenset) and all(isinstance(name, str) and name for name in op.owns)
    demand(owned, "`owns` is a frozenset of field names")
    frozen = _frozen(rows)
    settings = repr(op)
    found = _judged(op, frozen, make)
    _check_findings(op, frozen, found)
    _check_repeats(op, frozen, make, found)
    _check_order(op, frozen, make, found)
    demand(repr(op) == settings, "an op does not change its own settings")
    for count in (0, 1):
        few = _taken(rows, range(count))
        if count < least:
            with raising(ConfigError, f"an op that needs {least} rows raises ConfigError for {count}"):
                _judged(op, few, make)
            continue
        judged = _judged(op, few, make)
        _check_findings(op, few, judged)
        demand(count > 0 or not any(judged.values.values()), "no rows give no values")


def _taken(rows: Embeddings, places: Sequence[int]) -> Embeddings:
    vectors = np.ascontiguousarray(rows.vectors[np.asarray(places, dtype=np.intp)])
    vectors.flags.writeable = False
    return Embeddings([rows.ids[n] for n in places], vectors, rows.spec)


def _frozen(rows: Embeddings) -> Embeddings:
    return _taken(rows, range(len(rows)))


def _judged(op: CurationOp, rows: Embeddings, make: ContextMaker) -> Findings:
    try:
        return op(rows, make(rows))
    except ValueError as err:
        if "read-only" in str(err):
            raise AssertionError("an op does not write into the vectors it is given") from err
        raise


def _check_findings(op: CurationOp, rows: Embeddings, found: Findings) -> None:
    demand(isinstance(found, Findings), "an op returns Findings")
    demand(found.op == op.name, f"the findings carry the op's name {op.name!r}, not {found.op!r}")
    strange = set(found.values) - op.owns
    demand(not strange, f"an op writes only fields it owns, not {', '.join(sorted(strange))}")
    known = set(rows.ids)
    for field, values in found.values.items():
        demand(set(values) <= known, f"the values of {field!r} are of rows that were given")
        for value in values.values():
            demand(_fits(field, value), f"{value!r} ({type(value).__name__}) is no value for the field {field!r}")
    for part in ("evidence", "summary"):
        try:
            json.dumps(getattr(found, part), allow_nan=False)
        except (TypeError, ValueError) as err:
            raise AssertionError(f"`{part}` holds plain JSON values without NaN: {err}") from err


def _fits(field: str, value: object) -> bool:
    if value is None:
        return True
    if type(value) not in (str, int, float, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return False
    kind = field_kind(field)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return kind is None or number == (kind == "number")


def _plain(found: Findings) -> dict[str, dict[str, Scalar]]:
    return {field: dict(values) for field, values in found.values.items() if values}


def _evidence(found: Findings) -> str:
    return json.dumps(found.evidence, sort_keys=True)


def _sorted(value: Any) -> str:
    """`value` as JSON with every list in a fixed order."""
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{json.dumps(str(k))}:{_sorted(v)}" for k, v in value.items())) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(sorted(map(_sorted, value))) + "]"
    return json.dumps(value)


def _check_repeats(op: CurationOp, rows: Embeddings, make: ContextMaker, found: Findings) -> None:
    # The global state is what must not matter: a drawn one for this judgement, and it must still be that one afterwards.
    kept: Any = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(1)  # noqa: NPY002
        before: Any = np.random.get_state()  # noqa: NPY002
        again = _judged(op, rows, make)
        after: Any = np.random.get_state()  # noqa: NPY002
    finally:
        np.random.set_state(kept)  # noqa: NPY002
    untouched = np.array_equal(before[1], after[1]) and before[2:] == after[2:]
    demand(untouched, "an op leaves the global random state alone")
    demand(_plain(again) == _plain(found), "the same rows and seed give the same values")
    demand(_evidence(again) == _evidence(found), "the same rows and seed give the same evidence")
    if hasattr(op, "__dataclass_fields__"):
        settings: Any = op
        twin: CurationOp = dataclasses.replace(settings)
        demand(_plain(_judged(twin, rows, make)) == _plain(found), "a second op of equal settings gives the same values")


def _check_order(op: CurationOp, rows: Embeddings, make: ContextMaker, found: Findings) -> None:
    for seed in (1, 2):
        order = np.random.default_rng(seed).permutation(len(rows)).tolist()
        other = _judged(op, _taken(rows, order), make)
        demand(_plain(other) == _plain(found), "the values do not depend on the order of the rows")
        demand(_sorted(other.evidence) == _sorted(found.evidence), "the evidence does not depend on the order of the rows")
