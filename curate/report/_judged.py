"""Classes, likely label mistakes, outliers, image quality and tags as report sections."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from curate.report._sections import LISTED, Told, number, share
from curate.report._words import counted
from curate.report.parts import Bar, Bars, Branch, Group, Section, Shown, Step, Table, Tile
from curate.types import Findings, Scalar, split_path

IMAGES = 48
"""Images shown of one list."""

CLASSES = 60
"""Classes shown as bars; the table below them is longer."""

LABEL_FIELDS = ("label", "labels", "ground_truth")
"""Fields whose values are counted as classes when the labels op did not run."""

ISSUES: Mapping[str, tuple[str, str]] = {
    "blurry": ("Blurry", "few sharp edges"),
    "dark": ("Dark", "even the brightest parts are dark"),
    "bright": ("Bright", "even the darkest parts are bright"),
    "flat": ("Little information", "almost one colour"),
    "small": ("Odd size", "much smaller than the others"),
    "large": ("Odd size", "much larger than the others"),
    "shape": ("Odd shape", "a ratio of sides far from the others"),
}


def classes(found: Findings | None, fields: Mapping[str, Mapping[str, Scalar]]) -> Told | None:
    """How many rows each class has, and which classes lie close together."""
    if found is None:
        return _counted(fields)
    entries = list(found.evidence.get("classes", ()))
    if not entries:
        return None
    entries.sort(key=lambda e: (-int(e["count"]), str(e["label"])))
    name, unit = str(found.evidence.get("field", "label")), str(found.evidence.get("unit", "distance"))
    least, most = entries[-1], entries[0]
    line = _class_line(name, len(entries), (str(least["label"]), int(least["count"])), (str(most["label"]), int(most["count"])))
    rows = [
        (
            str(e["label"]),
            f"{int(e['count']):,}",
            number(e.get("spread")),
            str(e.get("nearest") or "-"),
            number(e.get("nearest_distance")),
            f"{int(e.get('mistakes', 0)):,}",
        )
        for e in entries[:LISTED]
    ]
    head = ("class", "rows", "spread", "nearest other class", "distance to it", "likely mistakes")
    note = f"Spread: mean distance of a class's rows to its centre. Distances in {unit}."
    table = Table("Classes", head, rows, note, numeric=frozenset({1, 2, 4, 5}))
    tables = [table, *(_error_table(by, lines) for by, lines in found.evidence.get("errors", {}).items())]
    chart = _class_bars([(str(e["label"]), int(e["count"])) for e in entries], name)
    left = f"{len(entries) - LISTED:,} further classes" if len(entries) > LISTED else ""
    text = "A class with few rows, or one that lies close to another, is where labels and models go wrong first."
    section = Section("classes", "Classes", text, bars=(chart,), tables=tables, left_out=left)
    return Told(section, [line], tile=Tile(f"{len(entries):,}", "classes", "classes"))


def _error_table(by: str, lines: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (
            str(line["value"]),
            f"{int(line['rows']):,}",
            f"{int(line['errors']):,}",
            f"{100 * line['rate']:.1f} %",
            f"{100 * line['low']:.1f}-{100 * line['high']:.1f} %",
        )
        for line in lines[:LISTED]
    ]
    head = (by, "rows", "errors", "error rate", "95 % interval")
    return Table(
        f"Where the model fails, by {by}",
        head,
        rows,
        "Highest lower end of the interval first.",
        numeric=frozenset({1, 2, 3, 4}),
    )


def _counted(fields: Mapping[str, Mapping[str, Scalar]]) -> Told | None:
    for name in LABEL_FIELDS:
        values = [str(value) for value in fields.get(name, {}).values() if value not in (None, "")]
        count = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))
        if not count:
            continue
        text = f"How many rows each value of {name!r} has."
        left = f"{len(count) - CLASSES:,} further classes" if len(count) > CLASSES else ""
        section = Section("classes", "Classes", text, bars=(_class_bars(count, name),), left_out=left)
        line = _class_line(name, len(count), count[-1], count[0])
        return Told(section, [line])
    return None


def _class_line(name: str, classes: int, least: tuple[str, int], most: tuple[str, int]) -> str:
    if classes == 1:
        return f"1 class in {name!r}: {most[0]}, {counted(most[1], 'row')}."
    smallest, largest = (
        f"{least[0]!r} is the smallest with {counted(least[1], 'row')}",
        f"{most[0]!r} the largest with {most[1]:,}",
    )
    return f"{classes:,} classes in {name!r}: {smallest}, {largest}."


def _class_bars(count: Sequence[tuple[str, int]], name: str) -> Bars:
    most = max((n for _, n in count), default=1) or 1
    bars = [Bar(label, n / most, f"{n:,}") for label, n in count[:CLASSES]]
    note = f"the {CLASSES} largest of {len(count):,}" if len(count) > CLASSES else ""
    return Bars(f"Rows by {name}", bars, note)


def mistakes(found: Findings | None, dataset: str) -> Told | None:
    """Rows whose neighbours carry another label, the likeliest mistakes first."""
    entries = list(found.evidence.get("mistakes", ())) if found is not None else []
    if found is None or not entries:
        return None
    name = str(found.evidence.get("field", "label"))
    are = "is" if len(entries) == 1 else "are"
    line = f"{counted(len(entries), 'label')} in {name!r} {are} likely wrong: the rows most alike carry another one."
    text = "Each is shown with its label and the one that its neighbours agree on. Look at them before you train."
    shown = [
        Shown(
            str(e["id"]),
            (f"is {e['label']}", f"looks like {e['suggested']}", f"{100 * float(e['agreement']):.0f} % agree"),
            "copy",
        )
        for e in entries[:IMAGES]
    ]
    left = f"{len(entries) - IMAGES:,} further rows" if len(entries) > IMAGES else ""
    section = Section(
        "mistakes", "Likely label mistakes", text, [Group("", shown, size=len(entries))], left_out=left, grid="sample"
    )
    step = Step(
        "List every likely label mistake", f"curate quality --dataset {shlex.quote(dataset)} --labels {shlex.quote(name)}"
    )
    return Told(section, [line], [step], Tile(f"{len(entries):,}", "likely label mistakes", "mistakes"))


def outliers(found: Findings | None) -> Told | None:
    """Rows that are far from everything else."""
    entries = list(found.evidence.get("outliers", ())) if found is not None else []
    if found is None or not entries:
        return None
    unit = str(found.evidence.get("unit", "distance"))
    are = "is" if len(entries) == 1 else "are"
    line = f"{counted(len(entries), 'row')} {are} unlike all others: rare cases, or broken images."
    text = f"The farther a row is from its nearest neighbours ({unit}), the less the rest of the dataset says about it."
    shown = [Shown(str(e["id"]), (str(e.get("text", "")), f"distance {number(e['distance'])}")) for e in entries[:IMAGES]]
    left = f"{len(entries) - IMAGES:,} further outliers" if len(entries) > IMAGES else ""
    section = Section("outliers", "Outliers", text, [Group("", shown, size=len(entries))], left_out=left, grid="sample")
    return Told(section, [line], tile=Tile(f"{len(entries):,}", "outliers", "outliers"))


def quality(found: Findings | None) -> Told | None:
    """Images that are blurry, dark, bright, nearly empty or of an odd size."""
    issues = {key: list(lines) for key, lines in found.evidence.get("issues", {}).items() if lines} if found is not None else {}
    if found is None or not issues:
        return None
    total = len({line["id"] for lines in issues.values() for line in lines})
    listed = ", ".join(f"{len(lines):,} {ISSUES.get(key, (key, ''))[0].lower()}" for key, lines in issues.items())
    groups = []
    for key, lines in issues.items():
        title, why = ISSUES.get(key, (key, ""))
        shown = [Shown(str(line["id"]), (str(line.get("text", "")),)) for line in lines[: IMAGES // 2]]
        groups.append(Group(f"{title}: {len(lines):,}", shown, why, len(lines)))
    more = sum(max(0, len(lines) - IMAGES // 2) for lines in issues.values())
    text = "Measured on the stored thumbnails; the cuts are set against the rest of this dataset."
    section = Section("quality", "Image quality", text, groups, left_out=f"{more:,} further images" if more else "")
    checked = int(found.summary.get("checked", 0))
    have = "has" if total == 1 else "have"
    line = f"{counted(total, 'image')} ({share(total, checked)}) {have} a quality issue: {listed}."
    return Told(section, [line], tile=Tile(f"{total:,}", "quality issues", "quality"))


def tags(found: Findings | None) -> Told | None:
    """The hierarchy tags as a tree with counts, one tree a facet, and what their threshold promises."""
    if found is None:
        return None
    trees = []
    tagged: set[str] = set()
    for name in sorted(found.values):
        if name != "path" and (not name.startswith("path_") or name.startswith("path_confidence")):
            continue
        paths = [str(value) for value in found.values[name].values() if value]
        tagged |= {item for item, value in found.values[name].items() if value}
        branches = _branches([split_path(path) for path in paths])
        facet = name.removeprefix("path").removeprefix("_")
        trees += [Branch(facet, len(paths), branches)] if facet else list(branches)
    kept_back = int(found.summary.get("abstained") or 0)
    if not tagged and not kept_back:
        return None
    were = "was" if len(tagged) == 1 else "were"
    line = f"{counted(len(tagged), 'row')} {were} tagged" + (
        f"; {kept_back:,} were left untagged for want of evidence." if kept_back else "."
    )
    text = "Every row got the most specific tag that is supported. A count holds the rows at a tag and below it."
    text = " ".join([text, *_promises(found)])
    return Told(Section("tags", "Tags", text, tree=trees), [line], tile=Tile(f"{len(tagged):,}", "rows tagged", "tags"))


def _promises(found: Findings) -> list[str]:
    """One sentence a facet: what the threshold promises, or that it promises nothing."""
    said = []
    facets = found.evidence.get("facets") or found.summary.get("facets") or {}
    for name, facet in facets.items():
        where = "" if len(facets) == 1 else f"{name}: "
        tau, bound = facet.get("tau"), facet.get("risk_bound")
        if facet.get("calibrated"):
            most = "" if bound is None else f": at most {share(float(bound), 1)} of the images get a wrong tag"
            said.append(f"{where}calibrated on labelled rows, tau = {number(tau)}{most}.")
        elif tau is None:
            said.append(f"{where}no threshold keeps the risk that was asked on the labelled rows, so nothing is tagged.")
        else:
            said.append(f"{where}uncalibrated: tau = {number(tau)} promises nothing; give labelled rows and a risk.")
    return [one[0].upper() + one[1:] for one in said]


def _branches(paths: Sequence[Sequence[str]]) -> tuple[Branch, ...]:
    below: dict[str, list[Sequence[str]]] = {}
    for path in paths:
        if path:
            below.setdefault(path[0], []).append(path[1:])
    found = [Branch(name, len(rest), _branches(rest)) for name, rest in below.items()]
    return tuple(sorted(found, key=lambda branch: (-branch.count, branch.name)))
