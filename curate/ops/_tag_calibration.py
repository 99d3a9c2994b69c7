"""The two numbers that labelled rows decide: the temperature of the softmax, and the probability at which to stop."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from curate.ops._tree import Routes
from curate.taxonomy import Facet

Array: TypeAlias = npt.NDArray[np.float64]
Numbers: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]

TAUS = (0.999, 0.995, *(round(0.99 - 0.01 * k, 2) for k in range(95)))
"""The thresholds that are tested, from the most careful one down to 0.05."""

DEFAULT_TAU = 0.6
"""Where to stop without labelled rows."""

MIN_TEMPERATURE_ROWS = 10
MOST_TEMPERATURE_ROWS = 4000


def folds(ids: Sequence[str], truth: Sequence[int], count: int) -> Numbers:
    """A fold number for every labelled row: spread evenly over each tag, the same whatever the order of rows.  (n,)."""
    order = sorted(range(len(ids)), key=lambda i: hashlib.sha256(ids[i].encode()).digest())
    seen: dict[int, int] = {}
    # Tags start at different folds, so that rare tags do not all fall into the first one.
    found = np.zeros(len(ids), dtype=np.int64)
    for i in order:
        place = seen.get(truth[i], truth[i] % count)
        found[i] = place % count
        seen[truth[i]] = place + 1
    return found


def fit_temperature(facet: Facet, scores: Array, truth: Sequence[int], *, start: float, spread: float) -> float | None:
    """The scale of the scores under which the labels are most probable, drawn towards the model's own.

    scores: (leaves, rows).  truth: (rows,) tags, leaves or internal.  Minimises the sum of -log P(truth) plus a Gaussian prior
    on log(scale) at `start` with deviation `spread`, so that few rows move it little.  None with fewer than 10 usable rows.
    """
    columns = [facet.leaves_below(tag) if tag >= 0 else [] for tag in truth]
    usable = [i for i, some in enumerate(columns) if some and np.isfinite(scores[some, i]).any()][:MOST_TEMPERATURE_ROWS]
    if len(usable) < MIN_TEMPERATURE_ROWS:
        return None
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    here = scores[:, usable]
    single = np.array([k for k, i in enumerate(usable) if len(columns[i]) == 1], dtype=np.intp)
    leaf = np.array([columns[i][0] for i in usable if len(columns[i]) == 1], dtype=np.intp)
    together: dict[int, list[int]] = {}
    for k, i in enumerate(usable):
        if len(columns[i]) > 1:
            together.setdefault(truth[i], []).append(k)
    several = [(rows, here[np.ix_(facet.leaves_below(tag), rows)]) for tag, rows in together.items()]

    def loss(log_scale: float) -> float:
        scale = math.exp(log_scale)
        every = logsumexp(scale * here, axis=0)
        missed = float((every[single] - scale * here[leaf, single]).sum())
        missed += sum(float((every[rows] - logsumexp(scale * own, axis=0)).sum()) for rows, own in several)
        return missed + ((log_scale - math.log(start)) / spread) ** 2 / 2

    middle = math.log(start)
    best = minimize_scalar(loss, bounds=(middle - 8, middle + 8), method="bounded", options={"xatol": 1e-4})
    return float(math.exp(best.x))


def rows_needed(risk: float, delta: float) -> int:
    """How many labelled rows could show a risk at all, if none of them got a wrong tag: log(delta) / log(1 - risk)."""
    return math.ceil(math.log(delta) / math.log1p(-risk))


def upper_bound(wrong: int, rows: int, delta: float) -> float:
    """Clopper-Pearson: the share of wrong rows that is exceeded with probability at most `delta`."""
    if wrong >= rows:
        return 1.0
    from scipy.special import betaincinv

    return float(betaincinv(wrong + 1, rows - wrong, 1 - delta))


@dataclass(frozen=True, slots=True)
class Threshold:
    """A calibrated threshold.  tau: None where no threshold keeps the risk.  bound: what is shown of the risk at tau.

    rows: labelled rows it rests on.  wrong: how many of them get a wrong tag at tau.
    """

    tau: float | None
    bound: float
    rows: int
    wrong: int


def calibrate_threshold(facet: Facet, ways: Routes, truth: Sequence[int], *, risk: float, delta: float) -> Threshold:
    """The lowest threshold at which at most a share `risk` of images gets a wrong tag, with confidence 1 - delta.

    Fixed-sequence testing: from the most careful threshold down, until the Clopper-Pearson bound passes `risk`; no correction
    for the number of thresholds is due, because the order is fixed beforehand (Angelopoulos et al. 2021, arXiv 2110.01052).
    A row is wrong if its last tag is not an ancestor-or-self of its label; untagged rows count as rows, and are not wrong.
    """
    rows, best = len(truth), Threshold(None, 1.0, len(truth), 0)
    missed = wrong_steps(facet, ways, truth)
    for tau in TAUS:
        wrong = int(wrong_at(missed, ways.kept(tau)).sum())
        bound = upper_bound(wrong, rows, delta)
        if bound > risk:
            break
        best = Threshold(tau, bound, rows, wrong)
    return best


def wrong_steps(facet: Facet, ways: Routes, truth: Sequence[int]) -> Flags:
    """Whether each step of each way down would be a wrong last tag: (rows, steps).  A tag above every leaf is none."""
    steps = range(ways.tags.shape[1])
    missed = np.stack([wrong_rows(facet, ways.tags[:, step], truth) for step in steps], axis=1)
    return missed & ~np.isin(ways.tags, list(facet.trivial))


def wrong_at(missed: Flags, kept: npt.NDArray[np.intp]) -> Flags:
    """Whether rows are wrong that keep so many steps: (rows, steps), (rows,) -> (rows,)."""
    return (kept > 0) & missed[np.arange(len(kept)), np.maximum(kept - 1, 0)]


def wrong_rows(facet: Facet, ends: Sequence[int] | npt.NDArray[np.int32], truth: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Whether each row's last tag is neither its label nor above it; an untagged row (-1) is not wrong.  (rows,).

    truth: -1 for a row that shows nothing of the taxonomy, where any tag is wrong.
    """
    above = {tag: facet.ancestors(tag) if tag >= 0 else frozenset() for tag in set(truth)}
    return np.array([end >= 0 and int(end) not in above[tag] for end, tag in zip(ends, truth, strict=True)], dtype=bool)
