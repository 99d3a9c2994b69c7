"""Files of a model: a folder of one's own, the Hugging Face cache, or the hub; and what to say when there is none."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from curate.embedders._request import Request
from curate.errors import EmbedderError, MissingExtra

Choice = Sequence[Sequence[str]]
"""Alternatives, best first; each a group of files that are only good together."""

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
WEIGHTS: Choice = ((SAFETENSORS,), (PICKLE,))


def hf_home() -> Path:
    """The folder of HF_HOME, by default ~/.cache/huggingface."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface"
    return Path(os.environ.get("HF_HOME", default)).expanduser()


def own_folder(name: str) -> Path:
    """Where files of a model can be put by hand: HF_HOME/curate/NAME, a slash in the name written as two dashes."""
    return hf_home() / "curate" / name.replace("/", "--")


def is_offline(request: Request) -> bool:
    """Whether no network may be used: --offline, HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE."""
    flags = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return request.offline or any(flag.upper() in ("1", "ON", "YES", "TRUE") for flag in flags)


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as err:
        raise MissingExtra("huggingface_hub", "models", "this model") from err
    return huggingface_hub


def files_of(
    repo: str,
    needed: Sequence[str],
    *,
    request: Request,
    choice: Choice = (),
    optional: Sequence[str] = (),
    revision: str = "",
    name: str = "",
) -> Path:
    """The folder that holds the files of a hub model, fetched where that is allowed.

    needed: all of these.  choice: one of these groups.  optional: taken where they exist.  name: of the model, where it is
    not the repository's.
    Looked up in `own_folder`, in the Hugging Face cache, on the hub.
    Raises EmbedderError that says which file to put where, MissingExtra without huggingface_hub.
    """
    own = own_folder(name or repo)
    if _has(own, needed, choice):
        return own
    _hub()
    found = _cached(repo, needed, choice, revision)
    if found is not None:
        return found
    why = _why_not(request)
    if why:
        raise _missing(name or repo, needed, choice, why=why)
    return _download(repo, needed, choice, optional, revision, request)


def _has(folder: Path, needed: Sequence[str], choice: Choice) -> bool:
    def there(names: Sequence[str]) -> bool:
        return all((folder / name).is_file() for name in names)

    return there(needed) and (not choice or any(there(group) for group in choice))


def _cached(repo: str, needed: Sequence[str], choice: Choice, revision: str) -> Path | None:
    first = needed[0] if needed else choice[0][0]
    path = _hub().try_to_load_from_cache(repo, first, revision=revision or None)
    if not isinstance(path, str):
        return None
    folder = Path(path).parent
    return folder if _has(folder, needed, choice) else None


def in_cache(repo: str, needed: Sequence[str], choice: Choice = (), revision: str = "") -> bool:
    """Whether the files are on this machine."""
    if _has(own_folder(repo), needed, choice):
        return True
    with contextlib.suppress(MissingExtra):
        return _cached(repo, needed, choice, revision) is not None
    return False


def _why_not(request: Request) -> str:
    """Why the hub cannot be asked; "" where it can."""
    if is_offline(request):
        return "and the network is switched off (--offline or HF_HUB_OFFLINE)"
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return ""
    at = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        # The hub's client tries for half a minute before it says that there is no network.
        socket.create_connection((at.hostname or "", at.port or 443), timeout=5).close()
    except OSError as err:
        return f"and {at.hostname} cannot be reached ({err})"
    return ""


def _download(
    repo: str, needed: Sequence[str], choice: Choice, optional: Sequence[str], revision: str, request: Request
) -> Path:
    hub = _hub()
    request.notify(f"fetching {repo} from the hub")

    def get(name: str) -> Path | None:
        try:
            return Path(hub.hf_hub_download(repo, name, revision=revision or None))
        except hub.errors.EntryNotFoundError:
            return None
        except (hub.errors.HfHubHTTPError, OSError) as err:
            raise _missing(repo, needed, choice, why=f"and fetching {name} failed: {type(err).__name__}: {err}") from err

    paths = [(name, get(name)) for name in needed]
    lacking = [name for name, path in paths if path is None]
    if lacking:
        raise EmbedderError(f"the hub repository {repo} has no {', '.join(lacking)}: it is not a model of this kind")
    folder = next((path.parent for _, path in paths if path is not None), None)
    for group in choice:
        got = [get(name) for name in group]
        if all(path is not None for path in got):
            folder = folder or next(path.parent for path in got if path is not None)
            break
    else:
        if choice:
            raise EmbedderError(
                f"the hub repository {repo} has none of {', '.join(name for group in choice for name in group)}"
            )
    for name in optional:
        get(name)
    if folder is None:
        raise EmbedderError(f"nothing was asked of {repo}")
    return folder


def _missing(repo: str, needed: Sequence[str], choice: Choice, *, why: str) -> EmbedderError:
    """The error for a model whose files are nowhere: which files, where to put them, and what works without."""
    best = [*needed, *(choice[0] if choice else ())]
    return EmbedderError(
        f"model {repo!r} is not on this machine, {why}. Put {', '.join(best)} into {own_folder(repo)}, "
        f"or run `curate models fetch {repo}` where there is a network and copy {hf_home()}. "
        "Without any weights: --model pixels"
    )
