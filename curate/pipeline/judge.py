"""Third stage: ops judge the vectors; their findings are kept in the store."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from curate import media
from curate.errors import ConfigError
from curate.pipeline import Reporter, Silent
from curate.protocols import Context, CurationOp
from curate.store import Store
from curate.types import Embeddings, Findings, Pixels, Scalar, Vectors

FACTS = ("width", "height", "size_bytes", "content_hash", "pixel_hash", "uri")


def context_of(
    store: Store,
    dataset: str,
    embeddings: Embeddings,
    *,
    seed: int = 0,
    findings: Mapping[str, Findings] | None = None,
    embed_text: Callable[[Sequence[str]], Vectors] | None = None,
    embed_pixels: Callable[[Sequence[Pixels]], Vectors] | None = None,
    logit: str = "",
    logit_scale: float | None = None,
    reporter: Reporter | None = None,
    op: str = "",
) -> Context:
    """What an op may look at, read from the store when it asks.

    The generator is seeded by `seed` and the op's name, so that leaving one op out does not change another's draw.
    """
    ids = embeddings.ids

    def pixels(item_id: str) -> Pixels | None:
        thumb = store.thumb(dataset, item_id)
        return None if thumb is None else media.read_thumbnail(thumb)

    def field(name: str) -> Sequence[Scalar]:
        values = store.fields(dataset, name)
        if not values:
            known = ", ".join(store.field_names(dataset)) or "none"
            raise ConfigError(f"no row of {dataset} has a field {name!r}. Fields there are: {known}")
        return [values.get(i) for i in ids]

    @functools.cache
    def fact(name: str) -> Sequence[Any]:
        if name not in FACTS:
            raise ConfigError(f"unknown fact {name!r}; known: {', '.join(FACTS)}")
        if name == "uri":
            uris = {item.id: item.uri for item in store.items(dataset)}
            return [uris.get(i, "") for i in ids]
        return [getattr(facts, name) for facts in store.facts(dataset, ids)]

    def previous(name: str) -> Sequence[Scalar]:
        values = store.previous(dataset, name)
        return [values.get(i) for i in ids]

    return Context(
        rng=np.random.default_rng([seed, zlib.crc32(op.encode())]),
        pixels=pixels,
        field=field,
        fact=fact,
        previous=previous,
        findings=dict(findings or {}),
        embed_text=embed_text,
        embed_pixels=embed_pixels,
        logit=logit,
        logit_scale=logit_scale,
        cached=store.cached,
        keep=store.keep,
        progress=(reporter or Silent()).progress,
        band=lambda radius: _band(store, dataset, embeddings.spec.fingerprint, radius),
    )


def _band(store: Store, dataset: str, fingerprint: str, radius: float) -> tuple[float, float] | None:
    """The widest band of the codecs that the vectors are held in; see `Context.band`."""
    held = store.codecs(dataset, fingerprint)
    for codec in held:
        if not codec.decides_duplicates:
            raise ConfigError(
                f"the vectors are held as {codec.name}, which has too few bits to decide duplicates: compute them again, "
                "or import them, and compress to int4 at most"
            )
    bands = [codec.bound.band(radius) for codec in held if codec.bound is not None]
    return (min(b.low for b in bands), max(b.high for b in bands)) if bands else None


def judge(
    store: Store,
    dataset: str,
    embeddings: Embeddings,
    ops: Sequence[CurationOp],
    *,
    seed: int = 0,
    embed_text: Callable[[Sequence[str]], Vectors] | None = None,
    embed_pixels: Callable[[Sequence[Pixels]], Vectors] | None = None,
    logit: str = "",
    logit_scale: float | None = None,
    reporter: Reporter | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Findings]:
    """Runs `ops` in order over the same vectors; each sees what the earlier ones found.  Returns findings by op name.

    stop: asked before each op; once it says True, KeyboardInterrupt is raised.
    Findings of earlier runs on the same vectors stand in for ops that are not run now (a sample leaves out known copies).
    """
    fingerprint = embeddings.spec.fingerprint
    known = store.findings(dataset, fingerprint)
    fresh: dict[str, Findings] = {}
    for op in ops:
        if stop():
            raise KeyboardInterrupt
        context = context_of(
            store,
            dataset,
            embeddings,
            seed=seed,
            findings={**known, **fresh},
            embed_text=embed_text,
            embed_pixels=embed_pixels,
            logit=logit,
            logit_scale=logit_scale,
            reporter=reporter,
            op=op.name,
        )
        found = op(embeddings, context)
        strange = set(found.values) - op.owns
        if strange:
            raise ConfigError(f"op {op.name!r} wrote fields it does not own: {', '.join(sorted(strange))}")
        fresh[op.name] = found
        store.save_findings(dataset, fingerprint, found)
    return fresh
