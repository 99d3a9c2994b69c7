"""A report in the terminal: calm tables, the same in a log without colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from curate.report._words import shown
from curate.report.parts import Branch, Gate, Group, Report, Section, Table, measured

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as RichTable

GROUPS = 10
"""Groups of a section that the terminal shows; the page shows more."""

ROWS = 20
"""Rows of a table that the terminal shows."""

BAR = 24


def renderables(report: Report) -> list[RenderableType]:
    """Everything that `rich` prints of a report, in order."""
    from rich.text import Text

    parts: list[Any] = [Text(shown(report.dataset, 200), style="bold"), ""]
    parts += [Text(f"  {shown(line, 600)}") for line in report.found]
    if report.gates:
        parts += ["", gates_table(report.gates)]
    for section in report.sections:
        parts += ["", *_section(section)]
    if report.steps:
        parts += ["", Text("What to do next", style="bold")]
        for step in report.steps:
            parts.append(Text(f"  {shown(step.text, 300)}" + (f"\n    {shown(step.command, 600)}" if step.command else "")))
    return parts


def gates_table(gates: Sequence[Gate]) -> RichTable:
    """The gates as a table."""
    from rich.text import Text

    table = _plain_table("Gates", ("gate", "value", "limit", "", ""), frozenset({1, 2}))
    for gate in gates:
        word = Text("ok", style="green") if gate.passed else Text("failed", style="bold red")
        cells = (gate.name, measured(gate.value, gate.unit), measured(gate.limit, gate.unit))
        table.add_row(*(Text(shown(cell, 80)) for cell in cells), word, Text("" if gate.passed else shown(gate.detail, 200)))
    return table


def _section(section: Section) -> Iterator[Any]:
    from rich.text import Text

    yield Text(section.title, style="bold")
    yield Text(f"  {shown(section.text, 800)}", style="dim")
    for bars in section.bars:
        table = _plain_table(bars.title, ("", "", ""), frozenset({2}))
        for bar in bars.bars[:ROWS]:
            style = "bold" if bar.label == bars.strong else ""
            length = "█" * max(1, round(bar.share * BAR))
            table.add_row(Text(shown(bar.label, 40), style=style), Text(length, style="blue"), Text(bar.text, style=style))
        yield table
        yield from _more(len(bars.bars) - ROWS, "more")
    for curve in section.curves:
        table = _plain_table(curve.title, ("", curve.x_name, curve.y_name), frozenset({1, 2}))
        for point in sorted(curve.points, key=lambda p: -p.x)[:ROWS]:
            style = "bold" if point.strong else ""
            cells = (shown(point.label, 40), f"{point.x:,.6g}", f"{point.y:.3f}")
            table.add_row(*(Text(cell, style=style) for cell in cells))
        yield table
    for part in section.tables:
        yield table_of(part)
        yield from _more(len(part.rows) - ROWS, "more rows")
    if section.tree:
        yield from _tree(section.tree)
    named = [group for group in section.groups if group.title or section.key == "sample"]
    yield from (_group(group) for group in named[:GROUPS])
    yield from _more(len(named) - GROUPS, "more groups")
    if section.left_out:
        yield Text(f"  not shown: {section.left_out}", style="dim")


def table_of(table: Table, *, most: int = ROWS) -> RichTable:
    """A report's table for the terminal, its first `most` rows."""
    from rich.text import Text

    made = _plain_table(table.title, table.head, table.numeric)
    for row in table.rows[:most]:
        made.add_row(*(Text(shown(cell, 60)) for cell in row))
    return made


def _group(group: Group) -> Any:
    from rich.text import Text

    names = ", ".join(shown(item.id, 50) for item in group.shown[:6])
    more = f", and {group.size - 6:,} more" if group.size > 6 else ""
    head = f"  {shown(group.title, 120)}" + (f". {shown(group.note, 200)}" if group.note else "")
    return Text(f"{head}\n    {names}{more}" if group.title else f"    {names}{more}")


def _tree(branches: Sequence[Branch], deep: int = 1) -> Iterator[Any]:
    from rich.text import Text

    for branch in branches[:ROWS]:
        yield Text(f"{'  ' * deep}{shown(branch.name, 60)}  {branch.count:,}")
        if deep < 4:
            yield from _tree(branch.children, deep + 1)
    yield from _more(len(branches) - ROWS, "more tags")


def _more(count: int, what: str) -> Iterator[Any]:
    from rich.text import Text

    if count > 0:
        yield Text(f"  ... and {count:,} {what}", style="dim")


def _plain_table(title: str, head: Sequence[str], numeric: frozenset[int]) -> RichTable:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable

    table = RichTable(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_header=any(head), pad_edge=False
    )
    for column, name in enumerate(head):
        table.add_column(name, justify="right" if column in numeric else "left", overflow="fold")
    return table
