"""The decision by pixels: candidates from descriptions of the images, then each pair laid over each other."""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from curate.geometry import EUCLIDEAN, Array, Geometry
from curate.index import nearest
from curate.ops._aligned import COLUMNS, Way, compare_all
from curate.ops._groups import Rows
from curate.ops._memory import Remembered, packed, rounded, unpacked
from curate.ops._signature import mirrored_picture, signatures, small_picture, small_picture_length
from curate.ops._small import LARGEST, SMALL_COLUMNS, SmallImages, kept_pairs
from curate.ops._verify_model import shipped_model
from curate.ops._views import Grey, View, view_of
from curate.ops._words import shipped_words
from curate.types import Pixels, Vectors

T = TypeVar("T")
R = TypeVar("R")
Read: TypeAlias = Callable[[str], Pixels | None]
Progress: TypeAlias = Callable[[str, int, int], None]

PAIR_COLUMNS = (*COLUMNS, "signature", "picture")
"""Names of the features that decide a large pair: of the two laid over each other, and how alike their descriptions are."""

LEAST_SMALL = 0.66
"""Small images that correlate less than this wherever they are laid are no copies."""

KIN = 0.34
"""Likeness of keypoint signatures that hardly a candidate pair of strangers reaches (0.3: 1 to 16 in 1,000), and half of the
copies of textures and tables that the keypoints at hand cannot lay over each other."""

HELD = 20_000
"""Views held at once, about 65 KB each: 1.3 GB."""

WORKING = 256
"""Of those, how many keep what they have worked out: 330 MB."""

_AHEAD = 64
_BLOCK = 31 << 20
"""Bytes, little below the largest block that changes what the allocator keeps."""
_RUN = 32
"""Others that a thread compares one image with at a time: fewer steps, at each of which threads wait for the interpreter."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs worth looking at, i < j, sorted.  straight, turned: as they are; one as the mirror image of the other; or both."""

    i: Rows
    j: Rows
    straight: npt.NDArray[np.bool_]
    turned: npt.NDArray[np.bool_]

    def of(self, rows: Any) -> Candidates:
        """Some of the pairs."""
        return Candidates(self.i[rows], self.j[rows], self.straight[rows], self.turned[rows])


@dataclass(frozen=True, slots=True)
class Judged:
    """Pairs that were laid over each other: probability and mirrored, each (m,), and columns of evidence."""

    probability: Array
    mirrored: npt.NDArray[np.bool_]
    evidence: dict[str, Array]


@dataclass(frozen=True)
class Images:
    """Images described for comparison.

    has: (n,) which rows have pixels.  tiny: all of them ready to be laid over each other, where all are 64 px or less.
    views: row -> what is held of a larger image; make: works one out.
    pictures, signed, signed_mirrored: (n, ...) descriptions, zeros where there are no pixels.
    """

    has: npt.NDArray[np.bool_]
    tiny: SmallImages | None
    views: dict[int, View]
    make: Callable[[int], View]
    pictures: Grey
    signed: Grey
    signed_mirrored: Grey

    def view(self, row: int) -> View:
        """The view of a row that has pixels; at most HELD are held."""
        found = self.views.get(row)
        if found is None:
            found = self.make(row)
            if len(self.views) < HELD:
                self.views[row] = found
        return found

    def likeness(self, i: Rows, j: Rows, mirrored: npt.NDArray[np.bool_]) -> Grey:
        """(m, 2) products of keypoint signatures and of small pictures, each in [-1, 1]; `j` mirrored where that is so."""
        found = np.empty((len(i), 2), np.float32)
        for at in range(0, len(i), 8_192):
            a, b, turned = i[at : at + 8_192], j[at : at + 8_192], mirrored[at : at + 8_192, None]
            signed = np.where(turned, self.signed_mirrored[b], self.signed[b])
            pictures = np.where(turned, mirrored_picture(self.pictures[b]), self.pictures[b])
            found[at : at + 8_192, 0] = np.einsum("nd,nd->n", self.signed[a], signed)
            found[at : at + 8_192, 1] = np.einsum("nd,nd->n", self.pictures[a], pictures)
        return found

    def kin(self, i: Rows, j: Rows) -> npt.NDArray[np.bool_]:
        """(m,) whether the keypoint signatures of two images are as alike as those of few strangers, straight or mirrored."""
        straight = np.zeros(len(i), dtype=bool)
        return np.maximum(self.likeness(i, j, straight)[:, 0], self.likeness(i, j, ~straight)[:, 0]) >= KIN


