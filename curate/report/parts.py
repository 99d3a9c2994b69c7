"""What a report says, as plain values: the HTML page, the terminal, JUnit and the step summary all print these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Shown:
    """One image of a report.  id: the row.  caption: short facts under it.  mark: "kept", "copy" or "" (how it is framed)."""

    id: str
    caption: Sequence[str] = ()
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Images that belong together.  title: what they are.  note: why, in a sentence.  size: of how many these are shown."""

    title: str
    shown: Sequence[Shown]
    note: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a bar chart.  share: 0 to 1 of the longest possible bar.  text: the value with its unit."""

    label: str
    share: float
    text: str


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart.  strong: the label of the bar that stands out."""

    title: str
    bars: Sequence[Bar]
    note: str = ""
    strong: str = ""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How a value is distributed.  edges: (b + 1,) in `unit`.  counts: (b,)."""

    title: str
    unit: str
    edges: Sequence[float]
    counts: Sequence[int]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a curve.  label: what it is, written beside it.  text: its values in words.  strong: it stands out."""

    label: str
    x: float
    y: float
    text: str = ""
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """What is gained for what is paid: points with x > 0 on a logarithmic axis, y on a straight one.

    A line joins the points that no other beats with both a smaller x and a larger y.
    """

    title: str
    x_name: str
    y_name: str
    points: Sequence[Point]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a head.  numeric: columns that are set flush right."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Branch:
    """One tag of a tree with the number of rows at or below it."""

    name: str
    count: int
    children: Sequence[Branch] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the report.

    key: stable name, the anchor of the page.  title and text: plain words.  left_out: what is not shown, said in words
    ("112 further groups"), "" when all is.  grid: "groups" shows one group a row, "cards" small cards side by side.
    """

    key: str
    title: str
    text: str
    groups: Sequence[Group] = ()
    bars: Sequence[Bars] = ()
    histograms: Sequence[Histogram] = ()
    curves: Sequence[Curve] = ()
    tables: Sequence[Table] = ()
    tree: Sequence[Branch] = ()
    left_out: str = ""
    grid: str = "groups"


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do next.  command: a line for the shell, or ""."""

    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """A number at the top of the report.  key: the section it leads to, or ""."""

    value: str
    label: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class Map:
    """Rows as points of a plane, or of space.

    ids: (n,).  x, y: (n,); z: (n,) or empty.  colours: name of a colouring -> one value a row.  note: how it was made, and how
    many are shown.
    """

    ids: Sequence[str]
    x: Sequence[float]
    y: Sequence[float]
    colours: Mapping[str, Sequence[str]] = field(default_factory=dict)
    note: str = ""
    z: Sequence[float] = ()


class Gate(Protocol):
    """One check of `curate check`, as `curate.gates` makes it.  value and limit share a unit ("share" is a fraction)."""

    @property
    def name(self) -> str:
        """The setting that holds the limit."""

    @property
    def value(self) -> float:
        """What was measured."""

    @property
    def limit(self) -> float:
        """What was allowed."""

    @property
    def unit(self) -> str:
        """The unit of both."""

    @property
    def passed(self) -> bool:
        """Whether the value keeps to the limit."""

    @property
    def detail(self) -> str:
        """What to look at."""


def measured(value: float, unit: str) -> str:
    """A gate's value or limit as people read it."""
    return f"{value:.2%}" if unit == "share" else f"{value:g}" + (f" {unit}" if unit not in ("", "count") else "")


@dataclass(frozen=True, slots=True)
class Report:
    """Everything a report says.

    dataset: as addressed.  tiles: the numbers that matter most.  found: sentences in plain words, most important first.
    steps: what to do next.  sections: in reading order.  map: points, or None.  gates: of `curate check`.
    made: how it was made (versions, model, fingerprint, configuration, command), name -> value.
    """

    dataset: str
    tiles: Sequence[Tile]
    found: Sequence[str]
    steps: Sequence[Step]
    sections: Sequence[Section]
    made: Mapping[str, str]
    map: Map | None = None
    gates: Sequence[Gate] = ()

    def section(self, key: str) -> Section | None:
        """The section of a key, None when the report has none."""
        return next((section for section in self.sections if section.key == key), None)
