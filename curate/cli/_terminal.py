"""What a person sees: results on stdout; lines, a bar on a terminal and plain progress in a log on stderr."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

QUIET, NORMAL, VERBOSE = -1, 0, 1
LINE_EVERY_S = 30.0
SAID_FROM_S = 2.0
"""A stage that took less is not worth a line in a log."""

UNFOLDED = 4000
"""Width of what goes to a pipe or a file: a row of a table stays one line, for grep and awk."""


class Terminal:
    """Results to stdout, everything else to stderr; a `Reporter` for the pipeline.

    verbosity: -1 only warnings and errors, 0 normal, 1 and more with details.
    """

    def __init__(self, verbosity: int = NORMAL) -> None:
        from rich.console import Console

        self.verbosity = verbosity
        self.console: Console = Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self.results: Console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        if not self.results.is_terminal and "COLUMNS" not in os.environ:
            self.results.width = UNFOLDED
        self._bar: Progress | None = None
        self._task: Any = None
        self._stage = ""
        self._since = self._last = 0.0
        self._first = 0

    def say(self, line: str) -> None:
        """One line; hidden by -q."""
        if self.verbosity > QUIET:
            self._line(line)

    def detail(self, line: str) -> None:
        """One line that only -v shows."""
        if self.verbosity >= VERBOSE:
            self._line(line)

    def warn(self, line: str) -> None:
        """One line that -q shows too."""
        self._line(line, style="yellow")

    def ask(self, question: str) -> bool:
        """A question with yes or no; False where nobody sits at a terminal."""
        import click

        if not sys.stdin.isatty() or not self.console.is_terminal:
            return False
        self.end_progress()
        return click.confirm(_printable(question), err=True)

    def show(self, *renderables: Any) -> None:
        """The result: tables and texts of rich, on stdout."""
        if self.verbosity > QUIET:
            self.end_progress()
            for renderable in renderables:
                self.results.print(_calm(renderable))

    def progress(self, stage: str, done: int, total: int | None) -> None:
        """A bar with rate and remaining time on a terminal, else a plain line every 30 s and at the end of a stage over 2 s."""
        if self.verbosity <= QUIET:
            return
        now = time.monotonic()
        if stage != self._stage:
            self.end_progress()
            self._stage, self._since, self._last, self._first = stage, now, now, done
            if self.console.is_terminal:
                self._start_bar(stage, total)
        elapsed = now - self._since
        rate = (done - self._first) / elapsed if elapsed > 0 else 0.0
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, rate=f"{rate:,.1f}/s" if rate else "")
        elif now - self._last >= LINE_EVERY_S and done != total:
            self._last = now
            left = f", {_clock((total - done) / rate)} left" if total and rate > 0 else ""
            self._line(f"{stage}: {done:,}{f' of {total:,}' if total else ''}, {rate:,.1f}/s{left}")
        if total is not None and done >= total:
            if self._bar is None and elapsed >= SAID_FROM_S:
                self._line(f"{stage}: {done:,} in {_clock(elapsed)}")
            self.end_progress()

    def end_progress(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._stage = None, ""

    def _start_bar(self, stage: str, total: int | None) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._task = self._bar.add_task(stage, total=total, rate="")
        self._bar.start()

    def _line(self, line: str, style: str = "") -> None:
        from rich.text import Text

        # Text, not markup: names of files may look like markup.
        self.console.print(Text(_printable(line), style=style))


def _calm(renderable: Any) -> Any:
    """A table as all of ours look: a rule under the head, no frame, its title above it at the left."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    if isinstance(renderable, Table):
        renderable.box, renderable.pad_edge = SIMPLE_HEAD, False
        renderable.title_justify, renderable.title_style = "left", "bold"
        renderable.header_style = "bold"
        for column in renderable.columns:
            column.overflow = "fold"  # never an ellipsis: what does not fit goes on in the next line
    return renderable


def _printable(line: str) -> str:
    # A file name must not move the cursor or reorder the line.
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in line)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
