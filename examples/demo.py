"""The main job on real images that come inside the wheels of scikit-image and scikit-learn: no account, network or weights.

    python examples/demo.py --to demo

Writes demo/images (photographs, scanned digits, and copies made here), runs `curate sync` on it, and leaves
demo/report.html.  Run it twice: the second run computes nothing and changes nothing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from curate.cli import main

PHOTOGRAPHS = (
    "astronaut.png brick.png camera.png cell.png chelsea.png coffee.png coins.png grass.png gravel.png hubble_deep_field.jpg "
    "ihc.png moon.png motorcycle_left.png page.png retina.jpg rocket.jpg text.png"
).split()
DIGITS = 120


def reencoded(image: Image.Image, path: Path) -> None:
    """The same picture as a stronger JPEG."""
    image.save(path.with_suffix(".jpg"), quality=45)


def resized(image: Image.Image, path: Path) -> None:
    """The same picture at 60 % of its size."""
    image.resize((int(image.width * 0.6), int(image.height * 0.6)), Image.Resampling.LANCZOS).save(path.with_suffix(".png"))


def cropped(image: Image.Image, path: Path) -> None:
    """The same picture without 6 % at every side."""
    w, h = image.size
    image.crop((int(w * 0.06), int(h * 0.06), int(w * 0.94), int(h * 0.94))).save(path.with_suffix(".jpg"), quality=90)


def brightened(image: Image.Image, path: Path) -> None:
    """The same picture, a third brighter."""
    ImageEnhance.Brightness(image).enhance(1.33).save(path.with_suffix(".jpg"), quality=90)


EDITS = (reencoded, resized, cropped, brightened)


def make_images(to: Path) -> int:
    """Fills `to` with photographs, digits and copies; returns how many copies were made.  The same bytes every time."""
    import sklearn
    from sklearn.datasets import load_digits

    skimage = find_spec("skimage")
    assert skimage is not None and skimage.origin is not None
    photos = [Path(skimage.origin).parent / "data" / name for name in PHOTOGRAPHS]
    photos += sorted((Path(sklearn.__file__).parent / "datasets" / "images").glob("*.jpg"))
    (to / "photos").mkdir(parents=True)
    copies = 0
    for number, source in enumerate(photos):
        shutil.copyfile(source, to / "photos" / source.name)
        image = Image.open(source).convert("RGB")
        image.thumbnail((900, 900))
        for edit in (EDITS[number % 4], EDITS[(number // 4 + 1) % 4])[: 1 + number % 2]:
            edit(image, to / "photos" / f"{source.stem}-{edit.__name__}")
            copies += 1
    shutil.copyfile(photos[0], to / "photos" / f"copy-of-{photos[0].name}")
    digits = load_digits()
    for row in range(DIGITS):
        folder = to / "digits" / str(digits.target[row])
        folder.mkdir(parents=True, exist_ok=True)
        scan = (digits.images[row] * (255 / 16)).astype(np.uint8)
        Image.fromarray(scan).resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{row:04d}.png")
    return copies + 1


def run(to: Path) -> int:
    """Makes the images once, runs the main job and writes the report; returns the exit code."""
    images = to / "images"
    if not images.exists():
        building = to / "images.tmp"
        shutil.rmtree(building, ignore_errors=True)
        copies = make_images(building)
        building.rename(images)
        print(f"made {images} with {copies} copies among them", file=sys.stderr)
    return main(
        [
            *("sync", "--dataset", f"folder:{images}", "--model", "pixels", "--store", str(to / "store")),
            *("--sample", "40", "--report", str(to / "report.html")),
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=Path("demo"))
    sys.exit(run(parser.parse_args().to))
