"""What the entropy coder of tc learns from a sample: steps, tables of chances, and what the symbols decode to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from curate.codecs._entropy import AN_OCTAVE, KINDS, NARROWEST, REACH, STEPS, SYMBOLS, Entropy, Ints, kind_of
from curate.codecs._rans import PRECISION, WHOLE
from curate.geometry import Array
from curate.types import Vectors

SHORTEST = 256
"""Shorter vectors keep whole bits: what every code says beside its symbols would eat the gain."""
ROUNDS = 4
FINEST, AN_OCTAVE_OF_STEPS = 2.0**-1.25, 32
"""Steps go from 0.42 to 6.5 times that of the mean rate, 32 an octave."""
LEAST = 0.1
"""Axes whose standard deviation is less than this share of a step stay 0 in all but a few rows, and are left out."""
PRIOR_ROWS, PRIOR_SYMBOLS, NEAR_STEPS = 30.0, 200.0, 3.0
"""How many rows, and symbols, what is expected counts for beside what is seen; how many steps off rows are alike."""


def learn_entropy(centred: Array, length: Array, variance: Array, axes: Array, width: int) -> Entropy | None:
    """From centred rows (n, d), their lengths, principal axes (d, d) and variances (d,); None where codes are too short.

    Chances depend on the standard deviation in steps alone, and that on the axis and the step: rows that take the same step are
    about as far from the centre.  Steps, chances and values are found in turn.
    """
    if len(variance) < SHORTEST:
        return None
    usual, usual_chance = _usual(length)
    middle = _middle_step(variance, 8 * width)
    some = np.flatnonzero(variance > (LEAST * middle) ** 2)
    steps = middle * FINEST * 2.0 ** (np.arange(STEPS) / AN_OCTAVE_OF_STEPS)
    along = np.ascontiguousarray((centred @ axes[:, some]).T, dtype=np.float32)
    flat = _chances(np.ones(STEPS))
    expected = _expected()
    values = np.tile(np.arange(-REACH, REACH + 1.0), (KINDS, 1)).astype(np.float32)
    kinds = kind_of(np.sqrt(variance[some]) / steps[:, None])
    held = np.ascontiguousarray(axes[:, some], dtype=np.float32)
    coder = Entropy(held, steps.astype(np.float32), kinds, _tables(expected), values, flat, usual, usual_chance)
    for _ in range(ROUNDS):
        coder = _round(coder, along, variance[some], expected, 8 * width)
    return coder if coder.holds_any(width) else None


def _round(coder: Entropy, along: Vectors, variance: Array, expected: Array, room: int) -> Entropy:
    head = np.zeros(along.shape[1], np.int64) + coder.usual_cost
    step = np.minimum(coder.fitting(np.ascontiguousarray(along.T), head, (room - 1) * 1024), STEPS - 1)
    counts, sums = np.zeros(KINDS * SYMBOLS), np.zeros(KINDS * SYMBOLS)
    for start in range(0, len(step), 1024):
        rows = slice(start, start + 1024)
        place, _, shift = (found.T for found in coder.quantise(np.ascontiguousarray(along[:, rows].T), step[rows]))
        counts += np.bincount(place.ravel(), minlength=len(counts))
        u = along[:, rows] / coder.steps[step[rows]]
        wide = slice(len(shift))
        # With low bits beside it a symbol decodes to itself.
        u[wide] = np.where(shift > 0, place[wide] % SYMBOLS - REACH, u[wide])
        sums += np.bincount(place.ravel(), weights=u.ravel(), minlength=len(sums))
    seen, total = counts.reshape(KINDS, SYMBOLS), sums.reshape(KINDS, SYMBOLS)
    # As likely below the centre as above it.
    seen, total = seen + seen[:, ::-1], total - total[:, ::-1]
    chances = (seen + PRIOR_SYMBOLS * expected) / (seen.sum(axis=1, keepdims=True) + PRIOR_SYMBOLS)
    symbols = np.arange(-REACH, REACH + 1.0)
    values = (total + 10 * symbols) / (seen + 10)
    return replace(
        coder,
        kinds=kind_of(np.sqrt(_variances(along, step, variance, coder.steps)) / coder.steps[:, None]),
        chances=_tables(chances),
        values=values.astype(np.float32),
        step_chances=_chances(np.asarray(np.bincount(step, minlength=STEPS) + 0.1, dtype=np.float64)),
    )


def _variances(along: Vectors, step: Ints, variance: Array, steps: Vectors) -> Array:
    """Variance along every axis of the rows that take a step, from those that take it or one nearby: (128, k)."""
    rows, energy = np.bincount(step, minlength=STEPS), np.zeros((STEPS, len(variance)))
    for taken in np.flatnonzero(rows):
        energy[taken] = np.square(along[:, step == taken].astype(np.float64)).sum(axis=1)
    apart = np.subtract.outer(np.arange(STEPS), np.arange(STEPS)) / NEAR_STEPS
    weight = np.exp(-0.5 * apart * apart)
    rows, energy = weight @ rows, weight @ energy
    enough = np.flatnonzero(rows >= min(5.0, rows.max()))
    share = energy[enough].sum(axis=1) / (rows[enough] * max(variance.sum(), 1e-300))
    # Where hardly anybody is, further out; but less so than the step is longer, so that zeros stay cheap on the longest.
    longer = steps.astype(np.float64)
    scale = np.interp(np.arange(STEPS), enough, share / longer[enough]) * longer
    return np.asarray((energy + PRIOR_ROWS * scale[:, None] * variance) / (rows[:, None] + PRIOR_ROWS))


def _middle_step(variance: Array, budget: int) -> float:
    """The step at which entropy coding takes about `budget` bits: 12 ** 0.5 of the water level's root, or so."""
    most = float(variance.max(initial=0.0))
    if most == 0:
        return 1.0
    low, high = most * 1e-9, most
    for _ in range(50):
        level = np.sqrt(low * high)
        bits = 0.5 * np.log2(np.maximum(variance / level, 1)).sum()
        low, high = (level, high) if bits > 0.9 * budget else (low, level)
    return float(np.sqrt(12 * level) * 0.85)


