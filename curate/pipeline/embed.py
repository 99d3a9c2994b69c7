"""The embedding stage: read, decode, embed, overlapped; one batch comes out at a time, in the order of the rows.

    rows -> reader threads -> decoder threads -> one consumer a device -> batches, which the caller commits one by one

Nothing here knows a store, a platform or an engine: a distributed run calls `embed_shard` with its share of the rows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from curate import media
from curate.errors import ConfigError, CurateError, EmbedderError, MediaError, NotFound, Transient
from curate.geometry import norms
from curate.pipeline._flow import Flow, Limits, read_with_retries
from curate.protocols import Embedder
from curate.types import Batch, EmbedderSpec, Facts, Failure, Item, Vectors

BATCH_SIZE = 32
READERS = 64
HELD_BYTES = 256 * 2**20
THUMBS = ("on", "off", "full")
SAMPLE = 64
DOOMED = 8
"""Rows in a row that all fail in the model before it is the model that is to blame, not they."""


def embed_shard(
    rows: Iterable[Item],
    embedder: Embedder,
    read: Callable[[Item], bytes],
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    thumbs: str = "on",
    max_pixels: int = media.MAX_PIXELS,
    progress: Callable[[int], None] = lambda _done: None,
    stop: Callable[[], bool] = lambda: False,
    keep: Callable[[Batch], None] | None = None,
) -> Iterator[Batch]:
    """Vectors, facts and thumbnails of rows, batch by batch in row order; the same batches whatever the number of threads.

    read: bytes of a row, called from many threads.  batch_size: rows a batch; None takes the embedder's own.
    workers: decoder threads; None for one a core.  thumbs: "on" keeps a JPEG of at most 320 px a side, "full" one of full
    size, "off" none.  progress: called with the number of rows that are done.
    stop: asked all the time; once it says True the batches in flight on a device still come, then nothing more.
    keep: called from the device's thread with every batch as soon as it is computed, and must make it survive a kill of the
    process (`Store.spool`).  The device then works on while the caller commits; without it, a device starts a batch only when
    the caller is back from the last one.  In both cases a kill costs at most the batch on each device.

    An embedder that has `view(decoded)` and `at_least` (see `PixelEmbedder`) shares one decode with thumbnail and facts; for
    another one the image is decoded a second time at a small scale.  `lanes`, where it has them, are one `embed` a device.

    A row that fails is a `Failure` of its batch: the reason of its MediaError, "unreachable" after bounded retries (another
    run tries it again), "not_found", "unreadable", "prepare_failed", "embed_failed", "out_of_memory", "non_finite",
    "zero_vector".
    Raises EmbedderError when the model itself fails or gives rows of a wrong shape; whatever `read` raises that is not about
    one row (AuthError, ...); KeyboardInterrupt, after the batches in flight.
    """
    if thumbs not in THUMBS:
        raise ConfigError(f"unknown thumbs {thumbs!r}; known: {', '.join(THUMBS)}")
    size = batch_size if batch_size is not None else int(getattr(embedder, "batch_size", BATCH_SIZE))
    if size < 1 or (workers is not None and workers < 1):
        raise ConfigError(f"batch size {size} and workers {workers} must be at least 1")
    lanes = tuple(getattr(embedder, "lanes", ())) or (embedder.embed,)
    stage = _Stage(embedder.spec, opener(embedder, thumbs, max_pixels))
    limits = Limits(
        batch_size=size,
        readers=READERS,
        decoders=workers or cores(),
        held_bytes=HELD_BYTES,
        held_rows=READERS + (2 + len(lanes)) * size,
    )
    flow: Flow[Item, _Row, Batch] = Flow(
        rows,
        limits,
        fetch=lambda item, stopped: _fetch(item, read, stopped),
        prepare=stage.prepare,
        finish=[_Lane(stage.spec, lane) for lane in lanes],
        stop=stop,
        keep=keep,
    )
    return _counted(flow, progress)


def _counted(flow: Flow[Item, _Row, Batch], progress: Callable[[int], None]) -> Iterator[Batch]:
    done = 0
    with flow:
        for batch in flow:
            yield batch
            done += len(batch.ids) + len(batch.failures)
            progress(done)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Row:
    """One row on its way: what the model takes, facts and thumbnail; or why there is none."""

    __slots__ = ("facts", "failure", "item", "prepared", "thumb")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.prepared: Any = None
        self.facts = Facts()
        self.thumb: bytes | None = None
        self.failure: Failure | None = None

    def fail(self, reason: str, detail: str = "", *, retry: bool = False) -> _Row:
        self.prepared, self.thumb = None, None
        self.failure = Failure(self.item.id, self.item.version, reason, detail, retry)
        return self

    @property
    def size_bytes(self) -> int:
        return int(getattr(self.prepared, "nbytes", 0)) + len(self.thumb or b"")


def _fetch(item: Item, read: Callable[[Item], bytes], stopped: Callable[[float], bool]) -> bytes | Failure:
    def failed(reason: str, detail: str, *, retry: bool = False) -> Failure:
        return Failure(item.id, item.version, reason, detail, retry)

    try:
        return read_with_retries(item, read, stopped)
    except MediaError as err:
        return failed(err.reason, err.detail)
    except NotFound as err:
        return failed("not_found", str(err))
    except Transient as err:
        return failed("unreachable", str(err), retry=True)
    except OSError as err:
        return failed("unreadable", str(err), retry=True)


Opener = Callable[[bytes], tuple[Any, Facts, bytes | None]]


def opener(embedder: Embedder, thumbs: str, max_pixels: int) -> Opener:
    """What turns the bytes of a row into (what the model takes, facts, thumbnail), with one decode where possible."""
    view = getattr(embedder, "view", None)
    side = None if thumbs == "full" else media.THUMBNAIL_SIDE

    def thumbnail(decoded: media.Decoded) -> bytes | None:
        return None if thumbs == "off" else media.thumbnail(decoded.pixels, side)

    def shared(data: bytes) -> tuple[Any, Facts, bytes | None]:
        at_least = embedder.at_least  # type: ignore[attr-defined]
        decoded = media.decode(data, max_pixels=max_pixels, at_least=at_least)
        # A thumbnail of full size must not change what the model sees, so that one is decoded for itself.
        whole = decoded if decoded.full or thumbs != "full" else media.decode(data, max_pixels=max_pixels)
        return view(decoded), media.facts(data, whole), thumbnail(whole)  # type: ignore[misc]

    def apart(data: bytes) -> tuple[Any, Facts, bytes | None]:
        decoded = media.decode(data, max_pixels=max_pixels, at_least=side)
        return embedder.prepare(data), media.facts(data, decoded), thumbnail(decoded)

    def text(data: bytes) -> tuple[Any, Facts, bytes | None]:
        return embedder.prepare(data), media.facts(data), None

    if embedder.spec.media != "image":
        return text
    return shared if view is not None else apart


class _Stage:
    """The work of a decoder thread."""

    def __init__(self, spec: EmbedderSpec, open_row: Opener) -> None:
        self.spec, self._open = spec, open_row

    def prepare(self, item: Item, data: bytes | Failure) -> tuple[_Row, int]:
        """The row with what the model takes, and how many bytes it holds."""
        row = _Row(item)
        if isinstance(data, Failure):
            row.failure = data
            return row, 0
        try:
            row.prepared, row.facts, row.thumb = self._open(data)
        except MediaError as err:
            row.fail(err.reason, err.detail)
        except MemoryError:
            row.fail("out_of_memory", "no memory to decode it", retry=True)
        except Exception as err:  # noqa: BLE001 - an embedder's `prepare` may be anybody's; one bad row must not end the run
            row.fail("prepare_failed", f"{type(err).__name__}: {err}")
        return row, row.size_bytes


class _Lane:
    """The work of a device's thread: a batch of rows to vectors."""

    def __init__(self, spec: EmbedderSpec, embed: Callable[[Sequence[Any]], Vectors]) -> None:
        self._spec, self._embed = spec, embed
        self._failing = 0

    def __call__(self, rows: Sequence[_Row]) -> Batch:
        good = [row for row in rows if row.failure is None]
        vectors = self._vectors(good) if good else np.zeros((0, self._spec.dim), np.float32)
        self._refuse(good, vectors)
        kept = np.array([row.failure is None for row in good], dtype=bool)
        good = [row for row in good if row.failure is None]
        return Batch(
            ids=[row.item.id for row in good],
            versions=[row.item.version for row in good],
            vectors=np.ascontiguousarray(vectors[kept]),
            facts=[row.facts for row in good],
            thumbs=[row.thumb for row in good],
            failures=[row.failure for row in rows if row.failure is not None],
        )

    def _vectors(self, rows: Sequence[_Row]) -> Vectors:
        try:
            vectors = self._checked(self._embed([row.prepared for row in rows]), len(rows))
        except CurateError:
            raise
        except Exception as err:  # noqa: BLE001 - anybody's `embed`: find the rows it cannot take
            return self._one_by_one(rows, err)
        self._failing = 0
        return vectors

    def _one_by_one(self, rows: Sequence[_Row], first: Exception) -> Vectors:
        """After a batch failed as a whole: every row alone, so that one bad row costs only itself.

        Where none works, a few rows are recorded and tried again in the next run: they may be all that was left to do.
        """
        vectors = np.zeros((len(rows), self._spec.dim), np.float32)
        for n, row in enumerate(rows):
            try:
                vectors[n] = self._checked(self._embed([row.prepared]), 1)[0]
            except CurateError:
                raise
            except Exception as err:  # noqa: BLE001 - recorded below, with its text
                row.fail("embed_failed", f"{type(err).__name__}: {err}")
        if any(row.failure is None for row in rows):
            self._failing = 0
            return vectors
        self._failing += len(rows)
        if self._failing >= DOOMED:
            raise EmbedderError(
                f"model {self._spec.name!r} failed on the last {self._failing} rows: {type(first).__name__}: {first}. "
                "What was embedded before is kept; run the same command again to go on."
            ) from first
        for row in rows:
            if row.failure is not None:
                row.failure = dataclasses.replace(row.failure, retry=True)
        return vectors

    def _checked(self, vectors: Vectors, count: int) -> Vectors:
        found = np.asarray(vectors, dtype=np.float32)
        expected = (count, self._spec.dim)
        if found.shape != expected:
            raise EmbedderError(f"model {self._spec.name!r} gave shape {found.shape} for {count} rows; expected {expected}")
        return found

    def _refuse(self, rows: Sequence[_Row], vectors: Vectors) -> None:
        finite = np.asarray(np.isfinite(vectors).all(axis=1))
        length = norms(np.where(finite[:, None], vectors, 0))
        for n, row in enumerate(rows):
            if row.failure is None and not finite[n]:
                row.fail("non_finite", "the model gave NaN or infinity")
            elif row.failure is None and length[n] == 0 and not self._spec.space.zero_ok:
                row.fail("zero_vector", "the model gave a zero vector, which has no direction")


