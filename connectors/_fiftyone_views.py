"""Saved views of what curate found: by tags and fields, so that they show what is true now, and never lists of ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from connectors._fiftyone_rows import Place

PREFIX = "curate: "
MADE = "Made by curate"
"""How the description of a view of ours begins."""
COLORS = {"duplicates": "#ff6d04", "kept": "#3ca34d", "unsure": "#b58900", "sample": "#6d04ff"}
UNSURE = 0.8
"""Tags below this confidence are shown as unsure."""
MOST_SAMPLES = 50
"""So many named samples get a view each; more would bury the others in the App's list."""


class SavedViews:
    """The saved views "curate: ..." over the document `name`."""

    def __init__(self, name: str, *, notify: Callable[[str], None]) -> None:
        self._name, self._notify = name, notify

    def wanted(self, place: Place, held: Sequence[str]) -> dict[str, tuple[Any, str]]:
        """Name -> (view, what it shows), as the dataset is now.  held: our fields that there are."""
        from fiftyone import ViewField

        images, found = place.images(), dict[str, tuple[Any, str]]()
        if "duplicate" in held:
            found["duplicates"] = images.match_tags("curate:duplicate"), "near copies of a kept image"
            found["kept"] = images.match_tags("curate:duplicate", bool=False), "everything but the copies"
        if "sample" in held:
            names = sorted(str(name) for name in place.everything().distinct(f"{self._name}.sample"))
            for name in names[:MOST_SAMPLES]:
                view = images.match(ViewField(f"{self._name}.sample") == name)
                found[f"sample {name}"] = view, f"images chosen for {name}"
            if len(names) > MOST_SAMPLES:
                self._notify(f"{len(names)} samples are named; the first {MOST_SAMPLES} have a saved view")
        if "path" in held and "path_confidence" in held:
            confidence = ViewField(f"{self._name}.path_confidence")
            doubtful = (confidence == None) | (confidence < UNSURE)  # noqa: E711 - an expression of the database
            shown = images.match(doubtful).sort_by(f"{self._name}.path_confidence")
            found["unsure"] = shown, "no hierarchy tag, or one of little confidence, the least sure first"
        return {PREFIX + name: entry for name, entry in found.items()}

    def lacking(self, place: Place, held: Sequence[str]) -> list[str]:
        """The views that should be there, or should not, and are not so: what a push that died left undone."""
        wanted, there = set(self.wanted(place, held)), self._there(place)
        ours = {name for name, mine in there.items() if mine}
        return sorted((wanted - set(there)) | (ours - wanted))

    def settle(self, place: Place, held: Sequence[str]) -> None:
        """Makes, renews and takes away our views; one of that name that is somebody else's stays as it is."""
        wanted, there, dataset = self.wanted(place, held), self._there(place), place.dataset
        for name, (view, shows) in wanted.items():
            if not there.get(name, True):
                self._notify(f"the saved view {name!r} is not one of curate's, so it stays as it is; rename it to get ours")
                continue
            color = COLORS[name.removeprefix(PREFIX).partition(" ")[0]]
            dataset.save_view(name, view, description=f"{MADE}: {shows}", color=color, overwrite=True)
        for name, mine in there.items():
            if mine and name not in wanted:
                dataset.delete_saved_view(name)

    def _there(self, place: Place) -> dict[str, bool]:
        """Saved views that are called as ours are -> whether they are ours."""
        views = place.dataset.list_saved_views(info=True)
        named = [view for view in views if view["name"].startswith(PREFIX)]
        return {view["name"]: str(view.get("description") or "").startswith(MADE) for view in named}