def threaded(work: Callable[[T], R], tasks: Sequence[T], tick: Callable[[int], None] = lambda _n: None) -> Iterator[R]:
    """`work` over `tasks` on the cores there are (OpenCV lets go of the interpreter), results in order, bounded ahead.

    Each thread calls products of its own: BLAS with threads of its own under them would take several times as long.
    """
    import cv2
    from threadpoolctl import threadpool_limits

    # Linux's allocator gives back what lies free beyond twice the largest block that was ever let go; what every image needs
    # again would be faulted in again for each, a seventh of the time.  To let go of a block nobody wrote to takes no memory.
    np.empty(_BLOCK, np.uint8)
    threads = max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
            ahead = deque(pool.submit(work, task) for task in tasks[:_AHEAD])
            try:
                for done in range(1, len(tasks) + 1):
                    result = ahead.popleft().result()
                    ahead.extend(pool.submit(work, task) for task in tasks[done + _AHEAD - 1 : done + _AHEAD])
                    yield result
                    if done % _AHEAD == 0 or done == len(tasks):
                        tick(done)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
    finally:
        cv2.setNumThreads(before)


def describe_images(
    ids: Sequence[str],
    keys: Sequence[str],
    read: Read,
    memory: Remembered,
    progress: Progress = lambda *_: None,
) -> Images:
    """Describes every image, from memory where its content was seen before.

    ids, keys: (n,) rows and their content ("" = not remembered).  read: id -> pixels or None, from any thread.
    """
    words = shipped_words()
    lengths = (small_picture_length(), words.length, words.length)
    first = [p for p in (read(i) for i in ids[:64]) if p is not None]
    tiny = bool(first) and max(max(p.shape[:2]) for p in first) <= LARGEST

    def one(row: int) -> _Described:
        return _described(ids[row], keys[row], read, memory, lengths, tiny)

    found = list(threaded(one, range(len(ids)), lambda done: progress("reading images", done, len(ids))))
    if tiny and any(f.large for f in found):
        # Some are larger than a thumbnail after all: then all are laid over each other by their keypoints.
        tiny = False
        found = list(threaded(one, range(len(ids))))
    for key, f in zip(keys, found, strict=True):
        if f.packed and key:
            memory.put(key, f.packed)
    memory.flush()
    blank = np.zeros((8, 8, 3), np.uint8)
    return Images(
        has=np.array([f.has for f in found], dtype=bool),
        tiny=SmallImages([blank if f.pixels is None else f.pixels for f in found]) if tiny else None,
        views={row: f.view for row, f in enumerate(found) if f.view is not None},
        make=lambda row: _view(ids[row], read),
        pictures=_stacked([f.rows[0] for f in found], lengths[0]),
        signed=_stacked([f.rows[1] for f in found], lengths[1] if not tiny else 0),
        signed_mirrored=_stacked([f.rows[2] for f in found], lengths[2] if not tiny else 0),
    )


class _Described(NamedTuple):
    has: bool
    large: bool
    pixels: Pixels | None
    view: View | None
    rows: list[Grey]
    packed: str


def _described(item: str, key: str, read: Read, memory: Remembered, lengths: tuple[int, int, int], tiny: bool) -> _Described:
    none = np.zeros(0, np.float32)
    known = memory.get(key) if key and not tiny else None
    if known:
        return _Described(True, False, None, None, unpacked(known, lengths), "")
    pixels = read(item)
    if pixels is None:
        return _Described(False, False, None, None, [none, none, none], "")
    if tiny:
        return _Described(True, max(pixels.shape[:2]) > LARGEST, pixels, None, [small_picture(pixels), none, none], "")
    view = view_of(pixels, lambda: _read_again(item, read))
    # Rounded as they are kept, so that a run from memory proposes the same pairs.
    rows = [small_picture(pixels), *signatures(view, shipped_words())]
    return _Described(True, True, None, view.fresh(), rounded(rows), packed(rows) if key else "")


def _stacked(rows: Sequence[Grey], length: int) -> Grey:
    found = np.zeros((len(rows), length), np.float32)
    for place, row in enumerate(rows):
        if len(row) == length:
            found[place] = row
    return found


def _view(item: str, read: Read) -> View:
    return view_of(_read_again(item, read), lambda: _read_again(item, read)).fresh()


