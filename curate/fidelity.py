"""What a codec costs on given vectors, in the terms of what is done with them; the numbers of `curate compress --evaluate`.

Everything is symmetric: both sides of a distance are decoded, as they are once the floats are gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.codecs import NAMES, Codec, codec_named, split_pairs
from curate.errors import ConfigError, EmbedderError
from curate.geometry import Array, Array32, Geometry, norms
from curate.types import Vectors

ROWS, FIT_ROWS, QUERIES, RANKED, CORRELATED = 8_000, 8_000, 300, 2_000, 100

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """One codec on one sample.

    ratio: float32 bytes over these.  recall: k -> share of the k exact nearest neighbours among the k decoded ones, mean over
    the queries, the row itself left out.  tau: Kendall's tau-b between a query's exact and decoded distances to up to 2,000
    rows, mean over 100 queries (1 same order, 0 unrelated); spearman: Spearman's rank correlation of the same.
    bias: mean of (decoded - exact) / exact distance over the 10 nearest neighbours (positive: things seem further apart).
    norm_error: 99th percentile of | |decoded| / |x| - 1 |.  angle: mean angle between a row and its decoded form, degrees.
    duplicate_f1: F1 of the pairs within the unchanged radius, decoded against exact; debiased_f1: with the cut moved to the
    decoded distance that the codec's bound expects there.  borderline: pairs that the bound leaves open, over exact pairs;
    wrong: pairs decided by the bound against the floats (should be 0).
    clusters: adjusted Rand index of clusterings of exact and decoded rows.  sample: share of the exact selection also chosen
    from decoded rows.  None where not asked for.  encode_per_s, decode_per_s: vectors a CPU second.
    """

    codec: str
    bytes_per_vector: int
    ratio: float
    recall: dict[int, float]
    tau: float
    spearman: float
    bias: float
    norm_error: float
    angle: float
    duplicate_f1: float
    debiased_f1: float
    borderline: float
    wrong: int
    clusters: float | None
    sample: float | None
    encode_per_s: float
    decode_per_s: float
    decides_duplicates: bool

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values; recall as `{"1": ..., "10": ..., "100": ...}`."""
        return {**asdict(self), "recall": {str(k): value for k, value in self.recall.items()}}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Every codec on one sample.  refused: codec -> why it cannot be used here.  radius: in the geometry's distance."""

    rows: int
    queries: int
    dim: int
    geometry: str
    radius: float
    results: Sequence[Fidelity]
    refused: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values, with the points of the rate-distortion figure."""
        figure = [
            {"codec": r.codec, "bytes": r.bytes_per_vector, "recall@10": r.recall[10], "angle": r.angle} for r in self.results
        ]
        fixed = {name: getattr(self, name) for name in ("rows", "queries", "dim", "geometry", "radius", "refused")}
        return {**fixed, "codecs": [r.as_dict() for r in self.results], "figure": figure}

    def recommend(self, max_recall_loss: float) -> Fidelity:
        """The smallest codec that loses at most so much of recall@10 here; f32 loses nothing, and is the answer at worst.

        Binary is never recommended: it is an index, not a copy.
        """
        check_loss(max_recall_loss)
        kept = [r for r in self.results if r.codec != "binary" and 1 - r.recall[10] <= max_recall_loss + 1e-12]
        if not kept:
            raise ConfigError("no evaluated codec stays within that loss; evaluate f32 too")
        return min(kept, key=lambda r: (r.bytes_per_vector, -r.recall[10], r.codec))


def check_loss(max_recall_loss: float) -> float:
    """A loss of recall@10 that can be asked for; raises ConfigError for any other number."""
    if not 0 <= max_recall_loss <= 1:
        raise ConfigError(f"--max-recall-loss {max_recall_loss:g}: a share of recall@10 between 0 and 1")
    return max_recall_loss


def evaluate(
    vectors: Vectors,
    geometry: Geometry,
    *,
    rng: np.random.Generator,
    codecs: Sequence[str] = NAMES,
    radius: float | None = None,
    rows: int = ROWS,
    queries: int = QUERIES,
    cluster: Callable[[Vectors], npt.NDArray[Any]] | None = None,
    choose: Callable[[Vectors], npt.NDArray[Any]] | None = None,
) -> Evaluation:
    """Measures every codec on a seeded sample of `vectors`.

    vectors: (n, d), n >= 3.  radius: of duplicates; None takes the one with as many pairs as queries.
    rows: how many rows are searched; codecs that learn do so on others where there are enough, else on the rows that are not
    queries.  cluster: rows -> a label each; choose: rows -> numbers of the chosen ones.
    Raises ConfigError for fewer than 3 rows.
    """
    if len(vectors) < 3:
        raise ConfigError(f"an evaluation compares neighbours and needs at least 3 rows; there are {len(vectors)}")
    order = rng.permutation(len(vectors))
    base, rest = np.sort(order[:rows]), order[rows : rows + FIT_ROWS]
    x = np.ascontiguousarray(vectors[base], dtype=np.float32)
    asked = np.sort(rng.permutation(len(x))[: min(queries, len(x))])
    spare = np.setdiff1d(np.arange(len(x)), asked)
    fit_on = vectors[np.sort(rest)] if len(rest) >= len(x) else x[spare if len(spare) >= len(asked) else np.arange(len(x))]
    exact = _Exact.of(x, asked, geometry, radius=radius, rng=rng, cluster=cluster, choose=choose)
    seed = int(rng.integers(2**32))
    results, refused = [], {}
    for name in codecs:
        codec = codec_named(name)
        try:
            fitted = codec.fit(np.asarray(fit_on, np.float32), geometry, np.random.default_rng(seed))
            results.append(_measure(fitted, x, exact))
        except (ConfigError, EmbedderError) as err:
            refused[name] = str(err)
    return Evaluation(len(x), len(asked), x.shape[1], geometry.label, exact.radius, results, refused)


@dataclass(frozen=True)
class _Exact:
    """What float32 says: x (n, d), queries (q,), distances (q, n), the row itself at infinity, its order, what was chosen."""

    x: Vectors
    geometry: Geometry
    queries: Rows
    distance: Array32
    order: Rows
    ranked: Rows
    radius: float
    cluster: Callable[[Vectors], npt.NDArray[Any]] | None
    choose: Callable[[Vectors], npt.NDArray[Any]] | None
    labels: npt.NDArray[Any] | None
    chosen: npt.NDArray[Any] | None

    @classmethod
    def of(
        cls,
        x: Vectors,
        queries: Rows,
        geometry: Geometry,
        *,
        radius: float | None,
        rng: np.random.Generator,
        cluster: Callable[[Vectors], npt.NDArray[Any]] | None,
        choose: Callable[[Vectors], npt.NDArray[Any]] | None,
    ) -> _Exact:
        distance = _distances(x, queries, geometry)
        if radius is None:
            nearest = np.sort(distance, axis=None)
            radius = float((nearest[len(queries) - 1] + nearest[len(queries)]) / 2)
        ranked = np.sort(rng.permutation(len(x))[:RANKED])
        labels = cluster(x) if cluster else None
        chosen = choose(x) if choose else None
        return cls(x, geometry, queries, distance, _nearest(distance), ranked, radius, cluster, choose, labels, chosen)


def _distances(x: Vectors, queries: Rows, geometry: Geometry) -> Array32:
    ready = geometry.prepare(x)
    distance = geometry.pairwise(ready[queries], ready, prepared=True)
    distance[np.arange(len(queries)), queries] = np.inf
    return distance


def _nearest(distance: Array32) -> Rows:
    """The up to 100 nearest rows of every query, in order; ties by row."""
    count = min(100, distance.shape[1] - 1)
    furthest = np.partition(distance, count - 1, axis=1)[:, count - 1]
    order = np.empty((len(distance), count), np.int64)
    for row, (line, limit) in enumerate(zip(distance, furthest, strict=True)):
        some = np.flatnonzero(line <= limit)
        order[row] = some[np.argsort(line[some], kind="stable")][:count]
    return order


def _measure(codec: Codec, x: Vectors, exact: _Exact) -> Fidelity:
    start = time.process_time()
    codes = codec.encode(x)
    middle = time.process_time()
    decoded = codec.decode(codes)
    end = time.process_time()
    distance = _distances(decoded, exact.queries, exact.geometry)
    order = _nearest(distance)
    near = exact.order[:, :10]
    before, after = (np.take_along_axis(d, near, axis=1).astype(np.float64) for d in (exact.distance, distance))
    some = before > 0
    tau, spearman = _rank_correlations(exact, distance)
    length, decoded_length = norms(x), norms(decoded)
    has = (length > 0) & (decoded_length > 0)
    cosine = np.einsum("ij,ij->i", x[has].astype(np.float64), decoded[has]) / (length[has] * decoded_length[has])
    duplicates = _duplicates(codec, exact, decoded, distance)
    width = codec.bytes_per_vector(x.shape[1])
    return Fidelity(
        codec=codec.name,
        bytes_per_vector=width,
        ratio=4 * x.shape[1] / width,
        recall={k: _recall(exact.order, order, k) for k in (1, 10, 100)},
        tau=tau,
        spearman=spearman,
        bias=float(np.mean((after[some] - before[some]) / before[some])) if some.any() else 0.0,
        norm_error=float(np.quantile(np.abs(decoded_length[has] / length[has] - 1), 0.99)) if has.any() else 0.0,
        angle=float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean()) if has.any() else 0.0,
        **duplicates,
        clusters=None if exact.cluster is None else _adjusted_rand(exact.labels, exact.cluster(decoded)),
        sample=None if exact.choose is None or exact.chosen is None else _shared(exact.chosen, exact.choose(decoded)),
        encode_per_s=len(x) / max(middle - start, 1e-6),
        decode_per_s=len(x) / max(end - middle, 1e-6),
        decides_duplicates=codec.decides_duplicates,
    )


def _recall(exact: Rows, decoded: Rows, k: int) -> float:
    k = min(k, exact.shape[1])
    hits = [len(np.intersect1d(a[:k], b[:k], assume_unique=True)) for a, b in zip(exact, decoded, strict=True)]
    return float(np.mean(hits) / k)


def _rank_correlations(exact: _Exact, distance: Array32) -> tuple[float, float]:
    from scipy.stats import kendalltau, rankdata

    taus, rhos = [], []
    for row, query in enumerate(exact.queries[:CORRELATED]):
        columns = exact.ranked[exact.ranked != query]
        a, b = exact.distance[row, columns], distance[row, columns]
        if len(columns) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
            continue
        taus.append(float(kendalltau(a, b).statistic))
        rhos.append(float(np.corrcoef(rankdata(a), rankdata(b))[0, 1]))
    return (float(np.mean(taus)), float(np.mean(rhos))) if taus else (1.0, 1.0)


def _duplicates(codec: Codec, exact: _Exact, decoded: Vectors, distance: Array32) -> dict[str, Any]:
    radius = exact.radius
    band = None if codec.bound is None else codec.bound.band(radius)
    cuts = (radius,) if band is None else (radius, band.low, band.middle, band.high)
    near = _near_cuts(exact, distance, cuts)
    both = [_sharpened(d, rows, exact, near) for d, rows in ((exact.distance, exact.x), (distance, decoded))]
    other = np.ones(distance.shape, bool)
    other[np.arange(len(exact.queries)), exact.queries] = False
    true, seen = both[0][other] <= radius, both[1][other]
    if band is None:
        f1, borderline, wrong, cut = _f1(true, seen <= radius), 0, 0, radius
    else:
        split, cut = split_pairs(seen, band), band.middle
        f1, borderline = _f1(true, seen <= radius), int(split.borderline.sum())
        wrong = int(((split.inside != true) & ~split.borderline).sum())
    pairs = max(int(true.sum()), 1)
    return {"duplicate_f1": f1, "debiased_f1": _f1(true, seen <= cut), "borderline": borderline / pairs, "wrong": wrong}


def _near_cuts(exact: _Exact, distance: Array32, cuts: Sequence[float]) -> npt.NDArray[np.bool_]:
    """Pairs so near to a cut that a matrix product cannot tell the side: (q, n)."""
    margin = 1e-5 if exact.geometry.kind == "cosine" else 3e-3 * float(norms(exact.x).max())
    near = np.abs(exact.distance - exact.radius) <= margin
    for cut in cuts:
        near |= np.abs(distance - cut) <= margin
    return np.asarray(near & np.isfinite(distance))


def _sharpened(distance: Array32, rows: Vectors, exact: _Exact, near: npt.NDArray[np.bool_]) -> Array:
    sharp = distance.astype(np.float64)
    query, row = np.nonzero(near)
    for start in range(0, len(row), 4096):
        q, r = query[start : start + 4096], row[start : start + 4096]
        sharp[q, r] = exact.geometry.distance(rows[exact.queries[q]], rows[r])
    return sharp


def _f1(true: npt.NDArray[np.bool_], said: npt.NDArray[np.bool_]) -> float:
    both = int((true & said).sum())
    total = int(true.sum()) + int(said.sum())
    return 2 * both / total if total else 1.0


def _adjusted_rand(a: npt.NDArray[Any] | None, b: npt.NDArray[Any]) -> float:
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(a, b))


def _shared(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    return len(np.intersect1d(a, b)) / max(len(a), 1)
