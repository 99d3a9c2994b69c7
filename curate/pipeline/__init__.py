"""The five stages and what runs them: pull, embed, judge, plan, push; `sync` is all of them.

Every stage is a function over objects that it is handed (store, connector, embedder, ops); each may die anywhere and be run
again, because the store knows what is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Reporter(Protocol):
    """Where a stage says what it does: the terminal, a log, a panel."""

    def say(self, line: str) -> None:
        """One line for people."""
        ...

    def progress(self, stage: str, done: int, total: int | None) -> None:
        """How far a stage is; total None while it is not known; done == total ends the bar."""
        ...


@dataclass(frozen=True, slots=True)
class Silent:
    """A reporter that says nothing."""

    def say(self, line: str) -> None:
        """Nothing."""

    def progress(self, stage: str, done: int, total: int | None) -> None:
        """Nothing."""
