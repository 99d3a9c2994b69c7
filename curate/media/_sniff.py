"""What a file is, from its first bytes: its format, its size where that must be known before a decoder sees it, its EXIF turn.

The name of a file and the type a server claims are never looked at.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from curate.errors import MediaError

_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_KNOWN_OTHERS = (
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (4, b"ftyp", "HEIC, AVIF or video"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "HDR"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska video"),
    (0, b"RIFF", "another RIFF file (audio or video)"),
    (0, b"PK\x03\x04", "ZIP"),
)


def sniff(data: bytes) -> str:
    """The format of `data` by its first bytes: "jpeg", "png", "webp", "gif", "tiff" or "bmp".

    Raises MediaError: empty, unsupported_format (an image or document of a kind that is not read), not_an_image.
    """
    if not data:
        raise MediaError("empty", "0 bytes")
    head = bytes(data[:32])
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "tiff"
    if head[:2] == b"BM" and len(head) >= 18 and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "bmp"
    for offset, magic, name in _KNOWN_OTHERS:
        if head[offset : offset + len(magic)] == magic:
            raise MediaError("unsupported_format", f"{name}; JPEG, PNG, WebP, GIF, TIFF and BMP are read")
    text = bytes(data[:512]).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<svg", b"<?xml")) and b"<svg" in text:
        raise MediaError("unsupported_format", "SVG; JPEG, PNG, WebP, GIF, TIFF and BMP are read")
    what = "an HTML or XML page" if text.startswith(b"<") else "no image format starts like this"
    raise MediaError("not_an_image", what)


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What a JPEG says before its pixels: size as stored, number of components, EXIF orientation 1..8."""

    width: int
    height: int
    components: int
    orientation: int


def jpeg_header(data: bytes) -> JpegHeader:
    """Walks the markers of a JPEG up to its frame header.  Raises MediaError: truncated, undecodable."""
    at, end, turn = 2, len(data), 0
    while at + 4 <= end:
        if data[at] != 0xFF:
            at += 1  # Decoders skip stray bytes between markers, so this does too.
            continue
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        if marker in (0xD9, 0xDA):
            raise MediaError("undecodable", "a JPEG without a frame header")
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(body) >= 6:
            height, width = struct.unpack(">HH", body[1:5])
            return JpegHeader(width, height, body[5], turn or 1)
        if marker == 0xE1 and not turn and body.startswith(b"Exif\x00\x00"):
            turn = exif_orientation(body)
        at += 2 + max(length, 2)
    raise MediaError("truncated", "the JPEG ends before its frame header")


def exif_orientation(exif: bytes) -> int:
    """EXIF orientation, 1..8, of an EXIF block (with or without its "Exif" prefix); 1 where there is none or it is broken."""
    block = exif[6:] if exif.startswith(b"Exif\x00\x00") else exif
    order = {b"II": "<", b"MM": ">"}.get(bytes(block[:2]))
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, offset)
        for n in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", block, offset + 2 + 12 * n)
            if tag == 0x0112:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def webp_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a WebP's canvas, which its decoder allocates at once; None where the header is cut short."""
    head = bytes(data[:30])
    if len(head) < 30:
        return None
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None
