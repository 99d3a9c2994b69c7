"""Every checksum of a store: what is damaged is named, and dropped so that it is made again.

Reading checks what it reads, always.  This looks at what nobody has read yet: everything, or (`seen`) the files that are not
what they were, by size and time, when every byte of them was last checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from curate.errors import Corrupt
from curate.store._disk import remove
from curate.store._packs import damaged_images
from curate.store._segments import Keys, Places, row_key, row_keys
from curate.store._vectors import VectorSets
from curate.types import EmbedderSpec

Stamp: TypeAlias = tuple[int, int]
"""Size and time of change of a file, in bytes and nanoseconds."""


def stamp(path: Path) -> Stamp | None:
    """What a file looks like from outside; None when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def verify(sets: VectorSets, dataset: str | None, *, repair: bool, seen: dict[str, Stamp], quick: bool) -> list[str]:
    """A line for each damaged file; with `repair` its rows are missing again.  Raises Corrupt for a damaged catalog.

    seen: file name -> its stamp when it was last checked; brought up to date.  quick: leave out files that look as they did.
    """
    wrong = [] if quick else sets.db.integrity()
    if wrong:
        raise sets.db.corrupt(wrong[0])
    lines: list[str] = []
    before = dict(seen) if quick else {}
    seen.clear()
    for held in sets.specs(dataset):
        key = sets.spec_key(held.dataset, held.spec.fingerprint)
        files = sets.db.rows("SELECT key, file FROM segment WHERE spec=? ORDER BY key", (key,))
        if files and _unseen([sets.segments / str(file) for _, file in files], before, seen):
            lines += _verify_set(sets, key, held.spec, files, repair=repair)
    return lines + _verify_thumbs(sets, dataset, repair=repair, before=before, seen=seen)


def _unseen(paths: Sequence[Path], before: Mapping[str, Stamp], seen: dict[str, Stamp]) -> bool:
    """Whether any of the files is not what it was; notes what all of them look like now."""
    changed = False
    for path in paths:
        now = stamp(path)
        changed |= now is None or before.get(path.name) != now
        if now is not None:
            seen[path.name] = now
    return changed


def _verify_set(sets: VectorSets, key: int, spec: EmbedderSpec, files: Sequence[tuple[int, str]], *, repair: bool) -> list[str]:
    db, lines = sets.db, []
    places, keys = _keyed_places(sets, key)
    for number, file in files:
        mine = np.flatnonzero(places.segment == number)
        path = sets.segments / file
        sets.forget([number])
        try:
            segment = sets.segment(number, spec)
            segment.check_all()
        except (Corrupt, FileNotFoundError) as err:
            lines.append(f"{path}: {_why(err)}; {len(mine):,} rows are missing again")
            if repair:
                _drop(sets, key, number)
                remove(path)
            continue
        slots = places.slot[mine]
        odd = (slots < 0) | (slots >= segment.head.rows)
        odd[~odd] = segment.head.keys[slots[~odd]] != keys[mine][~odd]
        if odd.any():
            lines.append(f"{db.path}: {int(odd.sum()):,} rows do not match {path}; they are missing again")
            if repair:
                _drop_rows(sets, key, places[mine[odd]])
    lost = places[np.flatnonzero(~np.isin(places.segment, [number for number, _ in files]))]
    if len(lost):
        lines.append(f"{db.path}: {len(lost):,} rows name no segment; they are missing again")
        if repair:
            _drop_rows(sets, key, lost)
    return lines


def _why(err: Exception) -> str:
    if isinstance(err, FileNotFoundError):
        return "the file is missing"
    return str(err).rpartition(" is damaged: ")[2].partition(". Run ")[0]


def _drop_rows(sets: VectorSets, key: int, places: Places) -> None:
    with sets.db.transaction():
        rows = zip(places.row.tolist(), places.edition.tolist(), strict=True)
        sets.db.many("DELETE FROM vector WHERE spec=? AND row=? AND edition=?", ((key, row, edition) for row, edition in rows))


def _drop(sets: VectorSets, key: int, number: int) -> None:
    with sets.db.transaction():
        sets.db.run("DELETE FROM vector WHERE spec=? AND segment=?", (key, number))
        sets.db.run("DELETE FROM segment WHERE key=?", (number,))
    sets.forget()


def _keyed_places(sets: VectorSets, key: int) -> tuple[Places, Keys]:
    """Every place of a set, with the key of its row and version."""
    query = (
        "SELECT v.row, v.edition, v.segment, v.slot, r.id, iif(v.edition=r.edition, r.version, e.version) FROM vector v "
        "LEFT JOIN row r ON r.key=v.row LEFT JOIN edition e ON e.row=v.row AND e.edition=v.edition WHERE v.spec=?"
    )
    numbers: list[npt.NDArray[np.int64]] = []
    keys = [np.empty(0, np.uint32)]
    with sets.db.decoding():
        for piece in sets.db.chunks(query, (key,)):
            numbers.append(np.array([row[:4] for row in piece], np.int64))
            keys.append(row_keys([str(row[4]) for row in piece], [str(row[5]) for row in piece]))
    return Places.of(numbers), np.concatenate(keys)


def _verify_thumbs(
    sets: VectorSets, dataset: str | None, *, repair: bool, before: Mapping[str, Stamp], seen: dict[str, Stamp]
) -> list[str]:
    """Damaged thumbnails; with `repair` their rows are embedded again, which makes them anew."""
    db, lines = sets.db, []
    for pack, file, size in db.rows("SELECT key, file, size FROM pack ORDER BY key"):
        if not _unseen([sets.thumbs / str(file)], before, seen):
            continue
        rows = db.rows(
            "SELECT t.row, t.edition, t.start, t.size, t.crc, r.id, iif(t.edition=r.edition, r.version, e.version) "
            "FROM thumb t JOIN row r ON r.key=t.row JOIN dataset d ON d.key=r.dataset "
            "LEFT JOIN edition e ON e.row=t.row AND e.edition=t.edition WHERE t.pack=?1 AND (?2 IS NULL OR d.name=?2)",
            (pack, dataset),
        )
        path = sets.thumbs / file
        with db.decoding():
            wanted = [(row_key(str(r[5]), str(r[6])), (int(r[2]), int(r[3]), int(r[4]))) for r in rows]
        bad = [(rows[n][0], rows[n][1]) for n in damaged_images(path, size, wanted)]
        if bad:
            lines.append(f"{path}: {len(bad):,} thumbnails are damaged; their rows are embedded again")
        if bad and repair:
            with db.transaction():
                db.many("DELETE FROM thumb WHERE row=? AND edition=?", bad)
                db.many(
                    "DELETE FROM vector WHERE row=? AND edition=? AND spec IN (SELECT key FROM spec WHERE NOT imported)",
                    bad,
                )
    return lines
