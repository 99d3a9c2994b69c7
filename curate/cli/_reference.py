"""docs/cli.md, made from the commands themselves: `python -m curate.cli._reference > docs/cli.md`."""

from __future__ import annotations

import sys

import click

from curate.cli import VERBS, cli
from curate.cli._flags import FLAGS
from curate.cli._help import ABOUT

OURS = "connectors."
"""Where the verbs of our own connectors come from; those of third parties are not in the page."""


def reference() -> str:
    """Every verb with its arguments and flags, as Markdown; the shared flags stand once, at the top."""
    from curate import registry

    context = click.Context(cli, info_name="curate")
    parts = [
        "# Every command",
        "Made from the commands themselves by `python -m curate.cli._reference`; a test keeps it true.",
        _contents(context),
        "## Shared flags",
        "A command takes those that it names. Every command takes the last group.",
        *_shared(),
    ]
    brought = [n for n in registry.names(registry.COMMANDS) if registry.source(registry.COMMANDS, n).startswith(OURS)]
    for name in [*VERBS, *(n for n in brought if n not in VERBS)]:
        command = cli.get_command(context, name)
        if command is not None:
            parts += _section(name, command)
    return "\n\n".join(parts) + "\n"


def _contents(context: click.Context) -> str:
    rows = []
    for name, text in VERBS.items():
        command = cli.get_command(context, name)
        grouped = isinstance(command, click.Group) and not command.invoke_without_command
        first = f"-{min(command.commands)}" if isinstance(command, click.Group) and grouped else ""
        rows.append(f"| [{name}](#curate-{name}{first}) | {text} |")
    return "\n".join(["| command | does |", "|---|---|", *rows])


def _shared() -> list[str]:
    @click.command()
    def every() -> None: ...

    for name in FLAGS:
        every = FLAGS[name](every)
    options = {p.opts[-1].removeprefix("--"): p for p in every.params if isinstance(p, click.Option)}
    parts = []
    for heading, names in ABOUT.items():
        rows = [_row(options[name]) for name in names if name in options]
        parts.append("\n".join([f"| {heading.lower()} | meaning |", "|---|---|", *rows]))
    return parts


def _section(name: str, command: click.Command) -> list[str]:
    if isinstance(command, click.Group):
        subs = [part for sub in sorted(command.commands) for part in _section(f"{name} {sub}", command.commands[sub])]
        return [*(_one(name, command) if command.invoke_without_command else []), *subs]
    return _one(name, command)


def _one(name: str, command: click.Command) -> list[str]:
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    usage = " ".join(["curate", name, *(p.make_metavar(click.Context(command)) for p in arguments)])
    shared = getattr(command.callback, "shared_flags", [])
    own = [p for p in command.params if isinstance(p, click.Option) and p.opts[-1].removeprefix("--") not in shared]
    rows = [_row(p) for p in own if not p.hidden]
    text = " ".join((command.help or "").split("\b")[0].split())
    taken = [flag for heading, flags in ABOUT.items() if heading != "Everywhere" for flag in flags if flag in shared]
    also = "Shared flags: " + ", ".join(f"`--{flag}`" for flag in taken) + "." if taken else ""
    table = "\n".join(["| flag | meaning |", "|---|---|", *rows]) if rows else ""
    return [part for part in (f"## curate {name}", text, f"`{usage}`", table, also) if part]


def _row(option: click.Option) -> str:
    flag = ", ".join(f"`{opt}`" for opt in [*sorted(option.opts, key=len, reverse=True), *option.secondary_opts])
    value = "" if option.is_flag or option.count else f" `{option.make_metavar(click.Context(click.Command('x')))}`"
    # A bar ends the cell of a table, even inside backticks.
    return "| {} | {} |".format(f"{flag}{value}".replace("|", "\\|"), (option.help or "").replace("|", "\\|"))


if __name__ == "__main__":
    sys.stdout.write(reference())
