"""`check_embedder`: the demands on an embedder."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from curate import media
from curate.errors import MediaError
from curate.geometry import norms
from curate.protocols import Embedder
from curate.testing._demand import demand, raising
from curate.types import EmbedderSpec, Vectors

MEDIA = ("image", "text")
BROKEN_IMAGES = {
    "no bytes": b"",
    "a text": b"this is no image",
    "a web page": b"<html><body>gone</body></html>",
    "a cut JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
}


def sample_images(count: int = 12, *, seed: int = 0, side: int = 96) -> list[bytes]:
    """Small images of several sizes and formats with smooth random content: PNG, JPEG and a grey one, in turn."""
    from PIL import Image

    rng, made = np.random.default_rng(seed), []
    for n in range(count):
        coarse = rng.integers(0, 256, (4 + n % 3, 5, 3)).astype(np.uint8)
        size = (side + 7 * (n % 5), side + 3 * (n % 4))
        image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        made.append(_saved(image.convert("L") if n % 6 == 5 else image, ("PNG", "JPEG")[n % 2]))
    return made


def sample_texts(count: int = 12) -> list[bytes]:
    """Different short texts as UTF-8."""
    words = "red blue small large cat dog river road winter stone music paper".split()
    return [f"{words[n % 12]} {words[(5 * n + 3) % 12]} number {n}".encode() for n in range(count)]


def check_embedder(embedder: Embedder, *, samples: Sequence[bytes] | None = None, tolerance: float = 1e-4) -> None:
    """Holds an embedder to its protocol.

    samples: bytes of different rows, at least 4; None makes images or texts.
    tolerance: how far two computations of one vector may lie apart, as a share of the mean distance between rows (batch shape
    and thread count move floats a little; 1e-4 suits fp32).

    Demands:
    1. `spec` is an EmbedderSpec with a name, dim >= 1, a known geometry, media "image" or "text", and does not change.
    2. `prepare` raises MediaError, and nothing else, for what is no image (images only), and can be called from many threads.
    3. `embed` gives (n, dim) float32, finite, for any n, 0 included; no zero row in cosine geometry.
    4. The vector of a row depends on its bytes only: not on the batch it is in, its size or its order, nor on earlier calls.
    5. Different rows have different vectors.
    6. Images are seen upright: EXIF orientation changes nothing (images only).
    7. `view`, where there is one, gives for a decoded image what `prepare` gives for its bytes, and `at_least` is a number of
       pixels or None (images only); `embed_pixels`, where there is one, takes decoded images.
    8. `embed_text`, where there is one, gives (n, dim) float32, finite.
    """
    spec = embedder.spec
    _check_spec(spec)
    rows = list(samples) if samples is not None else sample_images() if spec.media == "image" else sample_texts()
    demand(len(rows) >= 4, "this check needs at least four samples")
    if spec.media == "image":
        for what, data in BROKEN_IMAGES.items():
            with raising(MediaError, f"`prepare` raises MediaError for {what}"):
                embedder.prepare(data)
    vectors = _embedded(embedder, [embedder.prepare(data) for data in rows])
    scale = _scale(embedder, vectors)
    demand(scale > 0, "different rows have different vectors")
    _check_rows(spec, vectors)
    _check_independence(embedder, rows, vectors, tolerance * scale)
    if spec.media == "image":
        _check_upright(embedder, max(tolerance, 1e-3) * scale)
        _check_view(embedder, rows, tolerance * scale)
    if hasattr(embedder, "embed_text"):
        texts = embedder.embed_text(["a photo of a cat", "ein Haus"])
        _check_array(spec, texts, 2, "`embed_text`")
    demand(embedder.spec == spec, "`spec` does not change by use")


def _check_spec(spec: EmbedderSpec) -> None:
    demand(isinstance(spec, EmbedderSpec), "`spec` is a curate.types.EmbedderSpec")
    demand(bool(spec.name), "`spec.name` is not empty")
    demand(isinstance(spec.dim, int) and spec.dim >= 1, "`spec.dim` is a whole number from 1")
    demand(spec.media in MEDIA, f"`spec.media` is one of {', '.join(MEDIA)}")
    demand(spec.space.label == spec.geometry, "`spec.geometry` is the label of a geometry")


def _check_array(spec: EmbedderSpec, vectors: Any, count: int, what: str) -> None:
    demand(isinstance(vectors, np.ndarray) and vectors.dtype == np.float32, f"{what} gives a float32 array")
    demand(vectors.shape == (count, spec.dim), f"{what} gives shape ({count}, {spec.dim}), not {vectors.shape}")
    demand(bool(np.isfinite(vectors).all()), f"{what} gives finite values")


def _embedded(embedder: Embedder, batch: Sequence[Any]) -> Vectors:
    vectors = embedder.embed(batch)
    _check_array(embedder.spec, vectors, len(batch), "`embed`")
    return vectors


def _check_rows(spec: EmbedderSpec, vectors: Vectors) -> None:
    if not spec.space.zero_ok:
        demand(bool((norms(vectors) > 0).all()), "`embed` gives no zero row in cosine geometry")


def _scale(embedder: Embedder, vectors: Vectors) -> float:
    """Mean distance between neighbours in the list of rows."""
    return float(embedder.spec.space.distance(vectors[:-1], vectors[1:]).mean())


def _check_independence(embedder: Embedder, rows: Sequence[bytes], vectors: Vectors, allowed: float) -> None:
    def same(found: Vectors, sentence: str) -> None:
        far = float(embedder.spec.space.distance(found, vectors).max())
        demand(far <= allowed, f"{sentence}: {far:.3g} apart, {allowed:.3g} allowed")

    with ThreadPoolExecutor(8) as pool:
        prepared = list(pool.map(embedder.prepare, rows))
    same(_embedded(embedder, prepared), "`prepare` gives the same from many threads, and `embed` the same in a second call")
    same(_embedded(embedder, prepared), "`embed` leaves the batch as it is")
    same(np.concatenate([_embedded(embedder, [one]) for one in prepared]), "a vector does not depend on the size of its batch")
    same(_embedded(embedder, prepared[::-1])[::-1], "a vector does not depend on the order of its batch")
    demand(embedder.embed([]).shape == (0, embedder.spec.dim), f"`embed([])` gives shape (0, {embedder.spec.dim})")


def _check_upright(embedder: Embedder, allowed: float) -> None:
    from PIL import Image

    image = Image.open(io.BytesIO(sample_images(1, seed=5)[0]))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = image.transpose(Image.Transpose.ROTATE_90)
    upright, marked = _saved(image, "PNG"), _saved(turned, "PNG", exif=exif)
    both = _embedded(embedder, [embedder.prepare(upright), embedder.prepare(marked)])
    far = float(embedder.spec.space.distance(both[:1], both[1:])[0])
    demand(far <= allowed, f"an image turned by EXIF orientation has the vector of the upright one: {far:.3g} apart")


def _check_view(embedder: Any, rows: Sequence[bytes], allowed: float) -> None:
    def same(found: Vectors, sentence: str) -> None:
        far = float(embedder.spec.space.distance(found, _embedded(embedder, [embedder.prepare(data) for data in rows])).max())
        demand(far <= allowed, f"{sentence}: {far:.3g} apart, {allowed:.3g} allowed")

    if hasattr(embedder, "view"):
        at_least: Any = getattr(embedder, "at_least", "missing")
        demand(at_least is None or (isinstance(at_least, int) and at_least > 0), "`at_least` is a number of pixels, or None")
        views = [embedder.view(media.decode(data, at_least=at_least)) for data in rows]
        same(_embedded(embedder, views), "`view` of a decoded image is what `prepare` makes of its bytes")
    if hasattr(embedder, "embed_pixels"):
        images = [media.decode(data).pixels for data in rows]
        _check_array(embedder.spec, embedder.embed_pixels(images), len(images), "`embed_pixels`")


def _saved(image: Any, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format=form, **options)
    return out.getvalue()
