"""Every command and snippet of docs/fiftyone.md, against a real mongod."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import numpy as np

import connectors.fiftyone_commands as commands
from connectors._fiftyone_database import OPTIONS
from curate.cli import main
from tests.connectors.fiftyone_place import dataset, pictures

PAGE = (Path(__file__).parents[2] / "docs" / "fiftyone.md").read_text(encoding="utf-8")


def test_the_page_runs(fo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made = dataset("NAME", pictures(tmp_path / "photos"))
    vectors = np.random.default_rng(0).normal(size=(14, 8))
    made.set_values("clip", dict(zip(made.values("id"), vectors, strict=True)), key_field="id")
    run, count = "", 0
    for kind, body in re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        if kind == "python":
            # After the undo of the page's first block there is nothing to look at: a reader would not have undone it.
            assert main(["sync", "--dataset", "fiftyone:NAME", "--model", "pixels", "--sample", "5", "--quiet"]) == 0
            exec(compile(body, "docs/fiftyone.md", "exec"), {})
            capsys.readouterr()
        for line in body.splitlines() if kind == "sh" else ():
            words = shlex.split(line.partition("#")[0].replace("RUN_ID", run).replace("500", "5"))
            if words[0] == "curate":
                count += 1
                assert main([*words[1:], "--json"]) == 0, line
                document = json.loads(capsys.readouterr().out)
                # The third command writes nothing, so what is taken back is the run of the second.
                run = document["run_id"] if (document.get("pushed") or {}).get("accepted") else run
            else:
                assert words[:2] == ["pip", "install"]
    assert count == 11


def test_the_settings_of_the_page_are_all_there_are():
    body = next(body for kind, body in re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if kind == "toml")
    assert set(tomllib.loads(body)["connectors"]["fiftyone"]) == set(OPTIONS)


def test_the_commands_of_the_page_are_all_there_are():
    assert set(re.findall(r"^curate fiftyone (\w+)", PAGE, re.MULTILINE)) == set(commands.fiftyone.commands)
