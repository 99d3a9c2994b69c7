"""True tags of labelled rows, from a field of the platform."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as default

from curate.errors import ConfigError
from curate.taxonomy import Facet, Taxonomy
from curate.types import Scalar

NONE = "none"
"""The label of a row that shows nothing of the taxonomy: every tag would be wrong."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labelled rows of one facet.  rows: their places.  truth: their tags, leaves or internal; -1 for `NONE`.

    field: where the labels come from.  outside: labels that are no tag -> how many rows.  why: for each of them, the reason.
    """

    field: str
    rows: Sequence[int]
    truth: Sequence[int]
    outside: Mapping[str, int] = default(default_factory=dict)
    why: Sequence[str] = ()


def read_labels(taxonomy: Taxonomy, facet: Facet, name: str, values: Sequence[Scalar], *, shared: bool = False) -> Labels:
    """The tags that the values of a field mean in one facet; labels of another facet are left out silently.

    values: one a row, None or "" where there is no label.  shared: the field serves several facets, so that a name that two of
    them have means none.  Raises ConfigError if there are labels and none is in the taxonomy.
    """
    rows, truth = [], []
    outside: Counter[str] = Counter()
    meant: dict[str, int | None] = {}
    others = [other for other in taxonomy.facets.values() if other is not facet]
    for i, value in enumerate(values):
        label = "" if value is None else str(value).strip()
        if not label:
            continue
        if label not in meant:
            found = facet.find(label)
            meant[label] = -1 if found is None and label.casefold() == NONE else found
        tag = meant[label]
        elsewhere = shared and any(other.find(label) is not None for other in others)
        if tag is not None and tag not in facet.trivial and not elsewhere:
            rows.append(i)
            truth.append(tag)
        elif tag is not None or not any(other.find(label) is not None for other in others):
            outside[label] += 1
    common = dict(sorted(outside.items(), key=lambda pair: (-pair[1], pair[0])))
    why = [_reason(taxonomy, facet, label) for label in list(common)[:5]]
    if outside and not rows and not any(meant.values()):
        raise ConfigError(f"no label of field {name!r} is in the taxonomy {taxonomy.source}: {'; '.join(why[:3])}")
    return Labels(name, rows, truth, common, why)


def _reason(taxonomy: Taxonomy, facet: Facet, label: str) -> str:
    if facet.find(label) in facet.trivial:
        return f"{label!r} is above every leaf and says nothing"
    return taxonomy.why_not(label)
