"""The ops that a command runs, built from names, curate.toml and flags."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from curate import registry
from curate.cli._session import Session
from curate.errors import ConfigError, UnknownName
from curate.protocols import Connector, CurationOp, Presents


def build_op(name: str, options: Mapping[str, Any], where: str) -> CurationOp:
    """The op `name` with its options.  Raises UnknownName for an option it has not, ConfigError for a value it refuses."""
    kind = registry.load(registry.OPS, name)
    if dataclasses.is_dataclass(kind):
        known = [f.name for f in dataclasses.fields(kind) if f.init]
        for key in options:
            if key not in known:
                raise UnknownName(f"option of op {name!r}", key, known, f"({where})")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    try:
        op: CurationOp = kind(**values)
    except TypeError as err:
        raise ConfigError(f"op {name!r} cannot be built from {dict(options)!r} ({where}): {err}") from err
    return op


def ops_of(
    session: Session, *, names: Sequence[str] = (), sample: str = "", taxonomy: str = "", precision: float | None = None
) -> list[CurationOp]:
    """The ops of `sync`: those named, else the dataset's or the configured ones, plus a sample and tags when asked for.

    names: --ops.  sample: --sample ("500" or "10%").  taxonomy: --taxonomy FILE.  precision: --precision.
    They run in the order duplicates, clusters, tag, the others, sample (which leaves out what the others found).
    """
    entry = session.config.datasets.get(session.target.entry, {})
    chosen = list(names or session["ops"])
    sample = sample or str(entry.get("sample") or "")
    taxonomy = taxonomy or str(entry.get("taxonomy") or "")
    for name, asked in (("sample", sample), ("tag", taxonomy)):
        if asked and name not in chosen:
            chosen.append(name)
    order = {"duplicates": 0, "clusters": 1, "tag": 2, "sample": 9}
    return [
        build_op(name, _options(session, name, sample, taxonomy, precision), f"[ops.{name}]")
        for name in sorted(dict.fromkeys(chosen), key=lambda n: (order.get(n, 5), n))
    ]


def map_ops(connector: Connector) -> list[CurationOp]:
    """The op "map" for a platform that draws maps."""
    from curate.ops.projection import StandingMap

    return [StandingMap()] if isinstance(connector, Presents) else []


def _options(session: Session, name: str, sample: str, taxonomy: str, precision: float | None) -> dict[str, Any]:
    options = dict(session.config.ops.get(name, {}))
    if name == "duplicates":
        if precision is not None:
            options["precision"] = precision
        options.setdefault("precision", session["precision"])
    if name == "sample":
        if sample in session.config.samples:
            options = {**options, **session.config.samples[sample], "called": sample}
        elif sample:
            options["budget"] = sample
        if "budget" not in options:
            raise ConfigError("the op 'sample' needs a budget: --sample 500, --sample 10%, or budget = 500 in [ops.sample]")
    if name == "tag":
        path = taxonomy or str(options.pop("taxonomy", ""))
        if not path:
            raise ConfigError("the op 'tag' needs a taxonomy: --taxonomy FILE, or taxonomy = \"tags.yaml\" in [ops.tag]")
        from curate.taxonomy import read_taxonomy

        options["taxonomy"] = read_taxonomy(path)
    return options
