"""Gates and findings as Markdown for a GitHub step summary, which is refused above 1 MiB."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from curate.report._words import shown
from curate.report.parts import Gate, Report, Table, measured

LIMIT = 1_000_000
"""Bytes a summary may reach, what earlier steps wrote included; GitHub aborts the upload at 1,048,576."""

CUT = "\n\n_Cut here: a step summary holds at most 1 MiB. The whole result is in the report._\n"

CELLS = 200
"""Characters of a table cell."""

ROWS = 100
"""Rows of a table."""


def escaped(text: object, length: int = CELLS) -> str:
    """Text that stays text in Markdown and in a table cell: no markup, link, mention, HTML or line break."""
    plain = shown(text, length).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = re.sub(r"([\\`*_{}\[\]()#+!|~$-])", r"\\\1", plain)
    return plain.replace("@", "&#64;").replace("://", "&#58;//")


def gates_markdown(gates: Sequence[Gate], *, name: str) -> str:
    """The gates as a table, failed ones first."""
    failed = [gate for gate in gates if not gate.passed]
    verdict = f"{len(failed)} of {len(gates)} gates failed" if failed else f"all {len(gates)} gates passed"
    lines = [f"### curate check: {verdict}", "", escaped(name), "", "| | gate | value | limit | |", "|---|---|---:|---:|---|"]
    for gate in sorted(gates, key=lambda gate: gate.passed):
        cells = (measured(gate.value, gate.unit), measured(gate.limit, gate.unit), "" if gate.passed else gate.detail)
        lines.append(
            f"| {'ok' if gate.passed else '**failed**'} | {escaped(gate.name)} | " + " | ".join(map(escaped, cells)) + " |"
        )
    return "\n".join(lines) + "\n"


def report_markdown(report: Report) -> str:
    """What was found, what to do next, and the tables of the report."""
    lines = [f"### curate: {escaped(report.dataset)}", "", *(f"- {escaped(line, 600)}" for line in report.found), ""]
    for step in report.steps:
        command = shown(step.command, 600).replace("`", "'")
        lines.append(f"1. {escaped(step.text, 300)}" + (f": `{command}`" if command else ""))
    lines += [""] + [line for section in report.sections for table in section.tables for line in _table(table)]
    return "\n".join(lines) + "\n"


def _table(table: Table) -> list[str]:
    rule = ["---:" if column in table.numeric else "---" for column in range(len(table.head))]
    lines = [f"#### {escaped(table.title)}", "", f"| {' | '.join(map(escaped, table.head))} |", f"| {' | '.join(rule)} |"]
    lines += [f"| {' | '.join(map(escaped, row))} |" for row in table.rows[:ROWS]]
    if len(table.rows) > ROWS:
        lines += ["", f"and {len(table.rows) - ROWS:,} more rows"]
    return [*lines, ""]


def append_summary(gates: Sequence[Gate], path: Path, *, name: str, report: Report | None = None) -> bool:
    """Adds the gates (and a report) to a step summary file; False when nothing fitted any more.

    Raises OSError when the file cannot be written.
    """
    parts = [gates_markdown(gates, name=name)] if gates else []
    parts += [report_markdown(report)] if report is not None else []
    used = path.stat().st_size if path.exists() else 0
    text = capped("\n".join(parts), LIMIT - used)
    if text:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    return bool(text)


def capped(text: str, room: int) -> str:
    """`text` if its bytes fit in `room`, else as many whole lines as do with a line that says so, else ""."""
    data = text.encode("utf-8", errors="backslashreplace")
    if len(data) <= room:
        return data.decode()
    left = room - len(CUT.encode())
    if left <= 0:
        return ""
    return data[:left].decode(errors="ignore").rpartition("\n")[0] + CUT
