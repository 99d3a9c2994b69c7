"""Where the points, ticks and the line of a curve lie, in hundredths of the drawing from its lower left corner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from curate.report.parts import Curve, Point

MARGIN = 0.06
"""Room left and right of the outermost points, as a share of the width."""

CLOSE = 0.1
"""Share of the width within which the labels of two points would touch."""

STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
MOST_TICKS = 6


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid.  at: 0 to 100.  text: its value."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Spot:
    """A point in its place.  side: where its label stands: "above" on the line, "lifted" beside a close one, "below" off it."""

    x: float
    y: float
    point: Point
    side: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A curve ready to draw.  line: the points that no other beats, from the left."""

    spots: Sequence[Spot]
    line: Sequence[Spot]
    across: Sequence[Tick]
    up: Sequence[Tick]


def unbeaten(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats with a smaller or equal x and a larger or equal y, by x."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if not best or point.y > best[-1].y:
            best.append(point)
    return best


def drawing(curve: Curve) -> Drawing:
    """Places everything; a curve without points has nothing to place."""
    if not curve.points:
        return Drawing((), (), (), ())
    logs = [math.log2(p.x) for p in curve.points]
    low, high = min(logs), max(logs)
    room = MARGIN * max(high - low, 1.0)
    low, high = low - room, high + room
    floor, top, up = _upward([p.y for p in curve.points])
    best = unbeaten(curve.points)

    def spot(point: Point) -> Spot:
        x, y = (math.log2(point.x) - low) / (high - low), (point.y - floor) / (top - floor)
        return Spot(100 * x, 100 * y, point, _side(point, best, high - low))

    spots = [spot(point) for point in curve.points]
    powers = range(math.ceil(low), math.floor(high) + 1)
    across = [Tick(100 * (k - low) / (high - low), f"{2.0**k:,.0f}" if k >= 0 else f"{2.0**k:g}") for k in powers]
    return Drawing(spots, [spot(point) for point in best], across, up)


def _side(point: Point, best: Sequence[Point], octaves: float) -> str:
    if point not in best:
        return "below"
    at = best.index(point)
    close = at > 0 and math.log2(point.x / best[at - 1].x) < CLOSE * octaves
    return "lifted" if close and _side(best[at - 1], best, octaves) == "above" else "above"


def _upward(values: Sequence[float]) -> tuple[float, float, list[Tick]]:
    """The lowest and highest value of the axis, and its ticks."""
    least, most = min(values), max(values)
    step = next((s for s in STEPS if (most - least) / s <= MOST_TICKS), STEPS[-1])
    first = math.floor(least / step - 0.25)
    last = math.ceil(most / step - 1e-9)
    floor, top = first * step, last * step + step / 2
    ticks = [Tick(100 * (k * step - floor) / (top - floor), f"{k * step:.2f}") for k in range(first, last + 1)]
    return floor, top, ticks
