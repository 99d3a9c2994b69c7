"""The folder connector: image and text files on disk as rows, results as `curate.csv` and `curate.parquet` in the store.

A dataset ID is a folder, or a CSV, TSV or JSON Lines file whose `text_field` holds one text a row.  Row id: POSIX path relative
to the folder (a table: its `id` column).  Version: sha256 of the bytes, so touching or renaming the folder costs nothing.
Hidden files and folders and the store are no rows.  What cannot be read is a row that fails.

Options ([connectors.folder] in curate.toml):
- labels: "folder" gives every row the field `label`, the name of the sub-folder it is in; the name of a CSV gives the rows its
  columns (one of them named id, file or filename).
- text_field, id_field: columns of a table that is the dataset.
- max_bytes: larger files fail (default 512 MiB).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from connectors._folder_results import Results, Values, place
from connectors._folder_table import SUFFIXES, labels, plain, read_text, rows
from connectors._folder_walk import UNREADABLE, files, identified, path_of, read_file, uri_of
from curate.errors import ConfigError, ConnectorError, MediaError, NotFound, UnknownName
from curate.protocols import ConnectorSettings
from curate.types import Applied, Change, EmbedderSpec, Item, Page, Rejected, Scalar, Vectors

PAGE = 500
OPTIONS = ("labels", "text_field", "id_field", "max_bytes")
MAX_BYTES = 512 * 2**20


class FolderConnector:
    """Rows from a folder; see the module."""

    name = "folder"
    takes_vectors = False

    def __init__(self, settings: ConnectorSettings) -> None:
        for key in settings.options:
            if key not in OPTIONS:
                raise UnknownName("option of the folder connector", key, OPTIONS)
        self._settings = settings
        self._labels = str(settings.options.get("labels") or "")
        self._text_field = str(settings.options.get("text_field") or "")
        self._id_field = str(settings.options.get("id_field") or "id")
        self._max_bytes = int(settings.options.get("max_bytes") or MAX_BYTES)
        self._results: dict[str, Results] = {}
        self._listed: dict[str, set[str]] = {}
        self._walked: dict[str, set[str]] = {}
        self._theirs: dict[str, set[str]] = {}

    def canonical(self, dataset_id: str) -> str:
        """The one spelling of a dataset: its absolute path, links resolved."""
        return str(_path(dataset_id).resolve())

    def has(self, dataset_id: str) -> bool:
        """Whether there is such a folder or table."""
        path = _path(dataset_id)
        return _exists(path) and (path.is_dir() or path.is_file())

    def check(self, dataset_id: str) -> None:
        """Raises NotFound, ConnectorError or ConfigError when rows cannot be listed or results not written."""
        path = self._existing(dataset_id)
        if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
            raise ConnectorError(f"folder {path} cannot be read: permission denied")
        if path.is_file():
            next(iter(rows(path, text_field=self._text_field, id_field=self._id_field)), None)
        self._label_fields(path)
        above = next(p for p in (self._settings.results.absolute(), *self._settings.results.absolute().parents) if p.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise ConnectorError(f"{self._settings.results}: the results cannot be written there; choose another --store")

    def pages(self, dataset_id: str, *, since: str | None = None) -> Iterator[Page]:
        """Every row with its labels and results, streamed; files are hashed by several threads."""
        if since is not None:
            raise ConnectorError(
                f"folder {dataset_id}: a folder has no listing of changes (cursor {since!r}); list it as a whole"
            )
        root = self._existing(dataset_id)
        store = self._result_files(dataset_id)
        store.compact()  # A push that was killed left its journal; a later run finishes it.
        ours, theirs = store.load(), self._label_fields(root)
        listed: set[str] = set()
        page: list[Item] = []
        for item in self._table(root) if root.is_file() else self._folder(root):
            fields = {**item.fields, **theirs.get(item.id, {}), **values_of(ours, item.id)}
            page.append(Item(item.id, item.uri, item.version, fields, item.media_type))
            listed.add(item.id)
            if len(page) == PAGE:
                yield Page(tuple(page))
                page = []
        if page:
            yield Page(tuple(page))
        unmatched = sum(item_id not in listed for item_id in theirs)
        if unmatched:
            self._settings.notify(f"{unmatched} rows of the labels name no row of {root}")
        self._listed[self.canonical(dataset_id)] = listed

    def read(self, item: Item) -> bytes:
        """The bytes of a row as it was listed.

        Raises MediaError: missing, unreadable, too_many_bytes, empty (text), no_text, changed (since the listing).
        """
        path, span = path_of(item.uri), urlsplit(item.uri).fragment
        if span:
            start, dash, end = span.partition("-")
            if not (dash and start.isdecimal() and end.isdecimal()):
                raise MediaError("missing", f"{item.uri} is no row of a table")
            data = read_text(path, int(start), int(end), text_field=self._text_field).encode("utf-8", "backslashreplace")
        else:
            data = read_file(path, max_bytes=self._max_bytes)
        if item.version != UNREADABLE and hashlib.sha256(data).hexdigest() != item.version:
            raise MediaError("changed", f"{path} changed since it was listed; run again")
        if not data and item.media_type == "text":
            raise MediaError("empty", f"{path} holds no text")
        return data

    def local_path(self, item: Item) -> Path | None:
        """The file of a row; None for a row of a table."""
        return None if urlsplit(item.uri).fragment else path_of(item.uri)

    def push_fields(self, dataset_id: str, changes: Sequence[Change]) -> Applied:
        """Writes changes to the journal, durably; `flush` brings them into curate.csv and curate.parquet."""
        theirs = self._user_fields(dataset_id)
        return self._result_files(dataset_id).accept(changes, self._ids(dataset_id), theirs)

    def push_vectors(self, dataset_id: str, spec: EmbedderSpec, ids: Sequence[str], vectors: Vectors) -> Applied:
        """Refuses them all: a folder has no place for vectors but the store, where they are."""
        return Applied(0, tuple(Rejected(i, spec.name, "a folder takes no vectors") for i in ids))

    def flush(self, dataset_id: str) -> None:
        """Writes curate.csv and curate.parquet; rows that a complete listing no longer found leave them."""
        listed = self._listed.get(self.canonical(dataset_id))
        self._result_files(dataset_id).compact((lambda i: i in listed) if listed else (lambda _: True))

    def _existing(self, dataset_id: str) -> Path:
        path = _path(dataset_id)
        if not _exists(path):
            raise NotFound(f"folder {dataset_id}: there is no such folder or file")
        if path.is_dir():
            if path.resolve() == self._settings.results.parent.resolve():
                raise ConfigError(f"folder {dataset_id} is the store itself; choose another --store")
            return path
        if self._labels == "folder":
            raise ConfigError(f'{dataset_id} is a file; labels = "folder" needs a folder')
        if path.suffix.lower() not in SUFFIXES:
            raise ConfigError(f"{dataset_id} is a file; a dataset is a folder, or a table ({', '.join(sorted(SUFFIXES))})")
        if not self._text_field:
            raise ConfigError(f"{dataset_id} is a table: say which column holds the text, with --text-field COLUMN")
        return path

    def _folder(self, root: Path) -> Iterator[Item]:
        by_folder, others = self._labels == "folder", 0
        for found in identified(root, skip=self._settings.results.parent):
            if found is None:
                others += 1
                continue
            folder = found.id.rpartition("/")[0].rpartition("/")[2]
            fields: Mapping[str, Scalar] = {"label": folder} if by_folder and folder else {}
            yield Item(found.id, uri_of(found.path), found.version, fields, found.media_type)
        if others:
            self._settings.notify(f"neither images nor .txt, so no rows: {others:,} other files in {root}")

    def _table(self, path: Path) -> Iterator[Item]:
        for row in rows(path, text_field=self._text_field, id_field=self._id_field):
            yield Item(plain(row.id), f"{uri_of(path)}#{row.start}-{row.end}", row.version, row.fields, "text")

    def _label_fields(self, root: Path) -> Mapping[str, Mapping[str, Scalar]]:
        if self._labels in ("", "folder"):
            return {}
        beside = (root if root.is_dir() else root.parent) / self._labels
        return labels(beside if beside.exists() else Path(self._labels).expanduser())

    def _user_fields(self, dataset_id: str) -> set[str]:
        key = self.canonical(dataset_id)
        if key not in self._theirs:
            fields = self._label_fields(self._existing(dataset_id)).values()
            self._theirs[key] = {name for one in fields for name in one} | ({"label"} if self._labels == "folder" else set())
        return self._theirs[key]

    def _ids(self, dataset_id: str) -> set[str]:
        key = self.canonical(dataset_id)
        if key in self._listed:
            return self._listed[key]
        if key not in self._walked:
            root = self._existing(dataset_id)
            if root.is_file():
                self._walked[key] = {item.id for item in self._table(root)}
            else:
                self._walked[key] = {item_id for item_id, _ in files(root, skip=self._settings.results.parent)}
        return self._walked[key]

    def _result_files(self, dataset_id: str) -> Results:
        # Looked up anew until something is written: another dataset may have taken the place meanwhile.
        key = self.canonical(dataset_id)
        if key not in self._results or not self._results[key].writing:
            self._results[key] = Results(place(self._settings.results, key), key)
        return self._results[key]


def _path(dataset_id: str) -> Path:
    try:
        return Path(dataset_id).expanduser()
    except RuntimeError:  # ~somebody who has no home here
        return Path(dataset_id)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or no name at all
        return False


def values_of(values: Values, item_id: str) -> dict[str, Scalar]:
    """The results of one row."""
    return {field: column[item_id] for field, column in values.items() if item_id in column}
