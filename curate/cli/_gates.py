"""From the store to what the gates look at."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from curate.cli._session import Session
from curate.cli._target import Target
from curate.errors import ConfigError, Corrupt
from curate.gates import DRIFT_SAMPLE, Stored, drift
from curate.store import Store
from curate.types import EmbedderSpec, Vectors


def baseline_path(store: Store, target: Target, spec: EmbedderSpec) -> Path:
    """Where the baseline of a dataset's vectors is kept; its name carries the fingerprint."""
    import hashlib

    name = hashlib.sha256(target.key.encode()).hexdigest()[:12]
    return store.path / "baselines" / f"{name}-{spec.fingerprint}.npz"


def drawn(store: Store, target: Target, spec: EmbedderSpec, seed: int) -> Vectors:
    """A seeded sample of the stored vectors: (m, d), m <= 2,000, every row when there are fewer."""
    ids = store.embedded_ids(target.key, spec.fingerprint)
    if not ids:
        raise ConfigError(f"no vectors of {spec.name} for {target.address}; compute them with: curate embed")
    if len(ids) > DRIFT_SAMPLE:
        picked = np.random.default_rng(seed).choice(len(ids), DRIFT_SAMPLE, replace=False)
        ids = [ids[i] for i in sorted(picked)]
    return store.embeddings(target.key, spec.fingerprint, ids=ids).vectors


def stored_of(session: Session, store: Store, target: Target) -> Stored:
    """The numbers of a dataset's stored results."""
    spec = session.stored_spec(store, target)
    session.warn_outdated(store, target, spec)
    findings = store.findings(target.key, spec.fingerprint)
    copies = tagged = untagged = None
    if "duplicates" in findings:
        values = findings["duplicates"].values.get("duplicate", {})
        copies = {i: str(v).removeprefix("copy-of/") for i, v in values.items() if str(v).startswith("copy-of/")}
    if "tag" in findings:
        summary = findings["tag"].summary
        tagged, untagged = int(summary["tagged"]), int(summary["abstained"])
    # Rows that no run came to yet have no vector either: an interrupted sync must not pass.
    failed = len(
        {f.id for f in store.failures(target.key, spec.fingerprint)} | {i.id for i in store.missing(target.key, spec)}
    )
    baseline = baseline_path(store, target, spec)

    def drifted() -> float:
        return drift(spec.space, _read_baseline(baseline), drawn(store, target, spec, session["seed"] + 1))

    return Stored(
        rows=len(store.embedded_ids(target.key, spec.fingerprint)) + failed,
        failed=failed,
        copies=copies,
        tagged=tagged,
        untagged=untagged,
        fields={name: store.fields(target.key, name) for name in store.field_names(target.key)},
        results=frozenset(findings),
        drift=drifted if baseline.exists() else None,
    )


def _read_baseline(path: Path) -> Vectors:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            found: Vectors = kept["vectors"]
            return found
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as err:
        raise Corrupt(f"the baseline {path} is damaged ({err}): keep a new one with curate baseline save") from err


def save_baseline(session: Session, store: Store, target: Target) -> tuple[Path, int]:
    """Keeps a sample of the vectors as they are now; returns where, and how many."""
    spec = session.stored_spec(store, target)
    vectors = drawn(store, target, spec, session["seed"])
    path = baseline_path(store, target, spec)
    path.parent.mkdir(exist_ok=True)
    building = path.with_suffix(".tmp")
    with building.open("wb") as file:
        np.savez_compressed(file, vectors=vectors, spec=np.array(json.dumps(spec.as_dict())))
    building.replace(path)
    return path, len(vectors)
