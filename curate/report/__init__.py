"""Reports: findings in plain words, for the browser, the terminal, JUnit readers and GitHub."""

from curate.report.build import Material, build_report
from curate.report.parts import (
    Bar,
    Bars,
    Branch,
    Curve,
    Gate,
    Group,
    Histogram,
    Map,
    Point,
    Report,
    Section,
    Shown,
    Step,
    Table,
    Tile,
)

__all__ = [
    "Bar",
    "Bars",
    "Branch",
    "Curve",
    "Gate",
    "Group",
    "Histogram",
    "Map",
    "Material",
    "Point",
    "Report",
    "Section",
    "Shown",
    "Step",
    "Table",
    "Tile",
    "build_report",
]
