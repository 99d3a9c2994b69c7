"""Which copy stays: the criteria of `--keep`, in the user's order, and the reason in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import ConfigError, UnknownName
from curate.ops._decide import readable
from curate.protocols import Context
from curate.types import Pixels

CRITERIA = ("labeled", "resolution", "sharpness", "size", "oldest")
"""labeled: has a label.  resolution: more pixels.  sharpness: of the thumbnail.  size: larger file.  oldest: `created_at`."""

PROTECTED = "curate:protect"
"""The field by which a connector marks rows that are never called copies (FiftyOne: the sample tag of this name)."""

LABEL_FIELDS = ("labeled", "label", "labels", "class", "ground_truth")
_SCALE = 64
"""Puts a strongly blurred photograph near 1 and fine texture near 9."""
AGE_FIELDS = ("created_at", "created", "date")


@dataclass(frozen=True, slots=True)
class Ranking:
    """Rows by how much they deserve to stay.

    order: rows, most deserving first.  values: criterion -> one number a row, larger is better, in the order of importance.
    words: criterion -> one text a row.
    """

    order: Sequence[int]
    values: dict[str, list[float]]
    words: dict[str, list[str]]

    def of(self, rows: npt.NDArray[np.int64]) -> Ranking:
        """The same for the rows `rows` (rising) alone, counted anew; `order` must hold no others."""
        place = {row: k for k, row in enumerate(rows.tolist())}
        return Ranking(
            [place[row] for row in self.order],
            {name: [column[row] for row in place] for name, column in self.values.items()},
            {name: [column[row] for row in place] for name, column in self.words.items()},
        )

    def protecting(self, protected: npt.NDArray[np.bool_], rule: str) -> Ranking:
        """The same with these rows protected, which then is what counts first."""
        values = {"protected": protected.astype(float).tolist(), **{k: v for k, v in self.values.items() if k != "protected"}}
        words = {"protected": [f"protected by {rule}" if p else "" for p in protected], **self.words}
        order = sorted(self.order, key=lambda row: not protected[row])
        return Ranking(order, values, words)

    def reason(self, kept: int, copies: Sequence[int]) -> str:
        """Why `kept` stays: the first criterion in which it differs from one of its copies."""
        for name, value in self.values.items():
            beaten = [c for c in copies if value[c] != value[kept]]
            if beaten:
                best = max(beaten, key=lambda c: value[c])
                against = self.words[name][best]
                return f"{self.words[name][kept]}" + (f" (the copies: {against})" if against else "")
        return "first by id, equal in everything else"


def check_keep(keep: Sequence[str]) -> tuple[str, ...]:
    """`keep` as a tuple without repeats.  Raises UnknownName for a criterion there is not."""
    for name in keep:
        if name not in CRITERIA:
            raise UnknownName("criterion of --keep", name, CRITERIA)
    return tuple(dict.fromkeys(keep))


def sharpness(pixels: Pixels | None) -> float:
    """How much fine detail a thumbnail has for its contrast, in octaves (0 to about 12) and steps of a half; 0 without pixels.

    The variance of its Laplacian over its own variance: a copy with more contrast or brightness is not sharper for that.  The
    steps keep the noise of a re-encoded copy from deciding.
    """
    if pixels is None:
        return 0.0
    import cv2

    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    scale = 160 / max(grey.shape)
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in grey.shape)  # a strip of 1 px keeps its pixel
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    detail, contrast = cv2.Laplacian(grey, cv2.CV_32F).var(), grey.astype(np.float32).var()
    return round(2 * float(np.log2(1 + _SCALE * detail / (contrast + 1)))) / 2


def protected_rows(protect: Sequence[str], count: int, context: Context) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Rows that no decision may call a copy: those with one of the FIELD=VALUE of `protect`; (n,).

    Raises ConfigError for a rule without "=", or (from the context) for a field that no row has.
    """
    found = np.zeros(count, dtype=bool)
    for rule in protect:
        name, equals, value = rule.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"--protect {rule!r} is not FIELD=VALUE, such as split=test")
        found |= np.array([v is not None and str(v) == value.strip() for v in context.field(name.strip())], dtype=bool)
    marks = _field_of(context, (PROTECTED,))
    return found | np.array([bool(v) for v in marks], dtype=bool) if len(marks) else found


def ranking(
    ids: Sequence[str],
    rows: Sequence[int],
    keep: Sequence[str],
    context: Context,
    *,
    protected: Sequence[bool],
    protect: str = "",
) -> Ranking:
    """The rows `rows` (of `ids`) in the order in which they deserve to stay; rows outside `rows` are left out.

    protected: one flag a row of `ids`; these come first, whatever the criteria say.  protect: how the rule reads.
    """
    count = len(ids)
    values: dict[str, list[float]] = {}
    words: dict[str, list[str]] = {}
    if any(protected):
        values["protected"] = [float(p) for p in protected]
        words["protected"] = [f"protected by {protect}" if p else "" for p in protected]
    for name in keep:
        values[name], words[name] = _CRITERION[name](ids, rows, context, count)
    order = sorted(rows, key=lambda r: (*(-v[r] for v in values.values()), ids[r]))
    return Ranking(order, values, words)


def _field_of(context: Context, names: Sequence[str]) -> Sequence[Any]:
    for name in names:
        try:
            found = context.field(name)
        except ConfigError:
            continue
        if any(v is not None for v in found):
            return found
    return ()


def _labeled(ids: Sequence[str], rows: Sequence[int], context: Context, count: int) -> tuple[list[float], list[str]]:
    found = _field_of(context, LABEL_FIELDS) or [None] * count
    has = [float(v not in (None, "", False, 0)) for v in found]
    return has, ["labeled" if h else "not labeled" for h in has]


def _resolution(ids: Sequence[str], rows: Sequence[int], context: Context, count: int) -> tuple[list[float], list[str]]:
    wide, high = _numbers(context, "width", count), _numbers(context, "height", count)
    return [w * h for w, h in zip(wide, high, strict=True)], [
        f"{w:.0f}x{h:.0f} pixels" for w, h in zip(wide, high, strict=True)
    ]


def _sharpness(ids: Sequence[str], rows: Sequence[int], context: Context, count: int) -> tuple[list[float], list[str]]:
    value, read = [0.0] * count, readable(context)
    for row in rows:
        value[row] = sharpness(read(ids[row]))
    return value, [f"sharpness {v:g}" for v in value]


def _size(ids: Sequence[str], rows: Sequence[int], context: Context, count: int) -> tuple[list[float], list[str]]:
    value = _numbers(context, "size_bytes", count)
    return value, [f"{v:,.0f} bytes" for v in value]


def _oldest(ids: Sequence[str], rows: Sequence[int], context: Context, count: int) -> tuple[list[float], list[str]]:
    found = _field_of(context, AGE_FIELDS) or [None] * count
    known = sorted({str(v) for v in found if v is not None})
    place = {v: i for i, v in enumerate(known)}
    last = len(known)
    return [float(last - place.get(str(v), last)) for v in found], [f"created {v}" if v is not None else "" for v in found]


def _numbers(context: Context, name: str, count: int) -> list[float]:
    return [float(v or 0) for v in context.fact(name)] or [0.0] * count


_CRITERION: dict[str, Callable[[Sequence[str], Sequence[int], Context, int], tuple[list[float], list[str]]]] = {
    "labeled": _labeled,
    "resolution": _resolution,
    "sharpness": _sharpness,
    "size": _size,
    "oldest": _oldest,
}
