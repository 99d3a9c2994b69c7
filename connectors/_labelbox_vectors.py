"""Custom embeddings: found or created by name, filled by files of at most 1,000 lines, journalled, counted."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from connectors._labelbox_created import note_created
from connectors._labelbox_errors import Refused
from connectors._labelbox_export import Exports
from connectors._labelbox_platform import Platform
from curate.errors import ConfigError, Lost, NotFound
from curate.types import Applied, EmbedderSpec, Rejected, Vectors

MOST_DIMS = 2048
MOST_EMBEDDINGS = 100
LINES = 1000
SIMILARITY_FLOOR = 1000
COUNT_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)


def embedding_name(spec: EmbedderSpec, chosen: str = "") -> str:
    """The name in the workspace: the user's, else the model's with the fingerprint, so that two revisions stay apart.

    Of a local directory only the last part is told: the whole workspace sees the name.
    """
    local = Path(spec.name).is_absolute() or spec.name.startswith((".", "~"))
    model = Path(spec.name).name if local else spec.name
    return chosen or f"curate {model[:60]} {spec.fingerprint[:8]}"


class Journal:
    """Uploads that were acknowledged, so that a killed run sends at most one again; a cache, safe to delete.

    One line a chunk: a hash of embedding, rows and vectors.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "vectors.jsonl"
        self._known: set[str] | None = None

    def has(self, key: str) -> bool:
        """Whether the chunk was acknowledged."""
        if self._known is None:
            lines = self.path.read_text().splitlines() if self.path.is_file() else []
            # A kill may leave half a line: it is no hash of anything, and the next line is written after a line end.
            self._known = {line for line in lines if len(line) == 64}
        return key in self._known

    def add(self, key: str) -> None:
        """Notes an acknowledged chunk, on disk before this returns."""
        known = self.has(key)
        if known or self._known is None:
            return
        self._known.add(key)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(f"\n{key}\n")
            file.flush()
            os.fsync(file.fileno())

    def forget(self) -> None:
        """Nothing was acknowledged: the embedding is gone or short of vectors."""
        self._known = set()
        self.path.unlink(missing_ok=True)


