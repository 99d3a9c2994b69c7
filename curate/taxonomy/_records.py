"""From the records of a file to facets: every rule that all formats share is checked here, with the line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from curate.errors import ConfigError
from curate.taxonomy._model import DEFAULT_FACET, TEMPLATES, Facet, Taxonomy


@dataclass(slots=True)
class Record:
    """One tag as a file names it.

    parents: key -> line where the edge stands, in the order written.  facet: "" to inherit it from above.
    """

    key: str
    name: str
    line: int
    parents: dict[str, int] = field(default_factory=dict)
    synonyms: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    facet: str = ""


def build(records: Mapping[str, Record], source: str, *, templates: Sequence[str] = (), facets: Sequence[str] = ()) -> Taxonomy:
    """The taxonomy of the records (key -> record).

    templates: for tags that have none of their own.  facets: every facet that the file names, also an empty one.
    Raises ConfigError, with the line, for an unknown parent, a cycle, a tag in two facets, a facet with fewer than two leaves.
    """
    if not records:
        raise ConfigError(f"{source}: the taxonomy is empty; it needs at least two tags to choose between")
    _check_parents(records, source)
    order = _parents_first(records, source)
    facet_of = _facet_of_each(records, order, source)
    names = list(dict.fromkeys([*facets, *sorted(set(facet_of.values()))]))
    for name in names:
        _check_facet_name(name, source)
    made = {name: _facet(name, [records[k] for k in order if facet_of[k] == name], templates, source) for name in names}
    return Taxonomy(made, source)


def _check_parents(records: Mapping[str, Record], source: str) -> None:
    for record in records.values():
        for form in record.templates:
            check_template(form, f"{source}:{record.line}")
        for parent, line in record.parents.items():
            if parent not in records:
                near = difflib.get_close_matches(parent, records, n=1, cutoff=0.6)
                raise ConfigError(
                    f"{source}:{line}: {record.key!r} has the unknown parent {parent!r}"
                    + (f"; did you mean {near[0]!r}?" if near else "")
                )


def check_template(form: str, where: str) -> None:
    """Raises ConfigError for a template without a place for the name."""
    if "{name}" not in form and "{}" not in form:
        raise ConfigError(f"{where}: template {form!r} has no {{name}} in it")


def _parents_first(records: Mapping[str, Record], source: str) -> list[str]:
    waiting = {key: len(record.parents) for key, record in records.items()}
    below: dict[str, list[str]] = {key: [] for key in records}
    for key, record in records.items():
        for parent in record.parents:
            below[parent].append(key)
    layer, order = sorted(key for key, count in waiting.items() if not count), []
    while layer:
        order += layer
        ready = []
        for key in layer:
            for child in below[key]:
                waiting[child] -= 1
                if not waiting[child]:
                    ready.append(child)
        layer = sorted(ready)
    if len(order) < len(records):
        raise ConfigError(_describe_cycle(records, set(order), source))
    return order


def _describe_cycle(records: Mapping[str, Record], fine: set[str], source: str) -> str:
    # Every tag left over has a parent that is left over too, so walking up must meet itself.
    walk = [min(key for key in records if key not in fine)]
    while True:
        above = next(parent for parent in records[walk[-1]].parents if parent not in fine)
        if above in walk:
            ring = [*walk[walk.index(above) :], above]
            break
        walk.append(above)
    lines = ", ".join(str(records[child].parents[parent]) for child, parent in pairwise(ring))
    return f"{source}: a cycle: {' is a kind of '.join(map(repr, ring))} (lines {lines}); take one of these edges out"


def _facet_of_each(records: Mapping[str, Record], order: Sequence[str], source: str) -> dict[str, str]:
    named = any(record.facet for record in records.values())
    found: dict[str, str] = {}
    for key in order:
        record = records[key]
        choices = {record.facet: record.line} if record.facet else {}
        for parent, line in record.parents.items():
            choices.setdefault(found[parent], line)
        if len(choices) > 1:
            (one, line_one), (other, line_other) = sorted(choices.items())[:2]
            raise ConfigError(
                f"{source}:{max(line_one, line_other)}: {key!r} is under two facets, {one!r} (line {line_one}) and {other!r} "
                f"(line {line_other}); facets are independent questions: use another key with the same name for one of them"
            )
        if not choices and named:
            raise ConfigError(f"{source}:{record.line}: {key!r} is in no facet, while other tags are")
        found[key] = next(iter(choices), DEFAULT_FACET)
    return found


def _check_facet_name(name: str, source: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) or name.startswith("confidence"):
        raise ConfigError(
            f"{source}: facet {name!r} cannot be the name of a field: use letters, digits, - and _ (and not 'confidence...')"
        )


def _facet(name: str, records: Sequence[Record], templates: Sequence[str], source: str) -> Facet:
    number = {record.key: v for v, record in enumerate(records)}
    facet = Facet(
        name=name,
        keys=tuple(number),
        names=tuple(record.name for record in records),
        parents=tuple(tuple(number[parent] for parent in record.parents) for record in records),
        synonyms=tuple(tuple(word for word in record.synonyms if word != record.name) for record in records),
        templates=tuple(tuple(record.templates or templates or TEMPLATES) for record in records),
        lines=tuple(record.line for record in records),
    )
    if len(facet.leaves) < 2:
        have = f"only {facet.names[facet.leaves[0]]!r}" if facet.leaves else "no tag"
        where = f"{source}:{facet.lines[0]}" if facet.lines else source
        what = "the taxonomy" if name == DEFAULT_FACET else f"facet {name!r}"
        raise ConfigError(f"{where}: {what} has {have} to choose; at least two leaves are needed")
    return facet
