"""A connector and an embedder in memory, with knobs for what goes wrong."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from curate import media
from curate.errors import ConnectorError, CurateError, MediaError, NotFound, Transient
from curate.types import Applied, Change, EmbedderSpec, Item, Page, Pixels, Rejected, Scalar, Vectors


class Crash(BaseException):
    """The process "died" here: no `except Exception` on the way stops it, as nothing stops a kill."""


class FakeConnector:
    """Rows in memory behind the Connector protocol.

    rows: id -> bytes; change the mapping between runs to add, replace and remove rows.  fields: id -> {name: value}, what the
    platform shows.  vectors: (spec fingerprint, id) -> vector, what was pushed.

    Knobs, to be set at any time:
    - fail_next(n, error): the next n calls of read, pages and push_* raise `error` (Transient by default).
    - die_after: after that many further calls every call raises Crash; None never.
    - slow: seconds that each read takes.
    - reject: (item id, field) -> the reason to refuse the change with, or "".
    Counts: calls["pages" | "read" | "push_fields" | "push_vectors" | "check"], reads[item id], writes (field values written).
    """

    name = "fake"
    takes_vectors = True

    def __init__(
        self,
        rows: Mapping[str, bytes] | None = None,
        *,
        dataset: str = "rows",
        fields: Mapping[str, Mapping[str, Scalar]] | None = None,
        media_type: str = "image",
        page_size: int = 100,
    ) -> None:
        self.rows = dict(rows or {})
        self.dataset, self.media_type, self.page_size = dataset, media_type, page_size
        self.fields: dict[str, dict[str, Scalar]] = {i: dict(values) for i, values in (fields or {}).items()}
        self.vectors: dict[tuple[str, str], Vectors] = {}
        self.calls: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.writes = 0
        self.die_after: int | None = None
        self.slow = 0.0
        self.reject: Callable[[str, str], str] = lambda _item, _field: ""
        self._failing: list[CurateError] = []
        self._lock = threading.Lock()

    def fail_next(self, count: int = 1, error: CurateError | None = None) -> None:
        """Makes the next `count` calls raise `error`."""
        with self._lock:
            self._failing += [error or Transient("the fake was told to fail", retry_after=0.0)] * count

    def has(self, dataset_id: str) -> bool:
        """Whether it is the one dataset there is."""
        return dataset_id == self.dataset

    def check(self, dataset_id: str) -> None:
        """Raises NotFound for another dataset."""
        self._called("check", dataset_id)

    def pages(self, dataset_id: str, *, since: str | None = None) -> Iterator[Page]:
        """All rows, in id order."""
        self._called("pages", dataset_id)
        if since is not None:
            raise ConnectorError(f"the fake gave no cursor {since!r}")
        ids = sorted(self.rows)
        for start in range(0, len(ids), self.page_size):
            yield Page([self._item(i) for i in ids[start : start + self.page_size]])

    def read(self, item: Item) -> bytes:
        """The bytes of a row."""
        self._called("read")
        if self.slow:
            time.sleep(self.slow)
        with self._lock:
            self.reads[item.id] += 1
        if item.id not in self.rows:
            raise MediaError("missing", item.id)
        return self.rows[item.id]

    def push_fields(self, dataset_id: str, changes: Sequence[Change]) -> Applied:
        """Takes the values that `reject` does not refuse."""
        self._called("push_fields", dataset_id)
        rejected = []
        for change in changes:
            why = self.reject(change.item_id, change.field) or ("" if change.item_id in self.rows else "no such row")
            if why:
                rejected.append(Rejected(change.item_id, change.field, why))
                continue
            shown = self.fields.setdefault(change.item_id, {})
            self.writes += 1
            if change.after is None:
                shown.pop(change.field, None)
            else:
                shown[change.field] = change.after
        return Applied(len(changes) - len(rejected), tuple(rejected))

    def push_vectors(self, dataset_id: str, spec: EmbedderSpec, ids: Sequence[str], vectors: Vectors) -> Applied:
        """Takes every vector of a row it has."""
        self._called("push_vectors", dataset_id)
        rejected = [Rejected(i, spec.name, "no such row") for i in ids if i not in self.rows]
        for item_id, vector in zip(ids, vectors, strict=True):
            if item_id in self.rows:
                self.vectors[spec.fingerprint, item_id] = np.array(vector, dtype=np.float32)
        return Applied(len(ids) - len(rejected), tuple(rejected))

    def _item(self, item_id: str) -> Item:
        version = hashlib.sha256(self.rows[item_id]).hexdigest()
        return Item(item_id, f"memory:{item_id}", version, dict(self.fields.get(item_id, {})), self.media_type)

    def _called(self, what: str, dataset_id: str | None = None) -> None:
        with self._lock:
            self.calls[what] += 1
            if self.die_after is not None:
                self.die_after -= 1
                if self.die_after < 0:
                    raise Crash(what)
            if self._failing and what != "check":
                raise self._failing.pop(0)
        if dataset_id is not None and dataset_id != self.dataset:
            raise NotFound(f"the fake has no dataset {dataset_id!r}")


class FakeEmbedder:
    """Vectors without weights: the mean colours of a small grid of the image, dim = 3 * grid * grid.

    Knobs: fail_on, nan_on (functions of the bytes: True makes `prepare` raise MediaError("fake_failure"), or the vector NaN);
    die_after: after that many further batches `embed` raises Crash; slow: seconds a batch takes.
    Counts: prepared and embedded rows, batches.
    """

    def __init__(self, *, grid: int = 2, geometry: str = "euclidean", revision: str = "1", batch_size: int = 8) -> None:
        self.grid, self.batch_size = grid, batch_size
        self.spec = EmbedderSpec("fake", revision, "grid", 3 * grid * grid, geometry)
        self.fail_on: Callable[[bytes], bool] = lambda _data: False
        self.nan_on: Callable[[bytes], bool] = lambda _data: False
        self.die_after: int | None = None
        self.slow = 0.0
        self.prepared = self.embedded = self.batches = 0
        self._lock = threading.Lock()

    def prepare(self, data: bytes) -> Vectors:
        """(grid, grid, 3) float32 mean colours in 0..1.  Raises MediaError."""
        with self._lock:
            self.prepared += 1
        if self.fail_on(data):
            raise MediaError("fake_failure", "the fake was told to fail")
        pixels: Pixels = media.decode(data).pixels
        colours = media.area_mean(pixels, self.grid, self.grid) / np.float32(255)
        return np.full_like(colours, np.nan) if self.nan_on(data) else np.asarray(colours, dtype=np.float32)

    def embed(self, batch: Sequence[Vectors]) -> Vectors:
        """(n, 3 * grid * grid) float32."""
        with self._lock:
            self.batches += 1
            if self.die_after is not None:
                self.die_after -= 1
                if self.die_after < 0:
                    raise Crash("embed")
            self.embedded += len(batch)
        if self.slow:
            time.sleep(self.slow)
        return np.array([one.ravel() for one in batch], dtype=np.float32).reshape(len(batch), self.spec.dim)
