"""Keypoints of one image matched with those of several others in one product."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from curate.ops._views import Coded, Grey
from curate.ops._words import UNIT, Codes

_Places: TypeAlias = npt.NDArray[np.int64]

_ALIKE, _CLEARLY = 0.35 * UNIT**2, 0.72
"""Squared distance of the codes of two keypoints that may be one, and its largest share of that to the second nearest (SIFT's
ratio test: 0.85 of the distance)."""
_LEAST = 4
"""Keypoints without which an image is matched with none."""
_AT_ONCE = 2_048
"""Keypoints of the others in one product: with 256 of one image the distances fill 2 MB."""
_NOWHERE = 1e9
"""Squared distance to a place where the other has no keypoint: farther than any."""
_CONSISTENT, _MANY = 3, 48
"""Matches that must imply about the same similarity, and how many are not asked: those of strangers are fewer.  Of 3,230
alignments of copies by keypoints none is lost, of pairs of other photographs 8 to 12 in 100 are left."""
_OFF, _OFF_PX, _GROWN = 0.35, 6.0, 0.6
"""By how much what one match implies may be wrong about another: share of their distance, and pixels; share of the growth."""


def matches(a: Coded, others: Sequence[Coded]) -> list[tuple[Grey, Grey]]:
    """For each of the others the points of `a` and of the other that match, (k, 2) each; none where no three are consistent.

    They match where their codes are each other's nearest, and clearly nearer than the second.  Consistent: see `_consistent`.
    """
    none = np.zeros((0, 2), np.float32)
    found = [(none, none)] * len(others)
    if len(a.points) < _LEAST:
        return found
    ours = _squared(a.codes)
    left = [n for n, other in enumerate(others) if len(other.points) >= _LEAST]
    while left:
        width = max(len(others[n].points) for n in left)
        count = max(1, _AT_ONCE // width)
        part, left = left[:count], left[count:]
        row, place, column = _mutual(ours, [others[n].codes for n in part], width)
        cuts = np.searchsorted(place, np.arange(len(part) + 1))
        agreeing = _consistent(a, [others[n] for n in part], row, column, cuts)
        for n, start, stop in zip(part, cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            if agreeing[start:stop].any():
                found[n] = (a.points[row[start:stop]], others[n].points[column[start:stop]])
    return found


def _consistent(a: Coded, others: Sequence[Coded], row: _Places, column: _Places, cuts: _Places) -> npt.NDArray[np.bool_]:
    """Of each match, whether two more of the same two images agree by and large with the similarity that it implies.

    The directions and sizes of two keypoints that match imply all of a similarity (Lowe 2004, section 7.3), so that no draws of
    three are needed to see that the matches of strangers contradict each other.
    """
    sizes = np.diff(cuts)
    parts = [(others[n], slice(start, stop)) for n, (start, stop) in enumerate(itertools.pairwise(cuts.tolist()))]
    goal = np.concatenate([_complex(other.points[column[part]]) for other, part in parts])
    begin = _complex(a.points[row])
    growth = np.concatenate([other.arms[column[part]] for other, part in parts]) / a.arms[row]
    many = np.repeat(sizes > _MANY, sizes)
    # Every match with every one of the same image: `teller` implies where `told` goes.
    size = np.where(many, 0, np.repeat(sizes, sizes))
    teller = np.repeat(np.arange(len(row)), size)
    told = np.arange(len(teller)) + np.repeat(np.repeat(cuts[:-1], sizes) - (np.cumsum(size) - size), size)
    grow = growth[teller]
    way = grow * (begin[told] - begin[teller])
    agree = np.abs(goal[teller] + way - goal[told]) < _OFF * np.abs(way) + _OFF_PX
    agree &= np.abs(growth[told] - grow) < _GROWN * np.abs(grow)
    return np.asarray(many | (np.bincount(teller[agree], minlength=len(row)) >= _CONSISTENT), dtype=bool)


def _complex(points: Grey) -> npt.NDArray[np.complex64]:
    found: npt.NDArray[np.complex64] = np.ascontiguousarray(points).view(np.complex64)[:, 0]
    return found


def _squared(code: Codes) -> Grey:
    """(n, m + 2) rows whose product with (b, 1, |b|^2) is the squared distance to b."""
    count, wide = code.shape
    rows = np.empty((count, wide + 2), np.float32)
    plain = code.astype(np.float32)
    np.multiply(plain, -2, out=rows[:, :wide])
    np.einsum("nd,nd->n", plain, plain, out=rows[:, wide])
    rows[:, wide + 1] = 1
    return rows


def _distances(ours: Grey, codes: Sequence[Codes], width: int) -> Grey:
    """(n, k, width) squared distances of our codes to those of k others; `_NOWHERE` beyond the last of each."""
    count, wide = len(codes), ours.shape[1] - 2
    theirs = np.zeros((count, width, wide + 2), np.float32)
    for block, code in zip(theirs, codes, strict=True):
        block[: len(code), :wide] = code
    theirs[..., wide] = 1
    np.einsum("kpd,kpd->kp", theirs[..., :wide], theirs[..., :wide], out=theirs[..., wide + 1])
    for block, code in zip(theirs, codes, strict=True):
        block[len(code) :, wide + 1] = _NOWHERE
    return (ours @ theirs.reshape(count * width, wide + 2).T).reshape(len(ours), count, width)


def _mutual(ours: Grey, codes: Sequence[Codes], width: int) -> tuple[_Places, _Places, _Places]:
    """What matches: row of ours, number of the other, row of theirs; by other and row."""
    apart = _distances(ours, codes, width)
    first = apart.argmin(axis=2)
    begin = np.arange(len(codes)) * width
    least = apart.ravel().take(np.arange(len(ours))[:, None] * (len(codes) * width) + begin + first)
    # Most rows fail one of the cheap tests; the second best and the order of ties are looked up for the rest only.
    other, row = np.nonzero(((least < _ALIKE) & (least <= apart.min(axis=0).ravel().take(begin + first))).T)
    column = first[row, other]
    # Of rows that name one column and are equally near to it the first counts.
    place, number = begin[other] + column, np.arange(len(row))
    earliest = np.empty(len(codes) * width, np.int64)
    earliest[place[::-1]] = number[::-1]
    lone = earliest[place] == number
    row, other, column = row[lone], other[lone], column[lone]
    rest = apart[row, other]
    rest[np.arange(len(row)), column] = np.inf
    keep = least[row, other] < _CLEARLY * rest.min(axis=1)
    return row[keep], other[keep], column[keep]
