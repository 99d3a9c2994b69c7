"""The seams: what a connector, an embedder, an op and a codec must offer.  `curate.testing` checks each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from curate.types import Applied, Change, EmbedderSpec, Embeddings, Findings, Item, Page, Pixels, Plan, Scalar, Vectors


@dataclass(frozen=True, slots=True)
class ConnectorSettings:
    """What a connector is built from: `Connector(settings)`.

    options: the `[connectors.NAME]` table of curate.toml (never a secret).  results: a folder of the store where a connector
    may keep its results and journals.  allow_hosts: private hosts the user allows.  offline: no network at all.
    yes: --yes was given.  notify: one line for people.  ask: a question with yes or no, False where nobody can be asked.
    """

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    results: Path = Path(".curate/results")
    allow_hosts: Sequence[str] = ()
    offline: bool = False
    yes: bool = False
    notify: Callable[[str], None] = lambda _line: None
    ask: Callable[[str], bool] = lambda _question: False


@runtime_checkable
class Connector(Protocol):
    """A place where rows live.  Every call may raise ConnectorError; only Transient is ever retried.

    name: as in `NAME:ID`.  takes_vectors: whether `push_vectors` has anywhere to put them.
    """

    name: str
    takes_vectors: bool

    def has(self, dataset_id: str) -> bool:
        """Whether `dataset_id` is one of its datasets; resolves a bare ID."""
        ...

    def check(self, dataset_id: str) -> None:
        """Reaches the destination before any compute is spent; raises AuthError, NotFound or ConnectorError."""
        ...

    def pages(self, dataset_id: str, *, since: str | None = None) -> Iterator[Page]:
        """All rows (since=None), or those changed since the cursor of an earlier listing.

        A connector that cannot list increments ignores no argument: it raises ConnectorError for a cursor it did not give.
        """
        ...

    def read(self, item: Item) -> bytes:
        """The bytes of one row; refreshes an expired address by itself; thread-safe.  Raises MediaError or Transient."""
        ...

    def push_fields(self, dataset_id: str, changes: Sequence[Change]) -> Applied:
        """Writes one chunk of changes, idempotently; refused ones come back in `Applied.rejected`."""
        ...

    def push_vectors(self, dataset_id: str, spec: EmbedderSpec, ids: Sequence[str], vectors: Vectors) -> Applied:
        """Writes one chunk of vectors, idempotently."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """What a connector may also offer: a look at limits before compute, and what a push costs.

    changes_per_push: field changes that it wants in one `push_fields`.
    """

    changes_per_push: int

    def prepare(self, dataset_id: str, *, spec: EmbedderSpec | None, fields: Collection[str], create: bool) -> Sequence[str]:
        """The fields, of those wanted, that have a place there; checks that the vectors of `spec` have one.

        create: the run will write, so the user may be asked for what has to be made.  Raises ConfigError.
        """
        ...

    def estimate(self, plan: Plan) -> Mapping[str, Any]:
        """What pushing takes: "requests", "minutes", "plan", "requests_per_minute"."""
        ...

    def flush(self, dataset_id: str) -> None:
        """Ends a push: the platform must hold what it acknowledged.  Raises ConnectorError."""
        ...


@runtime_checkable
class Incremental(Protocol):
    """A connector whose large datasets can be listed as what changed, and the ids of all."""

    def resumable(self, dataset_id: str, cursor: str) -> bool:
        """Whether `pages(since=cursor)` shows every row that differs from the listing that ended with `cursor`."""
        ...

    def ids(self, dataset_id: str) -> Iterator[str]:
        """The id of every row there is now."""
        ...


@runtime_checkable
class HoldsVectors(Protocol):
    """A connector whose platform computes vectors itself: models "platform:NAME"."""

    def models(self, dataset_id: str) -> Sequence[str]:
        """Names for --model that this dataset carries."""
        ...

    def model_spec(self, name: str) -> EmbedderSpec:
        """The spec of such a name.  Raises NotFound."""
        ...

    def model_vectors(self, dataset_id: str, spec: EmbedderSpec, wanted: Collection[str]) -> Iterator[tuple[str, Vectors]]:
        """(row id, vector) of the rows in `wanted` that carry it."""
        ...


@runtime_checkable
class KeepsRows(Protocol):
    """A connector whose rows are made here, by an import, and not found elsewhere."""

    def keep_rows(self, dataset_id: str, items: Sequence[Item]) -> None:
        """Adds rows, or gives those that are there their new version."""
        ...


@runtime_checkable
class HasProjects(Protocol):
    """A connector that can also act on labeling projects; `Plan.extras` says how, as JSON."""

    def plan_extras(self, sample: Mapping[str, Any] | None, copies: Collection[str]) -> Mapping[str, Any]:
        """What would be done with the chosen rows and the copies; {} for nothing.  sample: {"name", "ids"}."""
        ...

    def push_extras(self, dataset_id: str, extras: Mapping[str, Any]) -> Applied:
        """Does it; twice is the same as once."""
        ...

    def undo_extras(self, dataset_id: str, extras: Mapping[str, Any]) -> int:
        """Takes it back; returns how many things."""
        ...

    def made(self) -> Mapping[str, Sequence[str]]:
        """What `curate` itself created there and still is: kind -> names."""
        ...

    def remove_made(self) -> Mapping[str, Sequence[str]]:
        """Deletes that, with all its values."""
        ...


@dataclass(frozen=True, slots=True)
class Presentation:
    """What was computed, for a platform that shows it.

    spec: of the vectors, None when none are pushed.  points: row id -> map coordinates; {} where no map was made.
    map_name: of that map: the same rows, model and method give the same name on any machine.
    text: whether the model can also place texts.
    """

    spec: EmbedderSpec | None = None
    points: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    map_name: str = ""
    text: bool = False


@runtime_checkable
class Presents(Protocol):
    """A connector whose platform itself searches by similarity and draws maps; `Plan.extras` says what, as JSON."""

    def plan_presentation(self, dataset_id: str, presentation: Presentation) -> Mapping[str, Any]:
        """What would be shown anew; {} when all of it is shown already.  "shown": lines about it for people."""
        ...

    def present(self, dataset_id: str, extras: Mapping[str, Any], presentation: Presentation) -> None:
        """Shows it, after fields and vectors were pushed; twice is the same as once."""
        ...

    def withdraw(self, dataset_id: str, extras: Mapping[str, Any]) -> int:
        """Shows again what was shown before; returns how many things changed."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns bytes into vectors."""

    spec: EmbedderSpec

    def prepare(self, data: bytes) -> Any:
        """What `embed` takes, from the bytes of one row, on the CPU, thread-safe.  Raises MediaError.

        Image embedders return uint8 (h, w, 3), text embedders a str.  An image embedder may also offer
        `view(decoded: media.Decoded) -> Pixels` and `at_least` (pixels a scaled decode must keep, None for a full one), so
        that thumbnail and facts share its decode; `lanes`, one `embed` a device; `batch_size`; `embed_pixels(images)`.
        """
        ...

    def embed(self, batch: Sequence[Any]) -> Vectors:
        """Vectors of a batch of prepared rows: (n, dim) float32."""
        ...


