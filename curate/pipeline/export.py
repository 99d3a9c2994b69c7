"""Files of chosen rows, copied or linked into a folder of their own."""

from __future__ import annotations

import hashlib
import os
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from curate import media
from curate.errors import ConfigError, ConnectorError, MediaError, Transient
from curate.pipeline import Reporter, Silent
from curate.pipeline._flow import read_with_retries
from curate.store import Store
from curate.types import Failure, Item

ONLY = ("kept", "sample", "duplicates")
COPY_OF = "copy-of/"
LONGEST_NAME = 200  # bytes; most file systems take 255, and a temporary name is longer than the final one
_WAITING = 64


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did.  written, present: files made now, and those that were there.

    renamed: row id -> path, where the path is not the id.  failures: rows without a file, with the reason.
    others: files under the folder that belong to no row of this export.
    """

    written: int = 0
    present: int = 0
    renamed: Mapping[str, str] = field(default_factory=dict)
    failures: Sequence[Failure] = ()
    others: int = 0


def chosen(store: Store, dataset: str, only: str, *, sample: str | None = None) -> list[str]:
    """Ids of the rows to export, in id order, by the newest findings (or by what the platform shows, where there are none).

    only: "kept" (all but the copies), "sample" (rows of the selection `sample`, or of any), "duplicates" (the copies).
    A copy whose kept row is gone meanwhile is no copy any more: of every picture at least one row is kept.
    Raises ConfigError when nothing was found yet that could say, or no selection has that name.
    """
    if only not in ONLY:
        raise ConfigError(f"--only {only}: say one of {', '.join(ONLY)}")
    name = "sample" if only == "sample" else "duplicate"
    judged = any(name in found.values for found in store.findings(dataset).values())
    values = store.previous(dataset, name) if judged else store.fields(dataset, name)
    if not judged and not values:
        verb = "sample" if only == "sample" else "duplicates"
        raise ConfigError(f"nothing is known yet of the {name} of rows of {dataset}; find out with: curate {verb}")
    live = [item.id for item in store.items(dataset)]
    if only == "sample":
        names = sorted({str(value) for value in values.values() if value is not None})
        if sample is not None and sample not in names:
            known = ", ".join(names) or "none"
            raise ConfigError(f"no row of {dataset} is chosen as {sample!r}; selections there are: {known}")
        return [i for i in live if values.get(i) is not None and sample in (None, values[i])]
    there = set(live)
    kept_of = {i: str(values[i]).removeprefix(COPY_OF) for i in live if str(values.get(i) or "").startswith(COPY_OF)}
    return [i for i in live if (kept_of.get(i) in there) == (only == "duplicates")]


def export(
    items: Iterable[Item],
    to: Path,
    *,
    read: Callable[[Item], bytes],
    local_path: Callable[[Item], Path | None] | None = None,
    link: bool = False,
    reporter: Reporter | None = None,
) -> Exported:
    """Puts the file of every item under `to`, by its id; run again, it writes only what is missing.

    read: bytes of a row (copies).  local_path: the file of a row (symbolic links); None where there is no file.
    A file that is there with other bytes is never overwritten: its row fails with the reason "exists".  No id, however it is
    spelled, leads outside `to`: what is no plain relative path gets a plain name with a hash, as do names too long, names that
    differ in case only, and names that are a folder of another row.
    Raises ConfigError when `to` is no folder, cannot be written or lies in the dataset, or when links are asked for and rows
    have no files.
    """
    reporter = reporter or Silent()
    if link and local_path is None:
        raise ConfigError("rows of this platform are no local files; use --copy instead of --link")
    rows = sorted(items, key=lambda item: item.id)
    if rows and local_path is not None:
        _check_apart(rows[0], local_path(rows[0]), to)
    try:
        to.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise ConfigError(f"{to}: not a folder that can be written: {err.strerror or err}") from err
    places = _Places(to)
    one = partial(_link, local_path=local_path) if link and local_path is not None else partial(_copy, read=read)
    results: list[tuple[Item, Path | None, str | Failure]] = []
    with ThreadPoolExecutor(8, "curate-export") as pool:
        waiting: deque[Future[tuple[Item, Path | None, str | Failure]]] = deque()
        for item in rows:
            named = local_path is not None and local_path(item) is not None
            waiting.append(pool.submit(_put, item, places.of(item.id), to, one, named=named))
            while len(waiting) >= _WAITING:
                results.append(waiting.popleft().result())
                reporter.progress("export", len(results), len(rows))
        results += [future.result() for future in waiting]
    reporter.progress("export", len(results), len(rows))
    return _summary(results, to)


def _check_apart(item: Item, file: Path | None, to: Path) -> None:
    """Raises ConfigError for a folder inside the dataset, whose files would be rows of the next run."""
    if file is None or not file.as_posix().endswith("/" + item.id):
        return
    root = file.parents[item.id.count("/")].resolve()
    if to.resolve() == root or root in to.resolve().parents:
        raise ConfigError(f"{to} lies in the dataset {root}: its files would be rows of the next run; choose another folder")


def _summary(results: Sequence[tuple[Item, Path | None, str | Failure]], to: Path) -> Exported:
    made = {item.id: path.relative_to(to).as_posix() for item, path, _ in results if path is not None}
    ours = set(made.values())
    others = sum(
        (Path(folder) / name).relative_to(to).as_posix() not in ours for folder, _, names in os.walk(to) for name in names
    )
    return Exported(
        written=sum(done == "written" for _, _, done in results),
        present=sum(done == "present" for _, _, done in results),
        renamed={item_id: path for item_id, path in made.items() if path != item_id},
        failures=[done for _, _, done in results if isinstance(done, Failure)],
        others=others,
    )


class _Places:
    """One path under the folder for every id, given out in id order, so that the same rows always get the same paths."""

    def __init__(self, to: Path) -> None:
        self._to = to
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def of(self, item_id: str) -> Path:
        parts = item_id.split("/")
        plain = all(_is_plain(part) for part in parts)
        if not plain or not self._free(parts):
            parts = [_hashed(item_id)]
        folded = [_folded(part) for part in parts]
        self._files.add("/".join(folded))
        self._folders.update("/".join(folded[:n]) for n in range(1, len(folded)))
        return self._to.joinpath(*parts)

    def _free(self, parts: Sequence[str]) -> bool:
        folded = [_folded(part) for part in parts]
        above = {"/".join(folded[:n]) for n in range(1, len(folded))}
        return "/".join(folded) not in self._files | self._folders and not above & self._files


def _folded(part: str) -> str:
    """A name as the least discerning file systems see it: neither case nor the way an accent is written tells two apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold())