def _read_again(item: str, read: Read) -> Pixels:
    pixels = read(item)
    return np.zeros((8, 8, 3), np.uint8) if pixels is None else pixels


def propose(
    x: Vectors, geometry: Geometry, images: Images, *, only: Callable[[Rows, Rows], npt.NDArray[np.bool_]] | None = None
) -> Candidates:
    """Candidates: neighbours in the embedding, by keypoint signature, by small picture, and of the mirror images.

    only: (i, j) -> mask of the pairs that may be copies at all (leakage between splits).
    """
    n = len(x)
    small = images.tiny is not None
    lists: list[tuple[Rows, bool]] = []
    if n > 1:
        # Of 1,200 copies of photographs none is missed by six neighbours in place of eight; `_closing` sees to large groups.
        lists.append((nearest(x, x, 9 if small else 7, geometry)[0], False))
        pictures = images.pictures
        lists.append((_near(pictures, pictures, 9 if small else 6, 0.5), False))
        lists.append((_near(pictures, mirrored_picture(pictures), 5 if small else 4, 0.5), True))
        if not small:
            lists.append((_near(images.signed, images.signed, 7, 0.08), False))
            lists.append((_near(images.signed, images.signed_mirrored, 4, 0.08), True))
    keys: list[Rows] = []
    flags: list[npt.NDArray[np.bool_]] = []
    for near, turned in lists:
        i = np.repeat(np.arange(n), near.shape[1])
        j = near.ravel()
        use = (i != j) & (j >= 0)
        use[use] &= images.has[i[use]] & images.has[j[use]]
        keys.append(np.minimum(i, j)[use] * n + np.maximum(i, j)[use])
        flags.append(np.full(len(keys[-1]), turned))
    if not keys:
        none = np.zeros(0, dtype=np.int64)
        return Candidates(none, none, none.astype(bool), none.astype(bool))
    key, place = np.unique(np.concatenate(keys), return_inverse=True)
    mirrors = np.concatenate(flags)
    ways = np.zeros((2, len(key)), dtype=bool)
    ways[0, place[~mirrors]] = True
    ways[1, place[mirrors]] = True
    i, j = np.divmod(key, n)
    found = Candidates(i, j, ways[0], ways[1])
    return found if only is None else found.of(only(i, j))


def _near(rows: Grey, queries: Grey, k: int, least: float) -> Rows:
    """The k nearest rows of unit length whose product is at least `least`; -1 elsewhere."""
    found, distance = nearest(rows, queries, k, EUCLIDEAN)
    found[distance > float(np.sqrt(2 - 2 * least))] = -1
    return found


def judge_pairs(images: Images, pairs: Candidates, progress: Progress = lambda *_: None) -> Judged:
    """Lays every pair over each other."""
    if images.tiny is not None:
        return _judge_small(images.tiny, pairs)
    working, kin = _Working(images), images.kin(pairs.i, pairs.j)

    def look(run: slice) -> list[tuple[Grey | None, bool]]:
        # The first image of a run is the same throughout.
        ways = [Way(*map(bool, way)) for way in zip(pairs.straight[run], pairs.turned[run], kin[run], strict=True)]
        return compare_all(working.view(int(pairs.i[run.start])), [working.view(int(j)) for j in pairs.j[run]], ways)

    runs = _runs(pairs.i)

    def tick(done: int) -> None:
        progress("comparing pairs", runs[done - 1].stop, len(pairs.i))

    rows = np.full((len(pairs.i), len(COLUMNS)), np.nan, dtype=np.float32)
    mirrored = np.zeros(len(pairs.i), dtype=bool)
    compared = threaded(look, runs, tick)
    for pair, (row, turned) in enumerate(itertools.chain.from_iterable(compared)):
        mirrored[pair] = turned
        if row is not None:
            rows[pair] = row
    shown = {"correlation": "zncc", "not_shared": "mutual", "worst_block": "block_worst", "overlap": "overlap"}
    evidence = {name: rows[:, COLUMNS.index(column)].astype(np.float64) for name, column in shown.items()}
    rows = np.concatenate([rows, images.likeness(pairs.i, pairs.j, mirrored)], axis=1)
    return Judged(shipped_model("large").probability(rows), mirrored, evidence)


def _runs(i: Rows) -> list[slice]:
    """Places of equal `i`, at most `_RUN` each."""
    bounds = itertools.pairwise([*np.flatnonzero(np.diff(i, prepend=-1)).tolist(), len(i)])
    return [slice(at, min(at + _RUN, stop)) for start, stop in bounds for at in range(start, stop, _RUN)]


