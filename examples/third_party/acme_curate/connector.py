"""ZIP archives as datasets: one row a member, results in a JSON file of the store."""

import hashlib
import json
import zipfile
from pathlib import Path

from curate.errors import ConfigError, ConnectorError, MediaError, NotFound
from curate.types import Applied, Item, Page, Rejected

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp")
MAX_BYTES = 64 * 2**20


class ZipConnector:
    """A dataset ID is the path of an archive; row id: the member's name; version: its size and CRC."""

    name = "zip"
    takes_vectors = False

    def __init__(self, settings):
        if settings.options:
            raise ConfigError(f"the zip connector has no option {next(iter(settings.options))!r}")
        self._results = settings.results

    def canonical(self, dataset_id):
        return str(Path(dataset_id).expanduser().resolve())

    def has(self, dataset_id):
        return zipfile.is_zipfile(Path(dataset_id).expanduser())

    def check(self, dataset_id):
        self._opened(dataset_id).close()

    def pages(self, dataset_id, *, since=None):
        if since is not None:
            raise ConnectorError(f"an archive has no listing of changes (cursor {since!r})")
        shown = self._shown(dataset_id)
        with self._opened(dataset_id) as archive:
            members = [m for m in archive.infolist() if m.filename.lower().endswith(IMAGES)]
        uri = f"{self.canonical(dataset_id)}!"
        yield Page(
            [Item(m.filename, uri + m.filename, f"{m.file_size}-{m.CRC:08x}", shown.get(m.filename, {})) for m in members]
        )

    def read(self, item):
        with self._opened(item.uri.partition("!")[0]) as archive:
            try:
                if archive.getinfo(item.id).file_size > MAX_BYTES:
                    raise MediaError("too_many_bytes", item.id)
                return archive.read(item.id)
            except KeyError as err:
                raise MediaError("missing", item.id) from err
            except (zipfile.BadZipFile, RuntimeError, OSError) as err:
                raise MediaError("unreadable", f"{item.id}: {err}") from err

    def push_fields(self, dataset_id, changes):
        with self._opened(dataset_id) as archive:
            known = set(archive.namelist())
        shown = self._shown(dataset_id)
        for change in changes:
            if change.item_id in known:
                values = shown.setdefault(change.item_id, {})
                values[change.field] = change.after
                shown[change.item_id] = {k: v for k, v in values.items() if v is not None}
        path = self._file(dataset_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".tmp").write_text(json.dumps(shown, ensure_ascii=False))
        path.with_suffix(".tmp").replace(path)
        rejected = [Rejected(c.item_id, c.field, "no such member") for c in changes if c.item_id not in known]
        return Applied(len(changes) - len(rejected), tuple(rejected))

    def push_vectors(self, dataset_id, spec, ids, vectors):
        return Applied(0, tuple(Rejected(i, spec.name, "an archive takes no vectors") for i in ids))

    def _opened(self, dataset_id):
        try:
            return zipfile.ZipFile(Path(dataset_id).expanduser())
        except FileNotFoundError as err:
            raise NotFound(f"archive {dataset_id}: there is no such file") from err
        except (OSError, zipfile.BadZipFile) as err:
            raise ConnectorError(f"archive {dataset_id}: {err}") from err

    def _file(self, dataset_id):
        return self._results / f"zip-{hashlib.sha256(self.canonical(dataset_id).encode()).hexdigest()[:12]}.json"

    def _shown(self, dataset_id):
        path = self._file(dataset_id)
        return json.loads(path.read_text()) if path.exists() else {}
