"""The values that travel between the stages: rows, vectors, findings, changes, acknowledgements."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curate.geometry import Geometry, geometry_named

Vectors: TypeAlias = npt.NDArray[np.float32]
Pixels: TypeAlias = npt.NDArray[np.uint8]
Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a dataset.

    id: unique within the dataset.  uri: where the bytes are (for messages and reports; `Connector.read` knows how).
    version: identity of the content; equal versions need no new embedding.
    fields: what the platform shows now: our own fields by the names of `FIELDS`, and the user's (labels, split, ...).
    media_type: "image", "text", or another kind, which is counted and skipped.
    """

    id: str
    uri: str
    version: str
    fields: Mapping[str, Scalar] = field(default_factory=dict)
    media_type: str = "image"


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, and an opaque cursor for the next incremental listing; None except on the last page."""

    items: Sequence[Item]
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """What makes two vectors comparable: everything here is part of the store key.

    name: the model as the user names it.  revision: commit or content hash of the weights ("" for weight-free).
    layer: "projected", "pooler", ...  dim: length of a vector.  geometry: a label of `curate.geometry`.
    preprocess: "exact", "fast" or the embedder's own fixed name.  dtype: "fp32", "bf16", "fp16".
    media: which `Item.media_type` it takes.
    """

    name: str
    revision: str
    layer: str
    dim: int
    geometry: str
    preprocess: str = "exact"
    dtype: str = "fp32"
    media: str = "image"

    @property
    def fingerprint(self) -> str:
        """16 hex digits over every field; the store keeps vectors of different fingerprints apart."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def space(self) -> Geometry:
        """The geometry the vectors live in."""
        return geometry_named(self.geometry)

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of some rows: ids (n,), vectors (n, d) float32 finite, in id order."""

    ids: Sequence[str]
    vectors: Vectors
    spec: EmbedderSpec

    @property
    def geometry(self) -> Geometry:
        """The geometry of `spec`."""
        return self.spec.space

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen while a row's bytes were decoded (the upright image, before any resize).

    pixel_hash: sha256 of the full-resolution upright RGB pixels with their size; None where only a scaled decode was made
    (large JPEGs under `--preprocess fast`) or the row is text.
    """

    width: int = 0
    height: int = 0
    size_bytes: int = 0
    content_hash: str = ""
    pixel_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that could not be processed.  reason: a stable code; detail: for people.  retry: another try may help."""

    id: str
    version: str
    reason: str
    detail: str = ""
    retry: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of the embedding stage, committed as a whole.

    ids, versions, facts, thumbs: (n,).  vectors: (n, dim) float32.  thumbs: JPEG bytes or None.  failures: rows of the batch
    that gave no vector.
    """

    ids: Sequence[str]
    versions: Sequence[str]
    vectors: Vectors
    facts: Sequence[Facts]
    thumbs: Sequence[bytes | None]
    failures: Sequence[Failure] = ()


@dataclass(frozen=True, slots=True)
class Findings:
    """What an op decided.

    values: field -> {item id: value}; an id without a value has none, and a stale one is cleared.
    evidence: why, as JSON values (groups with their distances, clusters with their medoids, ...).
    summary: the counts that commands and reports print.
    arrays: columns kept beside it, too large for JSON (`Store.arrays` reads them; they are not part of `Store.findings`).
    """

    op: str
    values: Mapping[str, Mapping[str, Scalar]]
    evidence: Mapping[str, Any]
    summary: Mapping[str, Any]
    arrays: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Change:
    """One field of one row: `before` is what undo restores, `after` None clears the field."""

    item_id: str
    field: str
    before: Scalar
    after: Scalar
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be pushed; the same input gives the same bytes.

    changes: in (item id, field) order.  vectors: ids whose vectors the platform has not.  spec: the vectors' spec.
    basis: fingerprint of the rows (ids and versions) that the plan was made from; a plan on another basis is stale.
    """

    dataset_id: str
    changes: Sequence[Change]
    vectors: Sequence[str]
    spec: EmbedderSpec | None
    basis: str
    extras: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.changes or self.vectors or self.extras)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A write the platform refused, with its reason."""

    item_id: str
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Applied:
    """The platform's answer to one chunk of writes: how many were accepted, and which were not."""

    accepted: int = 0
    rejected: Sequence[Rejected] = ()

    def __add__(self, other: Applied) -> Applied:
        return Applied(self.accepted + other.accepted, (*self.rejected, *other.rejected))

    def rejections(self) -> list[dict[str, str]]:
        """The refused writes as JSON values."""
        return [{"id": r.item_id, "field": r.field, "reason": r.reason} for r in self.rejected]


FIELDS: Mapping[str, str] = {
    "duplicate": "string",
    "sample": "string",
    "path": "string",
    "cluster": "number",
    "duplicate_score": "number",
    "path_confidence": "number",
}
"""The fields that are pushed, with their kind, in the order in which a quota is filled."""


def field_kind(name: str) -> str | None:
    """The kind of a pushed field ("string" or "number"), None for a name that is not one of ours.

    `path_<facet>` and `path_confidence_<facet>` are ours too (several facets).
    """
    if name in FIELDS:
        return FIELDS[name]
    if name.startswith("path_confidence_"):
        return "number"
    return "string" if name.startswith("path_") else None


def join_path(names: Sequence[str]) -> str:
    """`animal/dog/beagle`; a slash or backslash inside a name is written with a backslash before it."""
    return "/".join(name.replace("\\", "\\\\").replace("/", "\\/") for name in names)


def split_path(path: str) -> list[str]:
    """The names of a path; the inverse of `join_path`."""
    names, here, quoted = [], "", False
    for character in path:
        if quoted or character not in "\\/":
            here, quoted = here + character, False
        elif character == "\\":
            quoted = True
        else:
            names.append(here)
            here = ""
    return [*names, here]


def in_chunks(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """`rows` in consecutive pieces of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
