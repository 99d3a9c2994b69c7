"""Contact sheets: the images of a group in one picture, the kept one framed, as a data address that the App can show."""

from __future__ import annotations

import base64
import functools
import io
from collections.abc import Callable, Sequence
from typing import Any

from curate.errors import CurateError

SIDE, GAP, LINE, CAPTION = 108, 10, 3, 20
MOST = 6
KEPT, COPY, PROTECTED, FAINT, BACK, TEXT = "#3ecf8e", "#ff8c42", "#4e9af1", "#8b949e", "#00000000", "#c9d1d9"


def sheet(
    tiles: Sequence[tuple[str, str, str]], thumb: Callable[[str], bytes | None], *, more: int = 0, side: int = SIDE
) -> str:
    """Images in a row: `data:image/webp` with a transparent background, so that it fits both themes.

    tiles: (id, caption, colour of the frame).  thumb: id -> JPEG bytes or None.  more: images left out, written at the end.
    """
    from PIL import Image, ImageDraw

    slots = len(tiles) + bool(more)
    width = slots * (side + 2 * LINE) + (slots - 1) * GAP
    canvas = Image.new("RGBA", (max(width, 1), side + 2 * LINE + CAPTION), BACK)
    draw = ImageDraw.Draw(canvas)
    left = 0
    for item, caption, colour in tiles:
        draw.rounded_rectangle((left, 0, left + side + 2 * LINE - 1, side + 2 * LINE - 1), 6, outline=colour, width=LINE)
        _paste(canvas, draw, left + LINE, item, thumb, side)
        _write(draw, left + (side + 2 * LINE) / 2, side + 2 * LINE + CAPTION / 2 + 1, caption, colour)
        left += side + 2 * LINE + GAP
    if more:
        _write(draw, left + side / 2, side / 2, f"+{more:,} more", FAINT)
    return _address(canvas)


def _paste(canvas: Any, draw: Any, left: int, item: str, thumb: Callable[[str], bytes | None], side: int) -> None:
    from PIL import Image, UnidentifiedImageError

    try:
        data = thumb(item)
        image = Image.open(io.BytesIO(data)).convert("RGB") if data else None
    except (CurateError, UnidentifiedImageError, OSError):
        image = None
    inner = side - 4
    if image is None:
        _write(draw, left + side / 2, LINE + side / 2, "no picture", FAINT)
        return
    image.thumbnail((inner, inner), Image.Resampling.LANCZOS)
    if max(image.size) < inner:
        scale = inner / max(image.size)
        image = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.NEAREST
        )
    canvas.paste(image, (left + (side - image.width) // 2, LINE + (side - image.height) // 2))


def _write(draw: Any, x: float, y: float, text: str, colour: str) -> None:
    draw.text((x, y), text, fill=colour, font=_font(), anchor="mm")


@functools.cache
def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(13)


def _address(canvas: Any) -> str:
    file = io.BytesIO()
    canvas.save(file, "WEBP", quality=82, method=2)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
