"""Flags and settings are used or refused, never taken and ignored."""

import pytest

from curate.store import Store

BASE = ("--dataset", "folder:photos", "--model", "pixels")


def test_sync_holds_new_vectors_in_the_codec_that_was_asked_for(photos, curate, tmp_path):
    for where, args in (("flag", ("--codec", "f16")), ("setting", ())):
        (tmp_path / "curate.toml").write_text('codec = "f16"\n' if where == "setting" else "")
        assert curate("sync", *BASE, *args, "--store", where, "--json")[0] == 0
        with Store.open(tmp_path / where) as store:
            assert [held.codec for held in store.specs()] == ["f16"]
    code, _, said = curate("embed", *BASE, "--codec", "int8")
    assert code == 2 and "f16" in said


def test_the_only_dataset_of_the_configuration_brings_its_own_settings(photos, curate, tmp_path):
    table = "[datasets.mine]\naddress = 'folder:photos'\nmodel = 'pixels'\nops = ['clusters']\ntolerate_failed = '50%'\n"
    (tmp_path / "curate.toml").write_text(table)
    (photos / "broken.jpg").write_bytes(b"this is text")
    code, document, _ = curate("sync", "--json")
    assert code == 0 and document["model"]["name"] == "pixels" and document["rows"]["failed"] == 1
    assert document["duplicates"] is None and document["clusters"] is not None
    assert curate("clusters", "--json")[0] == 0


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("[ops.duplicate]\nkeep = ['size']", "duplicates"),
        ("[connectors.foldr]\nlabels = 'folder'", "folder"),
        ("connector = 'foldr'", "folder"),
    ],
)
def test_a_table_for_a_part_that_nobody_registered_is_refused(photos, curate, tmp_path, table, says):
    (tmp_path / "curate.toml").write_text(table)
    code, _, said = curate("sync", *BASE)
    assert code == 2 and f"did you mean '{says}'" in said


@pytest.mark.parametrize(
    "args",
    [
        ("search", "--image", "photos/00.png", "--thumbs", "off"),
        ("search", "--image", "photos/00.png", "--retry-failed"),
        ("taxonomy", "check", "tags.yaml", "--batch-size", "3"),
        ("traverse", "photos/00.png", "--tolerate-failed", "1%"),
        ("doctor", "--dataset", "folder:photos"),
        ("plan", *BASE, "--device", "cpu"),
        ("plan", *BASE, "--priority", "2"),
        ("plan", *BASE, "--estimate", "--to", "plan.json"),
        ("sync", *BASE, "--ops", ","),
        ("sync", *BASE, "--all"),
        ("sync", "--connector", "folder", "--all"),
    ],
)
def test_a_flag_that_would_do_nothing_is_refused(photos, curate, args):
    code, document, said = curate(*args)
    assert (code, document) == (2, None) and "Usage" in said


def test_a_dataset_taken_from_the_store_is_named(photos, curate):
    curate("sync", *BASE, "--json")
    assert f"dataset folder:{photos} (the only one in the store)" in curate("clusters")[2].replace("\n", "")


def test_help_shows_the_verbs_own_flags_first_and_the_shared_ones_by_subject(capsys):
    from curate.cli import main

    assert main(["sync", "--help"]) == 0
    text = capsys.readouterr().out
    order = [
        "Options:",
        "--sample",
        "Dataset:",
        "--dataset",
        "Model:",
        "--model",
        "Network:",
        "--offline",
        "Everywhere:",
        "--json",
    ]
    places = [text.index(f"\n{name}" if name.endswith(":") else f"  {name}") for name in order]
    assert places == sorted(places)
    assert main(["models", "fetch", "--help"]) == 0
    assert "\nNetwork:\n  --offline" in capsys.readouterr().out


def test_a_model_in_a_module_of_the_working_folder_is_found_by_the_console_script(photos, tmp_path):
    import re
    import subprocess
    import sys
    from pathlib import Path

    page = (Path(__file__).parent.parent.parent / "docs/extending.md").read_text()
    body = next(b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class Rows" in b)
    (tmp_path / "mymodel.py").write_text(body)
    command = ["embed", "--dataset", "folder:photos", "--model", "mymodel:Rows"]
    script = Path(sys.executable).with_name("curate")
    done = subprocess.run([script, *command], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "14 vectors computed" in done.stdout, done.stderr
