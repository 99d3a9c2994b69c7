"""Image bytes to upright RGB pixels, within a limit that is checked before any pixel is decoded."""

from __future__ import annotations

import contextlib
import io
import math
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.errors import MediaError
from curate.media._sniff import JpegHeader, exif_orientation, jpeg_header, sniff, webp_size
from curate.types import Pixels

if TYPE_CHECKING:
    from PIL import ImageFile

MAX_PIXELS = 64_000_000
"""The default of `--max-pixels`: 64 megapixels are 192 MB once decoded."""


_MAX_SCANS = 200


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image as it is seen.

    pixels: uint8 (h, w, 3) RGB, upright.  width, height: the upright size in full resolution, whatever was decoded.
    full: whether `pixels` has that size.  orientation: the EXIF orientation, 1..8, that was applied.
    """

    pixels: Pixels
    width: int
    height: int
    full: bool = True
    orientation: int = 1


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, at_least: int | None = None) -> Decoded:
    """The pixels of a JPEG, PNG, WebP, GIF, TIFF or BMP: upright, RGB, 8 bit; the same bytes always give the same pixels.

    max_pixels: more than this (width x height as stored) is refused before anything is decoded.
    at_least: where given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its short side keeps this many
    pixels; other formats are always decoded in full.
    Animations give their first frame; transparency is laid on white; 16 bits keep their upper 8; 32-bit integers and floats,
    which have no agreed white, are stretched from their smallest to their largest value; colour profiles are ignored.
    Thread-safe; the decoders release the GIL.
    Raises MediaError: empty, not_an_image, unsupported_format, truncated, too_many_pixels, undecodable.
    """
    kind = sniff(data)
    if kind == "jpeg":
        return _decode_jpeg(data, max_pixels, at_least)
    if kind == "webp":
        _check_webp(data, max_pixels)
    if kind == "png" and data.rfind(b"IEND") < 0:
        raise MediaError("truncated", "the PNG has no end")
    image, pixels = _by_pillow(data, kind, max_pixels)
    # Pillow turns TIFFs upright by itself.
    exif = image.info.get("exif", b"") if kind != "tiff" else b""
    turn = exif_orientation(exif) if isinstance(exif, bytes) else 1
    pixels = _upright(pixels, turn)
    height, width = pixels.shape[:2]
    return Decoded(pixels, width, height, True, turn)


def _decode_jpeg(data: bytes, max_pixels: int, at_least: int | None) -> Decoded:
    header = jpeg_header(data)
    _check_size(header.width, header.height, max_pixels)
    # Each scan of a progressive JPEG costs a pass over all pixels; real ones have about ten, a hostile file may have thousands.
    if _scans(data) > _MAX_SCANS:
        raise MediaError("undecodable", f"more than {_MAX_SCANS} scans")
    divisor = _divisor(header, at_least)
    pixels = _by_simplejpeg(data, header, divisor)
    if pixels is None:
        pixels = _by_pillow(data, "jpeg", max_pixels, divisor=divisor)[1]
    expected = (math.ceil(header.height / divisor), math.ceil(header.width / divisor))
    full = pixels.shape[:2] == (header.height, header.width)
    if not full and pixels.shape[:2] != expected:
        raise MediaError("undecodable", f"decoded to {pixels.shape[:2]}, but its header promised {expected}")
    upright = _upright(pixels, header.orientation)
    size = (header.height, header.width) if header.orientation >= 5 else (header.width, header.height)
    return Decoded(upright, *size, full, header.orientation)


def _scans(data: bytes) -> int:
    """How many scans a JPEG begins; by numpy, for `bytes.count` takes a twentieth of a small image's decoding."""
    found, every = 0, np.frombuffer(data, np.uint8)
    for start in range(0, len(every), 1 << 20):
        part = every[start : start + (1 << 20) + 1]
        found += int(np.count_nonzero((part[:-1] == 0xFF) & (part[1:] == 0xDA)))
    return found


def _divisor(header: JpegHeader, at_least: int | None) -> int:
    short = min(header.width, header.height)
    fitting = [d for d in (8, 4, 2) if at_least is not None and short // d >= max(at_least, 8)]
    return fitting[0] if fitting else 1


def _by_simplejpeg(data: bytes, header: JpegHeader, divisor: int) -> Pixels | None:
    """Pixels by libjpeg-turbo; None where it is missing, or has a doubt, or cannot (CMYK), so that Pillow decides.

    Both give the same pixels bit for bit (tested), so the extra changes speed only.
    """
    if header.components not in (1, 3):
        return None
    try:
        import simplejpeg
    except ImportError:
        return None
    low = (math.ceil(header.height / divisor), math.ceil(header.width / divisor)) if divisor > 1 else (0, 0)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=low[0], min_width=low[1])
    except ValueError:
        return None
    return pixels


