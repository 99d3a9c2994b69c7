"""Which stored dataset a name means."""

from types import SimpleNamespace

import pytest

from curate.cli._session import Session
from curate.errors import ConfigError


@pytest.fixture
def held(tmp_path, monkeypatch):
    """A store that holds one ID under two connectors, and another under one; the working folder has a curate.toml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "curate.toml").write_text('[datasets.street]\naddress = "folder:mine"\n')
    return SimpleNamespace(path=tmp_path / ".curate", datasets=lambda: ["labelbox:cm1", "fiftyone:cm1", "fiftyone:street"])


def test_a_bare_id_under_two_connectors_is_an_error_that_lists_them(held):
    with pytest.raises(ConfigError, match="say one of: labelbox:cm1, fiftyone:cm1"):
        Session({"dataset": "cm1"}).stored_target(held)


def test_the_connector_tells_them_apart(held):
    assert Session({"dataset": "cm1", "connector": "fiftyone"}).stored_target(held).key == "fiftyone:cm1"
    assert Session({"dataset": "labelbox:cm1"}).stored_target(held).key == "labelbox:cm1"


def test_an_entry_of_the_configuration_wins_over_an_id_of_the_same_name(held):
    assert Session({"dataset": "street"}).stored_target(held).connector == "folder"
