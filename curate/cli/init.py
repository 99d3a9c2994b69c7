"""`curate init`: a commented curate.toml."""

from __future__ import annotations

from pathlib import Path

import click

from curate.cli._session import Session, verb

TEMPLATE = """\
# curate.toml: what `curate sync` does here.  A flag wins over the environment (CURATE_MODEL, ...), that over this file.
# Every line that is commented out shows its default.  Secrets never stand here: LABELBOX_API_KEY and the like come from
# the environment.

# dataset = "photos"          # used when --dataset is not given; a name below, or an address such as "folder:images"
# model = "openai/clip-vit-base-patch32"   # "pixels" needs no weights; see: curate models
# store = ".curate"           # vectors and results
# device = "auto"             # auto, cpu, cuda, mps
# dtype = "auto"              # auto, fp32, bf16, fp16
# preprocess = "fast"         # exact, fast
# seed = 0
# precision = 0.99            # asked of duplicate decisions: at most 1 in 100 pairs wrong
# ops = ["duplicates", "clusters"]
# vectors = true              # push vectors where the platform takes them
# tolerate_failed = "0%"      # share of rows that may fail with exit 0
# allow_hosts = []            # private hosts that images may be fetched from

# [datasets.photos]
# address = "folder:images"   # or "labelbox:cm1..."
# sample = "500"              # rows worth labeling, or "10%"
# taxonomy = "tags.yaml"      # hierarchy to tag along

# [ops.duplicates]
# keep = ["labeled", "resolution", "sharpness", "size", "oldest"]

# [ops.clusters]
# count = 20

# [check]                     # gates of `curate check`, for CI
# max_duplicate_rate = 0.05
# max_failed_rate = 0.01
"""


@click.command()
@verb()
@click.option("--to", default="curate.toml", metavar="FILE", help="Where to write it (curate.toml).")
def command(session: Session, to: str) -> int:
    """Write a commented curate.toml; an existing file is never overwritten."""
    from curate.errors import ConfigError

    path = Path(to)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError as err:
        raise ConfigError(f"{path} exists already; edit it, or write another with: curate init --to FILE") from err
    except OSError as err:
        raise ConfigError(f"{path}: cannot be written: {err.strerror}") from err
    session.emit({"path": str(path)}, f"wrote {path}; see what holds with: curate config show --origin")
    return 0
