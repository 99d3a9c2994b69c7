"""Files as they come: good ones of every kind, and bad ones with what must be said about each; made on the spot.

`cases()` gives name -> (bytes, expected): expected is "ok", or the reason code (or codes, joined by "|") of the failure.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def photo(width=64, height=48, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def saved(image, form, **options):
    out = io.BytesIO()
    image.save(out, format=form, **options)
    return out.getvalue()


def png(width, height, rows, *, depth=8, colour=2, extra=b""):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def good():
    image = photo()
    grey, palette = image.convert("L"), image.quantize(64)
    alpha = image.copy()
    alpha.putalpha(grey)
    frames = [photo(seed=s) for s in range(3)]
    deep = Image.fromarray(np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64))
    found = {
        "plain.jpg": saved(image, "JPEG"),
        "progressive.jpg": saved(image, "JPEG", progressive=True),
        "grey.jpg": saved(grey, "JPEG"),
        "cmyk.jpg": saved(image.convert("CMYK"), "JPEG"),
        "no-subsampling.jpg": saved(image, "JPEG", subsampling=0),
        "icc-broken.jpg": saved(image, "JPEG", icc_profile=b"no profile"),
        "trailing-junk.jpg": saved(image, "JPEG") + b"junk after the end" * 10,
        "plain.png": saved(image, "PNG"),
        "grey.png": saved(grey, "PNG"),
        "bilevel.png": saved(image.convert("1"), "PNG"),
        "palette.png": saved(palette, "PNG"),
        "palette-alpha.png": saved(palette, "PNG", transparency=bytes(range(64))),
        "alpha.png": saved(alpha, "PNG"),
        "grey-alpha.png": saved(alpha.convert("LA"), "PNG"),
        "16-bit.png": saved(deep, "PNG"),
        "16-bit-colour.png": png(64, 2, (b"\0" + bytes(range(256)) + bytes(128)) * 2, depth=16),
        "interlaced-name.gif.png": saved(image, "PNG"),
        "icc-broken.png": saved(image, "PNG", icc_profile=b"no profile"),
        "animated.png": saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "plain.gif": saved(palette, "GIF"),
        "transparent.gif": saved(palette, "GIF", transparency=3),
        "animated.gif": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "lossy.webp": saved(image, "WEBP"),
        "lossless.webp": saved(image, "WEBP", lossless=True),
        "alpha.webp": saved(alpha, "WEBP"),
        "animated.webp": saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "plain.tiff": saved(image, "TIFF"),
        "lzw.tif": saved(image, "TIFF", compression="tiff_lzw"),
        "jpeg.tif": saved(image, "TIFF", compression="jpeg"),
        "16-bit.tif": saved(deep, "TIFF"),
        "float.tif": saved(Image.fromarray(np.linspace(-1, 2, 64 * 48, dtype=np.float32).reshape(48, 64)), "TIFF"),
        "cmyk.tif": saved(image.convert("CMYK"), "TIFF"),
        "pages.tif": saved(frames[0], "TIFF", save_all=True, append_images=frames[1:]),
        "plain.bmp": saved(image, "BMP"),
        "palette.bmp": saved(palette, "BMP"),
        "png-inside.jpg": saved(image, "PNG"),
        "no-suffix": saved(image, "JPEG"),
    }
    for form in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        found[f"1x1.{form.lower()}"] = saved(Image.new("RGB", (1, 1), "red"), form)
    for form in ("JPEG", "PNG"):
        found[f"1x6000.{form.lower()}"] = saved(Image.new("RGB", (1, 6000), "red"), form)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        found[f"exif-{turn}.jpg"] = saved(image, "JPEG", exif=exif)
    broken = Image.Exif()
    broken[0x0112] = 77
    found["exif-nonsense.jpg"] = saved(image, "JPEG", exif=broken)
    return found


def bad():
    image = photo(300, 200)
    jpeg, plain = saved(image, "JPEG"), saved(image, "PNG")
    cut = "truncated|undecodable"
    scan = jpeg.index(b"\xff\xda")
    found = {
        "empty.jpg": (b"", "empty"),
        "one-byte.png": (b"\x89", "not_an_image"),
        "text.jpg": (b"I am a text with the wrong name", "not_an_image"),
        "html.png": (b"<!doctype html><html><body>404</body></html>", "not_an_image"),
        "xml-200.jpg": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "not_an_image"),
        "json.webp": (b'{"error": "expired"}', "not_an_image"),
        "zeros.bmp": (bytes(4096), "not_an_image"),
        "noise.gif": (np.random.default_rng(1).bytes(4096), "not_an_image"),
        "svg.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        "photo.heic": (b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(200), "unsupported_format"),
        "photo.avif": (b"\0\0\0\x18ftypavif\0\0\0\0" + bytes(200), "unsupported_format"),
        "photo.jxl": (b"\xff\x0a" + bytes(200), "unsupported_format"),
        "photo.jp2": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200), "unsupported_format"),
        "layers.psd": (b"8BPS\0\1" + bytes(200), "unsupported_format"),
        "page.jpg": (b"%PDF-1.7\n", "unsupported_format"),
        "archive.png": (b"PK\x03\x04" + bytes(100), "unsupported_format"),
        "magic-only.jpg": (b"\xff\xd8\xff", "truncated"),
        "magic-only.png": (b"\x89PNG\r\n\x1a\n", cut),
        "magic-only.gif": (b"GIF89a", cut),
        "magic-only.tif": (b"II*\0", cut),
        "magic-only.webp": (b"RIFF\0\0\0\0WEBP", cut),
        "magic-only.bmp": (b"BM" + bytes(12) + b"\x28\0\0\0", cut),
        "no-end.jpg": (jpeg[:-2], "truncated"),
        "cut-header.jpg": (jpeg[:40], "truncated"),
        "cut-scan.jpg": (jpeg[: scan + 30], "truncated"),
        "no-end.png": (plain[:-12], "truncated"),
        "wrong-size.png": (plain[:16] + struct.pack(">II", 0, 200) + plain[24:], cut),
        "bomb.png": (png(20_000, 20_000, bytes(2501 * 100), depth=1, colour=0), "too_many_pixels"),
        "huge-claim.png": (plain[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + plain[24:], "too_many_pixels|undecodable"),
        "bomb.gif": (b"GIF89a\xff\xff\xff\xff" + saved(image.quantize(4), "GIF")[10:], "too_many_pixels|undecodable|truncated"),
        "bomb.tif": (saved(Image.new("1", (10_000, 10_000)), "TIFF", compression="group4"), "too_many_pixels"),
        "bomb.jpg": (huge_jpeg(jpeg), "too_many_pixels"),
        "bomb.webp": (b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0", "too_many_pixels"),
        "garbled.webp": (saved(image, "WEBP")[:40] + bytes(500) + saved(image, "WEBP")[540:], "undecodable|truncated|ok"),
    }
    for form in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        data = saved(image, form)
        for percent in (20, 50, 90):
            found[f"cut-{percent}.{form.lower()}"] = (data[: len(data) * percent // 100], cut)
    return found


def huge_jpeg(data):
    at = data.index(b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", 65_000, 65_000) + data[at + 9 :]


def cases():
    return {**{name: (data, "ok") for name, data in good().items()}, **bad()}
