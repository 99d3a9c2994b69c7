"""Labelbox through its SDK: rows by streamed export, vectors as a custom embedding, results as metadata fields `curate.*`.

    curate sync --dataset labelbox:DATASET_ID            also labelbox:slice/ID and labelbox:project/ID

The key is read from LABELBOX_API_KEY only; LABELBOX_ENDPOINT or --endpoint names another address.  What is written: fields that
begin with `curate.`, one custom embedding a model, and on demand a batch or priorities in a project.  Nothing else is touched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

from connectors._labelbox_created import created
from connectors._labelbox_errors import KEY
from connectors._labelbox_export import Address, Exports
from connectors._labelbox_fields import ROWS, MetadataFields
from connectors._labelbox_media import Media, Roots
from connectors._labelbox_platform import Platform
from connectors._labelbox_queue import AT_ONCE, Queues
from connectors._labelbox_rows import item_of
from connectors._labelbox_vectors import LINES, EmbeddingStore, embedding_name, vector_of
from curate.errors import ConfigError, ConnectorError, NotFound
from curate.protocols import ConnectorSettings
from curate.types import Applied, Change, EmbedderSpec, Item, Page, Plan, Vectors

PAGE = 1000
SOME = 20
"""Rows that are looked at to see which embeddings a dataset carries."""
OVERLAP = timedelta(minutes=10)
"""Listings since a cursor reach back this far: activity is dated by several machines."""
PLATFORM = "platform:"
"""Models of this prefix are embeddings that Labelbox holds: no images are read for them."""


class LabelboxConnector:
    """One workspace, as `ConnectorSettings` and LABELBOX_API_KEY say.  Sends nothing before it is asked something."""

    name = "labelbox"
    takes_vectors = True
    changes_per_push = 5000
    """Field changes in one chunk: 50 rows a request, from several threads, want more than a thousand changes at a time."""

    def __init__(self, settings: ConnectorSettings) -> None:
        self.settings = settings
        self.platform = Platform(
            settings.options, offline=settings.offline, allow_hosts=settings.allow_hosts, notify=settings.notify
        )
        options = self.platform.options
        folder = Path(settings.results) / "labelbox"
        self.exports = Exports(self.platform)
        self.media = Media(
            self.exports,
            roots=Roots(options.get("media_root", ())),
            allow_hosts=settings.allow_hosts,
            timeout_s=min(60.0, self.platform.timeout_s),
        )
        self.embeddings = EmbeddingStore(self.platform, self.exports, folder=folder, notify=settings.notify)
        self.metadata = MetadataFields(
            self.platform,
            folder=folder,
            allowed=settings.yes or bool(options.get("create_fields")),
            ask=settings.ask,
            notify=settings.notify,
            chosen=options.get("fields", ()),
        )
        self.queues = Queues(self.platform, self.exports, folder=folder, notify=settings.notify)
        self._folder = folder

    @staticmethod
    def configured() -> bool:
        """Whether there is a key: without one a bare ID is not looked for here."""
        return bool(os.environ.get(KEY))

    @staticmethod
    def canonical(dataset_id: str) -> str:
        """The one spelling of an address.  Raises ConfigError for what is none."""
        return str(Address.parse(dataset_id))

    def has(self, dataset_id: str) -> bool:
        """Whether the key sees a dataset, slice or project of that id."""
        try:
            address = Address.parse(dataset_id)
        except ConfigError:
            return False  # the name of a dataset elsewhere
        try:
            address.look(self.platform)
        except NotFound:
            return False
        return True

    def check(self, dataset_id: str) -> None:
        """Reaches the dataset with the key.  Raises AuthError, NotFound or ConnectorError."""
        Address.parse(dataset_id).look(self.platform)

    # pull

    def pages(self, dataset_id: str, *, since: str | None = None) -> Iterator[Page]:
        """All rows, or those with activity since a cursor of an earlier listing of the same dataset.

        Activity includes our own writes: equal versions tell that such a row needs no work.  A listing since a cursor shows no
        deletions, which `ids` does, and no metadata field that was deleted, which `resumable` does.  The whole export is
        streamed, and its row count checked before the last page comes.
        Raises ConnectorError for a cursor of another dataset, and for slices, which Labelbox exports only as a whole.
        """
        address = Address.parse(dataset_id)
        filters = None if since is None else {"last_activity_at": [_since(since, address), None]}
        source, schema = address.look(self.platform), self.metadata.fingerprint()
        params: dict[str, Any] = {"data_row_details": True, "metadata_fields": True}
        if address.kind == "project":
            params |= {"label_details": True}
        elif self.platform.options.get("labels"):
            params |= {"label_details": True, "project_details": True, "all_projects": True}
        if since is None:
            self.media.begin()
        newest, items = "", list[Item]()
        for line in self.exports.rows(source, params=params, filters=filters, what=f"the export of {dataset_id}"):
            item = item_of(line)
            self.media.listed(item, line)
            newest = max(newest, str((line["data_row"].get("details") or {}).get("last_activity_at") or ""))
            items.append(item)
            if len(items) == PAGE:
                yield Page(items)
                items = []
        yield Page(items, _cursor(address, newest, schema, since))

    def resumable(self, dataset_id: str, cursor: str) -> bool:
        """Whether a listing since `cursor` is complete: it is of this dataset, and the metadata fields are the same."""
        address = Address.parse(dataset_id)
        try:
            _since(cursor, address)
        except ConnectorError:
            return False
        return bool(json.loads(cursor).get("fields") == self.metadata.fingerprint())

    def ids(self, dataset_id: str) -> Iterator[str]:
        """The id of every row, by the leanest export there is; what is missing here was deleted."""
        address = Address.parse(dataset_id)
        for line in self.exports.rows(address.look(self.platform), params={}, what=f"the ids of {dataset_id}"):
            yield str(line["data_row"]["id"])

    def read(self, item: Item) -> bytes:
        """The bytes of one row; asks for a new address when the old one expired.  Raises MediaError or Transient."""
        return self.media.read(item)

    # vectors that are there already

    def models(self, dataset_id: str) -> list[str]:
        """Names for --model of the embeddings that the dataset carries, Labelbox's own first; judged by its first rows."""
        address = Address.parse(dataset_id)
        ids = self._some_ids(address)
        found: dict[tuple[bool, str], None] = {}
        for line in self.exports.of_ids(ids, params={"embeddings": True}, what=f"the embeddings of {address}"):
            for entry in line.get("embeddings") or ():
                if not str(entry.get("name")).startswith("curate "):
                    found[(bool(entry.get("is_custom")), str(entry.get("name")))] = None
        return [PLATFORM + name for _, name in sorted(found)]

    def _some_ids(self, address: Address) -> list[str]:
        """A few rows, from one page of a list where there is one: an export of everything would take a while."""
        if address.kind == "project":
            return list(islice(self.ids(str(address)), SOME))
        source = address.look(self.platform)

        def first(_client: Any) -> list[str]:
            if address.kind == "slice":
                return [row.id.key for row in islice(source.get_data_row_identifiers(), SOME)]
            return [row.uid for row in islice(source.data_rows(), SOME)]

        return self.platform.call(f"listing rows of {address}", first)

    def model_spec(self, name: str) -> EmbedderSpec:
        """The spec of "platform:NAME".  Raises NotFound with the names that there are."""
        wanted = name.removeprefix(PLATFORM)
        every = self.embeddings.all()
        found = next((e for e in every if wanted in (e.name, e.id)), None)
        if found is None:
            known = ", ".join(sorted(repr(e.name) for e in every)) or "none"
            raise NotFound(f"Labelbox has no embedding {wanted!r}; there are: {known}")
        return EmbedderSpec(PLATFORM + found.name, found.id, "projected", found.dims, "cosine", preprocess="platform")

    def model_vectors(self, dataset_id: str, spec: EmbedderSpec, wanted: Collection[str]) -> Iterator[tuple[str, Vectors]]:
        """(row id, vector) of the rows in `wanted` that carry the embedding; streamed from one export, or a few small ones."""
        address = Address.parse(dataset_id)
        params = {"embeddings": True}
        if len(wanted) <= 4 * LINES:
            lines = self.exports.of_ids(sorted(wanted), params=params, what="the vectors of some rows")
        else:
            lines = self.exports.rows(address.look(self.platform), params=params, what=f"the vectors of {dataset_id}")
        for line in lines:
            row = str(line["data_row"]["id"])
            vector = vector_of(line, lambda entry: entry.get("id") == spec.revision) if row in wanted else None
            if vector is not None:
                yield row, vector

    # push

    def prepare(self, dataset_id: str, *, spec: EmbedderSpec | None, fields: Collection[str], create: bool) -> list[str]:
        """Checks before any compute that what will be pushed has a place; returns the fields that have one, in order.

        spec: of the vectors to be pushed, or None.  create: whether fields may have to be made (the user is asked, once).
        Raises ConfigError: too many dims, a taken name, no room, a field of another kind, a question answered with no.
        """
        if spec is not None and not spec.name.startswith(PLATFORM):
            self.embeddings.check(spec, self._embedding(spec))
        for option in ("batch_project", "queue_project"):
            if self.platform.options.get(option):
                Address.parse(f"project/{self.platform.options[option]}").look(self.platform)
        if self.platform.options.get("batch_project") and "sample" not in fields:
            raise ConfigError("--batch sends a sample to a labeling project; say how large it is with --sample N")
        return self.metadata.fit(fields, create=create)

    def push_fields(self, dataset_id: str, changes: Sequence[Change]) -> Applied:
        """Writes one chunk of changes as metadata `curate.*`; refused ones come back with their reason."""
        return self.metadata.push(changes)

    def push_vectors(self, dataset_id: str, spec: EmbedderSpec, ids: Sequence[str], vectors: Vectors) -> Applied:
        """Writes one chunk of vectors into the custom embedding of the model; vectors that came from Labelbox stay there."""
        if spec.name.startswith(PLATFORM):
            return Applied(len(ids))
        self._last = spec
        return self.embeddings.push(spec, self._embedding(spec), ids, vectors)

    _last: EmbedderSpec | None = None

    def flush(self, dataset_id: str) -> None:
        """Ends a push: Labelbox must count at least the vectors that it acknowledged.  Raises ConnectorError naming others."""
        if self._last is not None:
            self.embeddings.verify(self._last, self._embedding(self._last))

    def vector_target(self, spec: EmbedderSpec) -> str:
        """Where vectors of `spec` are: an embedding that was deleted and made again is another place, and is filled again."""
        return f"{self.name}:{self.embeddings.id_of(self._embedding(spec))}"

    def _embedding(self, spec: EmbedderSpec) -> str:
        return embedding_name(spec, self.platform.options.get("embedding", ""))

    # projects

    def plan_extras(self, sample: Mapping[str, Any] | None, copies: Collection[str]) -> dict[str, Any]:
        """What would be done in projects: batches of the sample, lower priority of copies; {} when nothing would.

        sample: {"name", "ids"} of the selection.  The projects are the options batch_project and queue_project.
        """
        options, found = self.platform.options, dict[str, Any]()
        if options.get("batch_project"):
            if not sample or not sample.get("ids"):
                raise ConnectorError("--batch sends a sample to a project, and nothing was chosen; add --sample N")
            batches = self.queues.plan_batch(
                options["batch_project"], str(sample["name"]), sample["ids"], priority=options.get("priority", 5)
            )
            found |= {"batches": batches} if batches else {}
        if options.get("queue_project"):
            change = self.queues.plan_priority(options["queue_project"], copies)
            found |= {"priority": change} if change else {}
        return found

    def push_extras(self, dataset_id: str, extras: Mapping[str, Any]) -> Applied:
        """Sends the batches and priorities of a plan; sent twice it is the same as once."""
        return self.queues.push(extras)

    def undo_extras(self, dataset_id: str, extras: Mapping[str, Any]) -> int:
        """Takes batches and priorities back; returns how many."""
        return self.queues.undo(extras)

    # what it costs, what was made

    def estimate(self, plan: Plan) -> dict[str, Any]:
        """Requests that pushing `plan` takes at least, and the minutes at the plan's rate limit."""
        sets = len({c.item_id for c in plan.changes if c.after is not None})
        clears = len({c.item_id for c in plan.changes if c.after is None})
        vectors = 0 if plan.spec and plan.spec.name.startswith(PLATFORM) else len(plan.vectors)
        calls = ceil(sets / ROWS) + ceil(clears / ROWS) + ceil(vectors / LINES)
        calls += (2 if sets or clears else 0) + (2 if vectors else 0)
        # Looked for, made and filled; a large one also waits for a task and is read again.
        calls += sum(4 if len(b["rows"]) < AT_ONCE else 13 for b in plan.extras.get("batches") or ())
        calls += 4 if plan.extras.get("priority") else 0
        rate = self.platform.per_minute
        return {
            "requests": calls,
            "minutes": round(calls / (rate * 0.9), 2),
            "plan": self.platform.plan,
            "requests_per_minute": rate,
        }

    def made(self) -> dict[str, list[str]]:
        """Fields and embeddings that `curate` created and that are still there."""
        names = {e.name for e in self.embeddings.all() if e.custom}
        mine = [name for name in created(self._folder).get("embeddings", []) if name in names]
        return {"fields": self.metadata.made(), "embeddings": mine}

    def remove_made(self) -> dict[str, list[str]]:
        """Deletes what `made` lists, with all its values, in the whole workspace; returns it."""
        found = self.made()
        self.metadata.remove(found["fields"])
        for name in found["embeddings"]:
            self.embeddings.delete(name)
        return found


def _cursor(address: Address, newest: str, schema: str, since: str | None) -> str:
    before = json.loads(since)["at"] if since else ""
    return json.dumps({"labelbox": str(address), "at": max(newest, before), "fields": schema})


def _since(cursor: str, address: Address) -> str:
    """The moment of a cursor less the overlap, in the one form that the SDK neither shifts nor misreads."""
    try:
        told = json.loads(cursor)
        if told["labelbox"] != str(address) or address.kind == "slice":
            raise ConnectorError(f"this cursor belongs to {told['labelbox']}; slices have none. List {address} as a whole.")
        moment = (
            datetime.fromisoformat(str(told["at"]).replace("Z", "+00:00")) if told["at"] else datetime(2000, 1, 1, tzinfo=UTC)
        )
    except (ValueError, KeyError, TypeError) as err:
        raise ConnectorError(f"not a cursor of the labelbox connector: {cursor[:80]!r}") from err
    return (moment.astimezone(UTC) - OVERLAP).strftime("%Y-%m-%dT%H:%M:%S+0000")
