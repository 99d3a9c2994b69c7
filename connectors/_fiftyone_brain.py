"""The brain runs that make FiftyOne's own panels work on our vectors: a similarity search and a map.

Vectors are kept in sidecars in the store's results, one folder a model; maps beside them.  A run of the database names the one
it shows, so that another model's can be shown again by an undo.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from connectors._fiftyone_rows import Place
from curate.errors import ConfigError
from curate.protocols import Presentation
from curate.types import EmbedderSpec, Vectors

CODECS = {"curate": "int8+2", "sklearn": "f32"}
"""Backend -> the codec of its sidecar: FiftyOne's own keeps floats in the database, and takes them from here."""
METRICS = {"cosine": "cosine", "euclidean": "euclidean"}
ALIKE = 1e-3
"""Maps that differ by less than this share of their extent are the same map: threads add up in another order."""


class BrainRuns:
    """The runs `similarity_key` and `map_key` of the datasets of one database."""

    def __init__(self, folder: Path, *, backend: str, similarity_key: str, map_key: str, notify: Callable[[str], None]) -> None:
        self._folder, self.backend, self._notify = folder, backend, notify
        self.similarity_key, self.map_key = similarity_key, map_key

    def check(self, place: Place) -> None:
        """Raises ConfigError when a brain run of our name is somebody else's."""
        for key, option in ((self.similarity_key, "similarity_key"), (self.map_key, "map_key")):
            config = _config(place, key)
            if config is not None and config.get("made_by") != "curate":
                kind = f"{config.get('type')} by {config.get('method')}"
                raise ConfigError(
                    f"the brain run {key!r} of dataset {place.name!r} ({kind}) was not made by curate. Rename it with "
                    f"dataset.rename_brain_run({key!r}, ...), or name ours otherwise: {option} = ... in [connectors.fiftyone]"
                )

    # vectors

    def home(self, place: Place) -> Path:
        """The folder of a dataset: by its id, for names can be given again."""
        return self._folder / str(place.dataset._doc.id)

    def name_of(self, spec: EmbedderSpec) -> str:
        """The name of the folder of a model's vectors."""
        return f"{spec.fingerprint}-{CODECS[self.backend]}"

    def token(self, place: Place, spec: EmbedderSpec) -> str:
        """What the vectors of a model are known by; "new" where there are none yet."""
        from connectors.fiftyone_plugin._sidecar import Sidecar

        folder = self.home(place) / self.name_of(spec)
        return f"{place.dataset._doc.id}:{folder.name}:{Sidecar.open(folder).token if folder.is_dir() else 'new'}"

    def add(self, place: Place, spec: EmbedderSpec, ids: Sequence[str], vectors: Vectors) -> None:
        """Keeps vectors of samples, durably; a second time they replace the first."""
        from connectors.fiftyone_plugin._sidecar import Sidecar

        if self.backend == "sklearn" and spec.geometry not in METRICS:
            raise ConfigError(
                f"FiftyOne's sklearn backend knows no {spec.geometry} distance; use --fiftyone-backend curate for {spec.name}"
            )
        Sidecar.create(self.home(place) / self.name_of(spec), spec, CODECS[self.backend]).append(ids, vectors)

    # what is shown

    def differs(self, place: Place, presentation: Presentation) -> dict[str, Mapping[str, str | None]]:
        """What a push would show anew: {"similarity" | "map": {"before", "after"}}; {} when all of it is shown already."""
        spec, points = presentation.spec, presentation.points
        found: dict[str, Mapping[str, str | None]] = {}
        if spec is None:
            return found
        config = _config(place, self.similarity_key)
        before, after = (str(config["shows"]) if config else None), self.name_of(spec)
        if before != after or self._gone(place, spec) or self._outdated(place, spec):
            found["similarity"] = {"before": before, "after": after}
        if points:
            config = _config(place, self.map_key)
            before, after = (str(config["shows"]) if config else None), presentation.map_name
            if before is None or (before != after and not _alike(self._map(place, before), points)):
                found["map"] = {"before": before, "after": after}
        return found

    def _outdated(self, place: Place, spec: EmbedderSpec) -> bool:
        """Whether the run is of another folder (the store was moved, the dataset cloned), or holds other vectors itself."""
        from connectors.fiftyone_plugin._sidecar import Sidecar

        folder = self.home(place) / self.name_of(spec)
        config = _config(place, self.similarity_key) or {}
        if not folder.is_dir():
            return False
        if self.backend != "sklearn":
            return config.get("sidecar") != str(folder.absolute())
        return config.get("stamp") != str(Sidecar.open(folder).stamp)

    def _gone(self, place: Place, spec: EmbedderSpec) -> set[str]:
        """Samples of a sidecar that were deleted."""
        from connectors.fiftyone_plugin._sidecar import Sidecar

        folder = self.home(place) / self.name_of(spec)
        ids = {str(i) for i in Sidecar.open(folder).read()[0]} if folder.is_dir() else set()
        return ids - set(place.everything().values("id")) if ids else set()

    def show_similarity(self, place: Place, name: str, *, text: bool) -> None:
        """Makes the similarity run of the vectors in the folder `name`.  text: the model has a text tower."""
        from connectors.fiftyone_plugin._sidecar import Sidecar

        sidecar = Sidecar.open(self.home(place) / name)
        gone = self._gone(place, sidecar.spec)
        if gone:
            sidecar.drop(gone)
        self.hide(place, self.similarity_key)
        try:
            self._make_similarity(place, sidecar, text)
        except Exception:
            # FiftyOne registers a run before it has results, and refuses the next attempt.
            self.hide(place, self.similarity_key)
            raise

    def _make_similarity(self, place: Place, sidecar: Any, text: bool) -> None:
        import fiftyone.brain as fob

        marks = {"made_by": "curate", "shows": sidecar.folder.name}
        if sidecar.codec == CODECS["curate"]:
            from connectors.fiftyone_plugin.similarity import CurateSimilarityConfig

            fob.compute_similarity(
                place.everything(),
                embeddings=False,
                brain_key=self.similarity_key,
                backend=CurateSimilarityConfig,
                sidecar=str(sidecar.folder.absolute()),
                text=text,
                **marks,
            )
            return
        ids, codes = sidecar.read()
        index = fob.compute_similarity(
            place.everything(),
            embeddings=False,
            brain_key=self.similarity_key,
            backend="sklearn",
            metric=METRICS[sidecar.spec.geometry],
            stamp=str(sidecar.stamp),
            **marks,
        )
        index.add_to_index(sidecar.decode(codes), ids)
        index.save()

    def show_map(self, place: Place, name: str, points: Mapping[str, Sequence[float]]) -> None:
        """Makes the visualization run of these points, and keeps them by name for an undo of a later one."""
        import fiftyone.brain as fob

        ids = sorted(place.known(list(points)))
        there = np.array([points[i] for i in ids], dtype=np.float32)
        if not len(there):
            return
        path = self.home(place) / f"map-{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp.npz")
        np.savez(draft, ids=np.array(ids), points=there)
        draft.replace(path)
        self.hide(place, self.map_key)
        samples = place.everything().select(ids, ordered=True) if len(ids) < place.everything().count() else place.everything()
        order = {item_id: n for n, item_id in enumerate(ids)}
        rows = [order[i] for i in samples.values("id")]
        fob.compute_visualization(
            samples, points=there[rows], num_dims=there.shape[1], brain_key=self.map_key, made_by="curate", shows=name
        )

    def _map(self, place: Place, name: str) -> dict[str, list[float]]:
        """The points that were shown under a name; {} where they are not here any more."""
        try:
            with np.load(self.home(place) / f"map-{name}.npz", allow_pickle=False) as kept:
                return dict(zip(kept["ids"].tolist(), kept["points"].tolist(), strict=True))
        except (OSError, ValueError, KeyError):
            return {}

    def hide(self, place: Place, key: str) -> bool:
        """Deletes a run of ours; False where there is none."""
        config = _config(place, key)
        if config is None or config.get("made_by") != "curate":
            return False
        place.dataset.delete_brain_run(key)
        return True

    def withdraw(self, place: Place, shown: Mapping[str, Mapping[str, str | None]]) -> int:
        """Shows again what was shown before; returns how many runs were taken away or changed back."""
        done = 0
        similarity = shown.get("similarity")
        if similarity and self._shows(place, self.similarity_key) == similarity["after"]:
            done += self._back(place, similarity)
        points = shown.get("map")
        if points and self._shows(place, self.map_key) == points["after"]:
            before = self._map(place, points["before"]) if points["before"] else {}
            done += self.hide(place, self.map_key)
            if before:
                self.show_map(place, str(points["before"]), before)
        return done

    def _back(self, place: Place, similarity: Mapping[str, str | None]) -> int:
        before, after = similarity["before"], similarity["after"]
        if before == after:
            return 0  # it was only rid of deleted samples
        text = bool((_config(place, self.similarity_key) or {}).get("supports_prompts"))
        self.hide(place, self.similarity_key)
        if before and (self.home(place) / before).is_dir():
            self.show_similarity(place, before, text=text)
        elif after:
            shutil.rmtree(self.home(place) / after, ignore_errors=True)
        return 1

    def _shows(self, place: Place, key: str) -> str | None:
        config = _config(place, key)
        return str(config.get("shows")) if config and config.get("made_by") == "curate" else None


def _config(place: Place, key: str) -> Mapping[str, Any] | None:
    """The configuration of a brain run as the database has it; None where there is no such run."""
    if not place.dataset.has_brain_run(key):
        return None
    # Read without building it: the class of a run may not be importable here.
    return dict(place.dataset._doc.brain_methods[key].config)


def _alike(one: Mapping[str, Sequence[float]], two: Mapping[str, Sequence[float]]) -> bool:
    """Whether two maps show the same rows in the same places, but for rounding."""
    if not one or not two or set(one) != set(two):
        return False
    ids = sorted(one)
    a, b = np.array([one[i] for i in ids]), np.array([two[i] for i in ids])
    if a.shape != b.shape:
        return False
    return bool(np.abs(a - b).max() <= ALIKE * max(float(np.ptp(a)), 1e-9))