class _Working:
    """Views of the last images looked at, with all they have read and worked out; for several threads.

    One that was laid over another closely takes 1.3 MB.

    Pairs are sorted by their first image, and the second one of a run is often that of the next.
    """

    def __init__(self, images: Images) -> None:
        self._images = images
        self._held: OrderedDict[int, View] = OrderedDict()
        self._lock = Lock()

    def view(self, row: int) -> View:
        with self._lock:
            found = self._held.get(row)
            if found is not None:
                self._held.move_to_end(row)
                return found
        made = self._images.view(row).fresh()
        with self._lock:
            found = self._held.setdefault(row, made)
            while len(self._held) > WORKING:
                self._held.popitem(last=False)
        return found


def _judge_small(images: SmallImages, pairs: Candidates) -> Judged:
    count = len(pairs.i)
    probability, mirrored = np.zeros(count), np.zeros(count, dtype=bool)
    evidence = {name: np.full(count, np.nan) for name in ("correlation", "gradient", "worst_block")}
    i, j, rows, laid = kept_pairs(images, pairs.i, pairs.j, least=LEAST_SMALL)
    at = np.searchsorted(pairs.i * len(images.grey) + pairs.j, i * len(images.grey) + j)
    probability[at] = shipped_model("small").probability(rows)
    mirrored[at] = laid.mirrored
    for name, column in (("correlation", "zncc"), ("gradient", "gradient"), ("worst_block", "block_worst")):
        evidence[name][at] = rows[:, SMALL_COLUMNS.index(column)]
    return Judged(probability, mirrored, evidence)


def cut_for(probability: Array, precision: float) -> float:
    """The lowest cut at which the pairs above it are expected to be right with the asked precision, never below a half.

    Expected: the mean of their probabilities, which are calibrated.
    """
    falling = np.sort(probability[probability >= 0.5])[::-1]
    if not falling.size:
        return 0.5
    expected = np.cumsum(falling) / np.arange(1, len(falling) + 1)
    enough = np.flatnonzero(expected >= precision)
    return float(falling[enough[-1]]) if enough.size else float(min(1.0, falling[0] + 1e-3))


USUAL_SHARE = 0.75
"""Share of copies among the training pairs above DOUBT, at which the shipped probabilities are right."""

DOUBT = 0.02


MOST_COPIES = 0.99
"""Largest share that is believed: even where all seem copies, less than 1 in 45 by the pixels stays less than even odds."""

TERRITORIES = (4, 16)
"""Where the number of doubtful pairs of a row makes another territory: next to none, some, look-alikes everywhere."""


def adapted(pairs: Candidates, probability: Array, *, usual: float = USUAL_SHARE, weight: float = 2.0) -> Array:
    """The probabilities for this set's own share of copies among the pairs that are in doubt at all.

    The training pairs are look-alikes and copies; photographs have next to no look-alikes, forms and digits have many, and one
    set may hold both.  So the share is found by territory: by how many doubtful pairs the busier row of a pair has.  In each by
    expectation maximisation (Saerens, Latinne and Decaestecker 2002), with `weight` pairs of the usual share added, so that a
    handful of pairs moves little.
    """
    doubtful = probability > DOUBT
    if not doubtful.any():
        return probability
    both = np.concatenate([pairs.i[doubtful], pairs.j[doubtful]])
    busy = np.bincount(both, minlength=int(max(pairs.i.max(), pairs.j.max())) + 1)
    territory = np.digitize(np.maximum(busy[pairs.i], busy[pairs.j]), TERRITORIES, right=True)
    found = probability.copy()
    for place in range(len(TERRITORIES) + 1):
        here = doubtful & (territory == place)
        found[here] = _shifted(probability[here], usual, _share(probability[here], usual, weight))
    return found


def _share(probability: Array, usual: float, weight: float) -> float:
    share = usual
    for _ in range(200):
        now = float((_shifted(probability, usual, share).sum() + weight * usual) / (len(probability) + weight))
        if abs(now - share) < 1e-9:
            break
        share = now
    return min(share, MOST_COPIES)


def _shifted(probability: Array, usual: float, share: float) -> Array:
    up, down = probability * (share / usual), (1 - probability) * ((1 - share) / (1 - usual))
    return np.asarray(up / np.maximum(up + down, 1e-12), dtype=np.float64)
