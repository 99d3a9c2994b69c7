"""Every command and snippet of examples/fiftyone_app.md, against a real mongod; the panel then shows what they did."""

import re
import shlex
import subprocess
import sys

import numpy as np
from PIL import Image

from curate.cli import main
from tests.browser.fiftyone_app import ROOT
from tests.fiftyone_plugin.driven import Panel

PAGE = (ROOT / "examples/fiftyone_app.md").read_text(encoding="utf-8")


def blocks():
    return re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_walk_through_runs(plugin, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for n in range(10):
        Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)).resize((120, 90)).save(tmp_path / f"photos/{n}.png")
    (tmp_path / "photos/again.png").write_bytes((tmp_path / "photos/0.png").read_bytes())
    ran = []
    for kind, body in blocks():
        if kind == "python":
            exec(compile(body, "examples/fiftyone_app.md", "exec"), {})
        for line in body.splitlines() if kind == "sh" else ():
            words = shlex.split(line)
            ran.append(words[:3])
            if words[0] == "curate" and words[-1] == "uninstall":
                panel = Panel("photos").tab("duplicates")
                assert panel.number("copies would go") == 1
                assert panel.tab("map").state["body"]["controls"]["colour"] == "cluster"
            if words[0] == "curate":
                assert main(words[1:]) == 0, line
            elif words[0] == "fiftyone":  # these do not end: that they are there is what can be seen
                code = (
                    f"import sys; sys.argv = {['fiftyone', *words[1:3], '--help']!r}; import fiftyone.core.cli as c; c.main()"
                )
                done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=200)
                assert done.returncode == 0 and "usage" in done.stdout, done.stderr
            else:
                assert words[:2] == ["pip", "install"], line
    assert ["curate", "fiftyone", "install"] in ran and ["fiftyone", "delegated", "launch"] in ran
