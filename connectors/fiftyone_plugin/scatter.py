"""The map as coloured point clouds, and back from a point of a cloud to its sample."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.fiftyone_plugin.reading import class_fields, counted
from curate.store import Store
from curate.types import EmbedderSpec, Scalar, join_path, split_path

COLOURS = (
    "#4e9af1", "#ff8c42", "#3ecf8e", "#e45c7a", "#b58cf5", "#f2c14e", "#46c7d6", "#f48fb1", "#9ccc65", "#c58b6b", "#7f8cff",
    "#ffb3a7",
)  # fmt: skip
"""Clouds by size; all stand out on the App's dark and light backgrounds."""
GREY = "#7d8590"
OTHER, NOTHING = "other", "none"


@dataclass(frozen=True, slots=True)
class Cloud:
    """Points of one colour.  rows: which of the map's points."""

    name: str
    colour: str
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scatter:
    """The map.  ids: (n,).  points: (n, 2 or 3).  clouds: cover every point once; what is drawn last lies on top."""

    ids: Sequence[str]
    points: npt.NDArray[np.float32]
    clouds: Sequence[Cloud]

    def traces(self) -> list[dict[str, Any]]:
        """The clouds as Plotly wants them; coordinates with four digits, for a hundred thousand of them travel."""
        size = 7 if len(self.ids) < 2_000 else 4 if len(self.ids) < 20_000 else 2.5
        found = []
        for cloud in self.clouds:
            x, y = (np.round(self.points[cloud.rows, axis], 4).tolist() for axis in (0, 1))
            found.append(
                {
                    "type": "scattergl",
                    "mode": "markers",
                    "name": cloud.name,
                    "x": x,
                    "y": y,
                    "hoverinfo": "name",
                    "marker": {"size": size, "color": cloud.colour, "opacity": 0.85, "line": {"width": 0}},
                    "selected": {"marker": {"opacity": 1}},
                    "unselected": {"marker": {"opacity": 0.12}},
                }
            )
        return found

    def picked(self, points: Sequence[Mapping[str, Any]]) -> list[str]:
        """Ids of the points that the plot reports: {"trace_idx" or "trace", "idx"} each; unknown ones are left out."""
        names = {cloud.name: n for n, cloud in enumerate(self.clouds)}
        chosen = []
        for point in points:
            cloud, row = point.get("trace_idx", names.get(str(point.get("trace")))), point.get("idx")
            if isinstance(cloud, int) and isinstance(row, int) and cloud < len(self.clouds):
                rows = self.clouds[cloud].rows
                if 0 <= row < len(rows):
                    chosen.append(self.ids[int(rows[row])])
        return list(dict.fromkeys(chosen))


def colourings(store: Store, dataset: str, spec: EmbedderSpec) -> dict[str, str]:
    """What the map can be coloured by: key -> label for people."""
    found = {}
    results = store.summaries(dataset, spec.fingerprint)
    if "clusters" in results:
        found["cluster"] = "cluster"
    if "duplicates" in results:
        found["duplicate"] = "duplicate"
    if "tag" in results:
        paths = [name for name in store.values(dataset, spec.fingerprint, "tag") if name.startswith("path")]
        found |= {name: name.replace("_", " ") for name in sorted(paths) if not name.startswith("path_confidence")}
    return found | {f"field:{name}": name for name in class_fields(store, dataset)} | {"": "one colour"}


def scatter(
    store: Store, dataset: str, spec: EmbedderSpec, by: str, *, duplicate: Mapping[str, str] | None = None
) -> Scatter | None:
    """The stored map coloured by one of `colourings`; None where no map is stored.

    duplicate: id -> "kept" or "copy" at the cut that is shown, instead of the stored decision.
    """
    arrays = store.arrays(dataset, spec.fingerprint, "map")
    if not arrays:
        return None
    ids: list[str] = json.loads(arrays["ids"].tobytes())
    values = _values(store, dataset, spec, by, duplicate)
    return Scatter(ids, arrays["points"], _clouds([values.get(i) for i in ids], by, values))


def _values(
    store: Store, dataset: str, spec: EmbedderSpec, by: str, duplicate: Mapping[str, str] | None
) -> Mapping[str, Scalar]:
    if not by:
        return {}
    if by.startswith("field:"):
        return store.fields(dataset, by.removeprefix("field:"))
    if by == "duplicate":
        if duplicate is not None:
            return duplicate
        stored = store.values(dataset, spec.fingerprint, "duplicates").get("duplicate", {})
        return {i: "kept" if v == "kept" else "copy" for i, v in stored.items()}
    if by == "cluster":
        return store.values(dataset, spec.fingerprint, "clusters").get("cluster", {})
    # Of a path its first two tags: deeper ones would each have a colour of their own.
    paths = store.values(dataset, spec.fingerprint, "tag").get(by, {})
    return {i: join_path(split_path(str(v))[:2]) for i, v in paths.items() if v}


def _clouds(values: Sequence[Scalar], by: str, known: Mapping[str, Scalar]) -> list[Cloud]:
    if not by:
        return [Cloud("samples", COLOURS[0], np.arange(len(values)))]
    order = [name for name, _ in counted(known)]
    if by == "duplicate":
        order = [name for name in ("kept", "copy") if name in order]
    shown = order[: len(COLOURS)]
    place = {name: n for n, name in enumerate(shown)}
    nothing = -1 if by == "duplicate" else -2
    code = np.array([nothing if v is None else place.get(str(v), -1) for v in values], dtype=np.int64)
    rest = "only once" if by == "duplicate" else f"{OTHER} ({len(order) - len(shown)})"
    label = (lambda name: f"cluster {name}") if by == "cluster" else str
    clouds = [Cloud(NOTHING, GREY, np.flatnonzero(code == -2)), Cloud(rest, GREY, np.flatnonzero(code == -1))]
    clouds += [Cloud(label(name), COLOURS[n], np.flatnonzero(code == n)) for name, n in place.items()]
    return [cloud for cloud in clouds if len(cloud.rows)]
