"""Decoding: every format to the same upright RGB, limits before decoding, and a reason for everything that fails."""

import io
import struct
import threading
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from curate import media
from curate.errors import MediaError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")


def photo(height=48, width=64, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def saved(image, form, **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    out = io.BytesIO()
    image.save(out, format=form, **options)
    return out.getvalue()


def reason(data, **options):
    with pytest.raises(MediaError) as caught:
        media.decode(data, **options)
    return caught.value.reason


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_becomes_rgb(form):
    options = {"lossless": True} if form == "WEBP" else {}
    source = photo()
    if form == "GIF":
        source = np.asarray(Image.fromarray(source).quantize(200).convert("RGB"))
    decoded = media.decode(saved(source, form, **options))
    assert decoded.pixels.dtype == np.uint8 and decoded.pixels.shape == (48, 64, 3) and decoded.pixels.flags.c_contiguous
    assert (decoded.width, decoded.height, decoded.full, decoded.orientation) == (64, 48, True, 1)
    error = np.abs(decoded.pixels.astype(int) - source).mean()
    assert error < 4 if form == "JPEG" else error == 0


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_turns_are_applied(form, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"lossless": True} if form == "WEBP" else {}
    data = saved(photo(), form, exif=exif, **options)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    decoded = media.decode(data)
    assert np.array_equal(decoded.pixels, upright)
    assert (decoded.height, decoded.width) == upright.shape[:2]


def test_simplejpeg_and_pillow_agree_bit_for_bit(monkeypatch):
    import sys

    cases = [
        saved(photo(151, 203), "JPEG", quality=q, subsampling=s, progressive=p)
        for q in (40, 92)
        for s in (0, 1, 2)
        for p in (0, 1)
    ]
    cases += [saved(Image.fromarray(photo(151, 203)).convert("L"), "JPEG")]
    fast = [(media.decode(c), media.decode(c, at_least=32)) for c in cases]
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    slow = [(media.decode(c), media.decode(c, at_least=32)) for c in cases]
    for (full, small), (full_too, small_too) in zip(fast, slow, strict=True):
        assert np.array_equal(full.pixels, full_too.pixels)
        assert np.array_equal(small.pixels, small_too.pixels)
        assert small.pixels.shape == (38, 51, 3) and not small.full and (small.width, small.height) == (203, 151)


@pytest.mark.parametrize("at_least", [1, 8, 30, 75, 76, 150, 151, 152, 9999])
@pytest.mark.parametrize("turn", [1, 6])
def test_scaled_decode_keeps_the_short_side(at_least, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    decoded = media.decode(saved(photo(151, 203), "JPEG", exif=exif), at_least=at_least)
    assert min(decoded.pixels.shape[:2]) >= min(at_least, 151)
    assert (decoded.width, decoded.height) == ((203, 151) if turn == 1 else (151, 203))
    assert decoded.full == (decoded.pixels.shape[:2] == (decoded.height, decoded.width))


def test_transparency_is_laid_on_white():
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2, :, 0], rgba[:2, :, 3] = 200, 255
    rgba[3, :, 3] = 51
    for form in ("PNG", "TIFF"):
        pixels = media.decode(saved(Image.fromarray(rgba), form)).pixels
        assert pixels[0, 0].tolist() == [200, 0, 0]
        assert pixels[2, 0].tolist() == [255, 255, 255]
        assert pixels[3, 0].tolist() == [204, 204, 204]
    palette = Image.fromarray(rgba).convert("RGB").quantize(4)
    index = palette.getpixel((0, 2))
    assert media.decode(saved(palette, "PNG", transparency=index)).pixels[2, 0].tolist() == [255, 255, 255]
    assert media.decode(saved(Image.new("L", (2, 2), 7), "PNG", transparency=7)).pixels[0, 0].tolist() == [255, 255, 255]
    assert media.decode(saved(Image.new("LA", (2, 2), (9, 0)), "PNG")).pixels[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_clipped(form):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    pixels = media.decode(saved(Image.fromarray(ramp), form)).pixels
    assert np.array_equal(pixels[..., 0].ravel(), np.arange(256))
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_16_bit_colour_png_keeps_its_upper_bits():
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    rows = b"".join(b"\0" + np.stack([ramp, ramp[::-1], ramp], axis=1).astype(">u2").tobytes() for _ in range(4))
    pixels = media.decode(png(64, 4, rows, depth=16, colour=2)).pixels
    assert np.array_equal(pixels[0, :, 0], ramp >> 8) and np.array_equal(pixels[0, :, 1], ramp[::-1] >> 8)


def png(width, height, rows, *, depth=8, colour=2, extra=b""):
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def test_floats_and_32_bit_integers_are_stretched():
    ramp = np.linspace(-3, 5, 256, dtype=np.float32).reshape(16, 16)
    assert np.array_equal(media.decode(saved(Image.fromarray(ramp), "TIFF")).pixels[..., 0].ravel(), np.arange(256))
    hole = ramp.copy()
    hole[0, 0] = np.nan
    assert media.decode(saved(Image.fromarray(hole), "TIFF")).pixels[0, 0, 0] == 0
    flat = media.decode(saved(Image.fromarray(np.full((3, 3), 70000, np.int32)), "TIFF")).pixels
    assert not flat.any()


def test_cmyk_and_greyscale():
    cmyk = Image.fromarray(photo()).convert("CMYK")
    for form in ("JPEG", "TIFF"):
        assert np.abs(media.decode(saved(cmyk, form)).pixels.astype(int) - photo()).mean() < 6
    grey = media.decode(saved(Image.fromarray(photo()).convert("L"), "JPEG")).pixels
    assert np.array_equal(grey[..., 0], grey[..., 1])
    assert media.decode(saved(Image.new("1", (3, 3), 1), "PNG")).pixels.tolist() == [[[255] * 3] * 3] * 3


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animations_give_their_first_frame(form):
    frames = [Image.new("RGB", (10, 8), c) for c in ("red", "blue", "green")]
    options = {"lossless": True} if form == "WEBP" else {}
    data = saved(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert media.decode(data).pixels[4, 5].tolist() == [255, 0, 0]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_thin_images(form, size):
    decoded = media.decode(saved(Image.new("RGB", size, "white"), form), at_least=64)
    assert (decoded.width, decoded.height) == size and decoded.pixels.min() > 250


@pytest.mark.parametrize("form", FORMATS)
def test_the_pixel_limit_is_checked_before_decoding(form, monkeypatch):
    data = saved(Image.new("RGB", (200, 100)), form)
    assert media.decode(data, max_pixels=20_000).full
    import simplejpeg

    def never(*_args, **_options):
        raise AssertionError("decoded")

    monkeypatch.setattr(simplejpeg, "decode_jpeg", never)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    assert reason(data, max_pixels=19_999) == "too_many_pixels"


def test_a_bomb_of_a_few_kilobytes_is_refused_and_no_warning_escapes(monkeypatch):
    bomb = png(20_000, 20_000, bytes(2501 * 40), depth=1, colour=0)
    assert len(bomb) < 20_000
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert reason(bomb) == "too_many_pixels"
        assert reason(saved(Image.new("1", (10_000, 10_000)), "TIFF", compression="group4")) == "too_many_pixels"
        # An image that the user allows, but that Pillow itself would warn of.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15_000)
        for form in FORMATS:
            data = saved(Image.new("RGB", (200, 100)), form)
            assert media.decode(data, max_pixels=200_000_000).width == 200
    assert seen == []


def test_decoding_leaves_the_warning_filters_as_they_were():
    before = list(warnings.filters)
    threads = [threading.Thread(target=media.decode, args=(saved(photo(), "PNG"),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


@pytest.mark.parametrize("form", FORMATS)
def test_truncated_files_are_errors(form):
    data = saved(photo(200, 300), form)
    for part in (0.3, 0.6, 0.95):
        assert reason(data[: int(len(data) * part)]) in {"truncated", "undecodable"}, part
    if form in ("JPEG", "PNG", "WEBP", "BMP", "GIF"):
        assert reason(data[: len(data) // 2]) == "truncated"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"hello, I am a text", "not_an_image"),
        (b"<html><body>404</body></html>", "not_an_image"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "not_an_image"),
        (b"\0" * 500, "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "unsupported_format"),
        (b"%PDF-1.7 ...", "unsupported_format"),
        (b"BM is how this text starts, and it goes on", "not_an_image"),
        (b"\xff\xd8\xff", "truncated"),
        (b"\xff\xd8\xff\xd9", "truncated"),
        (b"\xff\xd8\xff\xda" + bytes(40), "undecodable"),
        (b"GIF89a", "undecodable"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "truncated"),
        (b"II*\0\x08\0\0\0", "undecodable"),
    ],
)
def test_what_is_no_image_says_why(data, expected):
    assert reason(data) == expected


def test_a_broken_colour_profile_is_ignored():
    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        assert media.decode(saved(photo(), form, icc_profile=b"not a profile at all")).full


def test_pillow_refuses_no_format_by_name_and_decodes_no_other():
    assert reason(saved(Image.new("RGB", (4, 4)), "ICO")) == "unsupported_format"
    assert reason(saved(Image.new("RGB", (4, 4)), "PPM")) == "not_an_image"


def test_thumbnails_fit_and_come_back():
    data = media.thumbnail(photo(480, 640))
    assert data[:3] == b"\xff\xd8\xff" and data == media.thumbnail(photo(480, 640))
    pixels = media.read_thumbnail(data)
    assert pixels.shape == (240, 320, 3)
    assert np.abs(pixels.astype(int) - media.resize(photo(480, 640), 320, 240)).mean() < 2
    assert media.read_thumbnail(media.thumbnail(photo(480, 640), None)).shape == (480, 640, 3)
    assert media.read_thumbnail(media.thumbnail(np.zeros((1, 5000, 3), np.uint8))).shape == (1, 320, 3)
    assert media.read_thumbnail(media.thumbnail(photo(20, 30))).shape == (20, 30, 3)


@pytest.mark.parametrize("shape", [(48, 64), (37, 53), (8, 8), (3, 5), (1, 1), (2400, 2300)])
def test_area_mean_is_the_mean_of_each_area(shape):
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    grid = media.area_mean(pixels, 8, 8)
    assert grid.shape == (8, 8, 3) and grid.dtype == np.float32
    if min(shape) >= 8:
        rows, columns = cells(shape[0]), cells(shape[1])
        expected = np.stack([rows @ pixels[..., c] @ columns.T for c in range(3)], axis=2)
        assert np.abs(grid - expected).max() < (1e-3 if pixels.size < 16_000_000 else 0.5)


def cells(length, count=8):
    """(count, length) weights: the share of every pixel in every cell."""
    edges = np.arange(count + 1) * length / count
    low, high = edges[:-1, None], edges[1:, None]
    at = np.arange(length)[None, :]
    return np.clip(np.minimum(high, at + 1) - np.maximum(low, at), 0, None) / (length / count)


def test_pixel_hash_sees_pixels_and_size_only():
    source = photo()
    one, two = saved(source, "PNG"), saved(source, "BMP")
    assert media.facts(one, media.decode(one)).pixel_hash == media.facts(two, media.decode(two)).pixel_hash
    assert media.facts(one, media.decode(one)).content_hash != media.facts(two, media.decode(two)).content_hash
    flat = np.zeros((2, 8, 3), np.uint8)
    assert media.pixel_hash(flat, 8, 2) != media.pixel_hash(flat.reshape(4, 4, 3), 4, 4)
    jpeg = saved(photo(400, 400), "JPEG")
    scaled = media.facts(jpeg, media.decode(jpeg, at_least=50))
    assert scaled.pixel_hash is None and (scaled.width, scaled.height, scaled.size_bytes) == (400, 400, len(jpeg))
    assert media.facts(b"text").size_bytes == 4


def test_a_jpeg_of_very_many_scans_is_refused():
    data = saved(photo(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    assert media.decode(data).full
    with pytest.raises(MediaError, match="scans"):
        media.decode(data[:-2] + data[last:-2] * 300 + data[-2:])
