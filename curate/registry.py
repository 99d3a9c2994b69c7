"""Names of connectors, embedders, ops and commands -> the classes behind them, through entry points, loaded when asked for."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from curate.errors import ConfigError, CurateError, UnknownName

CONNECTORS = "curate.connectors"
EMBEDDERS = "curate.embedders"
OPS = "curate.ops"
COMMANDS = "curate.commands"
_KINDS = {CONNECTORS: "connector", EMBEDDERS: "model", OPS: "op", COMMANDS: "command"}


@cache
def _points(group: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        # An editable install beside a wheel lists the same entry twice; two packages with one name would be a silent choice.
        if point.name in found and found[point.name].value != point.value:
            raise ConfigError(
                f"two packages register the {_KINDS[group]} {point.name!r}: {found[point.name].value} and {point.value}. "
                "Uninstall one of them."
            )
        found[point.name] = point
    return found


def names(group: str) -> list[str]:
    """Every registered name of a group (`CONNECTORS`, `EMBEDDERS`, `OPS`, `COMMANDS`), sorted; imports nothing."""
    return sorted(_points(group))


def source(group: str, name: str) -> str:
    """Where a registered name leads: "module:attribute"."""
    return _points(group)[name].value


def load(group: str, name: str) -> Any:
    """The class or function behind a name.  Raises UnknownName with the nearest name, ConfigError if it cannot be imported."""
    points = _points(group)
    if name not in points:
        raise UnknownName(_KINDS[group], name, points)
    try:
        return points[name].load()
    except CurateError:
        raise
    except (ImportError, AttributeError) as err:
        raise ConfigError(f"the {_KINDS[group]} {name!r} ({points[name].value}) cannot be imported: {err}") from err
