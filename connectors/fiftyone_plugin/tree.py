"""The tags of a dataset as a tree with counts, and the samples of one tag with the least sure ones first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curate.store import Store
from curate.types import EmbedderSpec, Scalar, join_path, split_path

FACETS = "path"
SURE = 0.8
"""Below this probability of its deepest tag a sample counts as unsure."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A line of the tree.  path: "animal/dog".  count: samples at it or below.  unsure: of these, how many are not sure."""

    path: str
    name: str
    depth: int
    count: int
    unsure: int
    has_more: bool
    is_open: bool


def facets(values: Mapping[str, Mapping[str, Scalar]]) -> dict[str, str]:
    """Field of the paths -> field of their confidences, one pair a facet."""
    found = {}
    for name in sorted(values):
        if name == FACETS or (name.startswith("path_") and not name.startswith("path_confidence")):
            found[name] = name.replace(FACETS, "path_confidence", 1)
    return found


def tags(store: Store, dataset: str, spec: EmbedderSpec) -> dict[str, dict[str, Scalar]]:
    """Field -> {id: value} of the last tagging; {} where there was none."""
    return store.values(dataset, spec.fingerprint, "tag")


def branches(paths: Mapping[str, Scalar], confidence: Mapping[str, Scalar], opened: str = "") -> list[Branch]:
    """The visible lines: the top tags, and those below each tag on the way to `opened`; siblings by count."""
    count: Counter[str] = Counter()
    unsure: Counter[str] = Counter()
    for item, value in paths.items():
        if not value:
            continue
        doubtful = _number(confidence.get(item)) < SURE
        parts = split_path(str(value))
        for depth in range(1, len(parts) + 1):
            name = join_path(parts[:depth])
            count[name] += 1
            unsure[name] += doubtful
    below: dict[str, list[str]] = {}
    for name in count:
        below.setdefault(parent_of(name), []).append(name)
    lines: list[Branch] = []

    def add(names: Sequence[str]) -> None:
        for name in sorted(names, key=lambda n: (-count[n], n)):
            is_open = opened == name or opened.startswith(f"{name}/")
            more = below.get(name, [])
            steps = split_path(name)
            lines.append(Branch(name, steps[-1], len(steps) - 1, count[name], unsure[name], bool(more), is_open))
            if is_open:
                add(more)

    add(below.get("", []))
    return lines


def parent_of(path: str) -> str:
    """The path of the tag above; "" for one at the top."""
    return join_path(split_path(path)[:-1])


def unsure_first(paths: Mapping[str, Scalar], confidence: Mapping[str, Scalar], path: str) -> list[str]:
    """Ids of the samples at or below a tag, the least sure first; "" for all that have one."""
    inside = [i for i, v in paths.items() if v and (not path or v == path or str(v).startswith(f"{path}/"))]
    return sorted(inside, key=lambda i: (_number(confidence.get(i)), i))


def untagged(ids: Sequence[str], paths: Mapping[str, Scalar]) -> list[str]:
    """Ids that have no tag."""
    return [i for i in ids if not paths.get(i)]


def _number(value: Scalar) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
