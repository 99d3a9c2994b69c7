"""Vectors in and out of the store: npy, parquet and safetensors, decoded float32, with ids and the embedder's spec.

| format | files in the folder |
|---|---|
| npy | `vectors.npy` (n, d) float32, `ids.txt` one id a line, `spec.json` |
| parquet | `vectors.parquet`: columns `id` (string) and `vector` (fixed-size list of float32), the spec as metadata |
| safetensors | `vectors.safetensors`: tensor `vectors`, ids and spec as metadata |

A line of `ids.txt` that begins with a double quote is a JSON string; ids that hold a line break, begin with a quote, are empty
or begin or end with white space are written so.  Every other line is the id itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from curate.errors import ConfigError, StoreError
from curate.geometry import geometry_named, norms
from curate.store._store import Store
from curate.types import EmbedderSpec, Vectors, in_chunks

FORMATS = ("npy", "parquet", "safetensors")
ROWS = 8192
SCHEMA_VERSION = 1
_SPEC_KEY = b"curate.spec"
_DTYPES: Mapping[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


# ---- out


def export_vectors(store: Store, dataset: str, fingerprint: str, to: Path, format: str = "npy") -> list[Path]:
    """Writes the vectors of all live rows, in id order, as decoded float32; returns the files.

    Files of an earlier export are replaced, each as a whole.  Raises ConfigError for an unknown format, StoreError when there
    is nothing to write, a file cannot be written, or the rows change meanwhile.
    """
    if format not in FORMATS:
        raise ConfigError(f"unknown format {format!r}; allowed: {', '.join(FORMATS)}")
    ids = store.embedded_ids(dataset, fingerprint)
    found = [held for held in store.specs(dataset) if held.spec.fingerprint == fingerprint]
    if not found or not ids:
        raise StoreError(f"no vectors of model {fingerprint} for {dataset}: there is nothing to export. Run `curate embed`.")
    spec = found[0].spec
    about = {
        "schema_version": SCHEMA_VERSION,
        "dataset": dataset,
        "rows": len(ids),
        "fingerprint": fingerprint,
        "spec": spec.as_dict(),
    }
    blocks = _blocks(store, dataset, fingerprint, ids)
    try:
        to.mkdir(parents=True, exist_ok=True)
        writer: Callable[..., list[Path]] = {"npy": _write_npy, "parquet": _write_parquet, "safetensors": _write_safetensors}[
            format
        ]
        return writer(to, about, ids, spec.dim, blocks)
    except OSError as err:
        raise StoreError(f"cannot write {err.filename or to}: {err.strerror or err}") from err


def _blocks(store: Store, dataset: str, fingerprint: str, ids: Sequence[str]) -> Iterator[Vectors]:
    for some in in_chunks(ids, ROWS):
        found = store.embeddings(dataset, fingerprint, ids=some)
        if list(found.ids) != list(some):
            raise StoreError(f"the rows of {dataset} changed while they were exported; run it again")
        yield found.vectors


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` only when it is complete."""
    tmp = path.with_name(path.name + ".tmp")
    try:
        with tmp.open("wb") as file:
            yield file
        tmp.replace(path)
    finally:
        tmp.unlink(missing_ok=True)


def _write_npy(to: Path, about: Mapping[str, Any], ids: Sequence[str], dim: int, blocks: Iterator[Vectors]) -> list[Path]:
    with _replacing(to / "vectors.npy") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(ids), dim)}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, "<f4").data)
    with _replacing(to / "ids.txt") as file:
        file.write("".join(f"{id_line(i)}\n" for i in ids).encode())
    with _replacing(to / "spec.json") as file:
        file.write(json.dumps(about, indent=2, ensure_ascii=False, sort_keys=True).encode() + b"\n")
    return [to / name for name in ("vectors.npy", "ids.txt", "spec.json")]


def _write_parquet(to: Path, about: Mapping[str, Any], ids: Sequence[str], dim: int, blocks: Iterator[Vectors]) -> list[Path]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32(), dim))], metadata={_SPEC_KEY: json.dumps(about)})
    path = to / "vectors.parquet"
    with _replacing(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for some, block in zip(in_chunks(ids, ROWS), blocks, strict=True):
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), dim)
            writer.write_table(pa.table([pa.array(list(some)), vectors], schema=schema))
    return [path]


