"""The tables of `catalog.sqlite`, and how an older catalog becomes a newer one.

`user_version` counts the migrations that were applied; a new store applies them all.  A migration is one SQL script, runs in
one transaction, and is never edited once released: add another.

- row: what the last listing showed.  edition: number of the content version; 0 is the first one ever seen.
- edition: versions a row had before, so that coming back to one finds its vectors.
- vector: where the vector of (embedder, row, edition) is: a slot of a segment.
- finding: what an op found on the rows of `basis` ("": judged before that was kept).
- finding_array: columns that an op keeps beside its findings, compressed; they go with them.
- fact, thumb: what decoding saw, by (row, edition), whatever the embedder.
"""

from __future__ import annotations

APPLICATION_ID = 0x63757261  # "cura"

MIGRATIONS: tuple[str, ...] = (
    """
CREATE TABLE dataset(key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, cursor TEXT) STRICT;
CREATE TABLE row(key INTEGER PRIMARY KEY, dataset INTEGER NOT NULL, id TEXT NOT NULL, uri TEXT NOT NULL,
    version TEXT NOT NULL, media TEXT NOT NULL, fields TEXT NOT NULL, edition INTEGER NOT NULL, live INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX row_id ON row(dataset, id);
CREATE TABLE edition(row INTEGER NOT NULL, edition INTEGER NOT NULL, version TEXT NOT NULL,
    PRIMARY KEY(row, edition)) STRICT, WITHOUT ROWID;
CREATE TABLE spec(key INTEGER PRIMARY KEY AUTOINCREMENT, dataset INTEGER NOT NULL, fingerprint TEXT NOT NULL,
    body TEXT NOT NULL, imported INTEGER NOT NULL, UNIQUE(dataset, fingerprint)) STRICT;
CREATE TABLE segment(key INTEGER PRIMARY KEY AUTOINCREMENT, spec INTEGER NOT NULL, file TEXT NOT NULL UNIQUE,
    codec TEXT NOT NULL, rows INTEGER NOT NULL, size INTEGER NOT NULL) STRICT;
CREATE INDEX segment_spec ON segment(spec);
CREATE TABLE vector(spec INTEGER NOT NULL, row INTEGER NOT NULL, edition INTEGER NOT NULL, segment INTEGER NOT NULL,
    slot INTEGER NOT NULL, PRIMARY KEY(spec, row, edition)) STRICT, WITHOUT ROWID;
CREATE TABLE failure(spec INTEGER NOT NULL, row INTEGER NOT NULL, edition INTEGER NOT NULL, reason TEXT NOT NULL,
    detail TEXT NOT NULL, retry INTEGER NOT NULL, PRIMARY KEY(spec, row, edition)) STRICT, WITHOUT ROWID;
CREATE TABLE fact(row INTEGER NOT NULL, edition INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    size INTEGER NOT NULL, content_hash TEXT NOT NULL, pixel_hash TEXT, PRIMARY KEY(row, edition)) STRICT, WITHOUT ROWID;
CREATE TABLE pack(key INTEGER PRIMARY KEY AUTOINCREMENT, file TEXT NOT NULL UNIQUE, size INTEGER NOT NULL) STRICT;
CREATE TABLE thumb(row INTEGER NOT NULL, edition INTEGER NOT NULL, pack INTEGER NOT NULL, start INTEGER NOT NULL,
    size INTEGER NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY(row, edition)) STRICT, WITHOUT ROWID;
CREATE TABLE finding(key INTEGER PRIMARY KEY AUTOINCREMENT, dataset INTEGER NOT NULL, fingerprint TEXT NOT NULL,
    op TEXT NOT NULL, fields TEXT NOT NULL, body TEXT NOT NULL, UNIQUE(dataset, fingerprint, op)) STRICT;
CREATE TABLE cache(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE run(id TEXT PRIMARY KEY, dataset TEXT NOT NULL, command TEXT NOT NULL, started TEXT NOT NULL, finished TEXT,
    state TEXT NOT NULL, summary TEXT NOT NULL) STRICT;
CREATE TABLE applied(run TEXT NOT NULL, item TEXT NOT NULL, field TEXT NOT NULL, dataset TEXT NOT NULL, before TEXT NOT NULL,
    after TEXT NOT NULL, reason TEXT NOT NULL, refused TEXT, PRIMARY KEY(run, item, field)) STRICT, WITHOUT ROWID;
CREATE TABLE pushed(spec INTEGER NOT NULL, target TEXT NOT NULL, row INTEGER NOT NULL, edition INTEGER NOT NULL,
    PRIMARY KEY(spec, target, row)) STRICT, WITHOUT ROWID;
""",
    """
CREATE TABLE finding_array(key INTEGER PRIMARY KEY, finding INTEGER NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
    UNIQUE(finding, name)) STRICT;
CREATE INDEX thumb_pack ON thumb(pack);
ALTER TABLE finding ADD COLUMN basis TEXT NOT NULL DEFAULT '';
""",
)
