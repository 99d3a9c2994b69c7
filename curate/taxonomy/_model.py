"""A taxonomy as read: facets, each a directed acyclic graph of tags, in an order where parents come before children."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from curate.types import join_path

DEFAULT_FACET = "path"
"""The name of the only facet of a taxonomy that names none."""

TEMPLATES = ("{name}", "a photo of a {name}.", "a photo of a {name}, a type of {parent}.")
"""The texts of a tag; `{parent}` forms are left out at the top, where there is no parent."""


@dataclass(frozen=True)
class Facet:
    """One independent question ("which object?") and its tags.  Tags are numbered; parents have smaller numbers.

    keys: unique names within the file.  names: what is shown; two tags may share one.  parents: (n,) tuples of numbers, the
    first one is the parent that paths run through; empty at the top.  synonyms, templates, lines: (n,), from the file.
    """

    name: str
    keys: tuple[str, ...]
    names: tuple[str, ...]
    parents: tuple[tuple[int, ...], ...]
    synonyms: tuple[tuple[str, ...], ...]
    templates: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...] = field(compare=False)

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The children of every tag, in the order of their keys."""
        below: list[list[int]] = [[] for _ in self.keys]
        for child, above in enumerate(self.parents):
            for parent in above:
                below[parent].append(child)
        return tuple(tuple(sorted(some, key=self.keys.__getitem__)) for some in below)

    @cached_property
    def tops(self) -> tuple[int, ...]:
        """The tags without a parent, in the order of their keys."""
        return tuple(sorted((v for v, above in enumerate(self.parents) if not above), key=self.keys.__getitem__))

    @cached_property
    def leaves(self) -> tuple[int, ...]:
        """The tags without children."""
        return tuple(v for v, below in enumerate(self.children) if not below)

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """The number of tags on the path of every tag, itself included: 1 at the top."""
        level = [0] * len(self)
        for v, above in enumerate(self.parents):
            level[v] = 1 + (level[above[0]] if above else 0)
        return tuple(level)

    @cached_property
    def _known_ancestors(self) -> dict[int, frozenset[int]]:
        return {}

    def ancestors(self, tag: int) -> frozenset[int]:
        """The tag itself and everything above it, along all parents."""
        known = self._known_ancestors
        if tag not in known:
            found, walk = {tag}, [tag]
            while walk:
                above = [parent for parent in self.parents[walk.pop()] if parent not in found]
                found.update(above)
                walk += above
            known[tag] = frozenset(found)
        return known[tag]

    @cached_property
    def leaf_bits(self) -> tuple[int, ...]:
        """The distinct leaves at or below every tag: bit k stands for `leaves[k]` (small even for 10,000 leaves)."""
        whole = [0] * len(self)
        for k, leaf in enumerate(self.leaves):
            whole[leaf] = 1 << k
        for v in range(len(self) - 1, -1, -1):
            for parent in self.parents[v]:
                whole[parent] |= whole[v]
        return tuple(whole)

    def leaves_below(self, tag: int) -> list[int]:
        """Places in `leaves` of the distinct leaves at or below a tag."""
        bits = bin(self.leaf_bits[tag])[:1:-1]
        return [k for k, bit in enumerate(bits) if bit == "1"]

    @cached_property
    def trivial(self) -> frozenset[int]:
        """Tags above every leaf: they hold for all images, so that naming them alone says nothing."""
        whole = (1 << len(self.leaves)) - 1
        return frozenset(v for v, bits in enumerate(self.leaf_bits) if bits == whole)

    def trail(self, tag: int) -> list[int]:
        """The tags from the top to `tag`, through first parents."""
        way = [tag]
        while self.parents[way[-1]]:
            way.append(self.parents[way[-1]][0])
        return way[::-1]

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The names as paths show them: where two tags with one parent share a name, the key follows in brackets."""
        alike = Counter((above[:1], name) for above, name in zip(self.parents, self.names, strict=True))
        return tuple(
            f"{name} ({key})" if alike[above[:1], name] > 1 and key != name else name
            for above, name, key in zip(self.parents, self.names, self.keys, strict=True)
        )

    def path(self, tag: int) -> str:
        """`animal/dog/beagle`; one tag has one path, also where it has several parents."""
        return join_path([self.shown[v] for v in self.trail(tag)])

    def texts(self, tag: int) -> list[str]:
        """The texts that describe a tag: its templates over its name and synonyms, without repetition."""
        parent = self.names[self.parents[tag][0]] if self.parents[tag] else None
        written = [
            form.replace("{name}", name).replace("{}", name).replace("{parent}", parent or "")
            for form in self.templates[tag]
            if parent is not None or "{parent}" not in form
            for name in (self.names[tag], *self.synonyms[tag])
        ]
        return list(dict.fromkeys(written or [self.names[tag]]))

    @cached_property
    def _lookup(self) -> Mapping[str, frozenset[int]]:
        found: dict[str, set[int]] = {}
        for v in range(len(self)):
            for word in (self.keys[v], self.names[v], self.path(v), *self.synonyms[v]):
                found.setdefault(word, set()).add(v)
                found.setdefault(word.casefold(), set()).add(v)
        return {word: frozenset(some) for word, some in found.items()}

    @cached_property
    def _by_key(self) -> Mapping[str, int]:
        return {key: v for v, key in enumerate(self.keys)}

    def find(self, label: str) -> int | None:
        """The tag that a label means: its key, full path, name or synonym, then the same without regard to case; else None.

        A name that several tags have means none of them: `meanings` lists them.
        """
        if label in self._by_key:
            return self._by_key[label]
        meant = self.meanings(label)
        return meant[0] if len(meant) == 1 else None

    def meanings(self, label: str) -> list[int]:
        """Every tag that a label may mean."""
        return sorted(self._lookup.get(label) or self._lookup.get(label.casefold()) or ())


@dataclass(frozen=True)
class Taxonomy:
    """The facets of one file.  source: its name, for messages."""

    facets: Mapping[str, Facet]
    source: str = ""

    @property
    def several(self) -> bool:
        """Whether there is more than one facet: results are then `path_<facet>`."""
        return len(self.facets) > 1

    def field(self, facet: str) -> str:
        """The field that the path of a facet is written to."""
        return f"path_{facet}" if self.several else "path"

    def confidence_field(self, facet: str) -> str:
        """The field that the confidence of a facet is written to."""
        return f"path_confidence_{facet}" if self.several else "path_confidence"

    @property
    def fingerprint(self) -> str:
        """16 hex digits over everything that decides a tag."""
        content = [[f.name, f.keys, f.names, f.parents, f.synonyms, f.templates] for f in self.facets.values()]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

    def find(self, label: str) -> tuple[str, int] | None:
        """The facet and tag that a label means; None for an unknown or ambiguous one."""
        found = [(name, tag) for name, facet in self.facets.items() if (tag := facet.find(label)) is not None]
        return found[0] if len(found) == 1 else None

    def why_not(self, label: str) -> str:
        """Why a label means no tag, with the nearest name or the paths to choose from."""
        paths = [f.path(v) for f in self.facets.values() for v in f.meanings(label)]
        if paths:
            return f"{label!r} is the name of several tags; write the path: {' or '.join(paths[:4])}"
        known = [name for f in self.facets.values() for name in f.names]
        near = difflib.get_close_matches(label, known, n=1, cutoff=0.6)
        return f"{label!r} is not in the taxonomy" + (f"; did you mean {near[0]!r}?" if near else "")
