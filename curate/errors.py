"""The one tree of exceptions; every class carries the exit code of the command line.

CurateError
├─ ConfigError                   2    file, key or flag: what was given, what is allowed
│  ├─ UnknownName                     a name nobody registered; says the nearest one
│  └─ GeometryError                   the operation needs what this embedder's geometry has not
├─ MissingExtra (ImportError)    2    prints the pip line
├─ ConnectorError                4    a platform said no
│  ├─ AuthError, NotFound        4
│  ├─ Lost                       4    vectors that were acknowledged and are not there
│  └─ Transient                  4    retry_after; the only class that is ever retried
├─ MediaError                    3    one row's bytes; recorded, never ends a run
├─ EmbedderError                 2    wrong size, non-finite, wrong layer for text search
├─ StoreError                    2    Locked (5), WrongVersion, StalePlan, Corrupt
└─ GateFailed                    1    only from `curate check`
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


class CurateError(Exception):
    """Base of everything that `curate` raises on purpose; the message names thing, cause and next step."""

    exit_code = 2


class ConfigError(CurateError):
    """A setting, flag, file or argument cannot be used as given."""


class UnknownName(ConfigError):
    """A name that is not registered, with the nearest ones that are.

    kind: what sort of thing was named ("model", "connector", "key").  known: the names that would work.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(set(known))
        near = difflib.get_close_matches(name, self.known, n=1, cutoff=0.5)
        text = f"unknown {kind} {name!r}"
        text += f"; did you mean {near[0]!r}?" if near else "."
        text += f" Known: {', '.join(self.known) or 'none'}." if len(self.known) <= 20 else ""
        super().__init__(f"{text} {hint}".strip())


class GeometryError(ConfigError):
    """The operation needs something that this embedder's geometry does not have."""


class MissingExtra(CurateError, ImportError):
    """An optional package is not installed; `extra` names what to install it with."""

    def __init__(self, package: str, extra: str, why: str = "") -> None:
        self.package, self.extra = package, extra
        need = f"{why} needs" if why else "this needs"
        super().__init__(f"{need} the package {package!r}: pip install 'curate-vision[{extra}]'")


class ConnectorError(CurateError):
    """A platform or folder could not do what was asked."""

    exit_code = 4


class AuthError(ConnectorError):
    """The platform refused the credentials."""


class NotFound(ConnectorError):
    """The dataset, project or row does not exist there."""


class Lost(ConnectorError):
    """Vectors that the platform acknowledged are not there.  ids: of those rows, which the next push sends again."""

    def __init__(self, message: str, ids: Collection[str]) -> None:
        super().__init__(message)
        self.ids = frozenset(ids)


class Transient(ConnectorError):
    """A failure worth another try.  retry_after: seconds the other side asked for, or None."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class MediaError(CurateError):
    """One row's bytes cannot be read or decoded; recorded with its `reason` code, never ends a run.

    reason: a short stable code such as "truncated", "not_an_image", "too_many_pixels", "http_403".
    """

    exit_code = 3

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


class EmbedderError(CurateError):
    """A model gave, or was asked for, something that cannot be used."""


class StoreError(CurateError):
    """The local store cannot be used as it is."""


class Locked(StoreError):
    """Another process is writing to the store."""

    exit_code = 5


class WrongVersion(StoreError):
    """The store was written by a newer `curate`."""


class StalePlan(StoreError):
    """The dataset changed since the plan was made."""


class Corrupt(StoreError):
    """A file of the store does not match its checksum; the message names it."""


class GateFailed(CurateError):
    """A quality gate of `curate check` failed."""

    exit_code = 1
