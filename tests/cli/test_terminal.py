"""What a person, and a log, sees while a command runs."""

import io

import pytest
from rich.console import Console

from curate.cli import _terminal
from curate.cli._terminal import Terminal


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(_terminal, "time", made)
    return made


def shown_on(terminal, *, tty):
    out = io.StringIO()
    terminal.console = Console(file=out, force_terminal=tty, width=100, soft_wrap=True)
    return out


def test_a_log_gets_a_line_every_half_minute_and_one_at_the_end_of_a_stage(clock):
    terminal = Terminal()
    out = shown_on(terminal, tty=False)
    for done in range(0, 101, 10):
        terminal.progress("embed", done, 100)
        clock.now += 10.0
    lines = out.getvalue().splitlines()
    assert lines == [
        "embed: 30 of 100, 1.0/s, 1:10 left",
        "embed: 60 of 100, 1.0/s, 0:40 left",
        "embed: 90 of 100, 1.0/s, 0:10 left",
        "embed: 100 in 1:40",
    ]


def test_a_quick_stage_leaves_no_line_in_a_log(clock):
    terminal = Terminal()
    out = shown_on(terminal, tty=False)
    terminal.progress("pull", 10, None)
    terminal.progress("pull", 10, 10)
    assert out.getvalue() == ""


def test_the_rate_on_a_terminal_counts_only_what_was_done_while_it_was_watched(clock):
    terminal = Terminal()
    out = shown_on(terminal, tty=True)
    terminal.progress("embed", 32, 96)
    clock.now += 2.0
    terminal.progress("embed", 64, 96)
    terminal.end_progress()
    assert "16.0/s" in out.getvalue() and ",000" not in out.getvalue()


def test_quiet_shows_no_progress_and_warnings_all_the_same(clock):
    terminal = Terminal(-1)
    out = shown_on(terminal, tty=True)
    terminal.progress("embed", 1, 2)
    terminal.say("nobody reads this")
    terminal.warn("look: a\x1b[2Jb")
    assert "nobody" not in out.getvalue() and "look: a\\x1b[2Jb" in out.getvalue()
