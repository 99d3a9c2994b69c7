"""What a platform may offer beyond rows, fields and vectors: limits, vectors of its own, labeling projects.

A connector offers any of the protocols `Prepares`, `HoldsVectors`, `HasProjects` and `Presents`; one that offers none is
served by the same calls, which then do nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.errors import ConfigError, EmbedderError
from curate.geometry import norms
from curate.protocols import Connector, HasProjects, HoldsVectors, Prepares, Presentation, Presents
from curate.store import Store
from curate.types import Applied, Batch, EmbedderSpec, Facts, Failure, Findings, Item, Plan, Vectors

HELD = "platform:"
"""Models of this prefix are vectors that the platform holds."""
BATCH = 1000


@dataclass
class HeldVectors:
    """A model whose vectors come from the platform: nothing is downloaded but them, and nothing computed."""

    source: HoldsVectors
    dataset_id: str
    spec: EmbedderSpec
    reason: str = "no_platform_vector"
    """Reason code of a row without a vector."""

    @classmethod
    def of(cls, connector: Connector, dataset_id: str, name: str) -> HeldVectors:
        """The vectors of "platform:NAME".  Raises ConfigError where the platform holds none, NotFound for an unknown name."""
        if not isinstance(connector, HoldsVectors):
            raise ConfigError(
                f"{connector.name} holds no vectors of its own, so there is no model {name!r}; try --model pixels"
            )
        return cls(connector, dataset_id, connector.model_spec(name))

    def prepare(self, data: bytes) -> Any:
        """Refuses: what made these vectors is not here."""
        raise EmbedderError(f"{self.spec.name} only has the vectors of rows that the platform made; it embeds nothing new")

    def embed(self, batch: Sequence[Any]) -> Vectors:
        """Refuses, as `prepare` does."""
        return self.prepare(b"")  # type: ignore[no-any-return]

    def batches(self, todo: Sequence[Item], *, stop: Callable[[], bool] = lambda: False) -> Iterator[Batch]:
        """Vectors of the rows in `todo`, a batch at a time, until `stop` says True.

        A row without one is a failure, tried again in the next run.
        """
        if not todo:
            return
        left = {item.id: item for item in todo}
        items: list[Item] = []
        rows: list[Vectors] = []
        for item_id, vector in self.source.model_vectors(self.dataset_id, self.spec, set(left)):
            if item_id in left and self._usable(vector):
                items.append(left.pop(item_id))
                rows.append(vector)
                if len(items) == BATCH:
                    yield self._batch(items, rows)
                    items, rows = [], []
                    if stop():
                        return
        if items:
            yield self._batch(items, rows)
        gone = [Failure(i.id, i.version, self.reason, self.spec.name, retry=True) for i in left.values()]
        if gone:
            yield Batch((), (), np.empty((0, self.spec.dim), np.float32), (), (), gone)

    def _usable(self, vector: Vectors) -> bool:
        fine = vector.shape == (self.spec.dim,) and bool(np.isfinite(vector).all())
        return fine and (self.spec.geometry != "cosine" or bool(norms(vector[None])[0] > 0))

    @staticmethod
    def _batch(items: Sequence[Item], rows: Sequence[Vectors]) -> Batch:
        nothing = (None,) * len(items)
        return Batch([i.id for i in items], [i.version for i in items], np.stack(rows), (Facts(),) * len(items), nothing)


class _Nothing:
    """A platform that holds no vectors."""

    def models(self, dataset_id: str) -> list[str]:
        """None."""
        return []

    def model_spec(self, name: str) -> EmbedderSpec:
        """Refuses every name."""
        raise ConfigError(f"no vectors are called {name!r}")

    def model_vectors(self, dataset_id: str, spec: EmbedderSpec, ids: Collection[str]) -> Iterator[tuple[str, Vectors]]:
        """None."""
        return iter(())


def imported_vectors(dataset_id: str, spec: EmbedderSpec) -> HeldVectors:
    """The model behind vectors that were imported: the store has what there is, a row without one is a failure."""
    return HeldVectors(_Nothing(), dataset_id, spec, reason="not_imported")


def pushable(connector: Connector, spec: EmbedderSpec, *, vectors: bool) -> EmbedderSpec | None:
    """The spec whose vectors would be pushed: None when none are wanted, taken, or they came from the platform itself."""
    return spec if vectors and connector.takes_vectors and not spec.name.startswith(HELD) else None


def vector_target(connector: Connector, spec: EmbedderSpec) -> str:
    """What the store files pushed vectors under; where a connector names their place, another place gets them again."""
    named = getattr(connector, "vector_target", None)
    return str(named(spec)) if named else connector.name


def fitting(
    connector: Connector, dataset_id: str, *, spec: EmbedderSpec | None, fields: Collection[str], create: bool
) -> Collection[str] | None:
    """The fields that the platform has a place for, None for all; checks before any compute that the vectors have one too."""
    if not isinstance(connector, Prepares):
        return None
    return connector.prepare(dataset_id, spec=spec, fields=fields, create=create)


def project_extras(connector: Connector, findings: Mapping[str, Findings]) -> dict[str, Any]:
    """What the plan does in labeling projects, by connector name: {} for nothing."""
    if not isinstance(connector, HasProjects):
        return {}
    chosen = findings["sample"].values.get("sample", {}) if "sample" in findings else {}
    sample = (
        {"name": findings["sample"].summary.get("name"), "ids": sorted(i for i, v in chosen.items() if v)} if chosen else None
    )
    duplicate = findings["duplicates"].values.get("duplicate", {}) if "duplicates" in findings else {}
    copies = sorted(i for i, value in duplicate.items() if str(value).startswith("copy-of/"))
    extras = connector.plan_extras(sample, copies)
    return {connector.name: dict(extras)} if extras else {}


MAP = "map"
"""The op whose findings hold a map."""


def remember_towers(store: Store, embedder: Any) -> None:
    """Notes whether the model behind vectors can also place texts, for those who show them later without it."""
    key, text = f"text-tower:{embedder.spec.fingerprint}", getattr(embedder, "embed_text", None) is not None
    if store.cached(key) != text:
        store.keep(key, text)


def presentation(store: Store, dataset: str, spec: EmbedderSpec | None) -> Presentation:
    """What a platform could show of the stored vectors of `spec`: their map, and whether texts can be searched for."""
    if spec is None:
        return Presentation()
    found = store.findings(dataset, spec.fingerprint).get(MAP)
    live = store.embedded_ids(dataset, spec.fingerprint) if found else ()
    points = found.evidence["points"] if found else {}
    made = (
        [store.basis(dataset), spec.fingerprint, *(found.summary.get(key) for key in ("method", "dims", "seed"))]
        if found
        else []
    )
    # Named by what it was made from: the last digits of its points depend on the number of threads.
    name = hashlib.sha256(json.dumps(made).encode()).hexdigest()[:16] if made else ""
    text = bool(store.cached(f"text-tower:{spec.fingerprint}"))
    return Presentation(spec, {i: points[i] for i in live if i in points}, name, text)


def shown_anew(store: Store, connector: Connector, dataset: str, dataset_id: str, spec: EmbedderSpec | None) -> dict[str, Any]:
    """What the platform would show that it does not show yet, by connector name: {} for nothing."""
    if not isinstance(connector, Presents):
        return {}
    extras = connector.plan_presentation(dataset_id, presentation(store, dataset, spec))
    return {connector.name: dict(extras)} if extras else {}


def present(store: Store, connector: Connector, dataset_id: str, plan: Plan) -> None:
    """Has the platform show what was pushed."""
    extras = plan.extras.get(connector.name, {})
    if isinstance(connector, Presents) and (extras or plan.vectors):
        connector.present(dataset_id, extras, presentation(store, plan.dataset_id, plan.spec))


def push_extras(connector: Connector, dataset_id: str, plan: Plan) -> Applied:
    """Does what the plan says about projects.  Raises ConfigError when the connector has none."""
    extras = plan.extras.get(connector.name)
    if not extras or isinstance(connector, Presents):
        return Applied()
    if not isinstance(connector, HasProjects):
        raise ConfigError(f"{connector.name} has no projects, and the plan says what to do in one")
    return connector.push_extras(dataset_id, extras)


def undo_extras(connector: Connector, dataset_id: str, plan: Plan) -> int:
    """Takes it back; returns how many things."""
    extras = plan.extras.get(connector.name)
    if extras and isinstance(connector, Presents):
        return connector.withdraw(dataset_id, extras)
    return connector.undo_extras(dataset_id, extras) if extras and isinstance(connector, HasProjects) else 0


def shown_extras(plan: Plan) -> list[str]:
    """One line for people about each thing that the plan does in projects."""
    lines: list[str] = []
    for extras in plan.extras.values():
        lines += extras.get("shown") or ()
        for batch in extras.get("batches") or ():
            rows = f"{len(batch['rows']):,} rows to project {batch['project']}, priority {batch['priority']}"
            lines.append(f"batch {batch['name']!r}: {rows}")
        change = extras.get("priority")
        if change:
            lines.append(
                f"priority {change['after']} for {len(change['before']):,} copies that wait in project {change['project']}"
            )
    return lines