def _write_safetensors(
    to: Path, about: Mapping[str, Any], ids: Sequence[str], dim: int, blocks: Iterator[Vectors]
) -> list[Path]:
    size = len(ids) * dim * 4
    metadata = {"curate.spec": json.dumps(about), "curate.ids": json.dumps(list(ids), ensure_ascii=False)}
    header = {"__metadata__": metadata, "vectors": {"dtype": "F32", "shape": [len(ids), dim], "data_offsets": [0, size]}}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path = to / "vectors.safetensors"
    with _replacing(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for block in blocks:
            file.write(np.ascontiguousarray(block, "<f4").data)
    return [path]


def id_line(item_id: str) -> str:
    """An id as a line of ids.txt."""
    odd = not item_id or item_id != item_id.strip() or item_id[0] in '"\ufeff' or "\n" in item_id or "\r" in item_id
    return json.dumps(item_id, ensure_ascii=False) if odd else item_id


# ---- in


def read_vectors(
    path: Path,
    *,
    ids: Path | None = None,
    geometry: str | None = None,
    name: str | None = None,
    media: str | None = None,
) -> tuple[EmbedderSpec, list[str], Vectors]:
    """Spec, ids and vectors (n, d) float32 of an export, or of a bare FILE.npy with its ids.

    path: the folder of an export, or one of its files, or any (n, d) float32 or float16 .npy.  ids: a text file, one id a line;
    without it what the export says.  geometry ("cosine", "euclidean", ...), name and media: needed where no spec lies beside
    the vectors, and taken instead of what it says where one does.
    Raises ConfigError naming the file and the row: unreadable, another shape or type, NaN or infinite, a zero row in cosine,
    ids that are too many, too few or given twice.
    """
    file = _vector_file(path)
    try:
        read = {".npy": _read_npy, ".parquet": _read_parquet, ".safetensors": _read_safetensors}[file.suffix]
        array, own_ids, about = read(file)
        names = _read_ids(ids) if ids is not None else own_ids
    except OSError as err:
        raise ConfigError(f"cannot read {err.filename or file}: {err.strerror or err}") from err
    if names is None:
        raise ConfigError(f"{file} has no ids beside it: say --ids IDS.txt, one id a line, in the order of the rows")
    if array.ndim != 2 or 0 in array.shape:
        raise ConfigError(f"{file} has shape {array.shape}; vectors are (rows, dimensions), at least one of each")
    if array.dtype.kind != "f" or array.dtype.itemsize not in (2, 4):
        raise ConfigError(f"{file} holds {array.dtype}; allowed: float32 and float16 (convert with x.astype('float32'))")
    spec = _spec_for(file, about, array, geometry=geometry, name=name, media=media)
    _check_ids(names, len(array), ids or file)
    return spec, names, _check_rows(file, array, names, spec)


def _vector_file(path: Path) -> Path:
    if path.is_dir():
        found = [path / f"vectors.{ending}" for ending in FORMATS if (path / f"vectors.{ending}").exists()]
        if len(found) != 1:
            what = "no vectors" if not found else " and ".join(f.name for f in found)
            raise ConfigError(f"{path} holds {what}: name one file, or a folder that `curate export-vectors` wrote")
        return found[0]
    if path.suffix not in (".npy", ".parquet", ".safetensors"):
        raise ConfigError(f"{path}: unknown kind of file; allowed: .npy, .parquet, .safetensors, or the folder of an export")
    if not path.exists():
        raise ConfigError(f"{path} does not exist")
    return path


Read = tuple[np.ndarray[Any, Any], list[str] | None, dict[str, Any] | None]


def _read_npy(file: Path) -> Read:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as err:
        raise ConfigError(f"{file} is not a readable .npy array: {err}") from err
    beside, about = file.with_name("ids.txt"), file.with_name("spec.json")
    ours = file.name == "vectors.npy"
    return (
        array,
        _read_ids(beside) if ours and beside.exists() else None,
        _about(about.read_bytes(), about) if ours and about.exists() else None,
    )


def _read_parquet(file: Path) -> Read:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
        about = (table.schema.metadata or {}).get(_SPEC_KEY)
        missing = {"id", "vector"} - set(table.column_names)
        if missing:
            raise ConfigError(f"{file} has no column {sorted(missing)[0]!r}; it needs `id` and `vector`")
        column = table["vector"].combine_chunks()
        column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        if column.null_count or column.flatten().null_count:
            raise ConfigError(f"{file} has empty vectors")
        if pa.types.is_fixed_size_list(column.type):
            lengths = np.array([column.type.list_size])
        else:
            lengths = np.diff(column.offsets.to_numpy())
        if len(np.unique(lengths)) != 1:
            raise ConfigError(f"{file}: vectors have {lengths.min()} to {lengths.max()} dimensions; they must all have one")
        array = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), int(lengths[0]))
        return array, [str(i) for i in table["id"].to_pylist()], _about(about, file) if about else None
    except (pa.ArrowException, AttributeError) as err:
        raise ConfigError(f"{file} is not a parquet file of vectors: {err}") from err


