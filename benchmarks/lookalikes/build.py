"""Sheets of look-alikes with true copies among them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from lookalikes.documents import DOCUMENTS
from lookalikes.edits import EDITS, LEGIBLE, edit, thumbnail
from lookalikes.scenes import SCENES

ALL = {**DOCUMENTS, **SCENES}


@dataclass
class Sheet:
    """The images of one template.  original: which original each image comes from; equal numbers are true copies.

    images: thumbnails, uint8 (h, w, 3).  edits: what was done to each ("" = an original).
    """

    kind: str
    number: int
    images: list
    original: list
    edits: list


def kinds():
    return sorted(ALL)


def build(kind, number, photos, *, seed=0, originals=5, copies=0.8):
    """One sheet: `originals` different images, each with an edited copy (or two) at the given rate."""
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), number])
    sheet = Sheet(kind, number, [], [], [])
    for n, image in enumerate(ALL[kind](rng, photos, originals)):
        image = np.ascontiguousarray(image[..., :3])
        made = [(image, "")]
        while rng.random() < copies and len(made) < 4:
            made.append(edit(image, rng, edits=LEGIBLE if kind in DOCUMENTS else EDITS))
        for one, name in made:
            sheet.images.append(thumbnail(one))
            sheet.original.append(n)
            sheet.edits.append(name)
    return sheet
