"""Duplicates, sample and clusters as report sections."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.report._words import counted
from curate.report.parts import Bar, Bars, Group, Map, Section, Shown, Step, Tile
from curate.types import Findings, Scalar, split_path

GROUPS = 100
"""Duplicate groups that a report shows; the rest is counted."""

COPIES = 7
"""Copies shown of one group."""

CHOSEN = 120
"""Chosen rows that a report shows."""

CLUSTERS = 120
"""Clusters that a report shows, the largest first."""

TYPICAL = 6
"""Typical rows shown of one cluster."""

LISTED = 200
"""Lines of a long table."""

COLOURED: Mapping[str, str] = {"clusters": "cluster", "duplicates": "duplicate", "sample": "sample", "tag": "path"}
"""Op -> the field that can colour the map."""

KINDS: Mapping[str, str] = {
    "bytes": "same file",
    "pixels": "same pixels",
    "near": "near copy",
    "mirrored": "mirrored copy",
}


PLURAL = {
    "same file": "the same file",
    "same pixels": "the same pixels",
    "near copy": "near copies",
    "mirrored copy": "mirrored copies",
}


@dataclass(frozen=True, slots=True)
class Told:
    """A section with the sentences, the next steps and the number that it adds to the top of the report."""

    section: Section
    found: Sequence[str] = ()
    steps: Sequence[Step] = ()
    tile: Tile | None = None


def share(part: float, whole: float) -> str:
    """A percentage people read: "12 %", "0.4 %", "under 0.1 %"."""
    if not whole or not part:
        return "0 %"
    percent = 100 * part / whole
    if percent < 0.1:
        return "under 0.1 %"
    return f"{percent:.1f} %" if percent < 9.95 and percent != round(percent) else f"{percent:.0f} %"


def number(value: Any) -> str:
    """A measured number with three significant digits; "-" for none."""
    return "-" if value is None else f"{float(value):.3g}"


def duplicates(found: Findings | None, rows: int, dataset: str) -> Told | None:
    """Groups of copies, the kept row first, the surest decisions last: those near the cut are the ones to look at."""
    if found is None:
        return None
    groups = list(found.evidence.get("groups", ()))
    unit = str(found.evidence.get("unit", "distance"))
    copies = [copy for group in groups for copy in group["copies"]]
    if not copies:
        text = "No row was found to be a copy of another."
        return Told(Section("duplicates", "Near duplicates", text), [text], tile=Tile("0", "copies", "duplicates"))
    kinds = Counter(KINDS.get(str(copy.get("kind")), str(copy.get("kind"))) for copy in copies)
    listed = ", ".join(f"{count:,} {kind if count == 1 else PLURAL.get(kind, kind)}" for kind, count in kinds.most_common())
    are = "is a copy" if len(copies) == 1 else "are copies"
    part = f"{counted(len(copies), 'row')} ({share(len(copies), rows)})"
    line = f"{part} {are} of another row, in {counted(len(groups), 'group')}: {listed}."
    groups.sort(key=lambda group: (-_doubt(group), str(group["keep"])))
    text = (
        f"Every copy was compared with the kept row itself. The kept row comes first; the groups worth checking come first. "
        f"The number below a copy is its {unit} from the kept row."
    )
    shown = [_group(group) for group in groups[:GROUPS]]
    left = f"{counted(len(groups) - GROUPS, 'further group')}, decided more surely" if len(groups) > GROUPS else ""
    size = Counter(len(group["copies"]) + 1 for group in groups)
    bars = _size_bars(size)
    section = Section("duplicates", "Near duplicates", text, groups=shown, bars=(bars,), left_out=left)
    quoted = shlex.quote(dataset)
    steps = [
        Step("Look at the pairs around the cut before you act on it", f"curate duplicates --dataset {quoted} --suggest"),
        Step("Copy the kept rows to a folder", f"curate export --dataset {quoted} --only kept --to kept"),
    ]
    return Told(section, [line], steps, Tile(f"{len(copies):,}", f"copies ({share(len(copies), rows)})", "duplicates"))


def _doubt(group: Mapping[str, Any]) -> float:
    sure = [copy.get("evidence", {}).get("probability") for copy in group["copies"]]
    known = [1 - float(p) for p in sure if p is not None]
    if known:
        return max(known)
    return 0.0 if all(copy.get("kind") in ("bytes", "pixels") for copy in group["copies"]) else 0.5


def _group(group: Mapping[str, Any]) -> Group:
    shown = [Shown(str(group["keep"]), ("kept",), "kept")]
    for copy in group["copies"][:COPIES]:
        facts = [KINDS.get(str(copy.get("kind")), str(copy.get("kind")))]
        if copy.get("distance") is not None:
            facts.append(f"distance {number(copy['distance'])}")
        evidence = copy.get("evidence") or {}
        if evidence.get("probability") is not None:
            facts.append(f"sure to {100 * float(evidence['probability']):.1f} %")
        elif evidence.get("decided_by"):
            facts.append(f"by {evidence['decided_by']}")
        shown.append(Shown(str(copy["id"]), facts, "copy"))
    count = len(group["copies"])
    title = f"{count} copies" if count > 1 else "1 copy"
    return Group(title, shown, f"Kept: {group['why']}" if group.get("why") else "", count + 1)


def _size_bars(size: Mapping[int, int]) -> Bars:
    edges = ((2, 2), (3, 3), (4, 5), (6, 10), (11, 10**9))
    names = {2: "2 rows", 3: "3 rows", 4: "4-5 rows", 6: "6-10 rows", 11: "more than 10"}
    counts = {low: sum(n for s, n in size.items() if low <= s <= high) for low, high in edges}
    most = max(counts.values())
    return Bars("Groups by size", [Bar(names[low], n / most, f"{n:,}") for low, n in counts.items() if n])


def sample(found: Findings | None, rows: int, dataset: str) -> Told | None:
    """The chosen rows in order of choice, and how well they cover the rest."""
    if found is None:
        return None
    ids = [str(i) for i in found.evidence.get("ids", ())]
    name, method = str(found.summary.get("name", "sample")), str(found.evidence.get("method", ""))
    if not ids:
        return Told(Section("sample", "Sample", "No row was chosen."), ["No row was chosen for the sample."])
    cover, unit = found.evidence.get("coverage", {}), str(found.evidence.get("unit", "distance"))
    were = "was" if len(ids) == 1 else "were"
    chosen = f"{counted(len(ids), 'row')} ({share(len(ids), rows)})"
    line = f"{chosen} {were} chosen as {name!r} by {method}{_than_random(cover)}."
    text = (
        f"Numbered in the order of choice: the first ones are a sample by themselves. A row is {number(cover.get('mean'))} "
        f"from the nearest chosen one on average and {number(cover.get('max'))} at most ({unit})."
    )
    if found.summary.get("note"):
        text += f" {str(found.summary['note']).capitalize()}."
    shown = [Shown(item, (f"{place}",)) for place, item in enumerate(ids[:CHOSEN], start=1)]
    left = counted(len(ids) - CHOSEN, "further chosen row") if len(ids) > CHOSEN else ""
    section = Section(
        "sample",
        f"Sample {name!r}",
        text,
        [Group("", shown, size=len(ids))],
        _coverage(cover, unit),
        left_out=left,
        grid="sample",
    )
    step = Step("Copy the chosen rows to a folder", f"curate export --dataset {shlex.quote(dataset)} --only sample --to chosen")
    return Told(section, [line], [step], Tile(f"{len(ids):,}", "rows chosen", "sample"))


def _than_random(cover: Mapping[str, Any]) -> str:
    mean, beside = cover.get("mean"), cover.get("random_mean")
    if not mean or not beside:
        return ""
    change = 1 - mean / beside
    if abs(change) < 0.005:
        return ", as near to all rows as a random choice"
    return f", {share(abs(change), 1)} {'nearer to' if change > 0 else 'farther from'} all rows than a random choice"


def _coverage(cover: Mapping[str, Any], unit: str) -> tuple[Bars, ...]:
    charts = []
    for key, title in (
        ("mean", "Mean distance to the nearest chosen row"),
        ("max", "Largest distance to the nearest chosen row"),
    ):
        pair = [("chosen", cover.get(key)), ("random", cover.get(f"random_{key}"))]
        known = [(label, float(value)) for label, value in pair if value is not None]
        most = max([value for _, value in known], default=0.0) or 1.0
        bars = [Bar(label, value / most, number(value)) for label, value in known]
        if bars:
            charts.append(Bars(title, bars, f"in {unit}; shorter is better", strong="chosen"))
    return tuple(charts)


def clusters(found: Findings | None, rows: int) -> Told | None:
    """Every cluster with its most typical rows."""
    if found is None:
        return None
    entries = sorted(found.evidence.get("clusters", ()), key=lambda e: (-int(e["size"]), int(e["cluster"])))
    if not entries:
        return None
    unit = str(found.evidence.get("unit", "distance"))
    line = (
        f"The rows fall into {counted(len(entries), 'cluster')}; the largest holds {share(entries[0]['size'], rows)} of them."
    )
    text = (
        f"Rows that look alike to the model, with the most typical ones first. Spread is the mean distance to the first row "
        f"({unit}). Numbers stay the same from run to run where the rows do."
    )
    groups = []
    for entry in entries[:CLUSTERS]:
        title = f"Cluster {entry['cluster']}" + (f": {entry['description']}" if entry.get("description") else "")
        note = f"{counted(int(entry['size']), 'row')} ({share(entry['size'], rows)}), spread {number(entry.get('spread'))}"
        groups.append(Group(title, [Shown(str(i)) for i in entry["medoids"][:TYPICAL]], note, int(entry["size"])))
    left = counted(len(entries) - CLUSTERS, "smaller cluster") if len(entries) > CLUSTERS else ""
    section = Section("clusters", "Clusters", text, groups, left_out=left, grid="cards")
    return Told(section, [line], tile=Tile(f"{len(entries):,}", "clusters", "clusters"))


def stored_map(findings: Mapping[str, Findings], fields: Mapping[str, Mapping[str, Scalar]]) -> Map | None:
    """The map that `curate map` kept, coloured by cluster, copies, sample, the first tag and the fields given."""
    found = findings.get("map")
    points = found.evidence.get("points", {}) if found is not None else {}
    if found is None or not points:
        return None
    ids = sorted(points)
    place = [points[i] for i in ids]
    trust = found.summary.get("trustworthiness")
    note = f"Made by {str(found.summary.get('method', '')).upper()} from the vectors."
    if trust is not None:
        note += (
            f" Trustworthiness {trust:.2f}: 1 when all neighbours on the map are neighbours in the embedding, 0.5 by chance."
        )
    return Map(ids, [p[0] for p in place], [p[1] for p in place], _colours(ids, findings, fields), note, _third(place))


def _third(place: Sequence[Sequence[float]]) -> list[float]:
    return [p[2] for p in place] if place and len(place[0]) > 2 else []


def _colours(
    ids: Sequence[str], findings: Mapping[str, Findings], fields: Mapping[str, Mapping[str, Scalar]]
) -> dict[str, list[str]]:
    values = {name: found.values.get(key, {}) for name, key in COLOURED.items() if (found := findings.get(name)) is not None}
    colours: dict[str, list[str]] = {}
    if "clusters" in values:
        colours["cluster"] = [str(values["clusters"].get(i, "none")) for i in ids]
    if "duplicates" in values:
        colours["copies"] = ["copy" if str(values["duplicates"].get(i, "")).startswith("copy-of/") else "other" for i in ids]
    if "sample" in values:
        colours["sample"] = ["chosen" if values["sample"].get(i) else "other" for i in ids]
    if "tag" in values:
        colours["tag"] = [split_path(str(values["tag"].get(i) or "untagged"))[0] for i in ids]
    return colours | {name: [str(held.get(i, "none")) for i in ids] for name, held in fields.items() if held}
