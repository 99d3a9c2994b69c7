"""Our results inside a FiftyOne dataset: one embedded document, two sample tags, labels for the hierarchy.

Tags and labels follow from the values: they are written first, so that a push that dies in between is done again.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from connectors._fiftyone_rows import Place, plain
from connectors._fiftyone_views import SavedViews
from curate.errors import ConfigError
from curate.types import Applied, Change, Rejected, Scalar, field_kind, join_path, split_path

DUPLICATE_TAG = "curate:duplicate"
SAMPLE_TAG = "curate:sample"
COPY = "copy-of/"
MARK = {"made_by": "curate"}
"""`Field.info` of what is ours; a field without it is somebody else's."""
WHOLE = ("cluster",)
"""Fields that are whole numbers, so that the App offers them as classes and not as a range."""
INDEXED = ("duplicate", "sample", "path")
"""Texts of many values: without an index the App's filter on one stalls (voxel51/fiftyone#7068)."""


class Fields:
    """The document `name` and the labels `name`_path."""

    def __init__(self, name: str, *, notify: Callable[[str], None]) -> None:
        self.name, self.labels = name, f"{name}_path"
        self.views = SavedViews(name, notify=notify)

    @property
    def hidden(self) -> tuple[str, ...]:
        """Top-level fields of ours beside the document."""
        return (self.labels,)

    def check(self, place: Place) -> None:
        """Raises ConfigError when a field of ours is somebody else's."""
        schema = place.dataset.get_field_schema()
        for name in (self.name, self.labels):
            if name in schema and not _ours(schema[name]):
                kind = type(schema[name]).__name__
                raise ConfigError(
                    f"dataset {place.name!r} has a field {name!r} ({kind}) that curate did not make. Rename it, "
                    'or have the results written elsewhere: field = "curated" in [connectors.fiftyone] of curate.toml'
                )

    def held(self, place: Place) -> list[str]:
        """The results that the dataset has a field for."""
        schema, start = place.dataset.get_field_schema(flat=True), f"{self.name}."
        return [path.removeprefix(start) for path in schema if path.startswith(start)]

    def push(self, place: Place, changes: Sequence[Change]) -> Applied:
        """Writes changes in bulk, field by field; idempotent.  Rows and values that have no place come back as rejected."""
        self.check(place)
        known = place.known([c.item_id for c in changes])
        rejected = [Rejected(c.item_id, c.field, why) for c in changes if (why := _refusal(c, known))]
        refused = {(r.item_id, r.field) for r in rejected}
        columns: dict[str, dict[str, Scalar]] = defaultdict(dict)
        for change in changes:
            if (change.item_id, change.field) not in refused:
                columns[change.field][change.item_id] = change.after
        everything = place.everything()
        _tag(everything, DUPLICATE_TAG, columns.get("duplicate", {}), lambda value: str(value).startswith(COPY))
        _tag(everything, SAMPLE_TAG, columns.get("sample", {}), bool)
        self._write_labels(place, columns)
        held = set(self.held(place))
        for field, values in columns.items():
            if field not in held and all(value is None for value in values.values()):
                continue
            if field not in held:
                self._declare(place, field)
            everything.set_values(f"{self.name}.{field}", _typed(field, values), key_field="id", expand_schema=False)
        return Applied(len(changes) - len(rejected), tuple(rejected))

    def _declare(self, place: Place, field: str) -> None:
        import fiftyone as fo

        dataset = place.dataset
        if self.name not in dataset.get_field_schema():
            _add_document(dataset, self.name, fo.DynamicEmbeddedDocument, "Results of curate")
        number = fo.IntField if field in WHOLE else fo.FloatField
        dataset.add_sample_field(f"{self.name}.{field}", number if field_kind(field) == "number" else fo.StringField)
        if field in INDEXED:
            dataset.create_index(f"{self.name}.{field}")

    def _write_labels(self, place: Place, columns: Mapping[str, Mapping[str, Scalar]]) -> None:
        """One label for each step of each path; the paths that do not change are read back."""
        import fiftyone as fo

        paths = {name: dict(values) for name, values in columns.items() if is_path(name)}
        ids = sorted({item_id for values in paths.values() for item_id in values})
        if not ids:
            return
        everything, dataset = place.everything(), place.dataset
        held = [name for name in self.held(place) if is_path(name)]
        order, *shown = everything.select(ids).values(["id", *(f"{self.name}.{name}" for name in held)])
        labels = {}
        for n, item_id in enumerate(order):
            now = {name: plain(column[n]) for name, column in zip(held, shown, strict=True)}
            now.update({name: values[item_id] for name, values in paths.items() if item_id in values})
            steps = [fo.Classification(**step) for name in sorted(now) for step in steps_of(name, now[name])]
            labels[item_id] = fo.Classifications(classifications=steps) if steps else None
        if self.labels not in dataset.get_field_schema():
            if not any(labels.values()):
                return
            _add_document(dataset, self.labels, fo.Classifications, "Every step of the hierarchy tags of curate")
            for attribute, kind in ATTRIBUTES.items():
                dataset.add_sample_field(f"{self.labels}.classifications.{attribute}", getattr(fo, kind))
        everything.set_values(self.labels, labels, key_field="id", expand_schema=False)

    def settle(self, place: Place) -> None:
        """Takes away fields of ours that hold nothing any more, and makes the saved views fit what there is."""
        dataset, everything = place.dataset, place.everything()
        held = self.held(place)
        kept = [field for field in held if everything.exists(f"{self.name}.{field}").limit(1).count()]
        indexes = dataset.list_indexes()
        for field in set(held) - set(kept):
            if f"{self.name}.{field}" in indexes:
                dataset.drop_index(f"{self.name}.{field}")
            dataset.delete_sample_field(f"{self.name}.{field}")
        schema = dataset.get_field_schema()
        if not kept and _ours(schema.get(self.name)):
            dataset.delete_sample_field(self.name)
        if not any(is_path(field) for field in kept) and _ours(schema.get(self.labels)):
            dataset.delete_sample_field(self.labels)
        self.views.settle(place, self.held(place))


