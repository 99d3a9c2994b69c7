"""The scored pairs of a run of `duplicates`, kept so that another cut needs no new search.

Only pairs that some cut could decide are kept: of pixels those at least as likely a copy as not, of distances those within
reach.  What is kept is compact (about 30 bytes a pair) and read in milliseconds; `Graph.stars` cuts it again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.ops._groups import Rows, Stars, star_groups
from curate.ops._keep import Ranking
from curate.ops._pixels import cut_for
from curate.ops._scored import Scored

LOOSEST = 0.5
"""No precision cuts below this probability (`cut_for`)."""

_COLUMNS = ("i", "j", "distance", "probability", "mirrored", "decided", "borderline")


@dataclass(frozen=True, slots=True)
class Graph:
    """Candidate pairs among the rows that any cut could make a copy or keep.

    ids: (n,) of these rows, in id order.  scored: their pairs, rows counted in `ids`.  content: (n,) `same_content`.
    bytes_class: (n,) equal for rows of equal bytes, -1 where nothing is known.  rank: how much each deserves to stay, rows
    counted in `ids`.  sets: (n,) of `between`, or None.  basis: what the decisions rest on, as `Duplicates.scored` says.
    """

    ids: Sequence[str]
    scored: Scored
    content: Rows
    bytes_class: Rows
    rank: Ranking
    sets: Rows | None
    basis: Mapping[str, Any]

    @property
    def by_pixels(self) -> bool:
        """Whether pixels decided (a precision can be asked for), or the distance alone."""
        return bool(self.basis["decided_by"] == "pixels")

    @property
    def reach(self) -> float:
        """The largest distance of a kept pair, at which a distance cut leaves nothing out."""
        widest = float(self.scored.distance.max(initial=0.0))
        return widest if self.by_pixels else max(widest, float(self.basis.get("reach") or self.basis["radius"]))

    def cut(self, *, precision: float | None = None, radius: float | None = None) -> Scored:
        """The same pairs, decided anew; None leaves that side as it is kept.

        precision: where pixels decide, the share of decisions that must be right.  radius: pairs farther apart are no copies;
        where the distance decides, nearer ones are.
        """
        scored = self.scored
        decided = scored.decided
        if self.by_pixels and precision is not None:
            likely = scored.probability[np.isfinite(scored.probability)]
            decided = np.where(np.isnan(scored.probability), decided, scored.probability >= cut_for(likely, precision))
        if radius is not None:
            near = scored.distance <= radius
            by_words = np.isfinite(scored.evidence.get("word_overlap", np.full(len(scored), np.nan)))
            decided = decided & near if self.by_pixels else near | by_words
        return replace(scored, decided=decided)

    def stars(self, scored: Scored, protected: Collection[str] = ()) -> Stars:
        """Groups of the pairs that `scored` decided; rows in `protected` are never called copies."""
        kept = self.protected(protected)
        pairs = np.flatnonzero(scored.decided)
        links = (scored.i[pairs], scored.j[pairs], pairs)
        return star_groups(self.order(kept), self.content, links, protected=kept, sets=self.sets)

    def protected(self, ids: Collection[str]) -> npt.NDArray[np.bool_]:
        """(n,) rows that are protected: those of the run, and `ids`."""
        ours = np.array(self.rank.values.get("protected", np.zeros(len(self.ids))), dtype=bool)
        wanted = set(ids)
        return ours | np.fromiter((i in wanted for i in self.ids), dtype=bool, count=len(self.ids)) if wanted else ours

    def order(self, protected: npt.NDArray[np.bool_]) -> Rows:
        """Rows, protected first, then the most worth keeping."""
        order = np.asarray(self.rank.order, dtype=np.int64)
        return order[np.argsort(~protected[order], kind="stable")]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything as plain arrays, for the store."""
        scored = self.scored
        text = {"ids": list(self.ids), "words": self.rank.words, "criteria": list(self.rank.values), "basis": dict(self.basis)}
        columns: dict[str, npt.NDArray[Any]] = {name: getattr(scored, name) for name in _COLUMNS}
        columns |= {f"evidence/{name}": column for name, column in scored.evidence.items()}
        columns |= {"content": self.content, "bytes_class": self.bytes_class, "order": np.asarray(self.rank.order)}
        columns["criteria"] = np.array(list(self.rank.values.values()), dtype=np.float64).reshape(len(self.rank.values), -1)
        if self.sets is not None:
            columns["sets"] = self.sets
        small = {k: v.astype(np.int32) if v.dtype.kind == "i" else v for k, v in columns.items()}
        return small | {f"text/{name}": _packed(value) for name, value in text.items()}


def graph_from(arrays: Mapping[str, npt.NDArray[Any]]) -> Graph:
    """The inverse of `Graph.arrays`."""
    text = {name: _unpacked(arrays[f"text/{name}"]) for name in ("ids", "words", "criteria", "basis")}
    evidence = {name.removeprefix("evidence/"): column for name, column in arrays.items() if name.startswith("evidence/")}
    columns = {name: arrays[name] for name in _COLUMNS}
    columns |= {name: columns[name].astype(np.int64) for name in ("i", "j")}
    values = dict(zip(text["criteria"], arrays["criteria"].tolist(), strict=True))
    sets = arrays.get("sets")
    return Graph(
        text["ids"],
        Scored(**columns, evidence=evidence),
        arrays["content"].astype(np.int64),
        arrays["bytes_class"].astype(np.int64),
        Ranking(arrays["order"].tolist(), values, text["words"]),
        None if sets is None else sets.astype(np.int64),
        text["basis"],
    )


def kept_pairs(scored: Scored) -> npt.NDArray[np.int64]:
    """The pairs that some cut could decide."""
    return np.flatnonzero(scored.decided | np.isnan(scored.probability) | (scored.probability >= LOOSEST))


def _packed(value: Any) -> npt.NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value, ensure_ascii=False).encode(), dtype=np.uint8)


def _unpacked(array: npt.NDArray[Any]) -> Any:
    return json.loads(array.tobytes())
