"""Where a model runs and in which number format, found on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from curate.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    import torch

SAFE_DRIFT = 0.03
"""Largest mean distance between a vector in a short format and in fp32, as a share of the mean distance of two images."""


def torch_module() -> Any:
    """The package torch.  Raises MissingExtra with the pip line."""
    try:
        import torch
    except ImportError as err:
        raise MissingExtra("torch", "models", "this model") from err
    return torch


def transformers_module() -> Any:
    """The package transformers.  Raises MissingExtra with the pip line."""
    try:
        import transformers
    except ImportError as err:
        raise MissingExtra("transformers", "models", "this model") from err
    return transformers


def devices_for(wanted: str) -> list[torch.device]:
    """The devices to use: all GPUs for "auto" and "cuda" where there are any, else one.

    wanted: "auto", "cpu", "cuda", "cuda:N" or "mps".  Raises ConfigError for one this machine has not.
    """
    torch = torch_module()
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if wanted in ("auto", "cuda") and gpus:
        return [torch.device("cuda", n) for n in range(gpus)]
    if (wanted == "mps" and mps) or (wanted == "auto" and mps):
        return [torch.device("mps")]
    if wanted in ("auto", "cpu"):
        return [torch.device("cpu")]
    kind, _, number = wanted.partition(":")
    if kind == "cuda" and number.isdigit() and int(number) < gpus:
        return [torch.device("cuda", int(number))]
    have = ", ".join(["cpu", *(f"cuda:{n}" for n in range(gpus)), *(["mps"] if mps else [])])
    raise ConfigError(f"device {wanted!r} is not on this machine; there is: {have}")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is computed by the hardware, not imitated."""
    torch = torch_module()
    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device)[0] >= 8)
    if device.type != "cpu":
        return False
    return any(
        bool(getattr(torch.cpu, probe, lambda: False)()) for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def model_threads() -> int:
    """CPU threads for the model: all cores but one for every eight, which decoding keeps."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - cores // 8)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of torch says that the device, or the machine, has no memory left."""
    torch = torch_module()
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
