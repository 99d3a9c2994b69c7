"""First stage: the rows of a dataset go from the platform into the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from curate.errors import ConfigError
from curate.pipeline import Reporter, Silent
from curate.protocols import Connector, Incremental
from curate.store import RowCounts, Store
from curate.types import Page

LARGE = 20_000
"""Rows from which on a platform that can is asked only for what changed."""
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a listing found.  counts: all rows.  media: media type -> rows of that kind."""

    counts: RowCounts
    media: Mapping[str, int] = field(default_factory=dict)

    def of(self, media: str) -> int:
        """Rows of one media type."""
        return self.media.get(media, 0)

    def others(self, media: str) -> Mapping[str, int]:
        """Rows of every other media type, which are counted and skipped."""
        return {kind: n for kind, n in sorted(self.media.items()) if kind != media}


def pull(
    store: Store,
    connector: Connector,
    dataset: str,
    dataset_id: str,
    *,
    reporter: Reporter | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Pulled:
    """Lists the whole dataset into the store, page by page; rows that are gone retire, once the listing is complete.

    dataset: the store's key.  dataset_id: as the connector takes it.  Content decides what is new: a row whose version is
    known costs nothing later.  stop: asked after each page; once it says True, KeyboardInterrupt is raised and nothing kept.
    Raises ConfigError for a dataset without rows, ConnectorError from the platform.
    """
    reporter = reporter or Silent()
    media: Counter[str] = Counter()
    cursor = None
    with store.begin_listing(dataset) as listing:
        for page in _pages(store, connector, dataset, dataset_id):
            listing.add(page.items)
            media.update(item.media_type for item in page.items)
            cursor = page.cursor or cursor
            reporter.progress("pull", media.total(), None)
            if stop():
                raise KeyboardInterrupt
        if not media:
            raise ConfigError(f"dataset {dataset} is empty: no rows that can be read. Nothing was changed.")
        counts = listing.finish(cursor=cursor, complete=True)
    reporter.progress("pull", media.total(), media.total())
    return Pulled(counts, dict(media))


def _pages(store: Store, connector: Connector, dataset: str, dataset_id: str) -> Iterator[Page]:
    """Every row there is: all from the platform, or, of a large dataset, those with activity since the last listing, and the
    others from the store once the platform has named them.
    """
    since = store.cursor(dataset)
    if since is None or store.count(dataset) < LARGE or not isinstance(connector, Incremental):
        yield from connector.pages(dataset_id)
        return
    if not connector.resumable(dataset_id, since):
        yield from connector.pages(dataset_id)
        return
    seen: set[str] = set()
    for page in connector.pages(dataset_id, since=since):
        seen.update(item.id for item in page.items)
        yield page
    # A row that is in neither came in between: the next listing has it, for it is newer than this one's cursor.
    quiet = (item_id for item_id in connector.ids(dataset_id) if item_id not in seen)
    while ids := list(islice(quiet, PAGE)):
        yield Page(list(store.items(dataset, ids=ids)))
