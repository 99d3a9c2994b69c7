"""Which dataset is meant: `NAME:ID`, or a bare ID that is looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from curate import registry
from curate.config import Config
from curate.errors import ConfigError, CurateError, NotFound, UnknownName
from curate.protocols import Connector

IMPORTED = "vectors"
"""The connector of imported rows that belong to no dataset: a `KeepsRows`."""


@dataclass(frozen=True, slots=True)
class Target:
    """A resolved dataset.

    connector: its name.  dataset_id: as the connector takes it.  address: as shown to the user ("folder:photos").
    entry: the name of its table in curate.toml, or "".  how: why it was resolved so, for the printed line.
    """

    connector: str
    dataset_id: str
    address: str
    entry: str = ""
    how: str = ""

    @property
    def key(self) -> str:
        """What the store files it under."""
        return f"{self.connector}:{self.dataset_id}"


def resolve(
    name: str, config: Config, *, connector: str = "", make: Callable[[str], Connector], configured: Callable[[str], bool]
) -> Target:
    """The dataset that `name` means, in the order of contract.md.

    make: builds the connector of a name.  configured: whether a connector can be asked (credentials or a table are there).
    Raises ConfigError when none or several have it, UnknownName for a connector that is not registered.
    """
    known = registry.names(registry.CONNECTORS)
    if name in config.datasets:
        address = str(config.datasets[name]["address"])
        kind, colon, rest = address.partition(":")
        if not colon or kind not in known:
            raise UnknownName("connector", kind, known, f"(address of dataset {name!r} in {config.path})")
        return _target(kind, rest, make, address=address, entry=name, how=f"dataset {name!r} of {config.path}")
    kind, colon, rest = name.partition(":")
    if connector and colon and kind in known and kind != connector:
        raise ConfigError(f"--dataset {name} and --connector {connector} name two places; leave one of them out")
    if colon and kind in known:
        if not rest:
            raise ConfigError(f"--dataset {name!r}: the ID after the colon is missing, such as {kind}:photos")
        return _target(kind, rest, make, address=name, how="named with its connector")
    if _exists(name):
        passed_over = f", so not asked of {connector}" if connector not in ("", "folder") else ""
        return _target("folder", name, make, address=f"folder:{name}", how=f"an existing path{passed_over}")
    if connector:
        if connector not in known:
            raise UnknownName("connector", connector, known)
        return _target(connector, name, make, address=f"{connector}:{name}", how="--connector")
    if colon and kind.isidentifier() and not rest.startswith("//"):
        raise UnknownName("connector", kind, known)
    return _ask_all(name, [k for k in known if configured(k)], make)


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # too long to be a path, or a null byte in it
        return False


def _target(kind: str, rest: str, make: Callable[[str], Connector], *, address: str, entry: str = "", how: str) -> Target:
    canonical = getattr(make(kind), "canonical", None)
    return Target(kind, canonical(rest) if canonical else rest, address, entry, how)


def _ask_all(name: str, kinds: Iterable[str], make: Callable[[str], Connector]) -> Target:
    found, tried = [], ["an entry of curate.toml", "a path"]
    for kind in kinds:
        try:
            if make(kind).has(name):
                found.append(kind)
            tried.append(f"{kind} (not there)")
        except CurateError as err:
            tried.append(f"{kind} ({err})")
    if len(found) > 1:
        places = ", ".join(f"{kind}:{name}" for kind in found)
        raise ConfigError(f"dataset {name!r} is in several places: {places}. Name one of them.")
    if not found:
        raise NotFound(
            f"dataset {name!r} was not found. Tried: {', '.join(tried)}. "
            f"Say where it is: {', '.join(f'{kind}:ID' for kind in registry.names(registry.CONNECTORS))}."
        )
    return _target(found[0], name, make, address=f"{found[0]}:{name}", how=f"{found[0]} has it")
