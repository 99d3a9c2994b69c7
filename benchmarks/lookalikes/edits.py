"""What people and programs do to a copy: re-encode, resize, crop, frame, caption, filter, turn, mirror."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont


def font(size, rng=None):
    names = ["DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf"]
    try:
        return ImageFont.truetype(names[0] if rng is None else names[rng.integers(len(names))], size)
    except OSError:
        return ImageFont.load_default(size)


def jpeg(image, quality):
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def thumbnail(image, side=320, quality=87):
    """As the embedding stage keeps it: at most `side` px, JPEG."""
    high, wide = image.shape[:2]
    scale = side / max(high, wide)
    if scale < 1:
        size = (max(1, round(wide * scale)), max(1, round(high * scale)))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    return jpeg(image, quality)


def resized(image, scale_x, scale_y):
    high, wide = image.shape[:2]
    return cv2.resize(image, (max(8, round(wide * scale_x)), max(8, round(high * scale_y))), interpolation=cv2.INTER_AREA)


def crop(image, share, rng):
    """Keeps `share` of the area."""
    high, wide = image.shape[:2]
    side = np.sqrt(share)
    stretch = np.exp(rng.uniform(-0.15, 0.15))
    h, w = min(high, round(high * side * stretch)), min(wide, round(wide * side / stretch))
    y, x = rng.integers(0, high - h + 1), rng.integers(0, wide - w + 1)
    return image[y : y + h, x : x + w]


def border(image, rng):
    high, wide = image.shape[:2]
    top, bottom, left, right = (int(v * max(high, wide)) for v in rng.uniform(0.0, 0.14, size=4) + rng.uniform(0.01, 0.05))
    colour = [int(v) for v in (rng.choice([0, 255, 128]) * np.ones(3) if rng.random() < 0.7 else rng.integers(0, 256, 3))]
    return cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=colour)


def tint(rng):
    """Black, white, or any colour."""
    return tuple(int(v) for v in (rng.choice([0, 255]) * np.ones(3) if rng.random() < 0.5 else rng.integers(0, 256, 3)))


def caption(image, rng):
    picture = Image.fromarray(np.ascontiguousarray(image))
    draw = ImageDraw.Draw(picture)
    high, wide = image.shape[:2]
    size = max(9, int(high * rng.uniform(0.05, 0.12)))
    text = " ".join(words(rng, rng.integers(1, 4)))
    place = (wide * rng.uniform(0.02, 0.3), high * rng.choice([0.02, 0.85, rng.uniform(0, 0.85)]))
    way = rng.random()
    if way < 0.2:
        draw.rectangle([0, place[1] - 2, wide, place[1] + size * 1.4], fill=tint(rng))
    elif way < 0.5:
        # A bar from the writing to the edge of the picture, as news and memes have.
        top = high * rng.uniform(0.78, 0.92) if rng.random() < 0.8 else 0
        place = (place[0], top + high * rng.uniform(0.0, 0.04))
        draw.rectangle([0, top, wide, high if top else place[1] + size * rng.uniform(1.3, 2.5)], fill=tint(rng))
    draw.text(place, text, font=font(size, rng), fill=tuple(int(v) for v in rng.choice([0, 255], 3)))
    return np.asarray(picture)


def watermark(image, rng):
    picture = Image.fromarray(np.zeros(image.shape, np.uint8))
    draw = ImageDraw.Draw(picture)
    high, wide = image.shape[:2]
    text = words(rng, 1)[0]
    step = int(high * rng.uniform(0.25, 0.7)) + 10
    for y in range(0, high, step):
        draw.text((wide * rng.uniform(0, 0.5), y), text, font=font(max(10, int(high * 0.1)), rng), fill=(255, 255, 255))
    turned = np.asarray(picture.rotate(rng.uniform(-30, 30)))
    return np.clip(image + turned * rng.uniform(0.15, 0.45), 0, 255).astype(np.uint8)


def rotate(image, degrees, fill):
    high, wide = image.shape[:2]
    m = cv2.getRotationMatrix2D((wide / 2, high / 2), degrees, 1)
    return cv2.warpAffine(image, m, (wide, high), flags=cv2.INTER_LINEAR, borderMode=fill)


def gamma(image, power, gain=1.0, lift=0.0):
    return np.clip(255 * (gain * (image / 255.0) ** power + lift), 0, 255).astype(np.uint8)


def colour(image, rng):
    hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-25, 25)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.3, 1.7), 0, 255)
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)


def grey(image, rng):
    one = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    tone = np.array([1, 1, 1]) if rng.random() < 0.7 else np.array([1.05, 0.95, 0.75])
    return np.clip(one[..., None] * tone, 0, 255).astype(np.uint8)


def noise(image, rng):
    return np.clip(image + rng.normal(0, rng.uniform(4, 22), image.shape), 0, 255).astype(np.uint8)


def blur(image, rng):
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 3.0) * max(image.shape) / 400)


def cover(image, rng):
    """A small opaque logo."""
    image = image.copy()
    high, wide = image.shape[:2]
    h, w = int(high * rng.uniform(0.08, 0.2)), int(wide * rng.uniform(0.08, 0.25))
    y, x = rng.choice([2, high - h - 2]), rng.choice([2, wide - w - 2])
    image[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    return image


EDITS = {
    "jpeg": lambda im, r: jpeg(im, r.integers(12, 60)),
    "half": lambda im, r: jpeg(resized(im, *[r.uniform(0.3, 0.7)] * 2), r.integers(35, 90)),
    "stretch": lambda im, r: resized(im, *r.uniform(0.7, 1.0, 2)),
    "crop_little": lambda im, r: crop(im, r.uniform(0.8, 0.97), r),
    "crop": lambda im, r: crop(im, r.uniform(0.5, 0.8), r),
    "border": border,
    "caption": caption,
    "watermark": watermark,
    "logo": cover,
    "blur": blur,
    "dark": lambda im, r: gamma(im, r.uniform(1.0, 2.0), r.uniform(0.5, 0.95)),
    "bright": lambda im, r: gamma(im, r.uniform(0.5, 1.0), r.uniform(1.0, 1.4), r.uniform(0, 0.1)),
    "contrast": lambda im, r: gamma(im, 1.0, g := r.uniform(0.5, 1.5), 0.5 - g / 2),
    "colour": colour,
    "grey": grey,
    "noise": noise,
    "rotate": lambda im, r: rotate(im, r.uniform(-7, 7), r.choice([cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE])),
    "rotate_far": lambda im, r: rotate(im, r.choice([-1, 1]) * r.uniform(8, 18), cv2.BORDER_CONSTANT),
    "mirror": lambda im, r: np.ascontiguousarray(im[:, ::-1]),
}


LEGIBLE = {
    **EDITS,
    "jpeg": lambda im, r: jpeg(im, r.integers(30, 70)),
    "half": lambda im, r: jpeg(resized(im, *[r.uniform(0.6, 0.85)] * 2), r.integers(50, 90)),
    "blur": lambda im, r: cv2.GaussianBlur(im, (0, 0), r.uniform(0.4, 0.9) * max(im.shape) / 400),
}
"""Edits after which small writing can still be read: without it two tables differ in nothing, and nobody could judge."""


def edit(image, rng, name=None, edits=EDITS):
    """One edit, and in a third of the cases a second, or the named one: (image, name)."""
    names = [name] if name else [str(rng.choice(list(edits)))]
    if name is None and rng.random() < 0.35:
        names.append(str(rng.choice(list(edits))))
    for one in names:
        image = np.ascontiguousarray(edits[one](image, rng))
    return image, "+".join(names)


_SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe qui ro su ta ve wi xo zu an el in or us ter mon lin sta ver gra pli".split()


def words(rng, count):
    return ["".join(rng.choice(_SYLLABLES, rng.integers(1, 4))).capitalize() for _ in range(count)]
