"""`curate fiftyone install|uninstall|status`: a link to our plugin, and nobody else's folder touched."""

from pathlib import Path

import pytest

import connectors.fiftyone_commands as commands

SOURCE = Path(commands.__file__).parent / "fiftyone_plugin"


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(tmp_path / "plugins"))
    monkeypatch.delenv("FIFTYONE_DATABASE_URI", raising=False)
    return tmp_path / "plugins" / "@curate" / "curate"


def test_install_links_and_uninstall_takes_the_link_away(plugins, curate):
    for _ in range(2):
        code, document, _ = curate("fiftyone", "install", "--json")
        assert code == 0 and document["state"] == "linked" and plugins.resolve() == SOURCE
    assert curate("fiftyone", "uninstall", "--json")[1]["removed"] is True
    assert not plugins.parent.exists() and (SOURCE / "similarity.py").is_file()
    assert curate("fiftyone", "uninstall", "--json")[1]["removed"] is False


def test_where_links_are_refused_it_is_copied(plugins, curate, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("a privilege is missing")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert curate("fiftyone", "install", "--json")[1]["state"] == "copied"
    assert not plugins.is_symlink() and (plugins / "similarity.py").read_bytes() == (SOURCE / "similarity.py").read_bytes()
    (plugins / "similarity.py").write_text("of an older version")
    assert commands._state(SOURCE, plugins) == "outdated"
    assert curate("fiftyone", "install", "--json")[1]["state"] == "copied"
    assert commands._state(SOURCE, plugins) == "copied"
    assert curate("fiftyone", "uninstall", "--json")[0] == 0 and not plugins.exists()


def test_what_is_not_ours_stays(plugins, curate):
    plugins.mkdir(parents=True)
    (plugins / "fiftyone.yml").write_text("name: '@curate/curate'\n")
    for verb in ("install", "uninstall"):
        code, _, said = curate("fiftyone", verb)
        assert code == 2 and "not curate's" in said
    assert (plugins / "fiftyone.yml").is_file()


def test_a_dangling_link_of_ours_is_renewed(plugins, curate, tmp_path):
    plugins.parent.mkdir(parents=True)
    plugins.symlink_to(tmp_path / "gone" / "connectors" / "fiftyone_plugin")
    assert curate("fiftyone", "install", "--json")[1]["state"] == "linked" and plugins.resolve() == SOURCE


def test_status_says_what_to_do(fo, plugins, curate, fiftyone_server, monkeypatch):
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", fiftyone_server["FIFTYONE_DATABASE_URI"])
    code, document, _ = curate("fiftyone", "status", "--json")
    assert code == 0 and document["plugin"]["state"] == "absent" and fo.config.database_name in document["database"]
    code, _, said = curate("fiftyone", "status")
    assert "curate fiftyone install" in said
