"""FiftyOne through its own package: samples as rows, results as a document `curate` of the dataset, tags, views, brain runs.

    curate sync --dataset fiftyone:NAME            also fiftyone:NAME/VIEW, a saved view

Row id: sample id.  Version: sha256 of the file, computed again when its size or time of modification changes.  What is written:
the document `curate`, the tags `curate:duplicate` and `curate:sample`, labels `curate_path`, saved views that begin with
"curate: ", and the brain runs `curate_viz` and `curate_sim`.  Nothing else is touched; images are read, never written.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from connectors._fiftyone_brain import BrainRuns
from connectors._fiftyone_database import BACKENDS, Database, checked
from connectors._fiftyone_fields import Fields
from connectors._fiftyone_files import Versions
from connectors._fiftyone_rows import Place, Rows
from curate import media
from curate.errors import ConnectorError, MediaError, Transient
from curate.protocols import ConnectorSettings, Presentation
from curate.types import Applied, Change, EmbedderSpec, Item, Page, Rejected, Vectors

MAX_BYTES = 512 * 2**20


class FiftyOneConnector:
    """One FiftyOne database, as options, environment or FiftyOne's own configuration say; reached when asked something."""

    name = "fiftyone"
    takes_vectors = True
    changes_per_push = 20_000
    """Field changes in one chunk: every chunk costs a few requests a field, whatever its size."""

    def __init__(self, settings: ConnectorSettings) -> None:
        self.settings = settings
        self.options = checked(settings.options)
        self.database = Database(self.options, offline=settings.offline, notify=settings.notify)
        self.fields = Fields(self.options.get("field", "curate"), notify=settings.notify)
        self._folder = Path(settings.results) / "fiftyone"
        self.brain = BrainRuns(
            self._folder,
            backend=self.options.get("backend", BACKENDS[0]),
            similarity_key=self.options.get("similarity_key", "curate_sim"),
            map_key=self.options.get("map_key", "curate_viz"),
            notify=settings.notify,
        )
        self._last: Place | None = None

    @staticmethod
    def configured() -> bool:
        """Whether FiftyOne is installed and a database named: without both a bare ID is not looked for here."""
        return Database.configured()

    def has(self, dataset_id: str) -> bool:
        """Whether the database has such a dataset, or one with such a saved view; starts no database.

        Raises ConnectorError when the database that is configured does not answer.
        """
        if self.database.holds(dataset_id):
            return True
        parts = dataset_id.split("/")
        return any(self.database.holds("/".join(parts[:cut])) for cut in range(1, len(parts)))

    def check(self, dataset_id: str) -> None:
        """Reaches the dataset, and looks whether our results have a place there.

        Raises NotFound, ConfigError (a field, view or brain run of ours is somebody else's), ConnectorError.
        """
        place = self.place(dataset_id)
        with self.database.reaching():
            place.samples()
            self.fields.check(place)
            self.brain.check(place)
            if not place.dataset.persistent:
                self.settings.notify(
                    f"dataset {place.name!r} is not persistent: FiftyOne deletes it with its results when the last session "
                    "ends; keep it with: dataset.persistent = True"
                )

    def place(self, dataset_id: str) -> Place:
        """The dataset or saved view of an address.  Raises NotFound, ConnectorError."""
        self._last = Place.find(self.database, dataset_id)
        return self._last

    def doctor(self) -> str:
        """The database that is reached, and how many datasets it has.  Starts none."""
        if not self.database.uri:
            return "FiftyOne's own database, which it starts when it is used"
        names = self.database.dataset_names()
        return f"{self.database.shown}: {len(names)} datasets"

    # pull

    def pages(self, dataset_id: str, *, since: str | None = None) -> Iterator[Page]:
        """Every sample of a dataset or saved view with the user's fields and our results, a page at a time.

        Raises ConnectorError for a cursor: listings are complete, and cost a look at each file's size and time.
        """
        if since is not None:
            raise ConnectorError(f"FiftyOne has no listing of changes (cursor {since!r}); list {dataset_id} as a whole")
        place = self.place(dataset_id)
        with self.database.reaching():
            rows = Rows(place, self.fields.name, self.fields.hidden)
            for name in rows.clashes:
                self.settings.notify(f"your field {name!r} has the name of a result; it is shown here as 'fiftyone.{name}'")
            with Versions(self._folder / "files.sqlite") as versions:
                for page in place.pages():
                    yield Page(rows.items(page, versions.of))

    def read(self, item: Item) -> bytes:
        """The bytes of a sample's file.

        Raises MediaError: missing, unreadable, too_many_bytes, not_local (a cloud address); Transient for a failing disk.
        """
        path = self.local_path(item)
        if path is None:
            if item.uri.startswith(("http://", "https://")):
                return media.fetch(item.uri, allow_hosts=self.settings.allow_hosts)
            raise MediaError("not_local", f"{item.uri.partition('://')[0]} addresses are read by FiftyOne Enterprise only")
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise MediaError("unreadable", f"{path} is not a regular file")
            if status.st_size > MAX_BYTES:
                raise MediaError("too_many_bytes", f"{path}: {status.st_size} bytes, {MAX_BYTES} allowed")
            return path.read_bytes()
        except FileNotFoundError as err:
            raise MediaError("missing", f"{path} is gone") from err
        except (PermissionError, NotADirectoryError, ValueError) as err:
            raise MediaError("unreadable", f"{path}: {getattr(err, 'strerror', None) or err}") from err
        except OSError as err:
            if err.errno in (errno.ELOOP, errno.ENAMETOOLONG):
                raise MediaError("unreadable", f"{path}: {err.strerror}") from err
            raise Transient(f"{path}: {err.strerror or err}") from err

    def local_path(self, item: Item) -> Path | None:
        """The file of a sample; None for one that is elsewhere."""
        if not item.uri.startswith("file:"):
            return None
        return Path(os.fsdecode(unquote_to_bytes(urlsplit(item.uri).path)))

    # push

    def push_fields(self, dataset_id: str, changes: Sequence[Change]) -> Applied:
        """Writes one chunk of changes into the document `curate`, with the tags and labels that follow from them."""
        place = self.place(dataset_id)
        with self.database.reaching():
            return self.fields.push(place, changes)

    def push_vectors(self, dataset_id: str, spec: EmbedderSpec, ids: Sequence[str], vectors: Vectors) -> Applied:
        """Keeps one chunk of vectors beside the store's results, from where the similarity run takes them; durable at once."""
        place = self.place(dataset_id)
        with self.database.reaching():
            known = place.known(ids)
        rows = [n for n, item_id in enumerate(ids) if item_id in known]
        self.brain.add(place, spec, [ids[n] for n in rows], vectors[rows])
        rejected = tuple(Rejected(i, spec.name, "no such sample") for i in ids if i not in known)
        return Applied(len(rows), rejected)

    def vector_target(self, spec: EmbedderSpec) -> str:
        """Where vectors of `spec` are, for the dataset used last: vectors that were deleted there are pushed again."""
        return f"{self.name}:{self.brain.token(self._last, spec)}" if self._last is not None else self.name

    def flush(self, dataset_id: str) -> None:
        """Ends a push: fields of ours that hold nothing any more are taken away, saved views made or taken away."""
        place = self.place(dataset_id)
        with self.database.reaching():
            self._settle(place)

    def _settle(self, place: Place) -> None:
        self.fields.settle(place)
        ours = dict(place.dataset.info.get("curate") or {})
        store = str(self.settings.results.parent.absolute())
        if ours.get("store") != store:
            place.dataset.info["curate"] = {**ours, "store": store}  # where a panel of the App finds what it shows
            place.dataset.save()

    # what FiftyOne shows itself

    def plan_presentation(self, dataset_id: str, presentation: Presentation) -> dict[str, Any]:
        """The brain runs and saved views that are not as they should be; {} when all are."""
        place = self.place(dataset_id)
        with self.database.reaching():
            found: dict[str, Any] = dict(self.brain.differs(place, presentation))
            lacking = self.fields.views.lacking(place, self.fields.held(place))
        lines = [f"saved view {name!r}" for name in lacking]
        if "similarity" in found and presentation.spec is not None:
            lines.append(f"similarity search {self.brain.similarity_key!r} by {presentation.spec.name} ({self.brain.backend})")
        if "map" in found:
            lines.append(f"map {self.brain.map_key!r} of {len(presentation.points):,} samples")
        if lacking:
            found["views"] = lacking
        return {**found, "shown": lines} if found else {}

    def present(self, dataset_id: str, extras: Mapping[str, Any], presentation: Presentation) -> None:
        """Makes the brain runs and saved views of a plan."""
        place = self.place(dataset_id)
        with self.database.reaching():
            spec = presentation.spec
            if spec is not None:
                shown = self.brain.differs(place, presentation)
                if "similarity" in shown:
                    self.brain.show_similarity(place, self.brain.name_of(spec), text=presentation.text)
                if "map" in shown:
                    self.brain.show_map(place, presentation.map_name, presentation.points)
            if extras:
                self._settle(place)

    def withdraw(self, dataset_id: str, extras: Mapping[str, Any]) -> int:
        """Shows again what the brain runs showed before a plan; those that it made are deleted."""
        place = self.place(dataset_id)
        with self.database.reaching():
            done = self.brain.withdraw(place, extras)
            self._settle(place)
        return done
