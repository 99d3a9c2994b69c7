"""The local store: a SQLite catalog and immutable, checksummed vector segments.

    catalog.sqlite   rows, versions, where every vector is, findings, runs (schema number in `user_version`)
    segments/        vectors, one file a batch, merged when there are many
    thumbs/          thumbnails, one file a batch
    spool/           batches that are computed and being committed; what a killed run left here is committed by the next one
    runs/, results/  plans and reports; what connectors keep
    lock             who writes

A file is written as X.tmp, made durable, renamed, and only then named in the catalog by one transaction: whatever the moment
of a crash, a committed batch is whole, and what the catalog does not name is removed when the store is next opened for
writing.
"""

from curate.store._exchange import export_vectors, read_vectors
from curate.store._results import Run
from curate.store._rows import Listing, RowCounts
from curate.store._store import Store
from curate.store._vectors import StoredSpec

__all__ = ["Listing", "RowCounts", "Run", "Store", "StoredSpec", "export_vectors", "read_vectors"]
