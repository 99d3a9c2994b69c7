"""What the models that run on torch share: devices, number format, batches that shrink when memory is short, threads."""

from __future__ import annotations

import copy
import dataclasses
import functools
import threading
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.embedders._device import (
    SAFE_DRIFT,
    devices_for,
    has_fast_bf16,
    is_out_of_memory,
    model_threads,
    torch_module,
)
from curate.embedders._images import Preprocess
from curate.embedders._openvino import Tower as OpenVinoTower
from curate.embedders._openvino import wanted
from curate.embedders._request import Request
from curate.errors import EmbedderError, MediaError
from curate.geometry import norms, unit
from curate.media import Decoded, decode
from curate.types import EmbedderSpec, Pixels, Vectors

if TYPE_CHECKING:
    import torch

CPU_BATCH, GPU_BATCH = 32, 256


class Runner:
    """A torch module on one device or several, called with batches of any size.

    module: rows of `inputs` -> (n, dim) vectors.  The batch is halved, for good, each time memory runs out.
    key: of weights and preprocessing, under which an engine may keep its converted form; "" for torch only.
    """

    def __init__(self, module: Any, request: Request, *, key: str = "") -> None:
        self.devices = devices_for(request.device)
        self.batch_size = CPU_BATCH if self.devices[0].type == "cpu" else GPU_BATCH
        self._modules = [module.to(self.devices[0]), *(copy.deepcopy(module).to(d) for d in self.devices[1:])]
        self._limits = [self.batch_size] * len(self.devices)
        self._locks = [threading.Lock() for _ in self.devices]
        self.threads = model_threads()
        self._notify, self._name = request.notify, request.name
        converted = bool(key) and wanted(request, self.devices[0].type)
        self._tower = OpenVinoTower(module, key=key, notify=request.notify) if converted else None

    def __call__(self, inputs: torch.Tensor, dtype: str, *, device: int = 0, part: str = "images") -> Vectors:
        """Vectors of all rows of `inputs`, float32.  part: the method of the module.  Raises EmbedderError."""
        torch = torch_module()
        pieces: list[Vectors] = []
        start = 0
        with self._locks[device]:
            if self.devices[device].type == "cpu" and torch.get_num_threads() != self.threads:
                torch.set_num_threads(self.threads)
            while start < len(inputs):
                size = min(self._limits[device], len(inputs) - start)
                try:
                    pieces.append(self._forward(inputs[start : start + size], dtype, device, part))
                    start += size
                except (RuntimeError, MemoryError) as err:
                    if not is_out_of_memory(err):
                        raise
                    self._shrink(device, size, err)
        return np.concatenate(pieces) if pieces else np.zeros((0, 0), np.float32)

    def _forward(self, rows: torch.Tensor, dtype: str, device: int, part: str) -> Vectors:
        torch = torch_module()
        at = self.devices[device]
        if self._tower is not None and part == "images":
            return self._tower(_planes(rows), dtype, self.threads)
        count = len(rows)
        if at.type == "cuda":
            # Few distinct shapes: kernels are chosen, and memory is planned, once for each.
            rows = _padded(rows, self._limits[device])
            rows = rows if rows.is_pinned() else rows.pin_memory()
        short = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(dtype)
        with torch.inference_mode(), torch.autocast(at.type, dtype=short, enabled=short is not None):
            there = rows.to(at, non_blocking=True)
            found = getattr(self._modules[device], part)(_planes(there) if part == "images" else there)
        return np.asarray(found[:count].float().cpu().numpy(), dtype=np.float32)

    def _shrink(self, device: int, size: int, err: BaseException) -> None:
        if size <= 1:
            raise EmbedderError(f"{self.devices[device]} has no memory for one row of model {self._name!r}: {err}") from err
        self._limits[device] = size // 2
        if self.devices[device].type == "cuda":
            torch_module().cuda.empty_cache()
        self._notify(f"{self.devices[device]} is out of memory with {size} rows at once; going on with {size // 2}")


def _planes(rows: torch.Tensor) -> torch.Tensor:
    """Images (n, h, w, 3), as they are decoded, to (n, 3, h, w), as models take them; where the model runs."""
    return rows.permute(0, 3, 1, 2).contiguous()


