"""Dataset curation for images in Labelbox, FiftyOne or a folder; see `curate.api` for the functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.api import Result, cluster, find_duplicates, load_embedder, sample, sync, tag
    from curate.store import Store

__version__ = "0.1.0"
__all__ = ["Result", "Store", "cluster", "find_duplicates", "load_embedder", "sample", "sync", "tag"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `import curate` and `curate --help` stay quick.
    if name == "Store":
        from curate.store import Store

        return Store
    if name in __all__:
        from curate import api

        return getattr(api, name)
    raise AttributeError(f"module 'curate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