def _is_plain(part: str) -> bool:
    bad = part in ("", ".", "..") or any(ord(c) < 32 or c == "\x7f" for c in part)
    return not bad and len(part.encode("utf-8", "surrogatepass")) <= LONGEST_NAME


def _hashed(item_id: str) -> str:
    name = PurePosixPath(item_id.replace("\\", "/").rstrip("/")).name
    kept = "".join(c if c.isalnum() or c in "-_. " else "_" for c in name).strip(" .") or "row"
    stem, dot, suffix = kept.rpartition(".")
    if not dot or len(suffix) > 8:
        stem, dot, suffix = kept, "", ""
    return f"{stem[:40]}-{hashlib.sha256(item_id.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}{dot}{suffix}"


def _put(
    item: Item, path: Path, to: Path, one: Callable[..., tuple[Path, str]], *, named: bool
) -> tuple[Item, Path | None, str | Failure]:
    """One row: its final path and "written" or "present", or why it has none."""

    def failed(reason: str, detail: str) -> tuple[Item, None, Failure]:
        return item, None, Failure(item.id, item.version, reason, detail)

    try:
        final, done = one(item, path, to=to, named=named)
    except MediaError as err:
        return failed(err.reason, err.detail)
    except Transient as err:
        return failed("unreachable", str(err))
    except ConnectorError as err:
        return failed("unreadable", str(err))
    except OSError as err:
        return failed("not_written", f"{path}: {err.strerror or err}")
    return item, final, done


def _copy(item: Item, path: Path, *, to: Path, named: bool, read: Callable[[Item], bytes]) -> tuple[Path, str]:
    data = read_with_retries(item, read, _waited)
    final = path if named else path.with_name(path.name + _suffix(path.name, data, item.media_type))
    _check_inside(final, to)
    if final.is_symlink() or final.exists():
        if final.is_file() and final.stat().st_size == len(data) and final.read_bytes() == data:
            return final, "present"
        raise MediaError("exists", f"{final} is there with other content; it is not overwritten")
    final.parent.mkdir(parents=True, exist_ok=True)
    tmp = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    tmp.write_bytes(data)
    tmp.replace(final)
    return final, "written"


def _link(item: Item, path: Path, *, to: Path, named: bool, local_path: Callable[[Item], Path | None]) -> tuple[Path, str]:
    source = local_path(item) if named else None
    if source is None:
        raise MediaError("no_file", "the row is no file of its own; use --copy")
    _check_inside(path, to)
    target = source.resolve(strict=True)
    if path.is_symlink() and path.readlink() == target:
        return path, "present"
    if path.is_symlink() or path.exists():
        raise MediaError("exists", f"{path} is there already and leads elsewhere; it is not overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path, "written"


def _check_inside(path: Path, to: Path) -> None:
    """Raises MediaError where a link on the way, put there by somebody, would lead the file out of the folder."""
    root = to.resolve()
    parent = path.parent.resolve()
    if parent != root and root not in parent.parents:
        raise MediaError("outside", f"{path.parent} leads out of {to}")


def _suffix(name: str, data: bytes, media_type: str) -> str:
    """What a row without a file name gets at its end: .jpg, .png, ... by its content; nothing where it is there."""
    if media_type == "text":
        suffix = ".txt"
    else:
        try:
            kind = media.sniff(data)
        except MediaError:
            return ""
        suffix = {"jpeg": ".jpg", "tiff": ".tif"}.get(kind, f".{kind}")
    same = {".jpg": (".jpg", ".jpeg"), ".tif": (".tif", ".tiff")}.get(suffix, (suffix,))
    return "" if name.lower().endswith(same) else suffix


def _waited(seconds: float) -> bool:
    time.sleep(seconds)
    return False
