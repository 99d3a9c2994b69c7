"""Rows of a FiftyOne dataset or saved view: paged values, never sample objects; groups flattened by slice."""

from __future__ import annotations

import math
import mimetypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from connectors._fiftyone_database import Database, missing
from curate.errors import ConfigError, NotFound
from curate.types import Item, Scalar, field_kind

PAGE = 2000
SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing", "dev", "holdout")
"""Sample tags that say which split a sample is in."""
OUR_TAGS = "curate:"
PROTECT = "curate:protect"
"""The tag by which a user says that a sample is no copy; also the name of the field that says so."""


@dataclass(frozen=True)
class Place:
    """A dataset, or a saved view of one.

    dataset: FiftyOne's Dataset.  name, view: as in the address NAME/VIEW; view "" for the whole dataset.
    """

    dataset: Any
    name: str
    view: str = ""

    @classmethod
    def find(cls, database: Database, dataset_id: str) -> Place:
        """The place behind NAME or NAME/VIEW; a dataset whose own name has a slash comes first.

        Raises NotFound naming what there is, ConfigError for a view of something other than samples.
        """
        fo = database.fiftyone()
        with database.reaching():
            if fo.dataset_exists(dataset_id):
                return cls(_loaded(fo, dataset_id), dataset_id)
            parts = dataset_id.split("/")
            for cut in range(len(parts) - 1, 0, -1):
                name, view = "/".join(parts[:cut]), "/".join(parts[cut:])
                if fo.dataset_exists(name):
                    dataset = _loaded(fo, name)
                    if not dataset.has_saved_view(view):
                        views = ", ".join(repr(v) for v in sorted(dataset.list_saved_views())) or "none"
                        raise NotFound(f"FiftyOne's dataset {name!r} has no saved view {view!r}; there are: {views}")
                    return cls(dataset, name, view)
        raise missing(database, dataset_id)

    @property
    def grouped(self) -> bool:
        """Whether the samples come in groups."""
        return bool(self.dataset.media_type == "group")

    def everything(self) -> Any:
        """Every sample of the dataset, all slices of a grouped one: where values and tags are written."""
        return self.dataset.select_group_slices(_allow_mixed=True) if self.grouped else self.dataset

    def samples(self) -> Any:
        """The samples of the place, all slices of a grouped one.  Raises ConfigError for a view of patches, clips or frames."""
        if not self.view:
            return self.everything()
        view = self.dataset.load_saved_view(self.view)
        if view._is_generated or view._is_patches or view._is_frames or view._is_clips:
            raise ConfigError(
                f"the saved view {self.view!r} of {self.name!r} shows patches, clips or frames; curate works on whole samples"
            )
        return view.select_group_slices(_allow_mixed=True) if view.media_type == "group" else view

    def images(self) -> Any:
        """The samples that have pixels, as a view that may be saved: flattened slices of a grouped dataset."""
        return self.dataset.select_group_slices(media_type="image") if self.grouped else self.dataset.view()

    def pages(self, size: int = PAGE) -> Iterator[Any]:
        """Views of at most `size` samples each, in id order; every sample once, memory bounded by a page (a view: its ids).

        Pages begin after the last id, so that samples that come or go meanwhile move no other.
        """
        from bson import ObjectId

        if self.view:
            # Its pipeline runs once: a page of it would run it again.
            ids = sorted(self.samples().values("id"))
            for start in range(0, len(ids), size):
                yield self.everything().select(ids[start : start + size])
            return
        last: Any = None
        while True:
            after = [{"$match": {"_id": {"$gt": ObjectId(last)}}}] if last else []
            page = self.everything().mongo([*after, {"$sort": {"_id": 1}}, {"$limit": size}])
            newest = page.values("id")
            if not newest:
                return
            yield page
            if len(newest) < size:
                return
            last = newest[-1]

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are samples of the dataset."""
        from bson import ObjectId

        valid = [i for i in dict.fromkeys(ids) if ObjectId.is_valid(i)]
        return set(self.everything().select(valid).values("id")) if valid else set()


def _loaded(fo: Any, name: str) -> Any:
    dataset = fo.load_dataset(name)
    dataset.reload()  # Another process may have added fields: datasets are one object a process.
    return dataset


class Rows:
    """Reads pages of a place as items.

    ours: the embedded document of our results.  hidden: other top-level fields of ours.
    clashes: fields of the user that have the name of one of our results; they are shown as "fiftyone.NAME".
    """

    def __init__(self, place: Place, ours: str, hidden: Sequence[str] = ()) -> None:
        schema = place.dataset.get_field_schema(flat=True)
        self.place, self.ours = place, [path for path in schema if path.startswith(f"{ours}.")]
        self._prefix = len(ours) + 1
        self._readers = dict(_readers(schema, {ours, *hidden}))
        self.clashes = sorted(name for name in self._readers if field_kind(name) is not None)
        self._split = "split" not in self._readers
        self._media = _media_types(place.dataset)

    def items(self, page: Any, versions: Callable[[Sequence[str]], Mapping[str, str]]) -> list[Item]:
        """The samples of one page.  versions: paths -> path: version."""
        group = [f"{self.place.dataset.group_field}.name"] if self.place.grouped else []
        heads = ["id", "filepath", "tags", *group]
        columns = page.values([*heads, *self.ours, *(reader.source for reader in self._readers.values())])
        (ids, paths, tags), rest = columns[:3], columns[len(heads) :]
        slices = columns[3] if group else [None] * len(ids)
        known = versions(paths)
        items = []
        for n, item_id in enumerate(ids):
            fields = self._values(n, rest) | self._tags(tags[n] or ()) | ({"slice": slices[n]} if group else {})
            items.append(Item(item_id, uri_of(paths[n]), known[paths[n]], fields, self._kind(paths[n], slices[n])))
        return items

    def _values(self, n: int, columns: Sequence[Sequence[Any]]) -> dict[str, Scalar]:
        values: dict[str, Scalar] = {
            path[self._prefix :]: plain(column[n]) for path, column in zip(self.ours, columns, strict=False)
        }
        for (name, reader), column in zip(self._readers.items(), columns[len(self.ours) :], strict=True):
            values[f"fiftyone.{name}" if name in self.clashes else name] = reader.read(column[n])
        return {name: value for name, value in values.items() if value is not None}

    def _tags(self, tags: Sequence[str]) -> dict[str, Scalar]:
        theirs = sorted(tag for tag in tags if not tag.startswith(OUR_TAGS))
        fields: dict[str, Scalar] = {"tags": ", ".join(theirs)} if theirs else {}
        if PROTECT in tags:
            fields[PROTECT] = True
        split = next((tag for tag in theirs if tag.lower() in SPLITS), None)
        return {**fields, "split": split} if split and self._split else fields

    def _kind(self, path: str, group: str | None) -> str:
        """The media type as an Item has it: FiftyOne's, and for what it does not know the kind of file."""
        kind = str(self._media.get(group) or "unknown")
        if kind in ("unknown", "multimodal"):
            guess = (mimetypes.guess_type(path)[0] or "").partition("/")[0]
            return guess if guess in ("audio", "text") else kind
        return kind


