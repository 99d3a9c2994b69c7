"""What a sync would take, before anything is spent: 64 rows are read and embedded, the rest is arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from curate import codecs, media
from curate.errors import MediaError, NotFound, Transient
from curate.pipeline.embed import READERS, SAMPLE, chosen_rows, cores, opener
from curate.protocols import Embedder
from curate.types import Change, Item, Plan

CODECS = ("f32", "f16", "int8", "int4", "tc:4", "binary")


@dataclass(frozen=True, slots=True)
class Estimate:
    """What embedding `rows` rows would take.

    probe: rows that were read, and how many of them failed.  bytes_to_fetch: of all rows, from the probe's mean.
    seconds: of the slowest of reading, decoding and the device, which overlap; bound: which of them that is.
    rates: rows a second of each alone.  store_bytes: codec -> vectors and thumbnails of all rows.
    platform: what pushing the vectors takes, as the connector says ("requests", "minutes", ...), with its quota; {} where it
    says nothing.
    """

    rows: int
    probe: int
    failed: int
    bytes_to_fetch: int
    seconds: float
    bound: str
    rates: Mapping[str, float]
    store_bytes: Mapping[str, int]
    device: str
    platform: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}

    def lines(self) -> list[str]:
        """The same in words."""
        codecs_said = ", ".join(f"{name} {size / 1e6:,.1f} MB" for name, size in self.store_bytes.items())
        rates = ", ".join(f"{name} {rate:,.1f}/s" for name, rate in self.rates.items())
        said = [
            f"{self.rows:,} rows to embed; {self.bytes_to_fetch / 1e6:,.1f} MB to fetch",
            f"about {_clock(self.seconds)} on {self.device}, bound by {self.bound} ({rates})",
            f"store: {codecs_said}",
        ]
        if self.failed:
            said.append(f"{self.failed} of {self.probe} rows of the probe cannot be embedded")
        if self.platform:
            said.append("platform: " + ", ".join(f"{name} {value}" for name, value in self.platform.items()))
        return said


def estimate(
    rows: Sequence[Item],
    embedder: Embedder,
    read: Callable[[Item], bytes],
    *,
    thumbs: str = "on",
    max_pixels: int = media.MAX_PIXELS,
    workers: int | None = None,
    cost: Callable[[Plan], Mapping[str, Any]] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Estimate:
    """What embedding `rows` (those without a vector) would take, from a probe of 64 of them; keeps nothing.

    cost: what a connector's `estimate` says of a plan (see `Prepares`), asked with the vectors of all rows.
    Raises EmbedderError when the model cannot be used.
    """
    sample = chosen_rows(rows, size=SAMPLE)
    start = clock()
    with ThreadPoolExecutor(min(16, max(1, len(sample))), thread_name_prefix="curate-probe") as pool:
        taken = list(pool.map(lambda item: _timed_read(item, read, clock), sample))
    reading = clock() - start
    read_rows = [data for data, _ in taken if data is not None]
    opened, opening = _opened(read_rows, opener(embedder, thumbs, max_pixels), clock)
    embedding = _embedding(embedder, [row for row, _ in opened], clock)
    latency = float(np.mean([seconds for _, seconds in taken])) if taken else 0.0
    # What came through 16 readers is a floor for 64; their latency overlaps, their bytes share one line.
    fetch_rate = max(len(taken) / reading if reading > 0 else 0.0, 0.0)
    rates = {
        "reading": min(fetch_rate * READERS / 16, READERS / latency) if latency > 0 else float("inf"),
        "decoding": len(read_rows) * (workers or cores()) / opening if opening > 0 else float("inf"),
        "device": len(opened) / embedding if embedding > 0 else float("inf"),
    }
    rates = {name: rate for name, rate in rates.items() if np.isfinite(rate) and rate > 0}
    bound = min(rates, key=lambda name: rates[name], default="nothing")
    thumb = int(np.mean([size for _, size in opened])) if opened else 0
    mean = float(np.mean([len(data) for data in read_rows])) if read_rows else 0.0
    vectors = [item.id for item in rows]
    return Estimate(
        rows=len(rows),
        probe=len(sample),
        failed=len(sample) - len(opened),
        bytes_to_fetch=round(mean * len(rows)),
        seconds=len(rows) / rates[bound] if rates else 0.0,
        bound=bound,
        rates=rates,
        store_bytes={name: len(rows) * (_width(name, embedder.spec.dim) + thumb) for name in CODECS},
        device=_device(embedder),
        platform=dict(cost(_plan(vectors, embedder))) if cost is not None else {},
    )


def _timed_read(item: Item, read: Callable[[Item], bytes], clock: Callable[[], float]) -> tuple[bytes | None, float]:
    start = clock()
    try:
        return read(item), clock() - start
    except (MediaError, NotFound, Transient, OSError):
        return None, clock() - start


def _opened(rows: Sequence[bytes], open_row: Any, clock: Callable[[], float]) -> tuple[list[tuple[Any, int]], float]:
    """(what the model takes, bytes of the thumbnail) of the rows that can be opened, and the seconds one thread took."""
    opened: list[tuple[Any, int]] = []
    start = clock()
    for data in rows:
        try:
            prepared, _, thumb = open_row(data)
        except MediaError:
            continue
        opened.append((prepared, len(thumb or b"")))
    return opened, clock() - start


def _embedding(embedder: Embedder, rows: Sequence[Any], clock: Callable[[], float]) -> float:
    """Seconds for all rows in the embedder's batches; a first call is not counted, for it prepares the device."""
    if not rows:
        return 0.0
    size = int(getattr(embedder, "batch_size", 32))
    embedder.embed(rows[:1])
    start = clock()
    for at in range(0, len(rows), size):
        embedder.embed(rows[at : at + size])
    return clock() - start


def _width(name: str, dim: int) -> int:
    return int(codecs.codec_named(name).bytes_per_vector(dim))


def _plan(ids: Sequence[str], embedder: Embedder) -> Plan:
    # One field for every row: the cluster, which all rows have; copies and samples are few beside it.
    changes = [Change(item_id, "cluster", None, 0) for item_id in ids]
    return Plan("", changes, ids, embedder.spec, basis="estimate")


def _device(embedder: Embedder) -> str:
    runner = getattr(embedder, "runner", None)
    return ", ".join(str(device) for device in runner.devices) if runner is not None else "cpu"


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
