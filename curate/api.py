"""The Python API: the ops on plain numpy arrays and ids, and the main job as a function.  `import curate` offers all of it.

import curate
found = curate.find_duplicates(vectors, ids, geometry="cosine", precision=0.99)
found.groups[0]["keep"], found.table["duplicate"]
chosen = curate.sample(vectors, ids, budget=500)
document = curate.sync("folder:photos", model="pixels", dry_run=True)
"""

from __future__ import annotations

import html
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError, EmbedderError
from curate.geometry import geometry_named
from curate.protocols import Context, CurationOp, Embedder
from curate.types import EmbedderSpec, Embeddings, Findings, Pixels, Scalar

SHOWN_ROWS = 10


@dataclass(frozen=True, slots=True)
class Result:
    """What an op found.

    table: field -> {id: value}.  summary: counts.  evidence: why, as JSON values.  A notebook shows it as a table.
    """

    findings: Findings

    @property
    def table(self) -> Mapping[str, Mapping[str, Scalar]]:
        """Field -> {id: value}; an id without a value has none."""
        return self.findings.values

    @property
    def summary(self) -> Mapping[str, Any]:
        """The counts."""
        return self.findings.summary

    @property
    def evidence(self) -> Mapping[str, Any]:
        """Why: groups with distances, clusters with medoids, coverage, ..."""
        return self.findings.evidence

    @property
    def groups(self) -> Sequence[Mapping[str, Any]]:
        """The groups of `find_duplicates`: {"keep", "why", "copies"}; empty for other ops."""
        return tuple(self.findings.evidence.get("groups", ()))

    @property
    def ids(self) -> Sequence[str]:
        """The chosen ids of `sample`, in order of choice; empty for other ops."""
        return tuple(self.findings.evidence.get("ids", ()))

    def __repr__(self) -> str:
        counts = ", ".join(f"{k}={v}" for k, v in self.summary.items() if isinstance(v, (int, float, str)))
        return f"<curate {self.findings.op}: {counts}>"

    def _repr_html_(self) -> str:
        fields = [name for name, values in self.table.items() if values]
        rows = sorted({i for values in self.table.values() for i in values})
        head = "".join(f"<th>{html.escape(name)}</th>" for name in ["id", *fields])
        body = "".join(
            f"<tr><td>{html.escape(i)}</td>"
            + "".join(f"<td>{html.escape(_shown(self.table[name].get(i)))}</td>" for name in fields)
            + "</tr>"
            for i in rows[:SHOWN_ROWS]
        )
        more = f"<p>{len(rows) - SHOWN_ROWS:,} more rows in .table</p>" if len(rows) > SHOWN_ROWS else ""
        return f"<p>{html.escape(repr(self))}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def load_embedder(
    name: str, *, device: str = "auto", dtype: str = "auto", preprocess: str = "fast", layer: str = "", offline: bool = False
) -> Embedder:
    """The model of a name, directory, hub id or `module:Class`, ready to embed.

    device: auto, cpu, cuda, mps.  dtype: auto, fp32, bf16, fp16.  preprocess: exact, fast.
    Raises UnknownName with the nearest name, EmbedderError for weights that are missing or broken, MissingExtra.
    """
    from curate import embedders

    return embedders.load(name, device=device, dtype=dtype, preprocess=preprocess, layer=layer, offline=offline)


def find_duplicates(
    vectors: npt.ArrayLike,
    ids: Sequence[str] | None = None,
    *,
    geometry: str = "cosine",
    precision: float = 0.99,
    radius: float | None = None,
    images: Mapping[str, Pixels] | None = None,
    fields: Mapping[str, Sequence[Scalar]] | None = None,
    seed: int = 0,
    **options: Any,
) -> Result:
    """Near duplicates: which rows are copies of which, which one stays, and why.

    vectors: (n, d) finite.  ids: (n,) unique, "0", "1", ... when left out.  geometry: "cosine", "euclidean" or "lorentz".
    precision: share of the decisions that must be right.  radius: decide by this distance instead, in the geometry's unit.
    images: id -> uint8 (h, w, 3) RGB; with them aligned pixels decide, without them the distance does.
    fields: name -> one value a row (labels, split) for `keep`, `protect` and `between`.  options: others of `Duplicates`.
    Raises ConfigError, GeometryError for a radius that cannot be, EmbedderError for vectors that cannot be used.
    """
    from curate.ops.duplicates import Duplicates

    op = Duplicates(precision=precision, radius=radius, **options)
    return _run(op, vectors, ids, geometry, images=images, fields=fields, seed=seed)


def sample(
    vectors: npt.ArrayLike,
    ids: Sequence[str] | None = None,
    *,
    budget: int | str,
    method: str = "cluster",
    geometry: str = "cosine",
    fields: Mapping[str, Sequence[Scalar]] | None = None,
    without: Result | None = None,
    seed: int = 0,
    **options: Any,
) -> Result:
    """The rows worth labeling, `.ids` in order of choice, with their coverage beside a random choice.

    budget: rows, or "10%".  method: see `curate sample --help`.  without: a result of `find_duplicates`, whose copies are left
    out.  fields: name -> one value a row, for methods that go by a field.  options: others of `Sample` (given, like, ...).
    """
    from curate.ops.sampling import Sample

    earlier = {"duplicates": without.findings} if without else {}
    op = Sample(method=method, budget=budget, **options)
    return _run(op, vectors, ids, geometry, fields=fields, findings=earlier, seed=seed)


def cluster(
    vectors: npt.ArrayLike,
    ids: Sequence[str] | None = None,
    *,
    count: int | None = None,
    geometry: str = "cosine",
    seed: int = 0,
    **options: Any,
) -> Result:
    """k-means clusters with their medoids.  count: how many, None for a usual number."""
    from curate.ops.clusters import Clusters

    return _run(Clusters(count=count, **options), vectors, ids, geometry, seed=seed)


