"""Vectors by (item, version, embedder): what is missing, how a batch is committed, how vectors are read back."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from curate.codecs import DRIFT, Codec, Codes, codec_named, drift
from curate.errors import ConfigError, Corrupt, EmbedderError, StoreError
from curate.geometry import norms
from curate.store._catalog import Catalog
from curate.store._current import Current, all_current, current_after, current_ids, current_of
from curate.store._disk import remove
from curate.store._packs import Place, write_pack
from curate.store._rows import dataset_key, edition_of, items_from
from curate.store._segments import Numbers, Segment, damaged, row_key, row_keys, write_segment
from curate.types import Batch, EmbedderSpec, Embeddings, Facts, Failure, Item, Vectors

T = TypeVar("T")
IMPORT_ROWS = 65536  # rows of one segment of an import
RETRIES = 5


@dataclass(frozen=True)
class StoredSpec:
    """One embedding set.  rows: live rows at their current version.  codec: several are joined by "+"."""

    spec: EmbedderSpec
    dataset: str
    rows: int
    codec: str
    size_bytes: int
    imported: bool


@dataclass(frozen=True, slots=True)
class Target:
    """A row of the catalog that something is stored for."""

    row: int
    edition: int
    item_id: str
    version: str

    @property
    def key(self) -> int:
        """What ties stored bytes to it."""
        return row_key(self.item_id, self.version)


class VectorSets:
    """The embedding sets of a store."""

    def __init__(self, db: Catalog, root: Path) -> None:
        self.db, self.segments, self.thumbs = db, root / "segments", root / "thumbs"
        self._open: dict[int, Segment] = {}
        self._codecs: dict[tuple[str, str, str], Codec] = {}

    # ---- what is there

    def spec_key(self, dataset: str, fingerprint: str) -> int:
        """The key of an embedding set; -1 for one that is not there."""
        found = self.db.value(
            "SELECT s.key FROM spec s JOIN dataset d ON d.key=s.dataset WHERE d.name=? AND s.fingerprint=?",
            (dataset, fingerprint),
        )
        return int(found or -1)

    def spec_of(self, dataset: str, fingerprint: str) -> tuple[int, EmbedderSpec]:
        """Key and spec of an embedding set.  Raises StoreError when there is none."""
        key = self.spec_key(dataset, fingerprint)
        if key < 0:
            known = ", ".join(f"{s.spec.name} ({s.spec.fingerprint})" for s in self.specs(dataset)) or "none"
            raise StoreError(f"no vectors of model {fingerprint} for {dataset} (stored: {known}). Run `curate embed`.")
        return key, self._spec(self.db.value("SELECT body FROM spec WHERE key=?", (key,)), fingerprint)

    def specs(self, dataset: str | None = None) -> list[StoredSpec]:
        """Every embedding set, oldest first."""
        query = (
            "SELECT s.key, s.body, s.fingerprint, d.name, s.imported, d.key FROM spec s JOIN dataset d ON d.key=s.dataset "
            "WHERE (?1 IS NULL OR d.name=?1) ORDER BY s.key"
        )
        return [self._stored(*row) for row in self.db.rows(query, (dataset,))]

    def _stored(self, key: int, body: str, fingerprint: str, dataset: str, imported: int, dataset_number: int) -> StoredSpec:
        rows = self.db.value(
            "SELECT count(*) FROM row r JOIN vector v ON v.spec=? AND v.row=r.key AND v.edition=r.edition "
            "WHERE r.dataset=? AND r.live",
            (key, dataset_number),
        )
        files = self.db.rows("SELECT codec, sum(size) FROM segment WHERE spec=? GROUP BY codec ORDER BY codec", (key,))
        with self.db.decoding():
            spec = self._spec(body, fingerprint)
            size = sum(int(size) for _, size in files)
            return StoredSpec(spec, dataset, int(rows), "+".join(c for c, _ in files), size, bool(imported))

    def _spec(self, body: str, fingerprint: str) -> EmbedderSpec:
        with self.db.decoding():
            spec = EmbedderSpec(**json.loads(body))
            if spec.fingerprint != fingerprint:
                raise ValueError(f"the model {spec.name!r} does not match its fingerprint")
            return spec

    def codecs_of(self, dataset: str, fingerprint: str) -> list[Codec]:
        """The codecs that vectors of this set are held in, by name; one fitted twice is there twice."""
        return self._steady(lambda: self._codecs_of(dataset, fingerprint))

    def _codecs_of(self, dataset: str, fingerprint: str) -> list[Codec]:
        key, spec = self.spec_of(dataset, fingerprint)
        numbers = self.db.rows("SELECT key FROM segment WHERE spec=? ORDER BY codec, key", (key,))
        segments = [self.segment(int(number), spec) for (number,) in numbers]
        return list({segment.head.codec_header: segment.codec for segment in segments}.values())

    # ---- the embedding stage

    def missing(self, dataset: str, spec: EmbedderSpec, *, retry_failed: bool) -> list[Item]:
        """Live rows of the embedder's kind with neither a vector nor a lasting failure at their version, in id order."""
        rows = self.db.rows(
            "SELECT r.id, r.uri, r.version, r.fields, r.media FROM row r "
            "LEFT JOIN vector v ON v.spec=:spec AND v.row=r.key AND v.edition=r.edition "
            "LEFT JOIN failure f ON f.spec=:spec AND f.row=r.key AND f.edition=r.edition "
            "WHERE r.dataset=:dataset AND r.live AND r.media=:media AND v.row IS NULL AND (f.row IS NULL OR f.retry OR :all) "
            "ORDER BY r.id",
            {
                "spec": self.spec_key(dataset, spec.fingerprint),
                "dataset": dataset_key(self.db, dataset),
                "media": spec.media,
                "all": retry_failed,
            },
        )
        return items_from(self.db, rows)

    def append(self, dataset: str, spec: EmbedderSpec, batch: Batch, *, codec: str) -> None:
        """Commits one batch as a whole: files first, then one transaction."""
        _check_columns(batch)
        known = self._known(dataset, [*batch.ids, *(f.id for f in batch.failures)])
        with_thumb = [n for n, data in enumerate(batch.thumbs) if data is not None]
        segment, pack = self.segments / _name("seg"), self.thumbs / _name("pack")
        try:
            used, size = self._write_vectors(dataset, spec, batch, codec, segment) if batch.ids else ("", 0)
            pack_size, places = self._write_thumbs(batch, with_thumb, pack) if with_thumb else (0, [])
        except BaseException:
            remove(segment)
            remove(pack)
            self._codecs.clear()
            raise
        with self.db.transaction():
            key = self._keep_spec(dataset, spec, imported=False)
            targets = [self._target(known, i, v) for i, v in zip(batch.ids, batch.versions, strict=True)]
            if targets:
                self._place(key, targets, self._keep_segment(key, segment.name, used, len(targets), size))
            self._keep_facts(targets, batch.facts)
            self._keep_pack([targets[n] for n in with_thumb], pack.name, pack_size, places)
            self._keep_failures(key, known, batch.failures)

    def _write_vectors(self, dataset: str, spec: EmbedderSpec, batch: Batch, codec: str, path: Path) -> tuple[str, int]:
        vectors = check_vectors(spec, batch.ids, batch.vectors)
        used, codes = self._encode(dataset, spec, vectors, codec)
        keys = row_keys(batch.ids, batch.versions)
        size = write_segment(path, fingerprint=spec.fingerprint, codec=used, dim=spec.dim, keys=keys, codes=[codes])
        return used.name, size

    def _write_thumbs(self, batch: Batch, rows: Sequence[int], path: Path) -> tuple[int, list[Place]]:
        keys = [row_key(batch.ids[n], batch.versions[n]) for n in rows]
        return write_pack(path, keys, [batch.thumbs[n] or b"" for n in rows])

    def import_vectors(self, dataset: str, spec: EmbedderSpec, ids: Sequence[str], vectors: Vectors, *, codec: str) -> None:
        """Stores vectors for rows at their current version, all or none."""
        if len(ids) != len(vectors):
            raise StoreError(f"{len(ids)} ids for {len(vectors)} vectors")
        known = self._known(dataset, ids)
        if len(known) != len(ids):
            raise StoreError(f"the id {_twice(ids)!r} is given twice")
        written: list[tuple[str, list[Target], str, int]] = []
        try:
            for at in range(0, len(ids), IMPORT_ROWS):
                some = ids[at : at + IMPORT_ROWS]
                rows = check_vectors(spec, some, vectors[at : at + IMPORT_ROWS], first=at)
                targets = [self._target(known, i, known[i][2]) for i in some]
                used, codes = self._encode(dataset, spec, rows, codec)
                keys = row_keys([t.item_id for t in targets], [t.version for t in targets])
                path = self.segments / _name("seg")
                size = write_segment(path, fingerprint=spec.fingerprint, codec=used, dim=spec.dim, keys=keys, codes=[codes])
                written.append((path.name, targets, used.name, size))
        except BaseException:
            for name, *_ in written:
                remove(self.segments / name)
            self._codecs.clear()
            raise
        with self.db.transaction():
            key = self._keep_spec(dataset, spec, imported=True)
            for name, targets, codec_name, size in written:
                self._place(key, targets, self._keep_segment(key, name, codec_name, len(targets), size))

    def _encode(self, dataset: str, spec: EmbedderSpec, vectors: Vectors, name: str) -> tuple[Codec, Codes]:
        """The codec and the codes: the one the set has of this name, unless it no longer fits, else one fitted on these."""
        wanted = only_copy(name)
        held = (dataset, spec.fingerprint, wanted.name)
        if held not in self._codecs:
            key = self.spec_key(dataset, spec.fingerprint)
            number = self.db.value("SELECT max(key) FROM segment WHERE spec=? AND codec=?", (key, wanted.name))
            # A damaged segment is named by whoever reads it; here it only means that a codec is fitted anew.
            with contextlib.suppress(Corrupt, FileNotFoundError):
                if number is not None:
                    self._codecs[held] = self.segment(int(number)).codec
        if held not in self._codecs or drift(self._codecs[held], vectors) >= DRIFT:
            self._codecs[held] = wanted.fit(vectors, spec.space, np.random.default_rng(0))
        used = self._codecs[held]
        return used, used.encode(vectors)

    def _known(self, dataset: str, ids: Collection[str]) -> dict[str, tuple[int, int, str]]:
        """Id -> (row, edition, version).  Raises StoreError for an id that is no row of the dataset."""
        rows = self.db.by_ids(
            "SELECT id, key, edition, version FROM row WHERE dataset=? AND id IN ({})", (dataset_key(self.db, dataset),), ids
        )
        known = {i: (row, edition, version) for i, row, edition, version in rows}
        strange = sorted(set(ids) - known.keys())
        if strange:
            more = f" (and {len(strange) - 1:,} more)" if len(strange) > 1 else ""
            raise StoreError(f"{strange[0]!r}{more} is no row of {dataset}: list its rows first (curate pull)")
        return known

    def _target(self, known: dict[str, tuple[int, int, str]], item_id: str, version: str) -> Target:
        row, edition, current = known[item_id]
        return Target(row, edition if version == current else edition_of(self.db, row, version), item_id, version)

    def _keep_spec(self, dataset: str, spec: EmbedderSpec, *, imported: bool) -> int:
        self.db.run(
            "INSERT OR IGNORE INTO spec(dataset, fingerprint, body, imported) VALUES(?,?,?,?)",
            (dataset_key(self.db, dataset), spec.fingerprint, json.dumps(spec.as_dict(), sort_keys=True), imported),
        )
        return self.spec_key(dataset, spec.fingerprint)

    def _keep_segment(self, spec: int, file: str, codec: str, rows: int, size: int) -> int:
        return self.db.insert(
            "INSERT INTO segment(spec, file, codec, rows, size) VALUES(?,?,?,?,?)", (spec, file, codec, rows, size)
        )

    def _place(self, spec: int, targets: Sequence[Target], segment: int) -> None:
        self.db.many(
            "INSERT OR REPLACE INTO vector VALUES(?,?,?,?,?)",
            ((spec, t.row, t.edition, segment, n) for n, t in enumerate(targets)),
        )
        self.db.many("DELETE FROM failure WHERE spec=? AND row=? AND edition=?", ((spec, t.row, t.edition) for t in targets))
        self.db.many("DELETE FROM pushed WHERE spec=? AND row=?", ((spec, t.row) for t in targets))

    def _keep_facts(self, targets: Sequence[Target], facts: Sequence[Facts]) -> None:
        nothing = Facts()
        self.db.many(
            "INSERT OR REPLACE INTO fact VALUES(?,?,?,?,?,?,?)",
            (
                (t.row, t.edition, f.width, f.height, f.size_bytes, f.content_hash, f.pixel_hash)
                for t, f in zip(targets, facts, strict=True)
                if f != nothing
            ),
        )

    def _keep_pack(self, targets: Sequence[Target], file: str, size: int, places: Sequence[Place]) -> None:
        if places:
            pack = self.db.insert("INSERT INTO pack(file, size) VALUES(?,?)", (file, size))
            rows = ((t.row, t.edition, pack, *place) for t, place in zip(targets, places, strict=True))
            self.db.many("INSERT OR REPLACE INTO thumb VALUES(?,?,?,?,?,?)", rows)

    def _keep_failures(self, spec: int, known: dict[str, tuple[int, int, str]], failures: Sequence[Failure]) -> None:
        targets = [(self._target(known, f.id, f.version), f) for f in failures]
        self.db.many(
            "INSERT OR REPLACE INTO failure VALUES(?,?,?,?,?,?)",
            ((spec, t.row, t.edition, f.reason, f.detail, f.retry) for t, f in targets),
        )

    # ---- reading

    def embedded_ids(self, dataset: str, fingerprint: str) -> list[str]:
        """Live rows that have a vector at their current version, in id order."""
        key = self.spec_key(dataset, fingerprint)
        return current_ids(self.db, key, dataset_key(self.db, dataset))

    def embeddings(self, dataset: str, fingerprint: str, *, ids: Collection[str] | None = None) -> Embeddings:
        """Live rows that have a vector, in id order; the result is allocated once and filled."""
        return self._steady(lambda: self._embeddings(dataset, fingerprint, ids))

    def blocks(self, dataset: str, fingerprint: str, *, rows: int) -> Iterator[Embeddings]:
        """The same in pieces of at most `rows`."""
        key, spec = self.spec_of(dataset, fingerprint)
        number = dataset_key(self.db, dataset)
        last: str | None = None
        while True:

            def read(last: str | None = last) -> Embeddings:
                return self._fill(spec, current_after(self.db, key, number, last, rows))

            piece = self._steady(read)
            if len(piece):
                yield piece
            if len(piece) < rows:
                return
            last = piece.ids[-1]

    def _embeddings(self, dataset: str, fingerprint: str, ids: Collection[str] | None) -> Embeddings:
        key, spec = self.spec_of(dataset, fingerprint)
        number = dataset_key(self.db, dataset)
        return self._fill(spec, all_current(self.db, key, number) if ids is None else current_of(self.db, key, number, ids))

    def _fill(self, spec: EmbedderSpec, rows: Current) -> Embeddings:
        out = np.empty((len(rows.ids), spec.dim), np.float32)
        if rows.ids:
            self._read(out, spec, rows.keys, rows.segments, rows.slots)
        return Embeddings(rows.ids, out, spec)

    def _read(self, out: Vectors, spec: EmbedderSpec, keys: Any, segments: Numbers, slots: Numbers) -> None:
        order = np.argsort(segments, kind="stable")
        edges = [0, *(np.flatnonzero(np.diff(segments[order])) + 1).tolist(), len(order)]
        for low, high in pairwise(edges):
            dest = order[low:high]
            segment = self.segment(int(segments[dest[0]]), spec)
            segment.check_slots(slots[dest], keys[dest], self.db.path)
            segment.read_into(out, dest, slots[dest])

    def segment(self, number: int, spec: EmbedderSpec | None = None) -> Segment:
        """A checked segment by its key.  Raises FileNotFoundError when it is gone, Corrupt when it is damaged."""
        if number not in self._open:
            found = self.db.one(
                "SELECT s.file, s.rows, s.size, p.fingerprint FROM segment s JOIN spec p ON p.key=s.spec WHERE s.key=?",
                (number,),
            )
            if found is None:
                raise FileNotFoundError(f"segment {number}")
            file, rows, size, fingerprint = found
            with self.db.decoding():
                path = self.segments / file
            self._open[number] = Segment.load(path, fingerprint=fingerprint, rows=rows, size=size)
        segment = self._open[number]
        if spec is not None and (segment.head.fingerprint, segment.head.dim) != (spec.fingerprint, spec.dim):
            raise damaged(segment.path, f"it holds vectors of another model than {spec.name}")
        return segment

    def forget(self, numbers: Collection[int] | None = None) -> None:
        """Drops what is known of segments that were replaced (all of them by default)."""
        for number in list(self._open) if numbers is None else numbers:
            self._open.pop(number, None)
        self._codecs.clear()

    def _steady(self, read: Callable[[], T]) -> T:
        """`read`, again when a writer replaced a file meanwhile; Corrupt when a file is gone for good."""
        for attempt in range(RETRIES):
            try:
                return read()
            except FileNotFoundError as err:
                self.forget()
                if attempt == RETRIES - 1:
                    missing = Path(err.filename) if err.filename else self.db.path
                    raise damaged(missing, "the file is missing" if err.filename else f"it names no {err}") from err
        raise AssertionError


