"""Vectors of samples as codes in one file: 12 bytes of id and a code a sample, appended; the last one of an id counts."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.fiftyone_plugin._fine import NAME, Fine
from curate.codecs import Codec, Codes, codec_named
from curate.errors import Corrupt, StoreError, WrongVersion
from curate.types import EmbedderSpec, Vectors

FORMAT = 1
ID_BYTES = 12
_META, _ROWS = "meta.json", "rows.bin"
Ids = npt.NDArray[np.str_]


@dataclass(frozen=True)
class Sidecar:
    """The folder of one set of vectors.

    spec: of the model.  codec: name of the codec.  token: another one each time the folder is made.
    cwd: the working directory in which the model's name was given, for models that are named by a relative path.
    """

    folder: Path
    spec: EmbedderSpec
    codec: str
    token: str
    cwd: str

    @classmethod
    def create(cls, folder: Path, spec: EmbedderSpec, codec: str) -> Sidecar:
        """The sidecar in `folder`, made if there is none.  Raises StoreError when it cannot be written."""
        if (folder / _META).is_file():
            return cls.open(folder)
        meta = {"format": FORMAT, "spec": spec.as_dict(), "codec": codec, "token": secrets.token_hex(8), "cwd": str(Path.cwd())}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _ROWS).unlink(missing_ok=True)
            draft = folder / (_META + ".tmp")
            draft.write_text(json.dumps(meta), encoding="utf-8")
            draft.replace(folder / _META)
        except OSError as err:
            raise StoreError(f"{folder}: the vectors for FiftyOne cannot be written: {err.strerror}") from err
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Sidecar:
        """The sidecar that is there.  Raises StoreError when there is none, WrongVersion, Corrupt."""
        try:
            meta = json.loads((folder / _META).read_text(encoding="utf-8"))
            if meta["format"] != FORMAT:
                raise WrongVersion(f"{folder}: written by a newer curate (format {meta['format']}); upgrade curate")
            return cls(folder, EmbedderSpec(**meta["spec"]), str(meta["codec"]), str(meta["token"]), str(meta["cwd"]))
        except OSError as err:
            raise StoreError(
                f"the vectors behind this similarity run are gone ({folder}). Run `curate sync` on the dataset again"
            ) from err
        except (ValueError, KeyError, TypeError) as err:
            raise Corrupt(f"{folder / _META} cannot be read ({err}); delete {folder} and run `curate sync` again") from err

    @property
    def stamp(self) -> tuple[str, int, int]:
        """Changes whenever the content does."""
        try:
            status = (self.folder / _ROWS).stat()
        except OSError:
            return self.token, 0, 0
        return self.token, status.st_size, status.st_mtime_ns

    @property
    def bytes_per_sample(self) -> int:
        """What one sample takes."""
        return ID_BYTES + self._codec.bytes_per_vector(self.spec.dim)

    @property
    def _codec(self) -> Codec | Fine:
        return Fine() if self.codec == NAME else codec_named(self.codec)

    @property
    def _record(self) -> Any:
        return np.dtype([("id", f"S{ID_BYTES}"), ("code", np.uint8, (self._codec.bytes_per_vector(self.spec.dim),))])

    def append(self, ids: Sequence[str], vectors: Vectors) -> None:
        """Adds vectors (n, dim), durably; for an id that is there already the new one counts."""
        records = np.empty(len(ids), self._record)
        records["id"] = np.frombuffer(bytes.fromhex("".join(ids)), f"V{ID_BYTES}").view(f"S{ID_BYTES}")
        records["code"] = self._codec.encode(vectors)
        path, size = self.folder / _ROWS, self._record.itemsize
        with path.open("ab") as file:
            whole = file.tell() // size * size
            if whole != file.tell():
                file.truncate(whole)  # the end of a record that was being written when its process died
            file.write(records.tobytes())
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> tuple[Ids, Codes]:
        """Every id once, sorted, with its code: (n,) and (n, bytes)."""
        try:
            raw = (self.folder / _ROWS).read_bytes()
        except FileNotFoundError:
            raw = b""
        size = self._record.itemsize
        table = np.frombuffer(raw[: len(raw) // size * size], np.uint8).reshape(-1, size)
        # Read backwards, the first of each id is the last one written.
        keys = np.ascontiguousarray(table[::-1, :ID_BYTES]).view(f"V{ID_BYTES}").ravel()
        _, first = np.unique(keys.view(f"S{ID_BYTES}"), return_index=True) if len(keys) else (keys, np.zeros(0, np.int64))
        rows = len(table) - 1 - first
        names = np.frombuffer(table[rows, :ID_BYTES].tobytes().hex().encode(), f"S{2 * ID_BYTES}").astype(str)
        order = np.argsort(names, kind="stable")
        return names[order], table[rows[order], ID_BYTES:]

    def decode(self, codes: Codes) -> Vectors:
        """(n, bytes) -> (n, dim) float32."""
        return self._codec.decode(codes)

    def drop(self, ids: Collection[str]) -> int:
        """Removes ids, and what was written twice; returns how many ids were there."""
        names, codes = self.read()
        keep = ~np.isin(names, np.array(sorted(ids), dtype=f"U{2 * ID_BYTES}"))
        gone = int((~keep).sum())
        records = np.empty(int(keep.sum()), self._record)
        records["id"] = np.frombuffer(bytes.fromhex("".join(names[keep])), f"S{ID_BYTES}")
        records["code"] = codes[keep]
        draft = self.folder / (_ROWS + ".tmp")
        draft.write_bytes(records.tobytes())
        draft.replace(self.folder / _ROWS)
        return gone

    def remove(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