def tag(
    vectors: npt.ArrayLike,
    ids: Sequence[str] | None = None,
    *,
    taxonomy: str | Path,
    embedder: Embedder | None = None,
    labels: Sequence[Scalar] | None = None,
    geometry: str = "cosine",
    risk: float | None = None,
    seed: int = 0,
    **options: Any,
) -> Result:
    """Paths along a taxonomy, stopping high where the evidence ends.

    taxonomy: a file.  embedder: its text tower scores the tags (and its geometry holds); without one, `labels` (one true tag
    or None a row) make prototypes.  risk: share of rows that may get a wrong tag, calibrated on `labels`.
    """
    from curate.ops.hierarchy import Tag
    from curate.taxonomy import read_taxonomy

    field = "label" if labels is not None else None
    op = Tag(read_taxonomy(str(taxonomy)), risk=risk, labels_field=field, **options)
    fields = {"label": labels} if labels is not None else None
    label = embedder.spec.geometry if embedder is not None else geometry
    return _run(op, vectors, ids, label, fields=fields, embedder=embedder, seed=seed)


def sync(dataset: str, *, store: str | Path = ".curate", **options: Any) -> dict[str, Any]:
    """Runs `curate sync` and returns its JSON document (docs/json.md); `failures` lists the rows that failed.

    dataset: NAME:ID or a path.  options: the flags of `curate sync` by name: model, sample, taxonomy, precision, ops ("a,b"),
    dry_run, no_vectors, report, seed, device, ...  Raises what the command line would print.
    """
    from curate.cli.sync import run_sync

    return run_sync({"dataset": dataset, "store": str(store), **options})


def _run(
    op: CurationOp,
    vectors: npt.ArrayLike,
    ids: Sequence[str] | None,
    geometry: str,
    *,
    images: Mapping[str, Pixels] | None = None,
    fields: Mapping[str, Sequence[Scalar]] | None = None,
    findings: Mapping[str, Findings] | None = None,
    embedder: Embedder | None = None,
    seed: int = 0,
) -> Result:
    embeddings, order = _embeddings(vectors, ids, geometry)
    images = _by_id(images, embeddings.ids)
    columns = {name: _aligned(name, values, order) for name, values in (fields or {}).items()}

    def field(name: str) -> Sequence[Scalar]:
        if name not in columns:
            raise ConfigError(f"no field {name!r} was given; fields there are: {', '.join(sorted(columns)) or 'none'}")
        return columns[name]

    context = Context(
        rng=np.random.default_rng([seed, zlib.crc32(op.name.encode())]),
        pixels=lambda i: None if images is None else images.get(i),
        field=field,
        fact=lambda name: [_fact(name, images, i) for i in embeddings.ids],
        previous=lambda _name: [None] * len(embeddings),
        findings=findings or {},
        embed_text=getattr(embedder, "embed_text", None),
        logit=getattr(embedder, "logit", ""),
        logit_scale=getattr(embedder, "logit_scale", None),
    )
    return Result(op(embeddings, context))


def _embeddings(vectors: npt.ArrayLike, ids: Sequence[str] | None, geometry: str) -> tuple[Embeddings, list[int]]:
    x = np.asarray(vectors, dtype=np.float32)
    if x.ndim != 2 or not len(x):
        raise EmbedderError(f"vectors must be (n, d) with n >= 1; these are {x.shape}")
    names = [str(i) for i in range(len(x))] if ids is None else [str(i) for i in ids]
    if len(names) != len(x):
        raise EmbedderError(f"{len(names)} ids for {len(x)} vectors")
    if len(set(names)) != len(names):
        raise EmbedderError(f"id {Counter(names).most_common(1)[0][0]!r} is there twice")
    finite = np.isfinite(x).all(axis=1)
    if not finite.all():
        raise EmbedderError(f"the vector of {names[int(np.argmin(finite))]!r} is not finite")
    space = geometry_named(geometry)
    if not space.zero_ok and not x.any(axis=1).all():
        raise EmbedderError(f"the vector of {names[int(np.argmin(x.any(axis=1)))]!r} is zero, which has no cosine distance")
    order = sorted(range(len(names)), key=names.__getitem__)
    spec = EmbedderSpec("given", "", "", x.shape[1], space.label)
    return Embeddings([names[i] for i in order], np.ascontiguousarray(x[order]), spec), order


def _by_id(images: Mapping[Any, Pixels] | None, ids: Sequence[str]) -> Mapping[str, Pixels] | None:
    """The images under ids as texts, as `ids` are.  Raises ConfigError when none is a row's: none would be looked at."""
    if images is None:
        return None
    named = {str(i): image for i, image in images.items()}
    if named and named.keys().isdisjoint(ids):
        raise ConfigError(f"no image is of a row: images go by the ids of the rows ({ids[0]!r}, ...), not {min(named)!r}")
    return named


def _aligned(name: str, values: Sequence[Scalar], order: Sequence[int]) -> list[Scalar]:
    if len(values) != len(order):
        raise ConfigError(f"field {name!r} has {len(values)} values for {len(order)} rows")
    return [values[i] for i in order]


def _fact(name: str, images: Mapping[str, Pixels] | None, item_id: str) -> Any:
    image = None if images is None else images.get(item_id)
    if name in ("width", "height"):
        return 0 if image is None else image.shape[1 if name == "width" else 0]
    if name == "pixel_hash" and image is not None:
        from curate import media

        return media.pixel_hash(image, image.shape[1], image.shape[0])
    return {"size_bytes": 0, "content_hash": "", "pixel_hash": None, "uri": ""}.get(name)


def _shown(value: Scalar) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
