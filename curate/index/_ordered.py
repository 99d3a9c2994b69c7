"""Rows put in an order in which near rows stand together, and the blocks of them in which a pair may be near.

A projection on m orthonormal axes, with the length of the rest, never makes a pair longer: a block of products of m columns
rules out most pairs at m/d of the price.  In sorted rows what it lets through is not sprinkled over all blocks but lies in the
few that hold one cluster, where all columns of those rows at once are cheaper than pair by pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from curate.geometry import norms, squares
from curate.index._products import ROUND, Blocks, Rows, product_bound
from curate.types import Vectors

HEADS = (16, 24, 32, 48, 64, 96, 128, 160, 192, 256)
_SAMPLE = 2_500
_ROUNDS = 4
_GATHER_COST = 20_000
"""What a pair that passes costs to look at alone, in columns of a product."""


class Plan(NamedTuple):
    """How the rows are filtered: axes (d, m), the order of rows, and the estimated cost in columns of a full product."""

    axes: Vectors
    order: Rows
    cost: float


def plan_for(x: Vectors, reach: float) -> Plan:
    """The cheapest number of principal axes for rows x (n, d), estimated on pairs of a fixed sample.

    Cost in columns a pair: those of the head; all of them for pairs of one cluster where those pass; a look at the pair alone
    for the rest.
    """
    rng = np.random.default_rng(0)
    many = np.sort(rng.choice(len(x), size=min(len(x), 10_000), replace=False))
    covariance = x[many].T @ x[many]
    axes = np.linalg.eigh(covariance.astype(np.float64))[1][:, ::-1].astype(np.float32)
    label = _clustered(x, rng)
    rows = np.sort(rng.choice(len(x), size=min(len(x), _SAMPLE), replace=False))
    same = label[rows][:, None] == label[rows][None, :]
    pairs, dim = len(rows) * (len(rows) - 1), x.shape[1]
    together = (np.count_nonzero(same) - len(rows)) / pairs
    best, best_cost = min(HEADS[-1], dim), float("inf")
    for head in HEADS:
        if head >= dim:
            break
        low = projected(x[rows], axes[:, :head])
        half = (squares(low) / 2).astype(np.float32)
        product = low @ low.T
        product -= half[:, None]
        product -= half
        passed = product >= np.float32(-(reach**2) / 2)
        alike = (np.count_nonzero(passed & same) - len(rows)) / pairs
        apart = np.count_nonzero(passed & ~same) / pairs
        cost = head + 12 + _GATHER_COST * apart + min(_GATHER_COST * alike, 2 * dim * together)
        if cost < best_cost:
            best, best_cost = head, cost
    return Plan(np.ascontiguousarray(axes[:, :best]), np.argsort(label, kind="stable"), best_cost)


def _clustered(x: Vectors, rng: np.random.Generator) -> Rows:
    """A rough cluster number of every row: a few rounds of k-means on a sample; any numbers at all would be right."""
    count = int(np.clip(len(x) // 400, 1, 256))
    sample = x[np.sort(rng.choice(len(x), size=min(len(x), 24 * count), replace=False))]
    centres = sample[rng.choice(len(sample), size=count, replace=False)].copy()
    for _ in range(_ROUNDS):
        mine = _nearest_centre(sample, centres)
        for number in range(count):
            members = mine == number
            if members.any():
                centres[number] = sample[members].mean(axis=0)
    return _nearest_centre(x, centres)


def _nearest_centre(x: Vectors, centres: Vectors) -> Rows:
    half = (squares(centres) / 2).astype(np.float32)
    found = np.empty(len(x), dtype=np.int64)
    for start in range(0, len(x), 8_192):
        found[start : start + 8_192] = (x[start : start + 8_192] @ centres.T - half).argmax(axis=1)
    return found


def projected(x: Vectors, axes: Vectors) -> Vectors:
    """(n, m + 1): coordinates on the axes, and the length of the rest.

    |a - b|^2 >= |head a - head b|^2 + (|rest a| - |rest b|)^2 for orthonormal axes, so that no pair within reach is lost.
    """
    found = np.empty((len(x), axes.shape[1] + 1), dtype=np.float32)
    found[:, :-1] = x @ axes
    # The axes are orthonormal to about 1e-7 only: shrink, so that the projection can only bring rows nearer.
    found[:, -1] = np.sqrt(np.maximum(squares(x) - squares(found[:, :-1]), 0))
    found *= np.float32(1 - 4e-6)
    return found


def ordered_candidates(x: Vectors, plan: Plan, reach: float) -> Iterator[tuple[Rows, Rows]]:
    """Rows of pairs that may lie within reach, i < j not kept: every such pair is among them.

    The head's blocks first; where many pairs of a block pass, all columns of those rows in one product, else all pairs as they
    are (the caller decides by all columns).
    """
    order = plan.order
    whole = x[order]
    half = (squares(whole) / 2).astype(np.float32)
    # The sums behind each coordinate are rounded: as much as a product of whole rows can be.
    rounding = 2 * x.shape[1] * ROUND * float(norms(whole).max(initial=0.0))
    head = Blocks(projected(x, plan.axes)[order], reach + rounding)
    bound = product_bound(x.shape[1], 2 * float(half.max(initial=0.0)))
    cut = np.float32(-(reach**2) / 2 - bound)
    for rows, columns, passed in head:
        count = int(np.count_nonzero(passed))
        if count * _GATHER_COST <= len(rows) * len(columns) * x.shape[1]:
            inner, other = np.nonzero(passed)
        else:
            product = whole[rows] @ whole[columns].T
            product -= half[rows][:, None]
            product -= half[columns]
            inner, other = np.nonzero((product >= cut) & passed)
        i, j = rows[inner], columns[other]
        upper = i < j
        if upper.any():
            yield order[i[upper]], order[j[upper]]
