"""Pictures, edited copies of them, and how likely two are copies."""

import cv2
import numpy as np

from curate.ops._memory import Remembered
from curate.ops._pixels import Candidates, describe_images, judge_pairs


def picture(seed, high=180, wide=240):
    """A busy scene: blobs, lines and text on a gradient."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:high, 0:wide]
    image = (np.stack([x * rng.uniform(0, 1), y * rng.uniform(0, 1), (x + y) * 0.4], axis=-1) % 256).astype(np.uint8)
    for _ in range(45):
        at = (int(rng.integers(0, wide)), int(rng.integers(0, high)))
        ink = tuple(int(v) for v in rng.integers(0, 256, 3))
        size = int(rng.integers(4, 26))
        if rng.random() < 0.5:
            cv2.circle(image, at, size, ink, -1)
        else:
            cv2.rectangle(image, at, (at[0] + size, at[1] + int(rng.integers(4, 26))), ink, -1)
    cv2.putText(image, f"{seed * 7919}", (10, high - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
    return cv2.GaussianBlur(image, (0, 0), 0.7)


def jpeg(image, quality):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


def turned(image, degrees):
    high, wide = image.shape[:2]
    return cv2.warpAffine(image, cv2.getRotationMatrix2D((wide / 2, high / 2), degrees, 1), (wide, high))


COPIES = {
    "reencoded": lambda im: jpeg(im, 30),
    "half": lambda im: cv2.resize(im, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "cropped": lambda im: im[20:160, 25:215],
    "dark": lambda im: (im * 0.6).astype(np.uint8),
    "turned": lambda im: turned(im, 12),
    "mirrored": lambda im: np.ascontiguousarray(im[:, ::-1]),
    "blurred": lambda im: cv2.GaussianBlur(im, (0, 0), 1.5),
}


def looked_at(*images):
    """Every pair (i < j) of images laid over each other, mirror images too."""
    described = describe_images(
        [str(n) for n in range(len(images))], [""] * len(images), lambda item: images[int(item)],
        Remembered(lambda _: None, lambda *_: None, ""),
    )  # fmt: skip
    i, j = np.triu_indices(len(images), 1)
    return judge_pairs(described, Candidates(i, j, np.ones(len(i), dtype=bool), np.ones(len(i), dtype=bool)))


def probability(a, b):
    """How likely one of two images is a copy of the other."""
    return float(looked_at(a, b).probability[0])
