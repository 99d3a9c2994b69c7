"""`curate doctor`: what is installed, reached and missing."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from curate.cli._session import Session, verb
from curate.store import Store
from curate.types import EmbedderSpec

EXTRAS: dict[str, tuple[tuple[str, str], ...]] = {
    "models": (
        ("torch", "torch"),
        ("transformers", "transformers"),
        ("safetensors", "safetensors"),
        ("simplejpeg", "simplejpeg"),
        ("huggingface_hub", "huggingface_hub"),
    ),
    "labelbox": (("labelbox", "labelbox"), ("tenacity", "tenacity")),
    "fiftyone": (("fiftyone", "fiftyone"),),
    "search": (("hnswlib", "hnswlib"),),
    "maps": (("umap", "umap-learn"),),
    "report": (("jinja2", "jinja2"), ("plotly", "plotly")),
    "text": (("datasketch", "datasketch"),),
    "taxonomy": (("yaml", "pyyaml"),),
    "openvino": (("openvino", "openvino"),),
}
"""Extra -> (module, distribution) that it brings."""

DAMAGED = 2
REPAIR = "curate sync --verify drops them and computes their rows again"


@click.command()
@verb("network")
@click.option("--verify", is_flag=True, help="Read every byte of the store; exit 2 when something is damaged.")
def command(session: Session, verify: bool) -> int:
    """Show what is installed, which device and databases are reached, and the pip line for what is missing."""
    from rich.table import Table

    extras = {name: _extra(parts) for name, parts in EXTRAS.items()}
    device = _device()
    connectors = [_connector(session, name) for name in _names()]
    store = _store(session)
    damaged = _damaged(session) if verify else None
    table = Table(title=f"curate {_version('curate-vision')} on Python {platform.python_version()}", title_justify="left")
    for column in ("part", "state", "what to do"):
        table.add_column(column)
    for name, found in extras.items():
        have = ", ".join(f"{package} {number}" for package, number in found.items() if number)
        missing = [package for package, number in found.items() if not number]
        table.add_row(f"extra {name}", have or "-", f"pip install 'curate-vision[{name}]'" if missing else "")
    table.add_row("device", device["name"], device["advice"])
    for row in connectors:
        table.add_row(f"connector {row['name']}", row["state"], row["advice"])
    table.add_row("store", store["state"], store["advice"])
    if damaged is not None:
        state = f"{len(damaged):,} damaged files" if damaged else "sound"
        table.add_row("store, every byte", state, REPAIR if damaged else "")
    document = {"extras": extras, "device": device, "connectors": connectors, "store": store, "damaged": damaged}
    session.emit(document, table)
    session.warn_each(damaged or [], rest="--json lists them all")
    return DAMAGED if damaged else 0


def _names() -> list[str]:
    from curate import registry

    return registry.names(registry.CONNECTORS)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _extra(parts: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return {dist: _version(dist) if importlib.util.find_spec(module) else "" for module, dist in parts}


def _device() -> dict[str, Any]:
    if importlib.util.find_spec("torch") is None:
        return {
            "name": "none (torch is not installed)",
            "cores": os.cpu_count(),
            "advice": "pip install 'curate-vision[models]'",
        }
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return {"name": f"cuda: {names}", "cores": os.cpu_count(), "advice": ""}
    if torch.backends.mps.is_available():
        return {"name": "mps", "cores": os.cpu_count(), "advice": ""}
    return {"name": f"cpu, {os.cpu_count()} cores", "cores": os.cpu_count(), "advice": ""}


def _connector(session: Session, name: str) -> dict[str, str]:
    """What one connector says of itself; `doctor()` of a connector may name the database or account it reaches."""
    from curate.errors import CurateError

    try:
        if not session.configured(name):
            return {
                "name": name,
                "state": "not configured",
                "advice": f"set its credentials, or add [connectors.{name}] to curate.toml",
            }
        says = getattr(session.connector(name), "doctor", None)
        return {"name": name, "state": str(says()) if says else "ready", "advice": ""}
    except CurateError as err:
        return {"name": name, "state": "not reached", "advice": str(err)}


def _recall(store: Store, dataset: str, spec: EmbedderSpec) -> str:
    """What the kept index of a set of vectors finds of the exact nearest rows; "" where there is none."""
    import numpy as np

    from curate.pipeline.search import recall

    found = recall(store, dataset, spec, rng=np.random.default_rng(0))
    return "" if found is None else f"index of {dataset} by {spec.name}: recall@10 {found:.3f} against the exact search"


def _damaged(session: Session) -> list[str]:
    """What `Store.verify` finds; nothing when there is no store yet."""
    from curate.errors import Corrupt

    if not session.store_path.exists():
        return []
    try:
        with session.open_store() as store:
            return store.verify()
    except Corrupt as err:
        return [str(err)]


def _store(session: Session) -> dict[str, str]:
    from curate.errors import CurateError

    if not session.store_path.exists():
        return {"state": f"{session.store_path}: none yet", "advice": "the first sync makes it"}
    try:
        with session.open_store() as store:
            held = ", ".join(f"{d} ({store.count(d):,} rows)" for d in store.datasets())
            measured = [_recall(store, d, spec.spec) for d in store.datasets() for spec in store.specs(d) if spec.rows]
        indexes = "".join(f"; {line}" for line in measured if line)
        return {"state": f"{session.store_path}: {held or 'empty'}{indexes}", "advice": ""}
    except CurateError as err:
        return {"state": f"{session.store_path}: cannot be opened", "advice": str(err)}
