"""The flags that verbs share; which of them a verb takes is said where it is declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click


def _option(*names: str, **settings: Any) -> Callable[[Any], Any]:
    return click.option(*names, **{"default": None, **settings})


FLAGS: Mapping[str, Callable[[Any], Any]] = {
    "dataset": _option("--dataset", metavar="ID", help="NAME:ID such as folder:photos or labelbox:cm1..., or a bare ID."),
    "connector": _option("--connector", metavar="NAME", help="Where a bare ID lives."),
    "offline": _option("--offline", is_flag=True, help="Use no network."),
    "allow_hosts": _option(
        "--allow-host", "allow_hosts", multiple=True, metavar="H", help="A private host that may be fetched from."
    ),
    "endpoint": _option("--endpoint", metavar="URL", help="Another address of the platform (on-premises)."),
    "media_root": _option("--media-root", multiple=True, metavar="PREFIX=DIR", help="Read addresses under PREFIX from DIR."),
    "fiftyone_backend": _option(
        "--fiftyone-backend",
        type=click.Choice(["curate", "sklearn"]),
        help="Similarity search in FiftyOne: compact, needs curate in the App's environment; or FiftyOne's own.",
    ),
    "text_field": _option(
        "--text-field", metavar="COLUMN", help="The column with the text, for a CSV or JSON Lines file as dataset."
    ),
    "model": _option("--model", metavar="NAME", help="Model name, directory, hub id, module:Class or imported vectors."),
    "layer": _option("--layer", metavar="L", help="Which output of the model: projected, pooler."),
    "device": _option("--device", metavar="D", help="auto, cpu, cuda or mps."),
    "dtype": _option("--dtype", metavar="T", help="auto, fp32, bf16 or fp16."),
    "preprocess": _option("--preprocess", metavar="P", help="exact or fast."),
    "max_pixels": _option(
        "--max-pixels", type=int, metavar="N", help="Larger images are refused before decoding (64,000,000)."
    ),
    "batch_size": _option("--batch-size", type=int, metavar="N", help="Rows a batch (0: chosen)."),
    "thumbs": _option("--thumbs", metavar="T", help="Verification thumbnails: on, off or full."),
    "codec": _option("--codec", metavar="C", help="How new vectors are held: f32 or f16."),
    "tolerate_failed": _option("--tolerate-failed", metavar="P", help="Share of rows that may fail with exit 0, such as 1%."),
    "retry_failed": _option("--retry-failed", is_flag=True, default=False, help="Try rows again that failed before."),
    "verify": _option(
        "--verify", is_flag=True, default=False, help="Read every byte of the store first; what is damaged is made again."
    ),
    "seed": _option("--seed", type=int, metavar="N", help="Seed of everything drawn at random (0)."),
    "dry_run": _option("--dry-run", is_flag=True, default=False, help="Push nothing."),
    "yes": _option("--yes", is_flag=True, default=False, help="Answer yes to questions (creating fields)."),
    "store": _option("--store", metavar="DIR", help="Where vectors and results are kept (.curate)."),
    "config": _option("--config", metavar="FILE", help="Configuration (./curate.toml, or [tool.curate] in pyproject.toml)."),
    "as_json": _option(
        "--json", "as_json", is_flag=True, default=False, help="Print one JSON document on stdout and nothing else there."
    ),
    "verbose": click.option("-v", "--verbose", count=True, help="More lines; -vv for all."),
    "quiet": click.option("-q", "--quiet", is_flag=True, help="Only warnings and errors."),
}
"""The flags that verbs share, by the name of their value."""

ALWAYS = ("store", "config", "as_json", "verbose", "quiet")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "dataset": ("dataset", "connector"),
    "network": ("offline", "allow_hosts", "endpoint", "media_root", "text_field"),
    "loading": ("layer", "device", "dtype", "preprocess", "max_pixels"),
    "embedding": ("batch_size", "thumbs", "codec", "tolerate_failed", "retry_failed", "verify"),
    "push": ("dry_run", "yes"),
}
