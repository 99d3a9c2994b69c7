"""One self-contained page: no network, nothing executed but what is hashed in its own security policy."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.errors import MissingExtra
from curate.report._words import shown
from curate.report.curve import drawing
from curate.report.parts import Map, Report, measured

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent

Thumb = Callable[[str], bytes | None]

IMAGES_BYTES = 6_500_000
"""All thumbnails of a page together, as text; with plotly the page stays under 12 MB."""

SIZES = ((400, 176), (1000, 128), (10**9, 96))
"""Up to that many different images -> longest side in pixels."""

FIRST_GROUPS = 24
FIRST_IMAGES = 48
"""What is open when the page opens; the rest unfolds, and is printed."""

POINTS = 20_000
"""Points drawn on the map; more are drawn from, and the page says so."""

COLOURS = 12
"""Values of a colouring that keep a colour of their own; the rest are one grey "other"."""


def write_html(report: Report, path: Path, thumb: Thumb) -> Path:
    """Writes the page; `thumb` gives the JPEG of a row, or None.  The file appears under its name only when it is whole.

    Raises MissingExtra without jinja2 (and plotly, when there is a map).
    """
    text = page(report, thumb)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    part.write_text(text, encoding="utf-8", errors="backslashreplace")
    part.replace(path)
    return path


def page(report: Report, thumb: Thumb) -> str:
    """The page as text."""
    images, note = _images(report, thumb)
    script, points, plotly = _map_parts(report.map)
    hashes = " ".join(f"'sha256-{_sha256(source)}'" for source in (plotly, script) if source)
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; "
        f"img-src data: blob:; script-src {hashes or chr(39) + 'none' + chr(39)}"
    )
    from markupsafe import Markup

    return str(
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            policy=policy,
            style=Markup((HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            plotly=Markup(plotly),  # noqa: S704 - the library's own bundle
            points=Markup(points),  # noqa: S704 - JSON with every < > & escaped
            image=images.get,
            note=note,
            failed=sum(not gate.passed for gate in report.gates),
            measured=measured,
            drawing=drawing,
            first=FIRST_GROUPS,
            shots=FIRST_IMAGES,
            map_note=drawn(report.map).note if report.map else "",
        )
    )


def _environment() -> Environment:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as err:
        raise MissingExtra("jinja2", "report", "The HTML report") from err
    made = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["shown"] = shown
    return made


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()


def _ids(report: Report) -> Iterator[str]:
    for section in report.sections:
        for group in section.groups:
            for item in group.shown:
                yield item.id


def _images(report: Report, thumb: Thumb) -> tuple[dict[str, str], str]:
    ids = list(dict.fromkeys(_ids(report)))
    side = next(pixels for most, pixels in SIZES if len(ids) <= most)
    urls: dict[str, str] = {}
    left, skipped = IMAGES_BYTES, 0
    for item in ids:
        data = thumb(item)
        url = None if data is None else _small(data, side)
        if url is None:
            continue
        if len(url) > left:
            skipped += 1
            continue
        left -= len(url)
        urls[item] = url
    note = "This page is one file: it loads nothing and sends nothing."
    if skipped:
        note += f" {skipped:,} thumbnails were left out to keep it small."
    return urls, note


def _small(data: bytes, side: int) -> str | None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            image.draft("RGB", (side, side))
            small = image.convert("RGB")
            small.thumbnail((side, side))
            out = io.BytesIO()
            small.save(out, "JPEG", quality=72, optimize=True)
    except (OSError, ValueError, SyntaxError):
        return None
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def _map_parts(points: Map | None) -> tuple[str, str, str]:
    if points is None or not len(points.ids):
        return "", "", ""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as err:
        raise MissingExtra("plotly", "report", "The map of the HTML report") from err
    some = drawn(points)
    data = {
        "ids": [shown(i, 120) for i in some.ids],
        "x": [round(float(v), 4) for v in some.x],
        "y": [round(float(v), 4) for v in some.y],
        "colours": {shown(name): _few(values) for name, values in some.colours.items()},
        "quiet": "other",
        "z": [round(float(v), 4) for v in some.z],
        "kind": "scatter3d" if len(some.z) else "scattergl" if len(some.ids) > 2000 else "scatter",
    }
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return (HERE / "map.js").read_text(encoding="utf-8"), text, str(get_plotlyjs())


def drawn(points: Map) -> Map:
    """At most `POINTS` of the points, drawn evenly at random (always the same ones); the note says so."""
    count = len(points.ids)
    if count <= POINTS:
        return points
    rows = np.sort(np.random.default_rng(0).choice(count, POINTS, replace=False)).tolist()
    colours = {name: [values[i] for i in rows] for name, values in points.colours.items()}
    note = f"{points.note} {POINTS:,} of {count:,} rows are drawn.".strip()
    x, y, z = ([axis[i] for i in rows] if len(axis) else [] for axis in (points.x, points.y, points.z))
    return Map([points.ids[i] for i in rows], x, y, colours, note, z)


def _few(values: Any) -> list[str]:
    texts = ["" if value is None else shown(value, 40) for value in values]
    names, counts = np.unique(np.asarray(texts, dtype=object).astype(str), return_counts=True)
    keep = {str(names[i]) for i in np.lexsort((names, -counts))[:COLOURS]}
    return [text if text in keep else "other" for text in texts]
