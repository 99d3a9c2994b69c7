"""The public contract suite over the Labelbox connector, the real SDK and a stand-in server."""

import pytest

from connectors.labelbox import LabelboxConnector
from curate.protocols import ConnectorSettings
from curate.testing import check_connector
from tests.fakes.labelbox_server import LabelboxServer


@pytest.fixture
def box(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with LabelboxServer(plan="enterprise") as server:
        monkeypatch.setenv("LABELBOX_API_KEY", server.key)
        monkeypatch.setenv("LABELBOX_ENDPOINT", server.endpoint)
        yield server


def test_labelbox(box, tmp_path):
    dataset = box.state.add_dataset()
    box.add_images(dataset, 5)
    settings = ConnectorSettings(
        options={"plan": "enterprise", "attempts": 2, "timeout": 5.0},
        results=tmp_path / "results",
        allow_hosts=("127.0.0.1",),
        yes=True,
    )
    check_connector(lambda: LabelboxConnector(settings), dataset, fields=("duplicate", "cluster", "duplicate_score"))
