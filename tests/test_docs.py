"""Every command and every snippet of README and docs runs; every link leads somewhere.

Fenced blocks marked `sh` are run line by line in a folder that holds `photos` (see `world`); a line that ends with `# exit N`
must exit with N.  Blocks marked `toml` are written to curate.toml, those marked `python` are executed.  Commands in running
text are run too, unless they hold a placeholder in capitals.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from curate.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*.md")),
]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = {"labelbox.md", "fiftyone.md", "fiftyone_app.md"}
"""Pages whose commands another test runs, against the stand-in server and a real mongod."""
ids = {"ids": lambda p: p.name}


def blocks(page):
    return FENCE.findall(page.read_text(encoding="utf-8"))


def inline(page):
    """Commands in running text: `curate verb ...` without a placeholder such as RUN or FILE."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = re.findall(r"`(curate [a-z][^`]*)`", text)
    return [c for c in found if " " in c.removeprefix("curate ") and not re.search(r"\b[A-Z]{2,}\b", c)]


def runnable(page):
    return page.name not in ELSEWHERE and any(kind in ("sh", "toml", "python") for kind, _ in blocks(page))


@pytest.fixture
def world(tmp_path, monkeypatch):
    """What a reader of the docs is taken to have: photos with two copies, one image to search by, a taxonomy, vectors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.setenv("COLUMNS", "120")
    rng = np.random.default_rng(0)
    (tmp_path / "photos/train").mkdir(parents=True)
    (tmp_path / "photos/test").mkdir()
    for i in range(12):
        coarse = rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC)
        image.save(tmp_path / f"photos/{'test' if i % 3 == 0 else 'train'}/{i:02d}.png")
    first = tmp_path / "photos/test/00.png"
    Image.open(first).save(tmp_path / "photos/train/again.jpg", quality=70)
    (tmp_path / "photos/train/copy.png").write_bytes(first.read_bytes())
    (tmp_path / "photo.jpg").write_bytes((tmp_path / "photos/train/again.jpg").read_bytes())
    np.save(tmp_path / "vectors.npy", rng.normal(size=(30, 16)).astype(np.float32))
    (tmp_path / "ids.txt").write_text("".join(f"row{i}\n" for i in range(30)))
    return tmp_path


def run_line(line):
    command, _, note = line.partition("#")
    wanted = int(match[1]) if (match := re.search(r"exit (\d+)", note)) else 0
    words = shlex.split(command)
    if {"|", ">"} & set(words):
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(["bash", "-o", "pipefail", "-c", command], env={**os.environ, "PATH": path}, timeout=250)
        return done.returncode, wanted
    if words[0] == "curate":
        return main(words[1:]), wanted
    if words[0] == "python":
        done = subprocess.run([sys.executable, *words[1:]], env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=250)
        return done.returncode, wanted
    if words[0] in ("make", "pip"):
        return 0, 0 if words[0] == "pip" or re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE) else 1
    raise AssertionError(f"a command that no test can run: {line}")


@pytest.mark.parametrize("page", [p for p in PAGES if runnable(p)], **ids)
def test_commands_and_snippets_run(page, world, capfd):
    (world / "examples").symlink_to(ROOT / "examples")
    (world / "benchmarks").symlink_to(ROOT / "benchmarks")
    names = {}
    for kind, body in blocks(page):
        if kind == "toml":
            (world / "curate.toml").write_text(body)
        elif kind == "python":
            exec(compile(body, str(page), "exec"), names)
        elif kind == "sh":
            for line in filter(None, (part.strip() for part in body.replace("\\\n", " ").splitlines())):
                if not line.startswith("#"):
                    code, wanted = run_line(line)
                    assert code == wanted, f"{page.name}: {line} -> {code}\n{capfd.readouterr().err}"
    for line in inline(page):
        code, _ = run_line(line)
        assert code in (0, 1) if line.startswith("curate check") else code == 0, f"{page.name}: {line} -> {code}"


@pytest.mark.parametrize("page", PAGES, **ids)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def anchors(page):
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, **ids)
def test_anchors_are_there(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        assert anchor in anchors(page.parent / target if target else page), f"{page.name} links to {target}#{anchor}"


def test_every_message_of_the_troubleshooting_page_is_one_that_curate_prints():
    source = "\n".join(p.read_text(encoding="utf-8") for part in ("curate", "connectors") for p in (ROOT / part).rglob("*.py"))
    # Messages that go over two lines of source, and the places where values are put in.
    plain = re.sub(r"\{[^{}]*\}", "...", re.sub(r'"\s*\n\s*f?"', "", source))
    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+)[^|]* \|", (ROOT / "docs/troubleshooting.md").read_text(), re.MULTILINE)
    messages = [message for row in rows for message in re.findall(r"`([^`]+)`", row)]
    assert len(messages) > 20
    for message in messages:
        parts = [part.strip(" :") for part in message.split("...")]
        assert all(part in plain for part in parts), f"nothing prints {message!r}"


def test_every_page_is_reached_from_the_first_one():
    text = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    assert [p.name for p in (ROOT / "docs").glob("*.md") if p.name != "README.md" and f"({p.name})" not in text] == []


def test_the_output_in_the_page_on_ci_is_what_check_prints(world, capfd):
    page = (ROOT / "docs/ci.md").read_text()
    (world / "curate.toml").write_text(next(body for kind, body in blocks(ROOT / "docs/ci.md") if kind == "toml"))
    assert main(["sync", "--all", "--dry-run", "--quiet"]) == 0
    capfd.readouterr()
    assert main(["check"]) == 1
    said = capfd.readouterr().out
    assert [line.rstrip() for line in said.splitlines() if "max_" in line] == [
        line for line in page.splitlines() if line.startswith(("FAIL", "ok  "))
    ]


def test_the_json_page_names_every_field_of_sync(world, capfd):
    assert main(["sync", "--dataset", "folder:photos", "--model", "pixels", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    page = (ROOT / "docs/json.md").read_text()
    assert [key for key in document if f"`{key}`" not in page] == []


CALLS = (
    "pull --dataset folder:photos",
    "embed --dataset folder:photos --model pixels",
    "duplicates --suggest",
    "clusters",
    "sample --budget 3",
    "quality",
    "map --method pca",
    "report",
    "search --image photo.jpg",
    "plan --dataset folder:photos --to plan.json",
    "apply plan.json",
    "check",
    "baseline save",
    "compress --codec f16",
    "export --to kept",
    "export-vectors --to vectors",
    "import-vectors vectors.npy --ids ids.txt --geometry cosine --name mine --store other",
    "status",
    "list ops",
    "doctor",
    "config show",
    "init --to new.toml",
    "models",
    "taxonomy check tags.yaml --model pixels",
)


def test_the_json_page_names_every_field_of_the_other_verbs(world, capfd):
    (world / "tags.yaml").write_text("animal:\n  dog:\n  cat:\n")
    (world / "curate.toml").write_text("[check]\nmax_failed_rate = 0.0\n")
    rows = dict(re.findall(r"^\| `([a-z -]+)` \| (.*) \|$", (ROOT / "docs/json.md").read_text(), re.MULTILINE))
    said_nothing_of = {}
    for call in CALLS:
        capfd.readouterr()
        assert main([*call.split(), "--json"]) == 0, capfd.readouterr().err
        document = json.loads(capfd.readouterr().out)
        verb = next(name for name in sorted(rows, key=len, reverse=True) if call.startswith(name))
        unnamed = [key for key in document if f"`{key}`" not in rows[verb] and key != "schema_version"]
        assert document["schema_version"] == 1
        if unnamed and verb not in ("list", "config show"):
            said_nothing_of[call] = unnamed
    assert said_nothing_of == {}


def test_the_page_of_commands_is_what_the_commands_say():
    from curate.cli._reference import reference

    assert (ROOT / "docs/cli.md").read_text(encoding="utf-8") == reference(), "python -m curate.cli._reference > docs/cli.md"
