"""What `curate` itself made in a workspace: fields and embeddings by name, batches by project and name; beside the results."""

from __future__ import annotations

import json
from pathlib import Path


def note_created(folder: Path, kind: str, name: str) -> None:
    """Remembers that `curate` made something: a field or embedding that undo can remove, a batch that is complete."""
    known = created(folder)
    if name not in known.setdefault(kind, []):
        known[kind].append(name)
        _write(folder, known)


def forget_created(folder: Path, kind: str, name: str) -> None:
    """Takes back what `note_created` noted."""
    known = created(folder)
    if name in known.get(kind, ()):
        known[kind].remove(name)
        _write(folder, known)


def created(folder: Path) -> dict[str, list[str]]:
    """What `curate` made in the workspace: "fields" and "embeddings" by name, "batches" by project and name."""
    try:
        return dict(json.loads((folder / "created.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):  # cut by a power failure: a cache, which costs only the offer to remove things
        return {}


def _write(folder: Path, known: dict[str, list[str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "created.new"
    temporary.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")
    temporary.replace(folder / "created.json")
