"""What `curate` itself made in a workspace: fields and embeddings, by name; kept beside the results."""

from __future__ import annotations

import json
from pathlib import Path


def note_created(folder: Path, kind: str, name: str) -> None:
    """Remembers that `curate` made a field or embedding, so that undo can offer to remove it."""
    path = folder / "created.json"
    known = created(folder)
    if name not in known.setdefault(kind, []):
        known[kind].append(name)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")
    temporary.replace(path)


def created(folder: Path) -> dict[str, list[str]]:
    """What `curate` made in the workspace: "fields" and "embeddings" by name."""
    path = folder / "created.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
