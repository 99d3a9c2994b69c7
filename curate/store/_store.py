"""The store: the one object the stages and the command line talk to."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from curate.codecs import Codec
from curate.errors import Corrupt, CurateError, StoreError
from curate.store import _rows, _upkeep
from curate.store._catalog import Catalog
from curate.store._disk import make_folder, remove
from curate.store._lock import WriteLock
from curate.store._packs import Place, read_image
from curate.store._results import Results, Run
from curate.store._rows import Listing, dataset_key
from curate.store._segments import damaged, row_key
from curate.store._spool import Spool, Spooled
from curate.store._vectors import StoredSpec, VectorSets
from curate.store._verify import verify
from curate.types import Batch, Change, EmbedderSpec, Embeddings, Facts, Failure, Findings, Item, Rejected, Scalar, Vectors

FOLDERS = ("segments", "thumbs", "spool", "runs", "results")
_OURS = re.compile(r"[0-9a-f]{32}\.(seg|pack)(\.tmp)?")


class Store:
    """Everything `curate` knows about datasets, on the local disk; a cache: losing it costs compute, never correctness.

    `dataset` is always the key "CONNECTOR:ID".  Vectors are kept by (item id, content version, embedder fingerprint).
    Every method raises StoreError or one of its kinds (Locked, WrongVersion, Corrupt) naming the file.
    """

    def __init__(self, path: Path, db: Catalog, lock: WriteLock | None) -> None:
        self.path, self.results = path, path / "results"
        self._db, self._lock = db, lock
        self._vectors, self._results = VectorSets(db, path), Results(db, path)
        self._spool = Spool(path / "spool")

    @classmethod
    def open(
        cls, path: Path, *, write: bool = False, create: bool = False, notify: Callable[[str], None] = lambda _line: None
    ) -> Store:
        """Opens a store; `write` takes the lock and clears up after a writer that died.

        Reading needs no lock, and works beside a writer and on a read-only disk.  notify: told what recovery did.
        Raises Locked at once when another process writes, StoreError when there is no store and not `create`.
        """
        path = Path(path)
        catalog = path / "catalog.sqlite"
        if not _exists(catalog) and not (write and create):
            raise StoreError(f"there is no store at {path}. Make one with: curate sync --dataset ID --store {path}")
        if not write:
            return cls(path, Catalog(catalog, write=False), None)
        for folder in (path, *(path / name for name in FOLDERS)):
            make_folder(folder)
        lock = WriteLock(path / "lock")
        lock.acquire()
        try:
            _check_first(path)
            store = cls(path, Catalog(catalog, write=True), lock)
            store._recover(notify)
        except BaseException:
            lock.release()
            raise
        return store

    def close(self) -> None:
        """Closes the store and gives the lock back."""
        self._db.close()
        if self._lock:
            self._lock.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _recover(self, notify: Callable[[str], None]) -> None:
        """Removes files of ours that no committed batch names; other people's files stay."""
        known = {file for (file,) in self._db.rows("SELECT file FROM segment UNION ALL SELECT file FROM pack")}
        gone = 0
        for folder in ("segments", "thumbs"):
            for file in (self.path / folder).iterdir():
                if _OURS.fullmatch(file.name) and file.name not in known:
                    remove(file)
                    gone += 1
        if gone:
            notify(f"removed {gone} unfinished {'file' if gone == 1 else 'files'} of an interrupted run from {self.path}")
        self._commit_spooled(notify)
        self._results.interrupt_runs()

    def _commit_spooled(self, notify: Callable[[str], None]) -> None:
        """Commits the batches that an interrupted run had computed; what cannot be kept is computed again."""
        rows = 0
        for path, found in self._spool.left():
            try:
                if found is not None:
                    self._vectors.append(found.dataset, found.spec, found.batch, codec=found.codec)
                    rows += len(found.batch.ids)
            except CurateError as err:
                notify(f"a batch of an interrupted run is computed again: {err}")
            remove(path)
        if rows:
            notify(f"kept {rows} {'row' if rows == 1 else 'rows'} that an interrupted run had computed")

    def _writing(self) -> None:
        if self._lock is None:
            raise StoreError(f"the store {self.path} is open for reading only")

    # ---- rows

    def begin_listing(self, dataset: str) -> Listing:
        """A listing to fill with `add` and end with `finish`; rows unseen in a complete one retire."""
        self._writing()
        return Listing(self._db, dataset)

    def items(self, dataset: str, *, ids: Collection[str] | None = None) -> Iterator[Item]:
        """Live rows in id order, streamed; of `ids` those that are live rows."""
        return _rows.items(self._db, dataset, ids)

    def count(self, dataset: str) -> int:
        """How many live rows a dataset has."""
        return int(self._db.value("SELECT count(*) FROM row WHERE dataset=? AND live", (dataset_key(self._db, dataset),)))

    def datasets(self) -> list[str]:
        """The datasets in the store, sorted."""
        return [str(row[0]) for row in self._db.rows("SELECT name FROM dataset ORDER BY name")]

    def cursor(self, dataset: str) -> str | None:
        """Where the next incremental listing starts."""
        found: str | None = self._db.value("SELECT cursor FROM dataset WHERE name=?", (dataset,))
        return found

    def basis(self, dataset: str) -> str:
        """sha256 hex over the live (id, version) in id order; a plan on another basis is stale."""
        return _rows.basis(self._db, dataset)

    def fields(self, dataset: str, name: str) -> dict[str, Scalar]:
        """Id -> value of one platform field, of live rows that have it."""
        return _rows.fields(self._db, dataset, name)

    def field_names(self, dataset: str) -> list[str]:
        """The platform fields that live rows have, sorted."""
        return _rows.field_names(self._db, dataset)

    def update_fields(self, dataset: str, changes: Sequence[Change]) -> None:
        """Takes over what the platform shows after a push."""
        self._writing()
        _rows.update_fields(self._db, dataset, changes)

    # ---- the embedding stage

    def missing(self, dataset: str, spec: EmbedderSpec, *, retry_failed: bool = False) -> list[Item]:
        """Live rows of the embedder's kind that need embedding, in id order.

        A row that failed at this version is left out, unless another try may help (`Failure.retry`) or `retry_failed`.
        """
        return self._vectors.missing(dataset, spec, retry_failed=retry_failed)

    def spool(self, dataset: str, spec: EmbedderSpec, batch: Batch, *, codec: str = "f32") -> None:
        """Keeps a batch that `append` will commit, within a millisecond and from any thread.

        When this returns the batch survives the end of the process (kill -9 too), not of the machine: the next writer commits
        it when it opens the store.  Raises StoreError when the disk is full.
        """
        self._writing()
        self._spool.put(Spooled(dataset, spec, codec, batch))

    def append(self, dataset: str, spec: EmbedderSpec, batch: Batch, *, codec: str = "f32") -> None:
        """Commits one batch: all of it or nothing, durable when this returns.

        Raises EmbedderError for NaN, infinities, a wrong dim, zero rows in cosine, naming the item; StoreError for an id
        that is no row of the dataset.
        """
        self._writing()
        self._vectors.append(dataset, spec, batch, codec=codec)
        self._spool.drop(dataset, spec, batch)
        _upkeep.merge_small(self._vectors, dataset, spec.fingerprint)

    def embeddings(self, dataset: str, fingerprint: str, *, ids: Collection[str] | None = None) -> Embeddings:
        """Decoded vectors of live rows at their current version, in id order; of `ids` those that have one."""
        return self._vectors.embeddings(dataset, fingerprint, ids=ids)

    def blocks(self, dataset: str, fingerprint: str, *, rows: int = 8192) -> Iterator[Embeddings]:
        """The same, streamed in pieces of at most `rows`."""
        return self._vectors.blocks(dataset, fingerprint, rows=rows)

    def embedded_ids(self, dataset: str, fingerprint: str) -> list[str]:
        """Live rows that have a vector at their current version, in id order."""
        return self._vectors.embedded_ids(dataset, fingerprint)

    def generation(self, dataset: str, fingerprint: str) -> int:
        """A number that grows whenever vectors of a set are written, for what was computed from them and is kept."""
        key = self._vectors.spec_key(dataset, fingerprint)
        return int(self._db.value("SELECT coalesce(max(key), 0) FROM segment WHERE spec=?", (key,)))

    def facts(self, dataset: str, ids: Sequence[str]) -> list[Facts]:
        """What was seen while each row was decoded, one a row; empty facts where nothing was."""
        rows = self._db.by_ids(
            "SELECT r.id, f.width, f.height, f.size, f.content_hash, f.pixel_hash FROM row r "
            "JOIN fact f ON f.row=r.key AND f.edition=r.edition WHERE r.dataset=? AND r.id IN ({})",
            (dataset_key(self._db, dataset),),
            ids,
        )
        found = {row[0]: Facts(*row[1:]) for row in rows}
        return [found.get(i, Facts()) for i in ids]

    def thumb(self, dataset: str, item_id: str) -> bytes | None:
        """The JPEG kept for a row at its current version, or None.  Raises Corrupt when it is damaged."""
        seen: Path | None = None
        while True:
            place = self._thumb_place(dataset, item_id)
            if place is None:
                return None
            try:
                return read_image(*place)
            except FileNotFoundError as err:  # a writer may have packed it anew: look again, once
                if place[0] == seen:
                    raise damaged(place[0], "the file is missing") from err
                seen = place[0]

    def _thumb_place(self, dataset: str, item_id: str) -> tuple[Path, int, Place] | None:
        row = self._db.one(
            "SELECT r.version, p.file, t.start, t.size, t.crc FROM row r JOIN thumb t ON t.row=r.key AND t.edition=r.edition "
            "JOIN pack p ON p.key=t.pack WHERE r.dataset=? AND r.id=?",
            (dataset_key(self._db, dataset), item_id),
        )
        if row is None:
            return None
        with self._db.decoding():
            version, file, *place = row
            where = (int(place[0]), int(place[1]), int(place[2]))
            return self.path / "thumbs" / file, row_key(item_id, version), where

    def failures(self, dataset: str, fingerprint: str) -> list[Failure]:
        """Recorded failures of live rows at their current version, in id order."""
        rows = self._db.rows(
            "SELECT r.id, r.version, f.reason, f.detail, f.retry FROM row r JOIN failure f ON f.spec=? AND f.row=r.key "
            "AND f.edition=r.edition WHERE r.dataset=? AND r.live ORDER BY r.id",
            (self._vectors.spec_key(dataset, fingerprint), dataset_key(self._db, dataset)),
        )
        return [Failure(i, version, reason, detail, bool(retry)) for i, version, reason, detail, retry in rows]

    def specs(self, dataset: str | None = None) -> list[StoredSpec]:
        """Every embedding set, oldest first."""
        return self._vectors.specs(dataset)

    def spec_named(self, dataset: str, name: str) -> EmbedderSpec | None:
        """The newest embedding set of a model name."""
        named = [held.spec for held in self._vectors.specs(dataset) if held.spec.name == name]
        return named[-1] if named else None

    def codecs(self, dataset: str, fingerprint: str) -> list[Codec]:
        """The codecs that the vectors of a set are held in, by name; their error bounds decide what is borderline."""
        return self._vectors.codecs_of(dataset, fingerprint)

    def import_vectors(
        self, dataset: str, spec: EmbedderSpec, ids: Sequence[str], vectors: Vectors, *, codec: str = "f32"
    ) -> None:
        """Stores vectors computed elsewhere for rows at their current version, all or none.

        ids: (n,), rows of the dataset, none twice.  vectors: (n, spec.dim).  Raises as `append`.
        """
        self._writing()
        self._vectors.import_vectors(dataset, spec, ids, vectors, codec=codec)

    # ---- upkeep

    def verify(self, dataset: str | None = None, *, quick: bool = False) -> list[str]:
        """Checks every checksum; returns a line for each damaged file, beginning with its path.

        quick: only of files whose size or time changed since they were last checked (when open for writing that is kept).
        When open for writing, what is damaged is dropped: its rows are missing again.  Raises Corrupt for the catalog itself.
        """
        writing = self._lock is not None
        key = f"verified:{dataset or ''}"
        known = self.cached(key) if quick else None
        seen = {str(file): (int(size), int(time)) for file, (size, time) in (known or {}).items()}
        before = dict(seen)
        lines = verify(self._vectors, dataset, repair=writing, seen=seen, quick=quick)
        if writing and seen != before:
            self.keep(key, seen)
        return lines

    def rewrite(self, dataset: str, fingerprint: str, codec: str) -> tuple[int, int]:
        """Holds a set in another codec; returns the bytes of its files before and after.

        The old files are kept until the new ones are written and verified, and one transaction changes over.
        """
        self._writing()
        return _upkeep.rewrite(self._vectors, dataset, fingerprint, codec)

    def prune(self) -> int:
        """Drops vectors, thumbnails and failures of superseded versions and retired rows; returns the bytes freed."""
        self._writing()
        return _upkeep.prune(self._vectors)

    # ---- results

    def save_findings(self, dataset: str, fingerprint: str, findings: Findings) -> None:
        """Keeps what an op found, in place of what it found before with the same vectors."""
        self._writing()
        self._results.save_findings(dataset, fingerprint, findings)

    def findings(self, dataset: str, fingerprint: str | None = None) -> dict[str, Findings]:
        """Op -> its newest findings (with these vectors, or with any)."""
        return self._results.findings(dataset, fingerprint)

    def outdated(self, dataset: str, fingerprint: str) -> list[str]:
        """Ops whose findings are of other rows, or other versions of them, than the last listing showed; sorted."""
        return self._results.outdated(dataset, fingerprint)

    def arrays(self, dataset: str, fingerprint: str, op: str) -> dict[str, npt.NDArray[Any]]:
        """Name -> the array that an op kept beside its findings (`Findings.arrays`); {} where there are none."""
        return self._results.arrays(dataset, fingerprint, op)

    def values(self, dataset: str, fingerprint: str, op: str) -> dict[str, dict[str, Scalar]]:
        """Field -> {id: value} of one op's findings, without reading its evidence; {} where it has none."""
        return self._results.values(dataset, fingerprint, op)

    def summaries(self, dataset: str, fingerprint: str) -> dict[str, tuple[int, dict[str, Any]]]:
        """Op -> (a number that a new run of it changes, its summary), without reading the findings whole."""
        return self._results.summaries(dataset, fingerprint)

    def previous(self, dataset: str, field: str) -> dict[str, Scalar]:
        """Id -> value of one of our fields in the newest findings that hold it."""
        return self._results.previous(dataset, field)

    def cached(self, key: str) -> Any:
        """A small JSON value kept between runs, or None."""
        return self._results.cached(key)

    def keep(self, key: str, value: Any) -> None:
        """Keeps a small JSON value between runs."""
        self._writing()
        self._results.keep(key, value)

    # ---- runs and pushes

    def new_run(self, dataset: str, command: str) -> Run:
        """Begins a run with a folder of its own; ids sort by time."""
        self._writing()
        return self._results.new_run(dataset, command)

    def run(self, run_id: str) -> Run:
        """A run by its id.  Raises StoreError for an unknown one."""
        return self._results.run(run_id)

    def runs(self, dataset: str | None = None) -> list[Run]:
        """Runs, oldest first."""
        return self._results.runs(dataset)

    def finish_run(self, run_id: str, state: str, summary: Mapping[str, Any]) -> None:
        """Records how a run ended."""
        self._writing()
        self._results.finish_run(run_id, state, summary)

    def record_applied(self, run_id: str, dataset: str, changes: Sequence[Change], rejected: Sequence[Rejected] = ()) -> None:
        """Records changes the platform acknowledged, and refusals with their reason."""
        self._writing()
        self._results.record_applied(run_id, dataset, changes, rejected)

    def applied(self, run_id: str) -> list[Change]:
        """The changes of a run that the platform accepted."""
        return self._results.applied(run_id)

    def unpushed(self, dataset: str, fingerprint: str, target: str) -> list[str]:
        """Live rows whose current vector `target` has not acknowledged, in id order."""
        return self._results.unpushed(dataset, self._vectors.spec_key(dataset, fingerprint), target)

    def mark_pushed(self, dataset: str, fingerprint: str, target: str, ids: Collection[str]) -> None:
        """Records that `target` has the current vectors of these rows."""
        self._writing()
        self._results.mark_pushed(dataset, self._vectors.spec_key(dataset, fingerprint), target, ids)

    def unmark_pushed(self, dataset: str, fingerprint: str, target: str, ids: Collection[str]) -> None:
        """Takes that back: the platform turned out not to have them."""
        self._writing()
        self._results.unmark_pushed(dataset, self._vectors.spec_key(dataset, fingerprint), target, ids)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as err:
        raise StoreError(f"cannot read {path}: {err.strerror or err}") from err


def _check_first(path: Path) -> None:
    """Raises Corrupt where vectors are but their catalog is gone: a new one would disown them all."""
    catalog = path / "catalog.sqlite"
    if _exists(catalog) and catalog.stat().st_size > 0:
        return
    held = [file.name for file in (path / "segments").iterdir() if _OURS.fullmatch(file.name)]
    if held:
        raise Corrupt(
            f"{catalog} is {'empty' if _exists(catalog) else 'gone'}, but {len(held):,} files of vectors are there: without it "
            "nobody knows whose they are. Put it back, or move the store away and run the command again to rebuild it."
        )