@runtime_checkable
class TextEmbedder(Embedder, Protocol):
    """An embedder that can also place texts among its images."""

    def embed_text(self, texts: Sequence[str]) -> Vectors:
        """Vectors of texts in the same space: (n, dim) float32."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What an op may look at besides vectors, all read-only and aligned with `Embeddings.ids`.

    pixels: id -> uint8 (h, w, 3) at most 320 px a side, or None where there is none.
    field: name -> one value a row (None where a row has none); raises ConfigError when no row has that field.
    fact: "width", "height", "size_bytes", "content_hash", "pixel_hash", "uri" -> one value a row.
    previous: field of ours -> the value of the last run, one a row.
    findings: what earlier ops of this run found, by op name.
    rng: seeded.  embed_text: texts -> vectors, or None for a model with no text tower.
    logit, logit_scale: how the model itself scores an image against a text ("dot", "-d2", ..., and its factor); "" and None
    where it does not say.
    cached: small JSON results kept between runs (calibration): key -> value; `keep` stores one.
    band: radius -> the decoded distances (low, high) between which compressed vectors do not tell on which side of the radius
    a pair lies; None where the floats are kept.  Raises ConfigError where the vectors have too few bits to decide duplicates.
    """

    rng: np.random.Generator
    pixels: Callable[[str], Pixels | None] = lambda _id: None
    field: Callable[[str], Sequence[Scalar]] = lambda _name: ()
    fact: Callable[[str], Sequence[Any]] = lambda _name: ()
    previous: Callable[[str], Sequence[Scalar]] = lambda _name: ()
    findings: Mapping[str, Findings] = dataclasses.field(default_factory=dict)
    embed_text: Callable[[Sequence[str]], Vectors] | None = None
    embed_pixels: Callable[[Sequence[Pixels]], Vectors] | None = None
    logit: str = ""
    logit_scale: float | None = None
    cached: Callable[[str], Any] = lambda _key: None
    keep: Callable[[str, Any], None] = lambda _key, _value: None
    progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None
    band: Callable[[float], tuple[float, float] | None] = lambda _radius: None


@runtime_checkable
class CurationOp(Protocol):
    """A judgement over vectors: pure, seeded by the context, independent of the order of rows.

    name: as in the registry.  owns: the fields it may write or clear.
    """

    @property
    def name(self) -> str:
        """As in the registry."""
        ...

    @property
    def owns(self) -> frozenset[str]:
        """The fields it may write or clear."""
        ...

    def __call__(self, embeddings: Embeddings, context: Context) -> Findings:
        """Judges the rows."""
        ...


@runtime_checkable
class Codec(Protocol):
    """A compressed form of vectors.

    name: as in `--codec`.  header: JSON values and arrays learned by `fit`, the same for all rows of a segment.
    """

    name: str

    def encode(self, vectors: Vectors) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """(n, d) float32 -> (n, bytes_per_vector) uint8."""
        ...

    def decode(self, codes: np.ndarray[Any, np.dtype[np.uint8]]) -> Vectors:
        """The inverse, with the codec's loss."""
        ...
