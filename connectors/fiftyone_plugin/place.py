"""Where the store of a FiftyOne dataset is: one for panel, operators and `curate sync --dataset fiftyone:NAME`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INFO = "curate"
"""The key of `dataset.info` under which the store's place is kept, for the next session and for colleagues."""


@dataclass(frozen=True, slots=True)
class Place:
    """A store's folder, and who said so."""

    path: Path
    how: str

    def __str__(self) -> str:
        home = Path.home()
        return f"~/{self.path.relative_to(home)}" if self.path.is_relative_to(home) else str(self.path)


def store_place(info: Mapping[str, Any], database: str, environ: Mapping[str, str]) -> Place:
    """The store of a dataset: the one recorded in it, else CURATE_STORE, else one folder a database in the home folder.

    info: `dataset.info`.  database: FiftyOne's database name.
    """
    kept = info.get(INFO)
    recorded = kept.get("store") if isinstance(kept, Mapping) else None
    if recorded:
        return Place(Path(str(recorded)).expanduser(), "recorded in the dataset")
    if environ.get("CURATE_STORE"):
        return Place(Path(environ["CURATE_STORE"]).expanduser().absolute(), "environment CURATE_STORE")
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", database) or "fiftyone"
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    return Place(home / ".curate" / "fiftyone" / safe, "the usual place")


def with_store(info: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """`info` with the store's place recorded; everything else in it stays."""
    kept = info.get(INFO)
    return {**info, INFO: {**(kept if isinstance(kept, Mapping) else {}), "store": str(path)}}
