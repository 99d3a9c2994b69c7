"""Crops of photographs that scikit-image brings (public domain or CC0), some with an edited copy, as a FiftyOne dataset."""

from pathlib import Path

from PIL import Image, ImageEnhance

SUBJECTS = {
    "animal/cat": "chelsea.png",
    "thing/coffee": "coffee.png",
    "person/astronaut": "astronaut.png",
    "sky/rocket": "rocket.jpg",
    "sky/hubble": "hubble_deep_field.jpg",
    "thing/motorcycle": "motorcycle_left.png",
    "surface/brick": "brick.png",
    "surface/gravel": "gravel.png",
}
TAXONOMY = """
animal: {cat: }
thing: {coffee: , motorcycle: }
person: {astronaut: }
sky: {rocket: , hubble: }
surface: {brick: , gravel: }
"""


def crops(folder, each=6):
    """(path, label) of `each` (at most 6) tiles of a subject; most have a copy: re-encoded, brighter, or the same bytes."""
    import skimage

    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for label, file in SUBJECTS.items():
        name = label.rpartition("/")[2]
        whole = Image.open(Path(skimage.__file__).parent / "data" / file).convert("RGB")
        wide, high = whole.width // 3, whole.height // 2
        for n in range(each):
            x, y = n % 3 * wide, n // 3 * high
            crop = whole.crop((x, y, x + wide, y + high)).resize((320, round(320 * high / wide)), Image.Resampling.LANCZOS)
            path = folder / f"{name}-{n}.jpg"
            crop.save(path, quality=92)
            made.append((path, label))
            copy = folder / f"{name}-{n}-copy.jpg"
            if n % 3 == 0:
                crop.resize((256, round(256 * high / wide))).save(copy, quality=60)
            elif n % 3 == 1 and n < 3:
                ImageEnhance.Brightness(crop).enhance(1.2).save(copy, quality=85)
            elif n == 2:
                copy.write_bytes(path.read_bytes())
            else:
                continue
            made.append((copy, label))
    return made


def dataset(name, folder, each=6):
    """A persistent dataset of `crops` with the label as `ground_truth`, the path of its tag as `kind`."""
    import fiftyone as fo

    made = fo.Dataset(name, persistent=True, overwrite=True)
    made.add_samples(
        [
            fo.Sample(filepath=str(path), kind=label, ground_truth=fo.Classification(label=label.rpartition("/")[2]))
            for path, label in crops(folder, each)
        ]
    )
    return made
