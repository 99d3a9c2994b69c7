"""The models known by name, where their files come from, and what a local path holds."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.embedders._request import Request
from curate.errors import EmbedderError

if TYPE_CHECKING:
    from curate.protocols import Embedder


@dataclass(frozen=True, slots=True)
class Model:
    """A line of `curate models`.

    family: the module that loads it.  dim, geometry: of its default layer.  size_bytes: what has to be downloaded.
    repo: hub repository; "" where nothing is.  revision: the pinned commit, "" for the newest.
    file, sha256: the one file of a published checkpoint.
    """

    family: str
    geometry: str
    dim: int
    size_bytes: int
    licence: str
    media: str = "image, text"
    repo: str = ""
    revision: str = ""
    file: str = ""
    sha256: str = ""


EUCLIP_REPO = "nahidalam/CLIP_Embedding_Geometries"
_EUCLIP_REVISION = "5ed05c5c128248e9521d767ce443ebe10f72df07"


def _published(variant: str, size_bytes: int, sha256: str) -> tuple[str, Model]:
    geometry = {"CLIP": "cosine", "EuCLIP": "euclidean", "MERU": "lorentz"}[variant.rsplit("-", 1)[-1]]
    source = {"repo": EUCLIP_REPO, "revision": _EUCLIP_REVISION, "file": f"{variant}.pt", "sha256": sha256}
    return variant, Model("euclip", geometry, 512, size_bytes, "MIT", **source)


_PUBLISHED = (
    _published("ViT-B-32-EuCLIP", 1_815_666_786, "43a516ab292db881e60224bc91ea1c9044a6e0197b8043b814e1e3defacc6cd8"),
    _published("ViT-B-16-EuCLIP", 1_795_787_874, "10a5b6ff0b21345684eaaf8a9ee32657d0857f2500d6fd121d5f333a8711693b"),
    _published("ViT-B-32-CLIP", 1_815_702_098, "e6e7c6ec73ef8a414d43098831a2257804fa917cc641e503c7093d413de635d1"),
    _published("ViT-B-16-CLIP", 1_795_823_250, "32b9c35414d22bad88e5b8e3f9aaf50cd7316e9b18e8964ae67e1a40ff525628"),
    _published("ViT-B-32-MERU", 1_815_705_414, "0ed6232ed7873baa70117a9876d9aed164c53f024df7c56d7579c6905e993266"),
    _published("ViT-B-16-MERU", 1_795_826_502, "77374282072fb4146d877a9130323d71b3d792da372c487101ca69101350b954"),
)


def _openai(name: str, dim: int, size_bytes: int) -> Model:
    return Model("clip", "cosine", dim, size_bytes, "MIT", repo=f"openai/{name}")


MODELS: dict[str, Model] = {
    "openai/clip-vit-base-patch32": _openai("clip-vit-base-patch32", 512, 605_247_071),
    "openai/clip-vit-base-patch16": _openai("clip-vit-base-patch16", 512, 598_641_023),
    "openai/clip-vit-large-patch14": _openai("clip-vit-large-patch14", 768, 1_710_540_580),
    "microsoft/resnet-50": Model("resnet", "cosine", 2048, 102_469_840, "Apache-2.0", "image", "microsoft/resnet-50"),
    "sentence-transformers/all-MiniLM-L6-v2": Model(
        "text", "cosine", 384, 90_868_376, "Apache-2.0", "text", "sentence-transformers/all-MiniLM-L6-v2"
    ),
    **dict(_PUBLISHED),
    "pixels": Model("pixels", "euclidean", 112, 0, "Apache-2.0", "image"),
    "pixels-784": Model("pixels", "euclidean", 784, 0, "Apache-2.0", "image"),
}
"""Name -> what is known of it without loading it."""

_FAMILY_OF_TYPE = {
    "clip": "clip",
    "resnet": "resnet",
    "bert": "text",
    "mpnet": "text",
    "roberta": "text",
    "xlm-roberta": "text",
}


def load(request: Request) -> Embedder:
    """The model of a catalogue name."""
    return _by_family(MODELS[request.name].family, replace(request, source=request.name))


def load_path(request: Request, path: Path) -> Embedder:
    """The model of a local file or directory: a Hugging Face directory, an open_clip directory, or an EuCLIP checkpoint.

    Raises EmbedderError for a path that holds none of them.
    """
    asked = replace(request, source=str(path))
    if path.is_file():
        if path.suffix not in (".pt", ".pth", ".bin", ".safetensors"):
            raise EmbedderError(f"{path} is no model: a checkpoint ends in .pt or .safetensors")
        return _by_family("euclip", asked)
    if (path / "open_clip_config.json").exists():
        return _by_family("euclip", asked)
    if (path / "config.json").exists():
        return _by_family(_family(path / "config.json", request.name), asked)
    raise EmbedderError(f"{path} is no model directory: it has neither config.json (Hugging Face) nor open_clip_config.json")


def load_hub(request: Request) -> Embedder:
    """The model of a hub id, by the `model_type` of its config.json."""
    from curate.embedders._hub import files_of

    folder = files_of(request.name, ("config.json",), request=request)
    return _by_family(_family(folder / "config.json", request.name), replace(request, source=request.name))


def _family(config: Path, name: str) -> str:
    kind = read_json(config).get("model_type", "")
    if kind not in _FAMILY_OF_TYPE:
        raise EmbedderError(
            f"model {name!r} is of type {kind!r} ({config}); known types: {', '.join(sorted(_FAMILY_OF_TYPE))}. "
            "Bring its vectors with `curate import-vectors`, or register an embedder of your own."
        )
    return _FAMILY_OF_TYPE[kind]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.  Raises EmbedderError naming the file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise EmbedderError(f"{path} cannot be read as JSON: {err}") from err
    if not isinstance(found, dict):
        raise EmbedderError(f"{path} holds no JSON object")
    return found


def _by_family(family: str, request: Request) -> Embedder:
    import importlib

    module = importlib.import_module(f"curate.embedders.{family}")
    made: Embedder = module.load(request)
    return made


def listing() -> list[dict[str, Any]]:
    """The models of the catalogue as JSON values, with "cached": whether their files are on this machine."""
    return [
        {
            "name": name,
            "geometry": model.geometry,
            "dim": model.dim,
            "media": model.media,
            "size_bytes": model.size_bytes,
            "licence": model.licence,
            "cached": is_here(name),
        }
        for name, model in MODELS.items()
    ]


def is_here(name: str) -> bool:
    """Whether a model of the catalogue can be loaded without network."""
    from curate.embedders import _hub, euclip

    model = MODELS[name]
    if not model.repo:
        return True
    if model.file:
        own = (_hub.own_folder(name) / model.file).is_file()
        return own or euclip.converted(name).is_file() or _hub.in_cache(model.repo, (model.file,), revision=model.revision)
    return _hub.in_cache(model.repo, ("config.json",), _hub.WEIGHTS)
