"""A dataset, its store, and the plugin where the App of this process looks for it."""

from pathlib import Path

import pytest

from tests.browser.fiftyone_app import link_plugin
from tests.connectors.fiftyone_place import dataset, pictures
from tests.fiftyone_plugin.driven import Panel, execute


@pytest.fixture
def plugin(fo, fiftyone_server, monkeypatch, tmp_path):
    """FiftyOne with the plugin linked in; stores go under the test's folder."""
    folder = Path(fo.config.plugins_dir)
    if not (folder / "@curate" / "curate").exists():
        link_plugin(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / ".config"))
    monkeypatch.setenv("CURATE_STORE", str(tmp_path / "store"))
    return fo


@pytest.fixture
def photos(plugin, tmp_path):
    """12 pictures and two copies of the first, not yet synced."""
    return dataset("photos", pictures(tmp_path / "images"))


@pytest.fixture
def synced(photos):
    """The same, synced from the App."""
    execute("curate_sync", "photos", {"model": "pixels"})
    return photos


@pytest.fixture
def panel(synced):
    """The open panel of the synced dataset."""
    return Panel("photos")