def _padded(rows: torch.Tensor, most: int) -> torch.Tensor:
    """`rows` with the last one repeated up to the next power of two, at most `most`."""
    wanted = min(most, 1 << (len(rows) - 1).bit_length())
    return torch_module().cat([rows, rows[-1:].expand(wanted - len(rows), *rows.shape[1:])]) if wanted > len(rows) else rows


def directions(x: Vectors) -> Vectors:
    """Rows of length one; rows that have no direction (zero, not finite) as they are, for the stage to refuse by name."""
    length = norms(x)
    usable = np.isfinite(length) & (length > 0)
    out = x.copy()
    out[usable] = unit(x[usable])
    return out


@dataclasses.dataclass(frozen=True, slots=True)
class Drift:
    """How far vectors in a short number format lie from those in fp32.

    share: mean distance of the two vectors of an image, as a share of the mean distance between two images.
    """

    dtype: str
    share: float
    images: int

    @property
    def safe(self) -> bool:
        """Whether it is small enough to compute in that format unasked."""
        return self.share <= SAFE_DRIFT

    def __str__(self) -> str:
        verdict = "used" if self.safe else f"more than {SAFE_DRIFT:g}, so fp32 is used"
        return f"{self.dtype} moves vectors by {self.share:.4f} of the mean distance ({self.images} rows): {verdict}"


class TorchEmbedder:
    """An embedder on a `Runner`.

    stack: prepared rows -> one tensor.  part: the method of the runner's module that takes it.  finish: what the module gives
    -> vectors.
    """

    def __init__(
        self,
        spec: EmbedderSpec,
        runner: Runner,
        request: Request,
        *,
        stack: Callable[[Sequence[Any]], torch.Tensor],
        part: str,
        finish: Callable[[Vectors], Vectors],
    ) -> None:
        self.runner = runner
        self._stack, self._part, self._finish = stack, part, finish
        self._auto = request.dtype == "auto"
        # Until `settle` has measured it, "auto" is the format that cannot be wrong.
        self.spec = dataclasses.replace(spec, dtype="fp32" if self._auto else request.dtype)

    @property
    def batch_size(self) -> int:
        """Rows a batch."""
        return self.runner.batch_size

    @property
    def lanes(self) -> Sequence[Callable[[Sequence[Any]], Vectors]]:
        """One `embed` for each device."""
        return [lambda batch, n=n: self._embed(batch, n, self.spec.dtype) for n in range(len(self.runner.devices))]  # type: ignore[misc]

    def embed(self, batch: Sequence[Any]) -> Vectors:
        """Vectors of prepared rows: (n, dim) float32."""
        return self._embed(batch, 0, self.spec.dtype)

    def _embed(self, batch: Sequence[Any], device: int, dtype: str) -> Vectors:
        if not len(batch):
            return np.zeros((0, self.spec.dim), dtype=np.float32)
        return self._finish(self.runner(self._stack(batch), dtype, device=device, part=self._part))

    def with_dtype(self, dtype: str) -> EmbedderSpec:
        """The spec that vectors of another format would have."""
        return dataclasses.replace(self.spec, dtype=dtype)

    @property
    def unsettled(self) -> bool:
        """Whether `--dtype auto` is still to be decided, and there is a choice on this device."""
        return self._auto and has_fast_bf16(self.runner.devices[0])

    def settle(self, batch: Sequence[Any], *, stored: Collection[str] = ()) -> Drift | None:
        """Decides what `--dtype auto` means, once: changes `spec.dtype` before anything is stored.

        batch: prepared rows of the user's own data, 64 or so.  stored: fingerprints that the store has vectors of; one of
        ours among them is kept, so that a second run computes nothing.
        Returns the drift that was measured; None where there was nothing to decide.
        """
        if not self.unsettled:
            return None
        self._auto = False
        for dtype in ("fp32", "bf16"):
            if self.with_dtype(dtype).fingerprint in stored:
                self.spec = self.with_dtype(dtype)
                return None
        if len(batch) < 2:
            return None
        drift = self.drift(batch, "bf16")
        if drift.safe:
            self.spec = self.with_dtype("bf16")
        return drift

    def drift(self, batch: Sequence[Any], dtype: str) -> Drift:
        """How far `dtype` moves the vectors of at least two prepared rows."""
        exact, short = self._embed(batch, 0, "fp32"), self._embed(batch, 0, dtype)
        usable = np.isfinite(exact).all(axis=1) & np.isfinite(short).all(axis=1) & (norms(exact) > 0) & (norms(short) > 0)
        exact, short = exact[usable], short[usable]
        if len(exact) < 2:
            return Drift(dtype, float("inf"), len(exact))
        space, pairs = self.spec.space, np.triu_indices(len(exact), 1)
        apart, moved = space.pairwise(exact, exact)[pairs].astype(np.float64), space.distance(exact, short)
        if space.flat:
            # Cosine distance grows with the square of what moves; straight lines make the two comparable.
            apart, moved = space.chord(apart), space.chord(moved)
        mean = float(apart.mean())
        return Drift(dtype, float(moved.mean()) / mean if mean > 0 else float("inf"), len(exact))


