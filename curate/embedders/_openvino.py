"""The image tower by OpenVINO on a CPU: the optional extra `openvino`, up to six times a naive loop."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curate.embedders._device import torch_module
from curate.embedders._hub import hf_home
from curate.embedders._request import Request
from curate.errors import ConfigError, MissingExtra
from curate.types import Vectors

ENGINES = ("auto", "torch", "openvino")
_HINTS = {"fp32": "f32", "bf16": "bf16"}


def wanted(request: Request, device: str) -> bool:
    """Whether OpenVINO computes: the option `engine` says so, or it is installed and the device is the CPU.

    Raises ConfigError for an engine that does not exist or does not fit the device, MissingExtra where it is not installed.
    """
    engine = request.options.get("engine", "auto")
    if engine not in ENGINES:
        raise ConfigError(f"unknown engine {engine!r} of model {request.name!r}; known: {', '.join(ENGINES)}")
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "openvino" and device != "cpu":
        raise ConfigError(f"engine 'openvino' runs on the cpu, not on {device!r}")
    if engine == "openvino" and not installed:
        raise MissingExtra("openvino", "openvino", "engine 'openvino'")
    if engine == "openvino" and request.dtype == "fp16":
        raise ConfigError("engine 'openvino' computes in fp32 and bf16, not in fp16")
    return engine != "torch" and installed and device == "cpu" and request.dtype != "fp16"


class Tower:
    """The method `images` of a module, converted once (kept under HF_HOME/curate/openvino) and compiled for each format.

    key: what the converted file is kept by: equal keys mean equal weights and preprocessing.
    """

    def __init__(self, module: Any, *, key: str, notify: Callable[[str], None]) -> None:
        self._module, self._key, self._notify = module, key, notify
        self._compiled: dict[tuple[str, int], Any] = {}

    def __call__(self, rows: Any, dtype: str, threads: int) -> Vectors:
        """Vectors of uint8 images (n, 3, h, w)."""
        if (dtype, threads) not in self._compiled:
            self._compiled[dtype, threads] = self._compile(dtype, tuple(rows.shape[1:]), threads)
        found: Vectors = self._compiled[dtype, threads](rows.numpy())[0].copy()
        return found

    def _compile(self, dtype: str, shape: tuple[int, ...], threads: int) -> Any:
        import openvino

        core = openvino.Core()
        kept = self._file(openvino.__version__, shape)
        if not kept.is_file():
            self._notify("converting the model for OpenVINO, once")
            self._convert(openvino, kept, shape)
        hints = {"INFERENCE_PRECISION_HINT": _HINTS[dtype], "INFERENCE_NUM_THREADS": threads}
        return core.compile_model(core.read_model(kept), "CPU", hints)

    def _file(self, version: str, shape: tuple[int, ...]) -> Path:
        name = hashlib.sha256(f"{self._key} {version} {shape}".encode()).hexdigest()[:24]
        return hf_home() / "curate" / "openvino" / f"{name}.xml"

    def _convert(self, openvino: Any, to: Path, shape: tuple[int, ...]) -> None:
        torch = torch_module()
        module = self._module

        class Images(torch.nn.Module):  # type: ignore[misc,name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.module = module

            def forward(self, rows: Any) -> Any:
                return self.module.images(rows)

        example = torch.zeros((2, *shape), dtype=torch.uint8)
        with torch.no_grad(), warnings.catch_warnings():
            # The tracer warns of every shape that is fixed; all shapes but the batch are.
            warnings.simplefilter("ignore")
            made = openvino.convert_model(Images(), example_input=example, input=[openvino.PartialShape([-1, *shape])])
        to.parent.mkdir(parents=True, exist_ok=True)
        part = to.with_name(f"{to.stem}.{os.getpid()}.part.xml")
        openvino.save_model(made, part, compress_to_fp16=False)
        part.with_suffix(".bin").replace(to.with_suffix(".bin"))
        part.replace(to)