def _by_pillow(data: bytes, kind: str, max_pixels: int, *, divisor: int = 1) -> tuple[ImageFile.ImageFile, Pixels]:
    # Any class of exception can come out of a decoder fed with hostile bytes; every one of them is this row's failure.
    try:
        with _quiet():
            image = _open(data, kind)
            _check_size(*image.size, max_pixels)
            if divisor > 1:
                image.draft("RGB", (image.width // divisor, image.height // divisor))
            image.load()
            _check_size(*image.size, max_pixels)
            return image, _to_rgb(image)
    except MediaError:
        raise
    except Exception as err:
        raise _explained(err) from err


def _open(data: bytes, kind: str) -> ImageFile.ImageFile:
    # The plugin of the sniffed format, not Image.open: no other of Pillow's 40 decoders ever sees the bytes.
    from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

    plugins: dict[str, Any] = {
        "jpeg": JpegImagePlugin.JpegImageFile,
        "png": PngImagePlugin.PngImageFile,
        "webp": WebPImagePlugin.WebPImageFile,
        "gif": GifImagePlugin.GifImageFile,
        "tiff": TiffImagePlugin.TiffImageFile,
        "bmp": BmpImagePlugin.BmpImageFile,
    }
    image: ImageFile.ImageFile = plugins[kind](io.BytesIO(data))
    return image


def _to_rgb(image: ImageFile.ImageFile) -> Pixels:
    from PIL import Image

    if image.mode.startswith("I;16"):
        return _from_16_bit(image)
    if image.mode in ("I", "F"):
        return _stretched(np.asarray(image))
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        layer = image.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
        return np.array(flat.convert("RGB"), dtype=np.uint8)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"), dtype=np.uint8)


def _from_16_bit(image: ImageFile.ImageFile) -> Pixels:
    wide = np.asarray(image).astype(np.uint16, copy=False)
    grey = (wide >> 8).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[wide == clear] = 255
    return _grey(grey)


def _stretched(values: np.ndarray[Any, Any]) -> Pixels:
    wide = values.astype(np.float64)
    usable = np.isfinite(wide)
    low, high = (wide[usable].min(), wide[usable].max()) if usable.any() else (0.0, 0.0)
    scale = 255 / (high - low) if high > low else 0.0
    return _grey(np.clip(np.where(usable, (wide - low) * scale, 0) + 0.5, 0, 255).astype(np.uint8))


def _grey(grey: Pixels) -> Pixels:
    return np.ascontiguousarray(np.broadcast_to(grey[..., None], (*grey.shape, 3)))


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """`pixels` turned as EXIF orientation 1..8 asks."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise MediaError("undecodable", f"an image of {width} x {height}")
    if width * height > max_pixels:
        raise MediaError("too_many_pixels", f"{width:,} x {height:,} is more than {max_pixels:,} pixels (--max-pixels)")


def _check_webp(data: bytes, max_pixels: int) -> None:
    size = webp_size(data)
    if size is None or len(data) < 8 + int.from_bytes(data[4:8], "little"):
        raise MediaError("truncated", "the WebP is shorter than its header says")
    _check_size(*size, max_pixels)


def _explained(err: Exception) -> MediaError:
    text = str(err).split("\n")[0][:200]
    words = text.lower()
    if type(err).__name__ == "DecompressionBombError":
        return MediaError("too_many_pixels", text)
    cut = ("truncated", "premature", "unexpected end", "not enough", "ran out of", "eof")
    if isinstance(err, EOFError) or any(word in words for word in cut):
        return MediaError("truncated", text)
    return MediaError("undecodable", f"{type(err).__name__}: {text}" if text else type(err).__name__)


_quiet_lock = threading.Lock()
_quiet_depth = 0


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences Pillow's warnings while any thread decodes.

    What is wrong with an image is said once, as this row's reason; and a warning filter of the host program must not decide
    whether an image decodes.  `warnings.catch_warnings` restores in the wrong order when threads overlap, hence the count.
    """
    global _quiet_depth
    with _quiet_lock:
        _quiet_depth += 1
        if _quiet_depth == 1:
            warnings.filterwarnings("ignore", module=r"PIL\.")
            ours = warnings.filters[0]
            _quiet_filter[:] = [ours]
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                for entry in _quiet_filter:
                    with contextlib.suppress(ValueError):
                        warnings.filters.remove(entry)  # type: ignore[attr-defined]


_quiet_filter: list[Any] = []