class ImageEmbedder(TorchEmbedder):
    """Images through a model: bytes -> uint8 square -> device -> vectors."""

    def __init__(
        self,
        spec: EmbedderSpec,
        runner: Runner,
        request: Request,
        *,
        preprocess: Preprocess,
        finish: Callable[[Vectors], Vectors],
    ) -> None:
        pinned = runner.devices[0].type == "cuda"
        stack = functools.partial(stacked, pinned=pinned)
        super().__init__(spec, runner, request, stack=stack, part="images", finish=finish)
        self.preprocess, self.max_pixels = preprocess, request.max_pixels
        self.at_least = preprocess.at_least

    def prepare(self, data: bytes) -> Pixels:
        """uint8 (h, w, 3) of the bytes of an image, as the model sees it.  Raises MediaError."""
        return self.view(decode(data, max_pixels=self.max_pixels, at_least=self.at_least))

    def view(self, decoded: Decoded) -> Pixels:
        """uint8 (h, w, 3) of a decoded image, as the model sees it."""
        return self.preprocess.view(decoded)

    def embed_pixels(self, images: Sequence[Pixels]) -> Vectors:
        """Vectors of images that are decoded already, uint8 (h, w, 3) of any size: (n, dim) float32."""
        return self.embed([self.view(Decoded(image, image.shape[1], image.shape[0])) for image in images])

    def encode_pixels(self, pixel_values: Any) -> Vectors:
        """Vectors of what the published preprocessing gives: float32 (n, 3, h, w), normalised -> (n, dim) float32."""
        torch = torch_module()
        values = torch.as_tensor(np.asarray(pixel_values, dtype=np.float32))
        return self._finish(self.runner(values, self.spec.dtype, part="values"))


def stacked(images: Sequence[Pixels], *, pinned: bool = False) -> torch.Tensor:
    """uint8 (h, w, 3) images of one size as one tensor (n, h, w, 3).  pinned: in memory that a GPU reads without a copy."""
    module = torch_module()
    tensor: torch.Tensor = module.empty((len(images), *images[0].shape), dtype=module.uint8, pin_memory=pinned)
    np.stack(images, out=tensor.numpy())
    return tensor


def text_of(data: bytes) -> str:
    """The text of a row's bytes.  Raises MediaError: empty, not_text."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise MediaError("not_text", f"no UTF-8 at byte {err.start}") from err
    if not text.strip():
        raise MediaError("empty", "no text")
    return text


Tower = Callable[[Any, Any], Any]
"""(module, normalised rows) -> vectors."""


def module_of(
    inner: Any, *, preprocess: Preprocess | None = None, image: Tower | None = None, text: Tower | None = None
) -> Any:
    """`inner`, which holds the parameters, as the module of a `Runner`, with a method for each kind of input.

    `images`: uint8 (n, 3, h, w), normalised where the model runs; `values`: float (n, 3, h, w), normalised already;
    `tokens`: integers, as `text` takes them.
    """
    torch = torch_module()
    seen = preprocess or Preprocess(1, 1)

    class Module(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner
            mean, std = torch.tensor(seen.mean), torch.tensor(seen.std)
            self.register_buffer("mean", mean[None, :, None, None])
            self.register_buffer("std", std[None, :, None, None])

        def images(self, rows: Any) -> Any:
            return self.values((rows.float() / 255 - self.mean) / self.std)

        def values(self, rows: Any) -> Any:
            return image(self.inner, rows) if image else None

        def tokens(self, rows: Any) -> Any:
            return text(self.inner, rows) if text else None

    return Module()
