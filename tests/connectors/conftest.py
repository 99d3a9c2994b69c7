"""The Labelbox stand-in and a connector that talks to it through the real SDK."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.protocols import ConnectorSettings
from curate.types import Change, EmbedderSpec
from tests.fakes.labelbox_server import LabelboxServer, Row


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[LabelboxServer]:
    """A stand-in whose key is in the environment."""
    pytest.importorskip("labelbox")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with LabelboxServer() as server:
        monkeypatch.setenv("LABELBOX_API_KEY", server.key)
        monkeypatch.setenv("LABELBOX_ENDPOINT", server.endpoint)
        yield server
        assert server.unknown == [], "a request that the SDK does not send, or that the schema refuses"
        assert server.key_at_images == [], "the API key reached an image host"


@pytest.fixture
def said() -> list[str]:
    """Lines that the connector said to the user."""
    return []


@pytest.fixture
def connect(box: LabelboxServer, tmp_path: Path, said: list[str]) -> Callable[..., Any]:
    """Makes a connector; keywords are options of [connectors.labelbox], `yes` and `ask` go to the settings."""
    from connectors.labelbox import LabelboxConnector

    def make(*, yes: bool = True, ask: Any = lambda _q: False, offline: bool = False, **options: Any) -> Any:
        settings = ConnectorSettings(
            options={"plan": "enterprise", "attempts": 4, "timeout": 5.0, **options},
            results=tmp_path / "results",
            allow_hosts=("127.0.0.1",),
            offline=offline,
            yes=yes,
            notify=said.append,
            ask=ask,
        )
        return LabelboxConnector(settings)

    return make


@pytest.fixture
def rows(box: LabelboxServer) -> list[Row]:
    """30 rows of a dataset, in id order."""
    return sorted(box.add_images(box.state.add_dataset(), 30), key=lambda row: row.id)


def changes(rows: list[Row], field: str = "duplicate", after: Any = "kept") -> list[Change]:
    """The same new value for every row."""
    return [Change(row.id, field, None, after) for row in rows]


def custom(box: LabelboxServer) -> list[dict[str, Any]]:
    """The embeddings that users made."""
    return [e for e in box.state.embeddings.values() if e["custom"]]


def spec(dim: int = 8, name: str = "pixels") -> EmbedderSpec:
    """A spec of some model."""
    return EmbedderSpec(name, "", "projected", dim, "euclidean")


def vectors(count: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    """Random vectors."""
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def listed(connector: Any, dataset: str, since: str | None = None) -> dict[str, Any]:
    """All items by id."""
    return {item.id: item for page in connector.pages(dataset, since=since) for item in page.items}


def run_cli(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON document and stderr of one command."""
    from curate.cli import main

    code = main([*args, "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.strip().startswith("{") else {}, err