def _check_columns(batch: Batch) -> None:
    """Raises StoreError for columns of unequal length, and for a row that is in the batch twice."""
    count = len(batch.ids)
    if not count == len(batch.versions) == len(batch.facts) == len(batch.thumbs) == len(batch.vectors):
        raise StoreError(f"a batch of {count} ids has columns of another length")
    rows = [*batch.ids, *(failure.id for failure in batch.failures)]
    if len(set(rows)) != len(rows):
        raise StoreError(f"the row {_twice(rows)!r} is in the batch twice")


def only_copy(name: str) -> Codec:
    """The codec of a name, if vectors may be held in nothing else.  Raises UnknownName, ConfigError."""
    codec = codec_named(name)
    if codec.name.startswith("binary"):
        raise ConfigError(f"codec {name!r} keeps signs: it is an index, never the only copy of a vector. The smallest is tc:1.")
    return codec


def check_vectors(spec: EmbedderSpec, ids: Sequence[str], vectors: Vectors, *, first: int = 0) -> Vectors:
    """`vectors` as (n, dim) float32.  Raises EmbedderError for a wrong shape, NaN, infinities, and zero rows in cosine.

    first: number of the first row, for messages.
    """
    x = np.asarray(vectors)
    if x.ndim != 2 or x.shape != (len(ids), spec.dim):
        raise EmbedderError(f"{spec.name} gives {spec.dim} numbers a row; got an array of shape {x.shape} for {len(ids)} rows")
    x = np.asarray(x, np.float32)
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if bad.size:
        raise EmbedderError(f"the vector of {ids[int(bad[0])]!r} (row {first + int(bad[0])}) has NaN or infinite values")
    if not spec.space.zero_ok:
        zero = np.flatnonzero(norms(x) == 0)
        if zero.size:
            raise EmbedderError(
                f"the vector of {ids[int(zero[0])]!r} (row {first + int(zero[0])}) is zero: cosine distance is undefined for it"
            )
    return x


def _name(suffix: str) -> str:
    return f"{uuid.uuid4().hex}.{suffix}"


def _twice(ids: Sequence[str]) -> str:
    seen: set[str] = set()
    for item_id in ids:
        if item_id in seen:
            return item_id
        seen.add(item_id)
    return ""
