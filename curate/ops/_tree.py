"""Probabilities over a taxonomy: from its leaves to every tag, and the way down from the top.

All arrays are tag-major, (tags, rows): one tag's probabilities of a block of rows lie together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from curate.geometry import GUARD
from curate.taxonomy import Facet

Array: TypeAlias = npt.NDArray[np.float64]
Numbers: TypeAlias = npt.NDArray[np.int32]
Flags: TypeAlias = npt.NDArray[np.bool_]

BLOCK_CELLS = 1 << 22
"""Tags times rows of one block: 32 MB of float64."""


def block_rows(facet: Facet) -> int:
    """How many rows are judged at once: depends on the taxonomy only, so that the result does not depend on the caller."""
    return max(16, min(8192, BLOCK_CELLS // len(facet)))


def softmax(scores: Array) -> Array:
    """exp(s) over its sum, along the first axis; leaves that cannot be predicted have -inf.  (leaves, rows), in place."""
    scores -= scores.max(axis=0)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=0)
    return scores


def tag_probabilities(facet: Facet, leaf_probabilities: Array) -> Array:
    """P(tag) = the sum over its distinct leaves, for every tag: (leaves, rows) -> (tags, rows).

    P(parent) >= P(child) holds exactly, also in floating point and where a tag has several parents: sums of non-negative
    numbers never fall, and a tag whose children share leaves is held at its largest child.
    """
    whole = np.empty((len(facet), leaf_probabilities.shape[1]))
    column = {leaf: k for k, leaf in enumerate(facet.leaves)}
    for v in range(len(facet) - 1, -1, -1):
        below = facet.children[v]
        if not below:
            whole[v] = leaf_probabilities[column[v]]
        elif v in facet.trivial:
            whole[v] = 1.0
        elif sum(facet.leaf_bits[child].bit_count() for child in below) == facet.leaf_bits[v].bit_count():
            np.copyto(whole[v], whole[below[0]])
            for child in below[1:]:
                whole[v] += whole[child]
        else:
            whole[v] = leaf_probabilities[facet.leaves_below(v)].sum(axis=0)
            np.maximum(whole[v], whole[list(below)].max(axis=0), out=whole[v])
    return np.minimum(whole, 1.0, out=whole)


def violations(facet: Facet, probabilities: Array) -> int:
    """How often a tag is more probable than one of its parents: (tags, rows) -> a count, which should be 0."""
    return sum(
        int(np.count_nonzero(probabilities[child] > probabilities[parent]))
        for child, above in enumerate(facet.parents)
        for parent in above
    )


@dataclass(frozen=True, slots=True)
class Routes:
    """The way down of every row, from the top to a leaf, always to the most probable child (ties: the first key).

    tags: (rows, steps) numbers, -1 after the leaf.  probabilities: (rows, steps), falling.  leads: (rows, steps), by how much
    the chosen child is more probable than the next one.
    """

    tags: Numbers
    probabilities: Array
    leads: Array

    def kept(self, tau: float) -> npt.NDArray[np.intp]:
        """How many steps have at least the probability tau: (rows,)."""
        return np.asarray(((self.probabilities >= tau) & (self.tags >= 0)).sum(axis=1))

    def ends(self, facet: Facet, tau: float) -> Numbers:
        """The last tag of every row that has at least the probability tau; -1 where no tag that says anything has."""
        kept = self.kept(tau)
        end = np.where(kept > 0, self.tags[np.arange(len(kept)), np.maximum(kept - 1, 0)], -1)
        trivial = np.fromiter(facet.trivial, dtype=np.int32, count=len(facet.trivial))
        return np.where(np.isin(end, trivial), np.int32(-1), end).astype(np.int32)

    def following(self, tau: float) -> tuple[Numbers, Array]:
        """The first step not taken, and its probability: -1 and 0 after a leaf.  (rows,), (rows,)."""
        steps = self.tags.shape[1]
        kept, row = self.kept(tau), np.arange(len(self.tags))
        at = np.minimum(kept, steps - 1)
        tag = np.where(kept < steps, self.tags[row, at], -1).astype(np.int32)
        return tag, np.where(tag >= 0, self.probabilities[row, at], 0.0)

    def borderline(self, tau: float) -> Flags:
        """Whether a step lies within the guard band of tau, or two children that pass are equally probable: (rows,)."""
        taken = self.probabilities >= tau
        near = (np.abs(self.probabilities - tau) < GUARD) & (self.tags >= 0)
        return np.asarray((near | (taken & (self.leads < GUARD))).any(axis=1))


def routes(facet: Facet, probabilities: Array) -> Routes:
    """The way down of every row: (tags, rows) -> `Routes`."""
    count, steps = probabilities.shape[1], _longest(facet)
    tags = np.full((count, steps), -1, dtype=np.int32)
    chosen = np.zeros((count, steps))
    leads = np.full((count, steps), np.inf)
    at = np.full(count, -1, dtype=np.int32)
    rows = np.arange(count)
    for step in range(steps if count else 0):
        if not rows.size:
            break
        order = np.argsort(at[rows], kind="stable")
        rows = rows[order]
        starts = np.flatnonzero(np.diff(at[rows], prepend=-2))
        for group in np.split(rows, starts[1:].tolist()):
            below = facet.children[at[group[0]]] if step else facet.tops
            if below:
                _descend(group, np.asarray(below, np.int32), probabilities, step, (tags, chosen, leads))
        rows = rows[tags[rows, step] >= 0]
        at[rows] = tags[rows, step]
    return Routes(tags, chosen, leads)


def _descend(
    rows: npt.NDArray[np.intp], below: Numbers, probabilities: Array, step: int, out: tuple[Numbers, Array, Array]
) -> None:
    tags, chosen, leads = out
    here = probabilities[below[:, None], rows[None, :]]
    best = here.argmax(axis=0)
    tags[rows, step] = below[best]
    chosen[rows, step] = here[best, np.arange(len(rows))]
    if len(below) > 1:
        top = np.partition(here, len(below) - 2, axis=0)[-2:]
        leads[rows, step] = top[1] - top[0]


def _longest(facet: Facet) -> int:
    length = [1] * len(facet)
    for v, above in enumerate(facet.parents):
        length[v] = 1 + max((length[parent] for parent in above), default=0)
    return max(length)
