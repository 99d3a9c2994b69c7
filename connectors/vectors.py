"""Imported vectors as a dataset: their ids are the rows, results are `curate.csv` and `curate.parquet` in the store.

A dataset ID is the name that the vectors were imported under.  There are no files behind the rows: they are judged by their
vectors alone, and cannot be read or exported.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from connectors._folder_results import Results, place
from connectors.folder import values_of
from curate.errors import ConnectorError, MediaError, NotFound, UnknownName
from curate.protocols import ConnectorSettings
from curate.types import Applied, Change, EmbedderSpec, Item, Page, Rejected, Vectors

PAGE = 1000


class VectorsConnector:
    """Rows that `curate import-vectors` made; see the module."""

    name = "vectors"
    takes_vectors = False

    def __init__(self, settings: ConnectorSettings) -> None:
        for key in settings.options:
            raise UnknownName("option of the vectors connector", key, ())
        self._settings = settings
        self._results: dict[str, Results] = {}
        self._known: dict[str, set[str]] = {}

    @staticmethod
    def configured() -> bool:
        """Never asked for a bare ID: imported vectors are named as vectors:NAME, or by the store that holds them."""
        return False

    def has(self, dataset_id: str) -> bool:
        """Whether vectors of that name were imported into this store."""
        return self._file(dataset_id).is_file()

    def check(self, dataset_id: str) -> None:
        """Raises NotFound for a name that nothing was imported under."""
        if not self.has(dataset_id):
            raise NotFound(
                f"vectors:{dataset_id}: nothing was imported under this name into {self._settings.results.parent}. "
                f"Import with: curate import-vectors FILE --name {dataset_id}"
            )

    def keep_rows(self, dataset_id: str, items: Sequence[Item]) -> None:
        """Adds rows, or gives those that are there their new version; whole or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = {**self._rows(dataset_id), **{item.id: (item.version, item.media_type) for item in items}}
        ids = sorted(rows)
        table = {"id": ids, "version": [rows[i][0] for i in ids], "media": [rows[i][1] for i in ids]}
        self._known.pop(dataset_id, None)
        path = self._file(dataset_id)
        building = path.with_suffix(".tmp")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            pq.write_table(pa.table(table), building, compression="zstd")
            with building.open("rb") as file:
                os.fsync(file.fileno())
            building.replace(path)
        except OSError as err:
            raise ConnectorError(f"{path}: the rows cannot be written: {err.strerror or err}") from err

    def pages(self, dataset_id: str, *, since: str | None = None) -> Iterator[Page]:
        """Every row with its results."""
        if since is not None:
            raise ConnectorError(f"vectors:{dataset_id}: there is no listing of changes (cursor {since!r}); list it as a whole")
        self.check(dataset_id)
        results = self._result_files(dataset_id)
        results.compact()  # a push that was killed left its journal
        ours, rows = results.load(), self._rows(dataset_id)
        ids = sorted(rows)
        for at in range(0, len(ids), PAGE):
            yield Page([Item(i, i, rows[i][0], values_of(ours, i), rows[i][1]) for i in ids[at : at + PAGE]])

    def read(self, item: Item) -> bytes:
        """Raises MediaError: there is nothing behind an imported row."""
        raise MediaError("missing", f"{item.id} is an imported row; there is no file behind it")

    def push_fields(self, dataset_id: str, changes: Sequence[Change]) -> Applied:
        """Writes changes to the journal, durably; `flush` brings them into the tables."""
        if dataset_id not in self._known:  # once a push, not once a chunk of it
            self.check(dataset_id)
            self._known[dataset_id] = set(self._rows(dataset_id))
        return self._result_files(dataset_id).accept(changes, self._known[dataset_id])

    def push_vectors(self, dataset_id: str, spec: EmbedderSpec, ids: Sequence[str], vectors: Vectors) -> Applied:
        """Refuses them all: they are in the store already."""
        return Applied(0, tuple(Rejected(i, spec.name, "imported vectors are in the store already") for i in ids))

    def flush(self, dataset_id: str) -> None:
        """Writes curate.csv and curate.parquet."""
        self._known.pop(dataset_id, None)
        self._result_files(dataset_id).compact()

    def _file(self, dataset_id: str) -> Path:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", dataset_id).strip("-.")[:60] or "vectors"
        mark = hashlib.sha256(os.fsencode(dataset_id)).hexdigest()[:8]
        return self._settings.results.parent / "rows" / f"{slug}-{mark}.parquet"

    def _rows(self, dataset_id: str) -> Mapping[str, tuple[str, str]]:
        """Id -> (version, media type)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._file(dataset_id)
        if not path.is_file():
            return {}
        try:
            table = pq.read_table(path, columns=["id", "version", "media"])
        except (OSError, pa.ArrowException) as err:
            raise ConnectorError(f"{path} cannot be read ({err}); import the vectors again") from err
        columns = (table.column(name).to_pylist() for name in ("id", "version", "media"))
        return {i: (version, media) for i, version, media in zip(*columns, strict=True)}

    def _result_files(self, dataset_id: str) -> Results:
        key = f"vectors:{dataset_id}"
        if key not in self._results or not self._results[key].writing:
            self._results[key] = Results(place(self._settings.results, key), key)
        return self._results[key]
