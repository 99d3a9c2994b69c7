"""How a verb's `--help` is laid out: its own flags first, then the shared ones by what they are about."""

from __future__ import annotations

import re
from collections.abc import Iterable

import click

ABOUT = {
    "Dataset": ("dataset", "connector", "text-field", "media-root"),
    "Model": ("model", "layer", "device", "dtype", "preprocess", "seed"),
    "Embedding": ("max-pixels", "batch-size", "thumbs", "codec", "tolerate-failed", "retry-failed", "verify"),
    "Network": ("offline", "allow-host", "endpoint"),
    "Push": ("dry-run", "yes"),
    "Everywhere": ("store", "config", "json", "verbose", "quiet"),
}
"""Heading -> shared flags below it."""

HEADING = {flag: heading for heading, flags in ABOUT.items() for flag in flags}


class GroupedHelp(click.HelpFormatter):
    """Splits the list of options by `ABOUT`."""

    shared: frozenset[str] = frozenset()

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """As click's, once for each group; a list without shared flags is written as it is."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for row in rows:
            found = re.findall(r"--([a-z-]+)", row[0])
            heading = HEADING.get(found[-1], "") if found and found[-1] in self.shared else ""
            groups.setdefault(heading, []).append(row)
        super().write_dl(groups.pop("", []) or [("", "")], col_max, col_spacing)
        for heading in (name for name in ABOUT if name in groups):
            self.dedent()
            self.write_paragraph()
            self.write_heading(heading)
            self.indent()
            super().write_dl(groups[heading], col_max, col_spacing)


class VerbContext(click.Context):
    """The context of a verb, so that its help comes out grouped."""

    def make_formatter(self) -> click.HelpFormatter:
        """A formatter that knows which flags of this verb are shared ones."""
        made = GroupedHelp(width=self.terminal_width, max_width=self.max_content_width or 100)
        made.shared = frozenset(getattr(self.command.callback, "shared_flags", ()))
        return made


def dressed(command: click.Command) -> click.Command:
    """The command and its sub-commands with grouped help."""
    command.context_class = VerbContext
    if isinstance(command, click.Group):
        for sub in command.commands.values():
            dressed(sub)
    return command
