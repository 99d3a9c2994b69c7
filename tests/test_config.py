"""Configuration: precedence, unknown keys, secrets."""

from pathlib import Path

import pytest

from curate.config import DEFAULTS, fraction, load_config
from curate.errors import ConfigError, UnknownName


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    for key in DEFAULTS:
        monkeypatch.delenv(f"CURATE_{key.upper()}", raising=False)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_flag_wins_over_environment_over_project_over_user_over_default(tmp_path):
    assert load_config()["seed"] == 0
    write(tmp_path / "user/curate/curate.toml", "seed = 1\nmodel = 'a'\n")
    assert load_config()["seed"] == 1
    write(tmp_path / "curate.toml", "seed = 2\n")
    config = load_config()
    assert (config["seed"], config["model"]) == (2, "a")
    config = load_config(environ={"CURATE_SEED": "3", "XDG_CONFIG_HOME": str(tmp_path / "user")})
    assert config["seed"] == 3
    assert config.origins["seed"] == "environment CURATE_SEED"
    assert load_config(flags={"seed": 4, "model": None})["seed"] == 4


def test_pyproject_table_is_read(tmp_path):
    write(tmp_path / "pyproject.toml", "[tool.other]\nx = 1\n[tool.curate]\nmodel = 'pixels'\n")
    assert load_config()["model"] == "pixels"


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("modle = 'x'", "model"),
        ("[datasets.a]\naddress = 'folder:x'\nmodell = 'x'", "model"),
        ("[check]\nmax_duplicate = 1", "max_duplicate_rate"),
        ("device = 'gpu'", "cpu"),
    ],
)
def test_an_unknown_key_names_the_nearest(tmp_path, text, near):
    write(tmp_path / "curate.toml", text)
    with pytest.raises(UnknownName, match=near):
        load_config()


@pytest.mark.parametrize(
    "text",
    [
        "[connectors.labelbox]\napi_key = 'abc'",
        "[connectors.x]\nauth_token = 'abc'",
        "[connectors.fiftyone]\nuri = 'mongodb://me:hidden@host/db'",
        "[models.x]\noptions = ['hf_abcdefghijklmnopqrstuvwxyz']",
    ],
)
def test_a_secret_in_a_file_is_refused_without_printing_it(tmp_path, text):
    write(tmp_path / "curate.toml", text)
    with pytest.raises(ConfigError, match="secret") as caught:
        load_config()
    assert "hidden" not in str(caught.value) and "hf_abc" not in str(caught.value)


def test_a_tokenizer_is_no_secret(tmp_path):
    write(tmp_path / "curate.toml", "[models.'mine:Model']\ntokenizer = 'bert-base'")
    assert load_config().models["mine:Model"] == {"tokenizer": "bert-base"}


def test_a_user_without_a_home_has_no_user_file(tmp_path, monkeypatch):
    def homeless(cls):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(homeless))
    assert load_config(environ={})["model"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed = 'x'", "seed"),
        ("seed = true", "seed"),
        ("seed = -1", "negative"),
        ("offline = 1", "offline"),
        ("precision = 1.5", "between 0 and 1"),
        ("tolerate_failed = '200%'", "between 0 and 1"),
        ("allow_hosts = 'x'", "list"),
        ("[datasets.a]\nmodel = 'x'", "address"),
        ("datasets = 3", "table"),
        ("model = 5", "must be a text"),
        ("ops = [1]", "list of strings"),
        ("vectors = 'x'", "true or false"),
        ("max_pixels = 0", "refuse every image"),
        ("[datasets.a]\naddress = 'folder:x'\nmodel = 5", r"datasets.a.*model = 5 must be a text"),
        ("[datasets.a]\naddress = 'folder:x'\nops = 'clusters'", r"datasets.a.*ops must be a list"),
        ("[datasets.a]\naddress = 'folder:x'\nprecision = 'high'", r"datasets.a.*must be a number"),
        ("[datasets.a]\naddress = 'folder:x'\ntolerate_failed = 'x'", r"datasets.a.*share"),
        ("[datasets.a]\naddress = 'folder:x'\ntaxonomy = 5", r"datasets.a.*taxonomy = 5 must be a text"),
        ("model = [", "cannot be read"),
    ],
)
def test_a_wrong_value_is_an_error_with_its_key(tmp_path, text, says):
    write(tmp_path / "curate.toml", text)
    with pytest.raises(ConfigError, match=says):
        load_config()


def test_ops_may_be_a_list_or_a_table(tmp_path):
    write(tmp_path / "curate.toml", "ops = ['clusters']\n")
    assert load_config()["ops"] == ("clusters",)
    write(tmp_path / "curate.toml", "[ops.clusters]\ncount = 3\n")
    assert load_config().ops["clusters"] == {"count": 3}


def test_a_named_file_that_is_missing_says_how_to_write_one(tmp_path):
    with pytest.raises(ConfigError, match="curate init"):
        load_config(tmp_path / "none.toml")


def test_fractions():
    assert fraction("1%", "x") == 0.01
    assert fraction(0.5, "x") == 0.5
    for bad in ("x", "-1%", 2):
        with pytest.raises(ConfigError):
            fraction(bad, "x")


def test_environment_values_are_checked():
    assert load_config(environ={"CURATE_OFFLINE": "yes"})["offline"] is True
    assert load_config(environ={"CURATE_ALLOW_HOSTS": "a, b"})["allow_hosts"] == ("a", "b")
    for name, value in (("CURATE_OFFLINE", "perhaps"), ("CURATE_SEED", "x"), ("CURATE_DEVICE", "gpu")):
        with pytest.raises(ConfigError):
            load_config(environ={name: value})


def test_the_settings_of_a_dataset_are_read_as_those_of_the_file(tmp_path):
    table = "[datasets.a]\naddress = 'folder:x'\ntolerate_failed = '90%'\nsample = 5\nops = ['clusters']\n"
    write(tmp_path / "curate.toml", table)
    assert load_config().datasets["a"] == {
        "address": "folder:x",
        "tolerate_failed": 0.9,
        "sample": "5",
        "ops": ("clusters",),
    }


def test_a_wrong_flag_is_named_as_it_was_typed():
    with pytest.raises(ConfigError, match=r"^--tolerate-failed"):
        load_config(flags={"tolerate_failed": "2"})
