"""The FiftyOne plugin: one panel and the operators behind it.  `curate fiftyone install` puts this folder where the App looks.

The App loads this file by its path, on every request, and maybe in an environment without `curate`; so it does nothing but hand
over to the installed package, or say what is missing.
"""

from __future__ import annotations

from typing import Any


def register(plugin: Any) -> None:
    """What the App calls: registers the panel and the operators."""
    try:
        from connectors.fiftyone_plugin.operators import OPERATORS
        from connectors.fiftyone_plugin.panel import CuratePanel
    except ImportError as err:
        from .missing import parts

        for part in parts(err):
            plugin.register(part)
        return
    for operator in OPERATORS:
        plugin.register(operator)
    plugin.register(CuratePanel)
