"""docs/cli.md, made from the commands themselves: `python -m curate.cli._reference > docs/cli.md`."""

from __future__ import annotations

import sys

import click

from curate.cli import VERBS, cli

SHARED = frozenset(["--store", "--config", "--json", "--verbose", "--quiet"])


def reference() -> str:
    """Every verb with its arguments and flags, as Markdown."""
    context = click.Context(cli, info_name="curate")
    parts = [
        "# Every command",
        "Made from the commands themselves by `python -m curate.cli._reference`; a test keeps it true.",
        "Every command takes `--store DIR` (.curate), `--config FILE`, `--json`, `-v` and `-q`.",
    ]
    for name in VERBS:
        command = cli.get_command(context, name)
        if command is not None:
            parts += _section(name, command)
    return "\n\n".join(parts) + "\n"


def _section(name: str, command: click.Command) -> list[str]:
    if isinstance(command, click.Group):
        return [part for sub in sorted(command.commands) for part in _section(f"{name} {sub}", command.commands[sub])]
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    usage = " ".join(["curate", name, *(p.make_metavar(click.Context(command)) for p in arguments)])
    rows = [_row(p) for p in command.params if isinstance(p, click.Option) and not SHARED & set(p.opts) and not p.hidden]
    text = " ".join((command.help or "").split("\b")[0].split())
    table = ["| flag | meaning |", "|---|---|", *rows]
    return [f"## curate {name}", text, f"`{usage}`", *(["\n".join(table)] if rows else [])]


def _row(option: click.Option) -> str:
    flag = ", ".join(f"`{opt}`" for opt in [*sorted(option.opts, key=len, reverse=True), *option.secondary_opts])
    value = "" if option.is_flag or option.count else f" `{option.make_metavar(click.Context(click.Command('x')))}`"
    # A bar ends the cell of a table, even inside backticks.
    return "| {} | {} |".format(f"{flag}{value}".replace("|", "\\|"), (option.help or "").replace("|", "\\|"))


if __name__ == "__main__":
    sys.stdout.write(reference())