def _read_safetensors(file: Path) -> Read:
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        text = opened.read(min(length, size))
    try:
        header = json.loads(text)
        tensor, metadata = header["vectors"], header.get("__metadata__", {})
        shape, (begin, end) = tuple(tensor["shape"]), tensor["data_offsets"]
        dtype = _DTYPES[tensor["dtype"]]
        ids = json.loads(metadata["curate.ids"]) if "curate.ids" in metadata else None
    except (ValueError, KeyError, TypeError) as err:
        raise ConfigError(f"{file} holds no float32 or float16 tensor named `vectors` ({err})") from err
    if end - begin != int(np.prod(shape)) * dtype.itemsize or 8 + length + end > size:
        raise ConfigError(f"{file} is cut short: {size} bytes")
    array: np.ndarray[Any, Any] = np.empty(shape, dtype)
    if array.size:
        array = np.memmap(file, dtype, "r", 8 + length + begin, shape)
    about = metadata.get("curate.spec")
    return array, ids, _about(about.encode(), file) if about else None


def _about(text: bytes, file: Path) -> dict[str, Any]:
    try:
        about = json.loads(text)
        if about["schema_version"] > SCHEMA_VERSION:
            raise ConfigError(f"{file} was written by a newer curate: upgrade with pip install --upgrade curate-vision")
        if EmbedderSpec(**about["spec"]).fingerprint != about["fingerprint"]:
            raise ConfigError(
                f"{file}: the spec does not match its fingerprint; it was edited. Say --name and --geometry instead."
            )
        return dict(about)
    except (ValueError, KeyError, TypeError) as err:
        raise ConfigError(f"{file} is not the description of exported vectors: {err}") from err


def _read_ids(file: Path) -> list[str]:
    try:
        lines = file.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as err:
        raise ConfigError(f"{file} is not UTF-8: {err}") from err
    if lines[-1] == "":
        lines.pop()
    ids = []
    for number, line in enumerate(lines, 1):
        text = line.removesuffix("\r")
        if not text.strip():
            raise ConfigError(f"{file}: line {number} is empty; every row needs an id")
        if text.startswith('"'):
            with contextlib.suppress(ValueError):
                text = json.loads(text)
        ids.append(text)
    return ids


def _spec_for(
    file: Path,
    about: dict[str, Any] | None,
    array: np.ndarray[Any, Any],
    *,
    geometry: str | None,
    name: str | None,
    media: str | None,
) -> EmbedderSpec:
    label = geometry_named(geometry).label if geometry else None
    if about is not None:
        spec = EmbedderSpec(**about["spec"])
        if spec.dim != array.shape[1] or about["rows"] != len(array):
            raise ConfigError(f"{file} has shape {array.shape}, its description says ({about['rows']}, {spec.dim})")
        return dataclasses.replace(spec, name=name or spec.name, geometry=label or spec.geometry, media=media or spec.media)
    if not label or not name:
        need = "--name NAME" if label else "--geometry cosine|euclidean"
        raise ConfigError(f"{file} does not say which model and geometry its vectors have: say {need}")
    dtype = "fp16" if array.dtype.itemsize == 2 else "fp32"
    return EmbedderSpec(name, "", "imported", array.shape[1], label, preprocess="imported", dtype=dtype, media=media or "image")


def _check_ids(ids: Sequence[str], rows: int, file: Path) -> None:
    if len(ids) != rows:
        raise ConfigError(f"{file}: {len(ids):,} ids for {rows:,} vectors; there must be one a row")
    first: dict[str, int] = {}
    for row, item_id in enumerate(ids):
        if first.setdefault(item_id, row) != row:
            raise ConfigError(
                f"{file}: the id {item_id!r} of row {row} is that of row {first[item_id]} too; ids must be unique"
            )


def _check_rows(file: Path, array: np.ndarray[Any, Any], ids: Sequence[str], spec: EmbedderSpec) -> Vectors:
    for at in range(0, len(array), ROWS):
        rows = np.asarray(array[at : at + ROWS], np.float32)
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        what = "NaN or infinite values"
        if not bad.size and not spec.space.zero_ok:
            bad, what = np.flatnonzero(norms(rows) == 0), "only zeros, which have no direction: cosine distance is undefined"
        if bad.size:
            row = at + int(bad[0])
            raise ConfigError(f"{file}: row {row} ({ids[row]!r}) has {what}")
    return array if array.dtype == np.float32 else np.asarray(array, np.float32)