def settle(
    embedder: Embedder,
    rows: Iterable[Item],
    read: Callable[[Item], bytes],
    *,
    stored: Collection[str] = (),
) -> str | None:
    """Decides what `--dtype auto` means for this model, on 64 of the user's own rows, before anything is stored.

    rows: the dataset, in any order; the sample is the same for the same rows.  stored: fingerprints the store has vectors of:
    one of this model's is kept without measuring.
    Returns what was measured, in words; None where there was nothing to decide.  Changes `embedder.spec`.
    """
    if not getattr(embedder, "unsettled", False):
        return None
    decide: Callable[..., Any] = embedder.settle  # type: ignore[attr-defined]
    if any(embedder.with_dtype(dtype).fingerprint in stored for dtype in ("fp32", "bf16")):  # type: ignore[attr-defined]
        decide((), stored=stored)
        return None
    measured = decide(sample_of(embedder, rows, read))
    return None if measured is None else str(measured)


def chosen_rows(rows: Iterable[Item], *, size: int) -> list[Item]:
    """Up to `size` rows, the same ones for the same set of ids, whatever their order."""
    return heapq.nsmallest(size, rows, key=lambda item: (hashlib.sha256(item.id.encode()).digest(), item.id))


def sample_of(embedder: Embedder, rows: Iterable[Item], read: Callable[[Item], bytes], *, size: int = SAMPLE) -> list[Any]:
    """Up to `size` prepared rows, the same ones for the same set of ids; rows that cannot be read are left out."""
    chosen = chosen_rows((item for item in rows if item.media_type == embedder.spec.media), size=size)

    def prepared(item: Item) -> Any:
        try:
            return embedder.prepare(read(item))
        except (MediaError, NotFound, Transient, OSError):
            return None

    with ThreadPoolExecutor(min(16, max(1, len(chosen))), thread_name_prefix="curate-sample") as pool:
        return [row for row in pool.map(prepared, chosen) if row is not None]