ATTRIBUTES = {"level": "IntField", "parent": "StringField", "path": "StringField", "facet": "StringField"}
"""What a label of the hierarchy says besides its name; the App filters by each."""


def is_path(field: str) -> bool:
    """Whether a result is a path of hierarchy tags."""
    return field == "path" or (field.startswith("path_") and not field.startswith("path_confidence"))


def steps_of(field: str, path: Scalar) -> list[dict[str, Any]]:
    """The labels of one path, root first: label, level (0 at the root), parent, path, facet."""
    names = split_path(str(path)) if path else []
    return [
        {
            "label": name,
            "level": level,
            "parent": names[level - 1] if level else None,
            "path": join_path(names[: level + 1]),
            "facet": field.removeprefix("path").removeprefix("_") or None,
        }
        for level, name in enumerate(names)
    ]


def _add_document(dataset: Any, name: str, kind: Any, description: str) -> None:
    """A field of embedded documents that says whose it is, so that it is known as ours later."""
    import fiftyone as fo

    dataset.add_sample_field(name, fo.EmbeddedDocumentField, embedded_doc_type=kind, description=description, info=MARK)


def _ours(field: Any) -> bool:
    return field is not None and dict(field.info or {}).get("made_by") == MARK["made_by"]


def _tag(everything: Any, tag: str, values: Mapping[str, Scalar], carries: Callable[[Scalar], bool]) -> None:
    tagged = [item_id for item_id, value in values.items() if carries(value)]
    others = [item_id for item_id, value in values.items() if not carries(value)]
    if tagged:
        everything.select(tagged).tag_samples(tag)
    if others:
        everything.select(others).match_tags(tag).untag_samples(tag)


def _typed(field: str, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Numbers of the field's own type: a mixed column would have two filters in the App."""
    if field_kind(field) != "number":
        return dict(values)
    as_type = int if field in WHOLE else float
    return {i: None if value is None else as_type(value) for i, value in values.items()}


def _refusal(change: Change, known: set[str]) -> str:
    """Why a change cannot be written, "" if it can."""
    if change.item_id not in known:
        return "no such sample"
    value, kind = change.after, field_kind(change.field)
    if kind is None or not change.field.replace("_", "").isalnum():
        return f"{change.field!r} is not a field of curate's"
    if value is None:
        return ""
    if kind == "string":
        return "" if isinstance(value, str) else f"{value!r} is not a text"
    if isinstance(value, (str, bool)) or not math.isfinite(value):
        return f"{value!r} is not a finite number"
    return f"{value!r} is not a whole number" if change.field in WHOLE and value != int(value) else ""
