"""The example notebook runs from top to bottom, and what a cell shows is a table."""

import ast
import json
from pathlib import Path

NOTEBOOK = Path(__file__).parent.parent / "examples" / "curate.ipynb"


def test_every_cell_runs_and_results_show_as_tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, shown = {}, []
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, str(NOTEBOOK), "exec"), names)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)
            shown.append(value._repr_html_() if hasattr(value, "_repr_html_") else repr(value))
    assert sum("<table>" in text for text in shown) >= 2
