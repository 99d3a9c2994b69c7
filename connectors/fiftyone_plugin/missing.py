"""What the App shows where `curate` cannot be imported: the same panel, with what is wrong and how to mend it."""

from __future__ import annotations

import sys
from typing import Any

WRAPPED = {"container": {"sx": {"& code, & pre": {"whiteSpace": "pre-wrap", "overflowWrap": "anywhere"}}}}
PANEL, OPERATOR = "curate_panel", "curate_missing"


def explanation(err: ImportError) -> str:
    """Why the plugin has nothing to offer, and the command that helps, as Markdown."""
    name = (err.name or "").partition(".")[0]
    if name in ("curate", "connectors", ""):
        why = "the package **curate-vision** is not installed in the Python that runs the App"
    else:
        why = f"**{name}**, which curate needs, is not installed in the Python that runs the App"
    command = f'{sys.executable} -m pip install "curate-vision[fiftyone,models]"'
    return (
        f"**Curate cannot start**\n\n{why[0].upper()}{why[1:]}.\n\n"
        f"Install it there, then restart the App:\n\n```\n{command}\n```\n\n"
        f"To take the plugin away instead: `curate fiftyone uninstall`, or delete its folder from FiftyOne's plugins.\n\n"
        f"What Python said: `{err}`"
    )


def parts(err: ImportError) -> list[Any]:
    """A panel and an operator that show `explanation`."""
    import fiftyone.operators as foo
    from fiftyone.operators import types
    from fiftyone.operators.categories import Categories

    text = explanation(err)

    class Missing(foo.Panel):  # type: ignore[misc]
        """The panel."""

        @property
        def config(self) -> Any:
            """As the real one's."""
            return foo.PanelConfig(name=PANEL, label="Curate", icon="auto_awesome_motion", category=Categories.CURATE)

        def render(self, ctx: Any) -> Any:
            """The explanation."""
            panel = types.Object()
            panel.md(text, name="missing", componentsProps=WRAPPED)
            return types.Property(panel, view=types.GridView(pad=3, gap=2))

    class Explain(foo.Operator):  # type: ignore[misc]
        """The operator."""

        @property
        def config(self) -> Any:
            """Listed in the operator browser."""
            return foo.OperatorConfig(name=OPERATOR, label="Curate: what is missing", view_target=False)

        def resolve_input(self, ctx: Any) -> Any:
            """The explanation."""
            form = types.Object()
            form.md(text, name="missing")
            return types.Property(form, view=types.View(label="Curate"))

        def execute(self, ctx: Any) -> dict[str, str]:
            """Nothing to do."""
            return {"missing": text}

    return [Missing, Explain]