@dataclass(frozen=True)
class Reader:
    """How a field of the user becomes one value a row.  source: what `values` is asked for; kind: of the field."""

    source: Any
    kind: str

    def read(self, value: Any) -> Scalar:
        """The value, None where there is none."""
        if self.kind == "labels" and value:
            return ", ".join(sorted({str(label) for label in value if label is not None})) or None
        return plain(value) if self.kind != "labels" else None


def plain(value: Any) -> Scalar:
    """A value of the database as one of ours; None for what is none, and for numbers that are not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, (bool, int, float)):
        return value
    return value.isoformat() if isinstance(value, date) else None


SCALARS = ("StringField", "BooleanField", "IntField", "FloatField", "DateField", "DateTimeField")
OWN = ("id", "filepath", "tags", "metadata", "created_at", "last_modified_at")
"""Fields that every FiftyOne dataset has."""


def _readers(schema: Mapping[str, Any], hidden: set[str]) -> Iterator[tuple[str, Reader]]:
    """The fields of the user that say one thing a sample: scalars, labels; of lists of objects their number."""
    from fiftyone import ViewField

    closed = tuple(f"{name}." for name in (*OWN, *hidden))
    for path, field in schema.items():
        if path in OWN or path in hidden or path.startswith(closed):
            continue
        kind = type(field).__name__
        document = getattr(getattr(field, "document_type", None), "__name__", "")
        if document not in ("", "DynamicEmbeddedDocument") or kind in ("ListField", "EmbeddedDocumentListField"):
            closed += (f"{path}.",)  # What lies inside is said by the field itself, or is more than one value a sample.
        if document == "Classification":
            yield path, Reader(f"{path}.label", "label")
        elif document == "Regression":
            yield path, Reader(f"{path}.value", "value")
        elif document == "Classifications":
            yield path, Reader(f"{path}.classifications.label", "labels")
        elif document in _COUNTED:
            yield f"{path}.count", Reader(ViewField(f"{path}.{_COUNTED[document]}").length(), "count")
        elif kind in SCALARS:
            yield path, Reader(path, "scalar")


_COUNTED = {"Detections": "detections", "Polylines": "polylines", "Keypoints": "keypoints"}


def _media_types(dataset: Any) -> dict[str | None, str]:
    """Slice -> media type; None -> that of a dataset without groups."""
    if dataset.media_type == "group":
        return {**dataset.group_media_types}
    return {None: dataset.media_type or "unknown"}


def uri_of(path: str) -> str:
    """The address of a file for messages: "file:" for a local path, what it is already for s3:// and https://."""
    if "://" in path[:12]:
        return path
    try:
        return Path(path).absolute().as_uri()
    except ValueError:
        return path
