"""From rows to scored pairs: candidates, pixels, what is remembered, rows without pixels, the cut."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import CurateError
from curate.geometry import GUARD, Array, Geometry
from curate.index import neighbours_within
from curate.ops._groups import Rows
from curate.ops._memory import Remembered
from curate.ops._pixels import Candidates, Images, Judged, adapted, cut_for, describe_images, judge_pairs, propose
from curate.ops._scored import Scored, by_distance
from curate.ops._self_calibration import SAMPLE, fitted_cut
from curate.ops._texts import similar_texts
from curate.protocols import Context
from curate.types import Embeddings, Pixels, Vectors

Only = Callable[[Rows, Rows], npt.NDArray[np.bool_]]
_WHOLE = 24
THINNEST = 4
"""Pixels of the shorter side below which the distance decides."""
_SHOWN = ("correlation", "worst_block")


def usual_radius(x: Vectors, geometry: Geometry) -> float:
    """A cautious cut where nothing but vectors is known: two fifths of the straight line between two random rows."""
    if len(x) < 2:
        return 0.0
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, len(x), size=(2, 4_000))
    apart = a != b
    typical = float(np.median(geometry.distance(x[a[apart]], x[b[apart]])))
    return typical * (0.16 if geometry.kind == "cosine" else 0.4)


def cut_key(embeddings: Embeddings, precision: float) -> str:
    """Where a fitted distance cut is kept."""
    return f"duplicates/cut/{embeddings.spec.fingerprint}/{precision:g}"


def calibration(embeddings: Embeddings, context: Context, precision: float) -> dict[str, Any] | None:
    """The distance cut fitted on edited copies of the user's own images; from memory where this model has one.

    None where neither the model nor an earlier result is at hand.
    """
    key = cut_key(embeddings, precision)
    known = context.cached(key)
    if known or context.embed_pixels is None or len(embeddings) < 2:
        return dict(known) if known else None
    rng = np.random.default_rng(0)
    images: list[Pixels] = []
    for row in rng.permutation(len(embeddings)):
        pixels = readable(context)(embeddings.ids[int(row)])
        if pixels is not None:
            images.append(pixels)
        if len(images) == SAMPLE:
            break
    if not images:
        return None
    found = fitted_cut(images, embeddings.vectors, embeddings.geometry, context.embed_pixels, precision=precision, rng=rng)
    context.keep(key, found)
    return found


def readable(context: Context) -> Callable[[str], Pixels | None]:
    """`context.pixels`, with None for what cannot be read, and for strips too thin to be laid over anything."""

    def read(item: str) -> Pixels | None:
        try:
            pixels = context.pixels(item)
        except CurateError:
            return None
        return None if pixels is None or min(pixels.shape[:2]) < THINNEST else pixels

    return read


def has_pixels(ids: Sequence[str], context: Context) -> bool:
    """Whether any of the first rows has pixels; a store has thumbnails of all or of none, failures apart."""
    read = readable(context)
    return any(read(i) is not None for i in ids[:64])


def rows_of(x: Vectors, rows: Rows) -> Vectors:
    """Some rows, sorted; `x` itself, not a copy, where that is all of them."""
    return x if len(rows) == len(x) else x[rows]


def by_vectors(
    embeddings: Embeddings,
    context: Context,
    reps: Rows,
    radius: float,
    *,
    only: Only | None = None,
    reach: float = 0.0,
    strategy: str = "auto",
) -> tuple[Scored, str]:
    """All pairs of `reps` decided by their distance, as far as their codec allows (`Context.band`); and the search strategy.

    reach: pairs up to this distance are listed too, not decided.  strategy: of `curate.index.STRATEGIES`.
    """
    geometry = embeddings.geometry
    band = context.band(radius)
    reach = max(radius, reach, band[1] if band else 0.0)
    x = rows_of(embeddings.vectors, reps)
    pairs = neighbours_within(x, geometry, min(reach + 2 * GUARD, geometry.largest), strategy=strategy)
    i, j, distance = reps[pairs.i], reps[pairs.j], pairs.distance
    if only is not None:
        mask = only(i, j)
        i, j, distance = i[mask], j[mask], distance[mask]
    return by_distance(i, j, distance, radius, band=band), pairs.strategy


def by_pixels(
    embeddings: Embeddings,
    context: Context,
    reps: Rows,
    *,
    precision: float,
    radius: float,
    only: Only | None = None,
    strategy: str = "auto",
) -> tuple[Scored, dict[str, Any]]:
    """Candidate pairs of `reps` laid over each other; rows without pixels are decided by `radius`.

    Rows are in id order, so i < j means ids[i] < ids[j].
    """
    ids = [embeddings.ids[r] for r in reps]
    keys = _content_keys(reps, context, len(embeddings))
    memory = Remembered(context.cached, context.keep, "images")
    images = describe_images(ids, keys, readable(context), memory, context.progress)
    allowed = None if only is None else (lambda i, j: only(reps[i], reps[j]))
    x = rows_of(embeddings.vectors, reps)
    pairs = propose(x, embeddings.geometry, images, only=allowed)
    results = Remembered(context.cached, context.keep, "pairs")
    judged = _judged(images, pairs, keys, results, context)
    more = _closing(pairs, judged, len(reps), allowed)
    if len(more.i):
        extra = _judged(images, more, keys, results, context)
        pairs, judged = _together(pairs, judged, more, extra)
    results.flush()
    if images.tiny is None:
        judged = replace(judged, probability=adapted(pairs, judged.probability))
    cut = cut_for(judged.probability, precision)
    distance = _distances(embeddings, reps[pairs.i], reps[pairs.j])
    scored = Scored(
        i=reps[pairs.i],
        j=reps[pairs.j],
        distance=distance,
        probability=judged.probability,
        mirrored=judged.mirrored,
        decided=judged.probability >= cut,
        borderline=np.abs(judged.probability - cut) <= GUARD,
        evidence=judged.evidence,
    )
    unread = reps[~images.has]
    how = "exact nearest neighbours"
    if len(unread):
        bare = np.zeros(len(embeddings), dtype=bool)
        bare[unread] = True
        others, searched = by_vectors(
            embeddings, context, reps, radius, only=lambda i, j: _either(bare, i, j, only), strategy=strategy
        )
        scored, how = joined(scored, others), f"{how}; without pixels {searched}"
    basis = {
        "decided_by": "pixels",
        "cut": cut,
        "strategy": how,
        "without_pixels": [embeddings.ids[r] for r in unread],
        "radius": radius if len(unread) else None,
    }
    return scored, basis


def _either(bare: npt.NDArray[np.bool_], i: Rows, j: Rows, only: Only | None) -> npt.NDArray[np.bool_]:
    mask = bare[i] | bare[j]
    return mask if only is None else mask & only(i, j)


def _distances(embeddings: Embeddings, i: Rows, j: Rows) -> Array:
    found = np.zeros(len(i))
    for at in range(0, len(i), 16_384):
        part = slice(at, at + 16_384)
        found[part] = embeddings.geometry.distance(embeddings.vectors[i[part]], embeddings.vectors[j[part]])
    return found


def _content_keys(reps: Rows, context: Context, count: int) -> list[str]:
    """What an image is remembered by: 20 hex digits of its content hash; "" where that is not known."""
    hashes = context.fact("content_hash") or [""] * count
    return [hashlib.sha256(str(hashes[r]).encode()).hexdigest()[:20] if hashes[r] else "" for r in reps]


def _judged(images: Images, pairs: Candidates, keys: Sequence[str], results: Remembered, context: Context) -> Judged:
    """As `judge_pairs`, with pairs of known content from memory."""
    if images.tiny is not None:
        return judge_pairs(images, pairs, context.progress)
    ways = pairs.straight + 2 * pairs.turned
    names = [_pair_key(keys[i], keys[j], w) for i, j, w in zip(pairs.i, pairs.j, ways.tolist(), strict=True)]
    known = [results.get(name) if name else None for name in names]
    fresh = np.array([k is None for k in known], dtype=bool)
    new = judge_pairs(images, pairs.of(fresh), context.progress)
    shown = sorted(new.evidence)
    probability, mirrored = np.zeros(len(names)), np.zeros(len(names), dtype=bool)
    evidence = {name: np.full(len(names), np.nan) for name in shown}
    probability[fresh], mirrored[fresh] = np.round(new.probability, 6), new.mirrored
    for name in shown:
        evidence[name][fresh] = np.round(new.evidence[name], 4)
    for row, value in enumerate(known):
        if value is not None:
            probability[row], mirrored[row] = value[0], bool(value[1])
            for name, number in zip(shown, value[2:], strict=True):
                evidence[name][row] = np.nan if number is None else number
        elif names[row]:
            numbers = [None if np.isnan(evidence[n][row]) else float(evidence[n][row]) for n in shown]
            results.put(names[row], [float(probability[row]), int(mirrored[row]), *numbers])
    return Judged(probability, mirrored, evidence)


def _pair_key(a: str, b: str, ways: int) -> str:
    return hashlib.sha256(f"{a}:{b}:{ways}".encode()).hexdigest()[:16] if a and b else ""


def _closing(pairs: Candidates, judged: Judged, count: int, only: Only | None) -> Candidates:
    """Pairs worth a look because both sides are likely copies of a third: what k neighbours miss in large groups.

    Small groups are looked at whole; of larger ones the row with the most copies is compared with all.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    likely = judged.probability >= 0.5
    none = np.zeros(0, dtype=np.int64)
    if likely.sum() < 2:
        return Candidates(none, none, none.astype(bool), none.astype(bool))
    i, j = pairs.i[likely], pairs.j[likely]
    _, part = connected_components(coo_matrix((np.ones(len(i)), (i, j)), shape=(count, count)), directed=False)
    degree = np.bincount(np.concatenate([i, j]), minlength=count)
    order = np.argsort(part, kind="stable")
    bounds = np.flatnonzero(np.diff(part[order], prepend=-1, append=-1))
    keys = [none]
    for start, stop in itertools.pairwise(bounds):
        rows = order[start:stop]
        if len(rows) < 3:
            continue
        if len(rows) <= _WHOLE:
            a, b = np.triu_indices(len(rows), 1)
            keys.append(np.minimum(rows[a], rows[b]) * count + np.maximum(rows[a], rows[b]))
        else:
            hub = rows[np.argmax(degree[rows])]
            rest = rows[rows != hub]
            keys.append(np.minimum(rest, hub) * count + np.maximum(rest, hub))
    key = np.setdiff1d(np.concatenate(keys), pairs.i * count + pairs.j)
    i, j = np.divmod(key, count)
    if only is not None and len(i):
        mask = only(i, j)
        i, j = i[mask], j[mask]
    return Candidates(i, j, np.ones(len(i), dtype=bool), np.ones(len(i), dtype=bool))


