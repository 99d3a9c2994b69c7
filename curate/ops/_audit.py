"""How right the decisions are on the user's own images: pairs to judge by eye, the bound that follows, and other cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from curate.errors import ConfigError
from curate.ops._scored import Scored
from curate.types import Findings

YES = {"y", "yes", "1", "true", "copy"}
NO = {"n", "no", "0", "false", "other"}


def drawn(findings: Findings, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """`count` decided copies with their kept rows, drawn evenly from all that pixels or distance decided (not equal bytes)."""
    pairs = [
        {"a": group["keep"], "b": copy["id"], "kind": copy["kind"], "distance": copy["distance"], **copy["evidence"]}
        for group in findings.evidence["groups"]
        for copy in group["copies"]
        if copy["kind"] in ("near", "mirrored")
    ]
    if len(pairs) > count:
        pairs = [pairs[n] for n in sorted(rng.choice(len(pairs), size=count, replace=False))]
    return pairs


def lower_bound(right: int, judged: int, *, confidence: float = 0.95) -> float:
    """The exact one-sided lower bound of a precision: `right` of `judged` drawn pairs are copies (Clopper, Pearson 1934)."""
    from scipy.stats import beta

    if not 0 <= right <= judged:
        raise ConfigError(f"{right} right of {judged} judged pairs is impossible")
    return 0.0 if right == 0 else float(beta.ppf(1 - confidence, right, judged - right + 1))


def read_judgements(rows: Sequence[Mapping[str, str]]) -> tuple[int, int, int]:
    """(right, judged, open) of rows with a column "copy" of yes, no or nothing.  Raises ConfigError for anything else."""
    right = judged = open_ = 0
    for number, row in enumerate(rows, start=2):
        answer = (row.get("copy") or "").strip().lower()
        if not answer:
            open_ += 1
        elif answer in YES | NO:
            judged += 1
            right += answer in YES
        else:
            raise ConfigError(f"line {number}: the column 'copy' says {answer!r}; write yes, no or nothing")
    return right, judged, open_


def other_cuts(scored: Scored, basis: Mapping[str, Any]) -> list[tuple[float, Scored]]:
    """Some stricter and looser cuts, each with the pairs as it would decide them, from strict to loose."""
    if basis["decided_by"] == "pixels":
        cuts = sorted({0.5, 0.7, 0.9, 0.95, 0.98, 0.99, 0.995, float(basis["cut"])}, reverse=True)
        distant = np.isnan(scored.probability)
        return [(cut, replace(scored, decided=np.where(distant, scored.decided, scored.probability >= cut))) for cut in cuts]
    cuts = sorted({round(float(basis["radius"]) * share, 9) for share in (0.25, 0.5, 0.75, 0.9, 1.0)})
    return [(cut, replace(scored, decided=scored.distance <= cut)) for cut in cuts]


def around(scored: Scored, basis: Mapping[str, Any], ids: Sequence[str], count: int) -> list[dict[str, Any]]:
    """The pairs nearest to the cut, half of them on each side."""
    by_pixels = basis["decided_by"] == "pixels"
    value, cut = (scored.probability, basis["cut"]) if by_pixels else (scored.distance, basis["radius"])
    known = np.flatnonzero(np.isfinite(value))
    order = known[np.argsort(np.abs(value[known] - cut), kind="stable")]
    sides = [order[scored.decided[order] == side][: count // 2] for side in (True, False)]
    return [
        {
            "a": ids[scored.i[p]],
            "b": ids[scored.j[p]],
            "decided": bool(scored.decided[p]),
            "distance": float(scored.distance[p]),
            **scored.describe(int(p)),
        }
        for p in np.concatenate(sides)
    ]