class EmbeddingStore:
    """The custom embeddings of a workspace."""

    def __init__(self, platform: Platform, exports: Exports, *, folder: Path, notify: Callable[[str], None]) -> None:
        self.platform, self.exports, self.notify = platform, exports, notify
        self.journal = Journal(folder)
        self._folder = folder
        self._pushed: dict[str, set[str]] = {}
        self._found: dict[str, Any] = {}
        self._ids: dict[str, str] = {}

    def all(self) -> list[Any]:
        """Every embedding of the workspace, Labelbox's own too."""
        found: list[Any] = self.platform.call("listing the embeddings", lambda client: client.get_embeddings())
        self._ids = {e.name: e.id for e in found}
        return found

    def id_of(self, name: str) -> str:
        """The id of an embedding as it was last listed; "" for one that is not there yet."""
        if name in self._found:
            return str(self._found[name].id)
        if not self._ids:
            self.all()
        return self._ids.get(name, "")

    def check(self, spec: EmbedderSpec, name: str) -> None:
        """That vectors of `spec` have a place, before any are computed.

        Raises ConfigError: over 2,048 dims, a name taken by another size or by Labelbox's own, no room for one more.
        """
        if spec.dim > MOST_DIMS:
            raise ConfigError(
                f"{spec.name} has {spec.dim} dims and Labelbox takes at most {MOST_DIMS}. "
                "Push fields only (--no-vectors), or choose another model."
            )
        known = self.all()
        same = [e for e in known if e.name == name]
        if same:
            self._fits(same[0], spec, name)
            return
        custom = sum(e.custom for e in known)
        if custom >= MOST_EMBEDDINGS:
            raise ConfigError(
                f"the workspace has {custom} custom embeddings, which is all it may have. "
                "Look at them with: curate embeddings list"
            )

    def get(self, spec: EmbedderSpec, name: str) -> Any:
        """The embedding of that name, created when it is missing.

        After any failure to create it the list is read again: the write may have been applied although its answer was lost.
        """
        if name in self._found:
            return self._found[name]
        found = next((e for e in self.all() if e.name == name), None)
        if found is None:
            found = self._create(spec, name)
        self._fits(found, spec, name)
        self._found[name] = found
        return found

    def _create(self, spec: EmbedderSpec, name: str) -> Any:
        tries = itertools.count()

        def create(client: Any) -> Any:
            # The caller has just looked; before another attempt it is looked again.
            known = client.get_embeddings() if next(tries) else ()
            return next((e for e in known if e.name == name), None) or client.create_embedding(name, spec.dim)

        try:
            made = self.platform.call(f"creating the embedding {name!r}", create)
        except Refused as err:
            made = next((e for e in self.all() if e.name == name), None)
            if made is None and err.kind == "quota":
                raise ConfigError(
                    f"the workspace takes no more custom embeddings ({err}). Delete one with: curate embeddings delete NAME"
                ) from None
            if made is None:
                raise
        self.notify(f"created the embedding {name!r} ({spec.dim} dims)")
        note_created(self._folder, "embeddings", name)
        return made

    @staticmethod
    def _fits(found: Any, spec: EmbedderSpec, name: str) -> None:
        if not found.custom:
            raise ConfigError(
                f"the embedding {name!r} is Labelbox's own; choose another name (embedding in [connectors.labelbox])"
            )
        if found.dims != spec.dim:
            raise ConfigError(
                f"the embedding {name!r} has {found.dims} dims and {spec.name} has {spec.dim}. Choose another name "
                f"(embedding in [connectors.labelbox]), or delete it with: curate embeddings delete {name!r}"
            )

    def push(self, spec: EmbedderSpec, name: str, ids: Sequence[str], vectors: Vectors) -> Applied:
        """Writes vectors, a file of at most 1,000 lines a call; refused ones are found one by one and come back rejected."""
        embedding = self.get(spec, name)
        done = Applied()
        for start in range(0, len(ids), LINES):
            stop = start + LINES
            done += self._chunk(embedding, list(ids[start:stop]), vectors[start:stop])
        return done

    def _chunk(self, embedding: Any, ids: list[str], vectors: Vectors) -> Applied:
        finite = [bool(np.isfinite(vector).all()) for vector in vectors]
        rejected = [Rejected(i, "vector", "not finite") for i, ok in zip(ids, finite, strict=True) if not ok]
        ids, vectors = [i for i, ok in zip(ids, finite, strict=True) if ok], vectors[finite]
        key = _key(embedding.id, ids, vectors)
        if not ids or self.journal.has(key):
            return Applied(len(ids), rejected)
        refused = self._send(embedding, ids, vectors)
        if not refused:
            self.journal.add(key)
        self._pushed.setdefault(embedding.id, set()).update(set(ids) - {r.item_id for r in refused})
        return Applied(len(ids) - len(refused), (*rejected, *refused))

    def _send(self, embedding: Any, ids: list[str], vectors: Vectors) -> list[Rejected]:
        """Uploads one file; a file that is refused is halved until the rows at fault are alone."""
        try:
            self.platform.call(f"uploading {len(ids)} vectors", lambda _c: self._upload(embedding, ids, vectors))
        except (Refused, NotFound) as err:
            if isinstance(err, NotFound) and not any(e.id == embedding.id for e in self.all()):
                raise NotFound(f"the embedding {embedding.name!r} was deleted while vectors were pushed; run again") from None
            if isinstance(err, Refused) and err.kind == "conflict":
                return self._conflicting(embedding, ids, vectors)
            if len(ids) == 1:
                return [Rejected(ids[0], "vector", str(err))]
            half = len(ids) // 2
            return [*self._send(embedding, ids[:half], vectors[:half]), *self._send(embedding, ids[half:], vectors[half:])]
        return []

    def _conflicting(self, embedding: Any, ids: list[str], vectors: Vectors) -> list[Rejected]:
        """Rows that are there already, where Labelbox overwrites none: equal ones are done, missing ones are sent."""
        there = dict(self._stored(embedding.id, ids))
        missing = [n for n, i in enumerate(ids) if i not in there]
        refused: list[Rejected] = []
        for number, item_id in enumerate(ids):
            if item_id in there and not np.allclose(there[item_id], vectors[number], rtol=1e-5, atol=1e-7):
                refused.append(Rejected(item_id, "vector", "Labelbox holds another vector and does not overwrite it"))
        if missing and len(missing) < len(ids):
            refused += self._send(embedding, [ids[n] for n in missing], vectors[missing])
        elif missing:
            refused += [Rejected(i, "vector", "refused as a conflict") for i in ids]
        return refused

    @staticmethod
    def _upload(embedding: Any, ids: list[str], vectors: Vectors) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".ndjson", prefix="curate-", encoding="ascii") as file:
            for item_id, vector in zip(ids, vectors, strict=True):
                numbers = ",".join(f"{value:.9g}" for value in vector.tolist())
                file.write(f'{{"id":{json.dumps(item_id)},"vector":[{numbers}]}}\n')
            file.flush()
            # No callback: the SDK would parse the body for it, and what the body holds is not documented.
            embedding.import_vectors_from_file(file.name)

    def _stored(self, embedding_id: str, ids: Sequence[str]) -> Iterator[tuple[str, Vectors]]:
        for line in self.exports.of_ids(ids, params={"embeddings": True}, what="the stored vectors"):
            vector = vector_of(line, lambda entry: entry.get("id") == embedding_id)
            if vector is not None:
                yield str(line["data_row"]["id"]), vector

    def verify(self, spec: EmbedderSpec, name: str) -> None:
        """That Labelbox counts at least the vectors that were pushed, after a short wait; else names those that are missing.

        Raises Lost naming them, and forgets the journal so that they are sent again.
        """
        embedding: Any = self._found.get(name)
        pushed = self._pushed.get(embedding.id, set()) if embedding is not None else set()
        if not pushed:
            return
        count = 0
        for wait in (*COUNT_WAITS, None):
            count = self.count(embedding)
            if count >= len(pushed) or wait is None:
                break
            time.sleep(wait)
        if count < len(pushed):
            there = {item_id for item_id, _ in self._stored(embedding.id, sorted(pushed))}
            if pushed - there:
                self.journal.forget()
                few = ", ".join(sorted(pushed - there)[:5])
                raise Lost(
                    f"Labelbox acknowledged {len(pushed):,} vectors of {name!r} and holds {len(pushed & there):,}; "
                    f"not there: {few}. "
                    "Run again to send them once more.",
                    pushed - there,
                )
        if count < SIMILARITY_FLOOR:
            self.notify(
                f"{name!r} holds {count:,} vectors; Labelbox offers similarity search from {SIMILARITY_FLOOR:,} on "
                "(and some minutes after an import)"
            )

    def count(self, embedding: Any) -> int:
        """How many vectors Labelbox counts in an embedding."""
        counted: int = self.platform.call("counting the vectors", lambda _c: embedding.get_imported_vector_count())
        return counted

    def find(self, name: str) -> Any:
        """A custom embedding by name or id.  Raises NotFound, ConfigError for Labelbox's own."""
        found = next((e for e in self.all() if name in (e.name, e.id)), None)
        if found is None:
            raise NotFound(f"the workspace has no embedding {name!r}; see: curate embeddings list")
        if not found.custom:
            raise ConfigError(f"{found.name!r} is Labelbox's own embedding and cannot be deleted")
        return found

    def delete(self, name: str) -> None:
        """Deletes a custom embedding with its vectors, by name or id; raises as `find`."""
        found = self.find(name)

        def delete(client: Any) -> None:
            if any(e.id == found.id for e in client.get_embeddings()):
                client.delete_embedding(found.id)

        try:
            self.platform.call(f"deleting the embedding {found.name!r}", delete)
        except (NotFound, Refused):
            if any(e.id == found.id for e in self.all()):
                raise
        self._found.pop(found.name, None)
        self.journal.forget()


def vector_of(line: dict[str, Any], wanted: Callable[[dict[str, Any]], bool]) -> Vectors | None:
    """The vector of an export line whose embedding is `wanted`, (dim,) float32; None where there is none."""
    for entry in line.get("embeddings") or ():
        if wanted(entry) and entry.get("values"):
            return np.asarray(entry["values"][0]["value"], dtype=np.float32)
    return None


def _key(embedding_id: str, ids: Sequence[str], vectors: Vectors) -> str:
    told = hashlib.sha256(json.dumps([embedding_id, list(ids)]).encode())
    told.update(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
    return told.hexdigest()