def _together(pairs: Candidates, judged: Judged, more: Candidates, extra: Judged) -> tuple[Candidates, Judged]:
    i, j = np.concatenate([pairs.i, more.i]), np.concatenate([pairs.j, more.j])
    order = np.lexsort((j, i))
    evidence = {n: np.concatenate([v, extra.evidence[n]])[order] for n, v in judged.evidence.items()}
    ways = [np.concatenate([p, m])[order] for p, m in ((pairs.straight, more.straight), (pairs.turned, more.turned))]
    probability = np.concatenate([judged.probability, extra.probability])[order]
    mirrored = np.concatenate([judged.mirrored, extra.mirrored])[order]
    return Candidates(i[order], j[order], *ways), Judged(probability, mirrored, evidence)


def joined(one: Scored, other: Scored) -> Scored:
    """Two lists of scored pairs as one, in (i, j) order."""
    i, j = np.concatenate([one.i, other.i]), np.concatenate([one.j, other.j])
    order = np.lexsort((j, i))

    def both(a: Any, b: Any) -> Any:
        return np.concatenate([a, b])[order]

    names = sorted({*one.evidence, *other.evidence})
    evidence = {n: both(*(s.evidence.get(n, np.full(len(s), np.nan)) for s in (one, other))) for n in names}
    return Scored(
        i[order], j[order], both(one.distance, other.distance), both(one.probability, other.probability),
        both(one.mirrored, other.mirrored), both(one.decided, other.decided), both(one.borderline, other.borderline), evidence,
    )  # fmt: skip


def with_texts(scored: Scored, texts: Sequence[Any], embeddings: Embeddings, reps: Rows, *, only: Only | None) -> Scored:
    """The pairs decided by distance, and those whose words overlap: both are copies."""
    a, b, share = similar_texts([None if texts[r] is None else str(texts[r]) for r in reps])
    i, j = reps[a], reps[b]
    if only is not None:
        mask = only(i, j)
        i, j, share = i[mask], j[mask], share[mask]
    count = len(embeddings)
    known = np.isin(scored.i * count + scored.j, i * count + j)
    overlap = np.full(len(scored), np.nan)
    place = np.searchsorted(i * count + j, scored.i[known] * count + scored.j[known])
    overlap[known] = share[place]
    held = replace(scored, decided=scored.decided | known, evidence={"word_overlap": overlap})
    fresh = ~np.isin(i * count + j, scored.i * count + scored.j)
    i, j, share = i[fresh], j[fresh], share[fresh]
    no = np.zeros(len(i), dtype=bool)
    distance = _distances(embeddings, i, j)
    return joined(held, Scored(i, j, distance, np.full(len(i), np.nan), no, ~no, no, {"word_overlap": share}))
