"""Weights from files: safetensors, or pickled checkpoints that can carry numbers and nothing else."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curate.embedders._hub import PICKLE, SAFETENSORS
from curate.errors import EmbedderError

State = dict[str, Any]
"""Parameter name -> tensor."""

_PREFIXES = re.compile(r"^(module\.|_orig_mod\.)+")


def sha256_of(path: Path) -> str:
    """sha256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def revision_of(weights: Path, *configs: str, folder: Path | None = None) -> str:
    """16 hex digits over a file of weights and the configuration files in its folder (those that exist)."""
    digest = hashlib.sha256(sha256_of(weights).encode())
    for name in configs:
        path = (folder or weights.parent) / name
        if path.is_file():
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def check_sha256(path: Path, expected: str) -> None:
    """Raises EmbedderError, naming both sums, for a file that is not the published one."""
    found = sha256_of(path)
    if found != expected:
        raise EmbedderError(
            f"{path} is not the published file: its sha256 is {found}, expected {expected}. "
            "It was changed or cut short on the way; delete it and fetch it again."
        )


def weights_in(folder: Path) -> Path:
    """The file of weights in a Hugging Face directory.  Raises EmbedderError where there is none."""
    for name in (SAFETENSORS, PICKLE):
        if (folder / name).is_file():
            return folder / name
    raise EmbedderError(f"{folder} has no weights: neither {SAFETENSORS} nor {PICKLE}")


def read_weights(path: Path) -> State:
    """Parameters of a `.safetensors` file or a pickled checkpoint, without `module.` prefixes.

    A training checkpoint gives its "state_dict".  A pickle is read with `weights_only`, and numpy scalars (which open_clip's
    schedulers leave in the optimizer's state) as the only addition; one that carries anything else is refused, and nothing of
    it runs.
    Raises EmbedderError for a missing, truncated or unsafe file.
    """
    if not path.is_file():
        raise EmbedderError(f"the weights {path} do not exist")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    return {_PREFIXES.sub("", name): value for name, value in state.items()}


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found: State = load_file(str(path))
    except (SafetensorError, OSError, ValueError) as err:
        raise EmbedderError(f"{path} cannot be read: truncated or no safetensors file ({err})") from err
    return found


def _named(err: BaseException) -> str:
    """What a refused pickle wanted to call; not the words of torch, which advise to switch the check off."""
    found = re.search(r"GLOBAL ([\w.]+)", str(err))
    return f" (it names {found[1]})" if found else ""


def _read_pickle(path: Path) -> State:
    import torch

    whole = zipfile.is_zipfile(path)
    with path.open("rb") as file:
        if not whole and file.read(2) == b"PK":
            raise EmbedderError(f"{path} is cut short: the end of its archive is missing")
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=whole)
    except torch.serialization.pickle.UnpicklingError as err:  # type: ignore[attr-defined]
        raise EmbedderError(
            f"{path} was refused: it carries something that is not a number{_named(err)}. Nothing of it was run. "
            "Ask its author for a safetensors file."
        ) from err
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as err:
        raise EmbedderError(f"{path} cannot be read: truncated or no checkpoint ({_first_line(err)})") from err
    state = found.get("state_dict", found) if isinstance(found, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise EmbedderError(f"{path} holds no table of parameters (state_dict)")
    return dict(state)


def _numpy_scalars() -> list[Any]:
    import numpy as np

    # numpy 2 moved the module; pickles of both times name it.
    core = getattr(np, "_core", None) or np.core
    scalar = core.multiarray.scalar
    kinds = {type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4")}
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [scalar, *((scalar, name) for name in names), np.dtype, *kinds]


def _first_line(err: BaseException) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:200]


def fill(model: Any, state: State, *, origin: Path, ignore: tuple[str, ...] = ()) -> Any:
    """`model`, built on the meta device, with `state` as its parameters; every name and shape must fit.

    ignore: suffixes of names in `state` that are not parameters of the model.
    Raises EmbedderError naming what is missing, left over or of another shape.
    """
    import torch

    wanted = model.state_dict()
    state = {name: value for name, value in state.items() if name in wanted or not name.endswith(ignore)} if ignore else state
    lacking, surplus = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if lacking or surplus:
        raise EmbedderError(
            f"{origin} does not fit this model: {len(lacking)} parameters are missing ({', '.join(lacking[:3])}), "
            f"{len(surplus)} are left over ({', '.join(surplus[:3])})"
        )
    for name, value in state.items():
        if value.shape != wanted[name].shape:
            raise EmbedderError(f"{origin}: {name} has shape {tuple(value.shape)}, the model {tuple(wanted[name].shape)}")
    whole = {name: value.to(torch.float32) if value.is_floating_point() else value for name, value in state.items()}
    model.load_state_dict(whole, strict=True, assign=True)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                # The only buffers outside a state dict of these models: 0, 1, 2, ... and token types, all zero.
                first = torch.zeros(buffer.shape, dtype=buffer.dtype)
                filled = torch.arange(buffer.shape[-1]).expand(buffer.shape) if name == "position_ids" else first
                setattr(module, name, filled)
    return model.eval().requires_grad_(False)
