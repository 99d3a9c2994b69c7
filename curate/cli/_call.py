"""Verbs as functions: what the Python API and the panels call, on the same path as the command line."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from curate.cli._session import EMITTED, TERMINAL
from curate.cli._terminal import QUIET, Terminal

PRINTING = ("all", "json", "quiet", "verbose", "help")
"""Flags that say how a verb prints, or that give several documents; a function has neither."""


class Relay(Terminal):
    """A terminal that is no terminal: lines and progress go to functions, tables nowhere, questions are answered by `yes`.

    say: one line for people.  progress: stage, done, total (None while it is not known).
    """

    def __init__(self, say: Callable[[str], None], progress: Callable[[str, int, int | None], None]) -> None:
        super().__init__(QUIET)
        self._say, self._tell = say, progress

    def say(self, line: str) -> None:
        """One line."""
        self._say(line)

    def warn(self, line: str) -> None:
        """One line."""
        self._say(line)

    def ask(self, question: str) -> bool:
        """Nobody sits there."""
        return False

    def progress(self, stage: str, done: int, total: int | None) -> None:
        """Passed on."""
        self._tell(stage, done, total)


def call(verb: str, options: Mapping[str, Any], *arguments: str, terminal: Terminal | None = None) -> dict[str, Any]:
    """Runs a verb and returns its JSON document; prints nothing, or only warnings.

    verb: "sync", "duplicates", ...  options: flags by name ("dry_run": True, "protect": [...]); None and False leave one out.
    arguments: what the verb takes without a flag.  terminal: where lines and progress go (`Relay`); without one, warnings
    go to stderr.
    Raises UnknownName for a flag that the verb has not, ConfigError for a value it refuses, and what the command would print.
    """
    from curate.errors import ConfigError

    command: click.Command = importlib.import_module(f"curate.cli.{verb.replace('-', '_')}").command
    given = [*_words(verb, command, options), *(["--quiet"] if terminal is None else []), *arguments]
    documents: list[dict[str, Any]] = []
    try:
        with command.make_context(verb, given) as context, _kept(documents, terminal):
            command.invoke(context)
    except click.ClickException as err:
        raise ConfigError(err.format_message()) from err
    return documents[0]


def _words(verb: str, command: click.Command, options: Mapping[str, Any]) -> list[str]:
    from curate.errors import UnknownName

    flags = {opt.removeprefix("--").replace("-", "_"): opt for p in command.params for opt in p.opts if opt.startswith("--")}
    words: list[str] = []
    for name, value in options.items():
        if name not in flags or name in PRINTING:
            raise UnknownName(f"option of {verb}", name, [flag for flag in flags if flag not in PRINTING])
        if isinstance(value, bool):
            words += [flags[name]] if value else []
        elif value is not None:
            values: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value]
            # One word with "=", so that a value with a dash in front is no flag.
            words += [f"{flags[name]}={one}" for one in values]
    return words


@contextmanager
def _kept(documents: list[dict[str, Any]], terminal: Terminal | None) -> Iterator[None]:
    """Keeps what `Session.emit` would print, and lends the session a terminal."""
    emitted, lent = EMITTED.set(documents), TERMINAL.set(terminal)
    try:
        yield
    finally:
        EMITTED.reset(emitted)
        TERMINAL.reset(lent)
