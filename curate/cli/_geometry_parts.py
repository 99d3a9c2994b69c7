"""What `curate map --texts` and `curate traverse` measured, kept for the report: distances of texts, captions met, walks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.report import Bars, Histogram
    from curate.store import Store

WALKS = 4
"""How many walks the report shows: the last ones, one for each image."""


def spread_key(dataset: str, fingerprint: str) -> str:
    """Where the distribution of images and texts is kept."""
    return f"spread:{dataset}:{fingerprint}"


def walks_key(dataset: str, fingerprint: str) -> str:
    """Where the last walks are kept."""
    return f"walks:{dataset}:{fingerprint}"


def keep_walk(store: Store, key: str, walk: Mapping[str, Any]) -> None:
    """Adds a walk; an older one of the same image goes, and the oldest beyond the last four."""
    kept = [one for one in store.cached(key) or [] if one["image"] != walk["image"]]
    store.keep(key, [*kept, dict(walk)][-WALKS:])


def geometry_parts(store: Store, dataset: str, fingerprint: str) -> tuple[list[Histogram], list[Bars]]:
    """Charts of what is kept; none for what was not measured."""
    return _texts(store.cached(spread_key(dataset, fingerprint))), [
        *_captions(store.cached(spread_key(dataset, fingerprint))),
        *(_walk(one) for one in store.cached(walks_key(dataset, fingerprint)) or []),
    ]


def _texts(spread: Mapping[str, Any] | None) -> list[Histogram]:
    from curate.report import Histogram

    if not spread:
        return []
    depth = spread["from_root"]
    note = (
        f"A text is nearer to [ROOT] than an image with probability {depth['separation']:.2f} (0.5: no order; near 1 only with "
        f"the entailment loss). Modality gap {spread['modality_gap']:.3g}."
    )
    return [Histogram("Distance of texts from [ROOT]", depth["unit"], depth["texts"]["edges"], depth["texts"]["counts"], note)]


def _captions(spread: Mapping[str, Any] | None) -> list[Bars]:
    from curate.report import Bar, Bars

    met = spread and spread["captions_met"]
    if not met:
        return []
    most = max(met["counts"].values())
    bars = [Bar(f"{number} texts", count / most, f"{count:,} images") for number, count in met["counts"].items()]
    note = f"Over {met['images']:,} images, 50 steps each; mean {met['mean']:.1f}."
    return [Bars("Texts met on the way to [ROOT]", bars, note)]


def _walk(walk: Mapping[str, Any]) -> Bars:
    from curate.report import Bar, Bars

    last = max(walk["steps"] - 1, 1)
    bars = [
        Bar(one["text"], 1 - one["step"] / last, f"from step {one['step']}, {one['distance']:.3g} away") for one in walk["met"]
    ]
    note = f"The bar is what is left of the way when the text is met first; {walk['steps']} steps; {walk['unit']}."
    return Bars(f"From {walk['image']} to [ROOT]", bars, note)
