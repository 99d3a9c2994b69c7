"""What one event of the panel or one operator works with: the dataset, the store behind it, and the panel's settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from connectors.fiftyone_plugin import reading
from connectors.fiftyone_plugin.cutting import PRECISIONS, USUAL, Cut, graph_of
from connectors.fiftyone_plugin.place import Place, store_place, with_store
from curate.errors import ConfigError
from curate.ops._graph import Graph
from curate.store import Store

PROTECT = "curate:protect"
"""The sample tag of rows that are never called copies."""


@dataclass
class Desk:
    """A dataset and the open store.  held: what the store has of the dataset, None for nothing."""

    dataset: Any
    place: Place
    store: Store | None
    held: reading.Held | None

    @property
    def address(self) -> str:
        """The dataset as --dataset takes it."""
        return self.held.key if self.held else f"fiftyone:{self.dataset.name}"

    def ready(self) -> tuple[Store, reading.Held]:
        """The store and what it holds.  Raises ConfigError where nothing is stored yet."""
        if self.store is None or self.held is None:
            raise ConfigError(f"nothing is stored for {self.dataset.name!r} yet in {self.place.path}; sync it first")
        return self.store, self.held

    @cached_property
    def graph(self) -> Graph | None:
        """The kept pairs of `duplicates`."""
        if self.store is None or self.held is None or self.held.spec is None:
            return None
        return graph_of(self.store, self.held.key, self.held.spec)

    @cached_property
    def protected(self) -> frozenset[str]:
        """Ids of samples tagged as protected."""
        return frozenset(flat(self.dataset).match_tags(PROTECT).values("id"))

    def cut(self, state: Any) -> Cut:
        """Where the sliders stand; the distance counts only when it was moved from its end.

        Read from the sliders' own state, which the App changes before it tells: what an event keeps apart comes back with its
        answer, and the next move may be quicker.
        """
        stop, radius = state.get("body.precision_stop"), state.get("body.radius_at")
        graph = self.graph
        if graph is None or radius is None or (graph.by_pixels and float(radius) >= graph.reach * 0.9999):
            radius = None
        precision = PRECISIONS[min(max(int(USUAL if stop is None else stop), 0), len(PRECISIONS) - 1)]
        return Cut(precision, None if radius is None else float(radius))

    def there(self, ids: Sequence[str]) -> list[str]:
        """Those of `ids` that are samples of the dataset now, in their order: some may be deleted since."""
        wanted = list(ids)
        live = set(flat(self.dataset).select(wanted).values("id")) if wanted else set()
        return [i for i in wanted if i in live]


@contextmanager
def desk(ctx: Any) -> Iterator[Desk]:
    """The desk of an execution context; the store is open for reading while it is used."""
    dataset = ctx.dataset
    if dataset is None:
        raise ConfigError("no dataset is open, or it was deleted. Open one in the App first")
    place = place_of(dataset)
    panel = getattr(ctx, "panel", None)
    state = panel.state if panel is not None else {}
    if not (place.path / "catalog.sqlite").exists():
        yield Desk(dataset, place, None, None)
        return
    with Store.open(place.path) as store:
        found = reading.held(store, dataset.name, key=state.get("view_key") or "", model=state.get("model") or "")
        yield Desk(dataset, place, store, found)


def place_of(dataset: Any) -> Place:
    """Where the dataset's store is."""
    import fiftyone as fo

    return store_place(dict(dataset.info or {}), str(fo.config.database_name), os.environ)


def record_place(dataset: Any, path: Path) -> None:
    """Keeps the store's place in the dataset."""
    if store_place(dict(dataset.info or {}), "", {"HOME": "/"}) != Place(path, "recorded in the dataset"):
        dataset.info = with_store(dict(dataset.info or {}), path)
        dataset.save()


def flat(dataset: Any) -> Any:
    """All samples: of a group dataset those of every image slice, where it shows only one at a time."""
    if dataset.media_type != "group":
        return dataset
    return dataset.select_group_slices([name for name, kind in dataset.group_media_types.items() if kind == "image"])
