"""Kinds that share a scene or an object: bursts, other times, product variants, trays, boards, textures, frames."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from lookalikes.documents import canvas, tint
from lookalikes.edits import font, gamma, words


def base(rng, photos, side=560):
    photo = photos[rng.integers(len(photos))]
    scale = side / max(photo.shape[:2])
    return cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def cutout(rng, photos, high):
    """A piece of another photograph with a soft outline: (pixels, alpha)."""
    photo = base(rng, photos, 300)
    h = max(12, int(high))
    w = max(12, int(high * rng.uniform(0.4, 1.3)))
    piece = cv2.resize(photo, (w, h), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    turn, lobes, depth = rng.uniform(0, 6.3), rng.integers(2, 6), rng.uniform(0.0, 0.3)
    radius = np.hypot(x, y) / (1 - depth + depth * np.cos(lobes * np.arctan2(y, x) + turn))
    return piece, np.clip((1 - radius) * 12, 0, 1)[..., None]


def put(image, piece, alpha, y, x):
    high, wide = image.shape[:2]
    h, w = piece.shape[:2]
    y0, x0, y1, x1 = max(y, 0), max(x, 0), min(y + h, high), min(x + w, wide)
    if y1 <= y0 or x1 <= x0:
        return image
    part, a = piece[y0 - y : y1 - y, x0 - x : x1 - x], alpha[y0 - y : y1 - y, x0 - x : x1 - x]
    image = image.copy()
    image[y0:y1, x0:x1] = (image[y0:y1, x0:x1] * (1 - a) + part * a).astype(np.uint8)
    return image


def bend(image, rng, strength, cells=5):
    """A smooth random warp: what moving things and a moving viewpoint do between two frames."""
    high, wide = image.shape[:2]
    flow = [
        cv2.resize(rng.normal(0, strength, (cells, cells)).astype(np.float32), (wide, high), interpolation=cv2.INTER_CUBIC)
        for _ in "xy"
    ]
    y, x = np.mgrid[0:high, 0:wide].astype(np.float32)
    return cv2.remap(image, x + flow[0], y + flow[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def shaken(image, rng, share=0.04):
    high, wide = image.shape[:2]
    m = cv2.getRotationMatrix2D((wide / 2, high / 2), rng.uniform(-2, 2), rng.uniform(1, 1 + share))
    m[:, 2] += rng.uniform(-share, share, 2) * (wide, high) / 2
    return cv2.warpAffine(image, m, (wide, high), borderMode=cv2.BORDER_REFLECT)


def burst(rng, photos, count):
    """The subject moves in front of a still scene, the camera a little."""
    scene, size = base(rng, photos), rng.uniform(0.3, 0.7)
    piece, alpha = cutout(rng, photos, scene.shape[0] * size)
    spot = np.array([rng.uniform(0, 1 - size) * scene.shape[0], rng.uniform(0, 0.6) * scene.shape[1]])
    for _ in range(count):
        moved = bend(np.concatenate([piece, np.repeat((alpha * 255).astype(np.uint8), 1, axis=2)], axis=2), rng, 7)
        at = spot + rng.normal(0, 28, 2)
        yield shaken(put(scene, moved[..., :3], moved[..., 3:] / 255.0, int(at[0]), int(at[1])), rng)


def pose(rng, photos, count):
    """One photograph whose parts have all moved a little against each other."""
    scene = base(rng, photos)
    for _ in range(count):
        yield shaken(bend(scene, rng, rng.uniform(9, 18), 6), rng)


def later(rng, photos, count):
    """The same place at another time: other light, other things in it."""
    scene = base(rng, photos)
    for _ in range(count):
        image = gamma(scene, rng.uniform(0.6, 1.7), rng.uniform(0.8, 1.1))
        image = np.clip(image * rng.uniform(0.85, 1.15, 3), 0, 255).astype(np.uint8)
        for _ in range(rng.integers(2, 6)):
            piece, alpha = cutout(rng, photos, scene.shape[0] * rng.uniform(0.15, 0.45))
            image = put(image, piece, alpha, rng.integers(0, image.shape[0] - 20), rng.integers(0, image.shape[1] - 20))
        yield shaken(image, rng)


def guard(rng, photos, count):
    """A fixed camera: one small thing is elsewhere, and the clock has moved on.

    The thing stands where a crop or a caption leaves it: without it two frames differ in nothing.
    """
    scene = base(rng, photos)
    for _ in range(count):
        image = scene
        for _ in range(rng.integers(1, 3)):
            piece, alpha = cutout(rng, photos, scene.shape[0] * rng.uniform(0.14, 0.3))
            high, wide = image.shape[0] - piece.shape[0], image.shape[1] - piece.shape[1]
            image = put(image, piece, alpha, int(high * rng.uniform(0.3, 0.7)), int(wide * rng.uniform(0.3, 0.7)))
        picture = Image.fromarray(image)
        from PIL import ImageDraw

        ImageDraw.Draw(picture).text(
            (8, 6), f"12:{rng.integers(10, 60)}:{rng.integers(10, 60)}", font=font(24), fill=(255, 255, 255)
        )
        noisy = np.asarray(picture) + rng.normal(0, 3, image.shape)
        yield np.clip(noisy, 0, 255).astype(np.uint8)


def product(rng, photos, count):
    """One article on white: another colour, another print, another part."""
    wide, high = 420, 420
    shape, back = rng.integers(4), tint(rng, 235, 256)
    w, h = rng.uniform(100, 170), rng.uniform(110, 180)
    for _ in range(count):
        picture, draw = canvas(wide, high, back)
        fill, trim = tint(rng, 20, 230), tint(rng, 20, 230)
        box = [wide / 2 - w, high / 2 - h, wide / 2 + w, high / 2 + h]
        draw.ellipse([wide / 2 - w, high / 2 + h - 14, wide / 2 + w, high / 2 + h + 14], fill=tuple(int(v * 0.8) for v in back))
        (
            draw.rounded_rectangle(box, radius=40, fill=fill, outline=(0, 0, 0), width=3)
            if shape in (0, 1)
            else draw.ellipse(box, fill=fill, outline=(0, 0, 0), width=3)
        )
        if shape == 1:
            draw.rectangle([wide / 2 - 30, high / 2 - h - 40, wide / 2 + 30, high / 2 - h], fill=trim)
        for n in range(rng.integers(1, 4)):
            y = high / 2 - h * 0.5 + n * h * 0.4
            draw.rectangle([wide / 2 - w * 0.6, y, wide / 2 + w * 0.6, y + h * 0.2], fill=trim)
        draw.text((wide / 2 - w * 0.5, high / 2 - 14), words(rng, 1)[0], font=font(26, rng), fill=(255, 255, 255))
        yield np.asarray(picture)


def bottle(rng, photos, count):
    """A photographed thing whose print differs."""
    scene = base(rng, photos, 480)
    y, x, h, w = (int(v) for v in (scene.shape[0] * 0.3, scene.shape[1] * 0.25, scene.shape[0] * 0.4, scene.shape[1] * 0.5))
    for number in rng.permutation(len(photos))[:count]:
        piece = cv2.resize(photos[number], (w, h), interpolation=cv2.INTER_AREA)
        image = scene.copy()
        image[y : y + h, x : x + w] = piece
        picture = Image.fromarray(image)
        yield np.asarray(picture)


def tray(rng, photos, count):
    """Parts on a tray: another number, other places."""
    wide, high, back = 460, 340, tint(rng, 120, 230)
    piece, alpha = cutout(rng, photos, rng.uniform(45, 80))
    grid = rng.random() < 0.5
    for _ in range(count):
        image = np.clip(np.full((high, wide, 3), back) + rng.normal(0, 4, (high, wide, 1)), 0, 255).astype(np.uint8)
        cv2.rectangle(image, (8, 8), (wide - 8, high - 8), tuple(int(v * 0.6) for v in back), 5)
        if grid:
            for r in range(3):
                for c in range(5):
                    if rng.random() < 0.7:
                        image = put(image, piece, alpha, 25 + r * 100, 25 + c * 86)
        else:
            for _ in range(rng.integers(3, 10)):
                image = put(image, piece, alpha, rng.integers(10, high - 80), rng.integers(10, wide - 80))
        yield image


def board(rng, photos, count):
    """A board game after another move."""
    cells, size = int(rng.choice([8, 9, 13])), 34
    light, dark, pieces = tint(rng, 170, 250), tint(rng, 60, 160), [tint(rng), tint(rng)]
    start = rng.integers(0, 3, (cells, cells)) * (rng.random((cells, cells)) < 0.4)
    for _ in range(count):
        picture, draw = canvas(cells * size, cells * size, light)
        state = start.copy()
        for _ in range(rng.integers(2, 12)):
            state[rng.integers(cells), rng.integers(cells)] = rng.integers(0, 3)
        for r in range(cells):
            for c in range(cells):
                box = [c * size, r * size, (c + 1) * size, (r + 1) * size]
                if (r + c) % 2:
                    draw.rectangle(box, fill=dark)
                if state[r, c]:
                    draw.ellipse(
                        [box[0] + 5, box[1] + 5, box[2] - 5, box[3] - 5], fill=pieces[state[r, c] - 1], outline=(0, 0, 0)
                    )
        yield np.asarray(picture)


def texture(rng, photos, count):
    """Pieces of one repeating surface."""
    tile = cv2.resize(base(rng, photos, 300), (int(rng.integers(40, 110)),) * 2, interpolation=cv2.INTER_AREA)
    wall = np.tile(tile, (14, 14, 1))
    for _ in range(count):
        shade = cv2.resize(
            rng.uniform(0.75, 1.2, (5, 5, 1)).astype(np.float32), wall.shape[1::-1], interpolation=cv2.INTER_CUBIC
        )
        image = np.clip(wall * shade[..., None] + rng.normal(0, 7, wall.shape), 0, 255).astype(np.uint8)
        y, x = rng.integers(0, wall.shape[0] - 340), rng.integers(0, wall.shape[1] - 440)
        yield image[y : y + 340, x : x + 440]


def framed(rng, photos, count):
    """Different photographs in one frame with one logo."""
    frame, side = tint(rng), int(rng.integers(20, 60))
    title = " ".join(words(rng, 2))
    for number in rng.permutation(len(photos))[:count]:
        inside = cv2.resize(photos[number], (460, 340), interpolation=cv2.INTER_AREA)
        image = cv2.copyMakeBorder(inside, side, side + 40, side, side, cv2.BORDER_CONSTANT, value=frame)
        picture = Image.fromarray(image)
        from PIL import ImageDraw

        ImageDraw.Draw(picture).text((side, image.shape[0] - side - 30), title, font=font(28), fill=(255, 255, 255))
        yield np.asarray(picture)


def face(rng, photos, count):
    """Avatars drawn from the same parts."""
    skin, back = tint(rng, 150, 250), tint(rng, 100, 256)
    for _ in range(count):
        picture, draw = canvas(360, 360, back)
        draw.ellipse([80, 60, 280, 320], fill=skin, outline=(0, 0, 0), width=3)
        for x in (140, 220):
            r = rng.uniform(8, 22)
            draw.ellipse([x - r, 150 - r, x + r, 150 + r], fill=(255, 255, 255), outline=(0, 0, 0))
            draw.ellipse([x - 6, 144, x + 6, 156], fill=tint(rng, 0, 120))
            draw.line(
                [x - 25, 115 + rng.normal(0, 6), x + 25, 115 + rng.normal(0, 6)], fill=(0, 0, 0), width=int(rng.integers(2, 9))
            )
        draw.arc([130, 220, 230, 220 + rng.uniform(20, 70)], 0, 180 if rng.random() < 0.6 else 360, fill=(150, 0, 0), width=5)
        if rng.random() < 0.6:
            draw.pieslice([75, 40, 285, 60 + rng.uniform(80, 160)], 180, 360, fill=tint(rng))
        yield np.asarray(picture)


def cells(rng, photos, count):
    """Slides under one microscope: the same stain, other cells."""
    high, wide = 360, 440
    back, ink, size = np.array(tint(rng, 180, 245)), np.array(tint(rng, 40, 180)), rng.uniform(8, 22)
    y, x = np.mgrid[-1 : 1 : high * 1j, -1 : 1 : wide * 1j]
    light = 1 - 0.35 * np.hypot(x, y)[..., None] ** 2
    for _ in range(count):
        image = np.ones((high, wide, 3)) * back
        for _ in range(rng.integers(40, 120)):
            at = (int(rng.integers(0, wide)), int(rng.integers(0, high)))
            axes = tuple(int(v) for v in size * rng.uniform(0.6, 1.4, 2))
            cv2.ellipse(
                image, at, axes, float(rng.uniform(0, 180)), 0, 360, tuple(float(v) for v in ink * rng.uniform(0.7, 1.3)), -1
            )
        image = cv2.GaussianBlur(image, (0, 0), 1.5) * light + rng.normal(0, 3, image.shape)
        yield np.clip(image, 0, 255).astype(np.uint8)


def street(rng, photos, count):
    """A drawn map: the same streets, another route and other markers."""
    high, wide = 380, 480
    ground, road = tint(rng, 200, 245), tint(rng, 230, 256)
    lines = [(rng.integers(0, wide, 2), rng.integers(0, high, 2)) for _ in range(14)]
    for _ in range(count):
        picture, draw = canvas(wide, high, ground)
        for xs, ys in lines:
            draw.line([int(xs[0]), int(ys[0]), int(xs[1]), int(ys[1])], fill=road, width=8)
        ink = tint(rng, 0, 200)
        draw.line([(int(rng.integers(0, wide)), int(rng.integers(0, high))) for _ in range(5)], fill=ink, width=5)
        for _ in range(rng.integers(2, 7)):
            px, py = int(rng.integers(10, wide - 10)), int(rng.integers(10, high - 10))
            draw.ellipse([px - 8, py - 8, px + 8, py + 8], fill=tint(rng), outline=(0, 0, 0))
        yield np.asarray(picture)


SCENES = {
    f.__name__: f for f in (burst, pose, later, guard, product, bottle, tray, board, texture, framed, face, cells, street)
}