def _expected() -> Array:
    """Chances of symbols, by kind: of a normal distribution with heavier tails, cut where nothing is to be expected."""
    deviation = NARROWEST * 2.0 ** (np.arange(KINDS) / AN_OCTAVE)[:, None]
    ends = np.arange(-REACH, REACH + 2) - 0.5
    chances = 0.8 * np.diff(ndtr(ends / (0.85 * deviation))) + 0.2 * np.diff(ndtr(ends / (1.45 * deviation)))
    reach = np.minimum(np.ceil(8 * deviation) + 1, REACH)
    return np.where(np.abs(np.arange(-REACH, REACH + 1)) <= reach, np.maximum(chances, 1e-6), 0.0)


def _tables(chances: Array) -> npt.NDArray[np.uint16]:
    return np.stack([_chances(row) for row in chances])


def _chances(weight: Array) -> npt.NDArray[np.uint16]:
    """Whole numbers that add up to 2**14 as nearly as weights say, at least 1 where there is any: (s,) -> (s,) uint16."""
    some = weight > 0
    made = np.where(some, 1 + np.floor(weight / weight.sum() * (WHOLE - some.sum())), 0).astype(np.int64)
    made[made.argmax()] += WHOLE - made.sum()
    return made.astype(np.uint16)


def _usual(length: Array) -> tuple[Vectors, int]:
    """The median length, and the share of rows that have it in 2**-14: nearly all where a model makes unit vectors."""
    usual = np.array([np.median(length)], np.float32)
    share = np.mean(np.abs(length - float(usual[0])) <= 2.0 ** -(PRECISION + 3) * float(usual[0]))
    return usual, int(np.clip(np.rint(share * WHOLE), 4, WHOLE - 64))
