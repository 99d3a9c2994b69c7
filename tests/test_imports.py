"""The arrows of the house: which room may import which.  See CONTRIBUTING.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LOW = {"errors", "types", "geometry"}
# room -> the rooms of `curate` it may import besides its own
ARROWS = {
    "errors": set(),
    "geometry": {"errors"},
    "types": {"geometry"},
    "protocols": {"types"},
    "media": LOW,
    "codecs": LOW,
    "fidelity": LOW | {"codecs"},
    "index": LOW,
    "taxonomy": {"errors", "types"},
    "ops": LOW | {"index", "protocols", "taxonomy"},
    "embedders": LOW | {"media", "protocols"},
    "store": {"types", "geometry", "codecs", "errors"},
    "config": {"errors"},
    "registry": {"errors"},
    "pipeline": LOW | {"protocols", "media", "codecs", "index", "store"},
    "report": LOW | {"protocols"},
    "gates": LOW,
}
CONNECTORS = {"types", "errors", "media", "protocols"}
HEAVY = set("yaml torch transformers labelbox fiftyone ray hnswlib umap datasketch plotly jinja2 openvino tenacity".split())


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, at import time) of every import in a file."""
    tree = ast.parse(path.read_text())
    functions = [f for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef))]
    lazy = {id(n) for f in functions for n in ast.walk(f)}
    typing_only = {
        id(n)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for n in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            top = node.module in ("curate", "connectors")
            names = [f"{node.module}.{a.name}" if top else str(node.module) for a in node.names]
        found += [(name, id(node) not in lazy and id(node) not in typing_only) for name in names]
    return found


def room(path: Path) -> str:
    return path.relative_to(ROOT / "curate").parts[0].removesuffix(".py")


CURATE = sorted((ROOT / "curate").rglob("*.py"))
CONNECTOR_FILES = sorted((ROOT / "connectors").rglob("*.py"))


@pytest.mark.parametrize("path", CURATE, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_inside_curate(path):
    here = room(path)
    for module, _ in imports(path):
        parts = module.split(".")
        assert parts[0] != "connectors", f"{path}: curate never imports connectors"
        if parts[0] == "curate" and len(parts) > 1 and here in ARROWS and parts[1] != here:
            assert parts[1] in ARROWS[here], f"{path}: {here} may not import {module}"


@pytest.mark.parametrize("path", CONNECTOR_FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_connectors_use_only_the_seams(path):
    if "fiftyone_plugin" in path.parts:
        pytest.importorskip("curate")
        return
    for module, _ in imports(path):
        parts = module.split(".")
        if parts[0] == "curate" and len(parts) > 1 and not path.stem.endswith("_commands"):
            assert parts[1] in CONNECTORS, f"{path}: a connector may not import {module}"


@pytest.mark.parametrize("path", CURATE + CONNECTOR_FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_packages_are_imported_inside_functions(path):
    # The plugin's files are read by FiftyOne itself, and subclass what it has.
    heavy = HEAVY - {"fiftyone"} if "fiftyone_plugin" in path.parts else HEAVY
    for module, at_import in imports(path):
        assert not (at_import and module.split(".")[0] in heavy), f"{path}: import {module} inside the function that needs it"


@pytest.mark.parametrize("path", CURATE, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_geometry_normalises(path):
    if room(path) == "geometry":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr == "norm":
            pytest.fail(f"{path}:{node.lineno}: use curate.geometry instead of a norm of your own")


@pytest.mark.parametrize("path", CURATE + CONNECTOR_FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_is_unpickled(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
            assert not {"pickle", "dill", "joblib", "cPickle"} & {n.split(".")[0] for n in names}, f"{path}: no pickle"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False, f"{path}:{node.value.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "weights_only":
            assert isinstance(node.value, ast.Constant) and node.value.value is True, f"{path}:{node.value.lineno}"


def test_help_imports_no_heavy_package():
    code = (
        "import sys\nfrom curate.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print(sorted(set(sys.modules) & {HEAVY | {'sklearn', 'scipy', 'cv2', 'pyarrow', 'PIL'}!r}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"
