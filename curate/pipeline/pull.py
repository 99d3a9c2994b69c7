"""First stage: the rows of a dataset go from the platform into the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from curate.errors import ConfigError
from curate.pipeline import Reporter, Silent
from curate.protocols import Connector
from curate.store import RowCounts, Store


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


def pull(store: Store, connector: Connector, dataset: str, dataset_id: str, *, reporter: Reporter | None = None) -> Pulled:
    """Lists the whole dataset into the store, page by page; rows that are gone retire, once the listing is complete.

    dataset: the store's key.  dataset_id: as the connector takes it.  Content decides what is new: a row whose version is
    known costs nothing later.  Raises ConfigError for a dataset without rows, ConnectorError from the platform.
    """
    reporter = reporter or Silent()
    media: Counter[str] = Counter()
    listing = store.begin_listing(dataset)
    cursor = None
    for page in connector.pages(dataset_id):
        listing.add(page.items)
        media.update(item.media_type for item in page.items)
        cursor = page.cursor or cursor
        reporter.progress("pull", media.total(), None)
    if not media:
        raise ConfigError(f"dataset {dataset} is empty: no rows that can be read. Nothing was changed.")
    counts = listing.finish(cursor=cursor, complete=True)
    reporter.progress("pull", media.total(), media.total())
    return Pulled(counts, dict(media))
