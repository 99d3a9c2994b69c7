"""Kinds that share a template: forms, slides, screens, charts, plates, cards, pages, tables, labels."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from lookalikes.edits import font, words


def canvas(wide, high, fill):
    picture = Image.new("RGB", (int(wide), int(high)), tuple(int(v) for v in np.atleast_1d(fill)))
    return picture, ImageDraw.Draw(picture)


def tint(rng, low=0, high=256):
    return tuple(int(v) for v in rng.integers(low, high, 3))


def number(rng, digits):
    return "".join(str(d) for d in rng.integers(0, 10, digits))


def form(rng, photos, count):
    wide, high = rng.integers(420, 640), rng.integers(520, 760)
    rows, labels, title, paper = rng.integers(6, 14), words(rng, 14), words(rng, 3), tint(rng, 225, 256)
    body, ink, hand = font(int(rng.integers(13, 19))), tint(rng, 0, 60), tint(rng, 0, 120)
    boxed = rng.random() < 0.5
    for _ in range(count):
        picture, draw = canvas(wide, high, paper)
        draw.text((30, 20), " ".join(title), font=font(26), fill=ink)
        for row in range(rows):
            y = 80 + row * (high - 110) / rows
            draw.text((30, y), labels[row] + ":", font=body, fill=ink)
            (draw.rectangle if boxed else draw.line)(
                [170, y - 4 if boxed else y + 20, wide - 30, y + 22], outline=ink
            ) if boxed else (draw.line([170, y + 20, wide - 30, y + 20], fill=ink))
            if rng.random() < 0.85:
                text = number(rng, 7) if rng.random() < 0.4 else " ".join(words(rng, 2))
                draw.text((180, y), text, font=font(17, rng), fill=hand)
        yield np.asarray(picture)


def slide(rng, photos, count):
    wide, high = 640, int(rng.choice([360, 480]))
    back, bar, logo = tint(rng, 200, 256), tint(rng), tint(rng)
    head = int(rng.integers(50, 90))
    for _ in range(count):
        picture, draw = canvas(wide, high, back)
        draw.rectangle([0, 0, wide, head], fill=bar)
        draw.ellipse([wide - 70, high - 60, wide - 20, high - 15], fill=logo)
        draw.text((20, head / 4), " ".join(words(rng, 3)), font=font(30), fill=(255, 255, 255))
        style = rng.integers(3)
        if style == 0:
            for line in range(rng.integers(3, 7)):
                draw.text((40, head + 20 + 38 * line), "- " + " ".join(words(rng, 4)), font=font(20), fill=(30, 30, 30))
        elif style == 1:
            for bar_number in range(rng.integers(4, 9)):
                x = 60 + 60 * bar_number
                draw.rectangle([x, high - 40 - rng.uniform(20, high - head - 90), x + 40, high - 40], fill=logo)
        else:
            photo = Image.fromarray(photos[rng.integers(len(photos))]).resize((260, high - head - 60))
            picture.paste(photo, (30, head + 20))
            for line in range(4):
                draw.text((310, head + 30 + 36 * line), " ".join(words(rng, 3)), font=font(19), fill=(30, 30, 30))
        yield np.asarray(picture)


def screen(rng, photos, count):
    wide, high = 640, int(rng.integers(400, 560))
    back, side, accent, menu = tint(rng, 215, 256), tint(rng, 30, 200), tint(rng), words(rng, 9)
    columns = rng.integers(2, 5)
    for _ in range(count):
        picture, draw = canvas(wide, high, back)
        draw.rectangle([0, 0, wide, 34], fill=accent)
        draw.rectangle([0, 34, 140, high], fill=side)
        for n, entry in enumerate(menu):
            draw.text((14, 50 + 32 * n), entry, font=font(15), fill=(255, 255, 255))
        chosen = rng.integers(len(menu))
        draw.rectangle([4, 46 + 32 * chosen, 136, 70 + 32 * chosen], outline=(255, 255, 255), width=2)
        for row in range(rng.integers(5, 13)):
            y = 54 + 30 * row
            draw.line([150, y + 24, wide - 10, y + 24], fill=(200, 200, 200))
            for column in range(columns):
                text = number(rng, rng.integers(2, 7)) if column % 2 else words(rng, 1)[0]
                draw.text((160 + column * 480 / columns, y), text, font=font(15), fill=(40, 40, 40))
        yield np.asarray(picture)


def page(rng, photos, count):
    wide, high = rng.integers(440, 560), rng.integers(580, 740)
    size, margin, paper = int(rng.integers(11, 19)), int(rng.integers(25, 60)), tint(rng, 228, 256)
    head, face = " ".join(words(rng, 2)), font(size, rng)
    for _ in range(count):
        picture, draw = canvas(wide, high, paper)
        draw.text((margin, 14), head, font=font(12), fill=(90, 90, 90))
        y = margin + 10
        while y < high - margin:
            line = ""
            if rng.random() > 0.06:
                target = wide - 2 * margin if rng.random() > 0.15 else (wide - 2 * margin) * rng.uniform(0.2, 0.9)
                while draw.textlength(line, font=face) < target - 60:
                    line += words(rng, 1)[0].lower() + " "
            draw.text((margin, y), line, font=face, fill=(25, 25, 25))
            y += size * 1.45
        yield np.asarray(picture)


def chart(rng, photos, count):
    wide, high = int(rng.integers(440, 640)), int(rng.integers(320, 460))
    series, points, style, title = rng.integers(1, 4), int(rng.integers(5, 14)), rng.integers(3), words(rng, 3)
    inks, labels = [tint(rng, 0, 200) for _ in range(4)], words(rng, 14)
    for _ in range(count):
        picture, draw = canvas(wide, high, (255, 255, 255))
        draw.text((wide / 3, 8), " ".join(title), font=font(18), fill=(0, 0, 0))
        draw.rectangle([50, 40, wide - 20, high - 40], outline=(0, 0, 0))
        for line in range(1, 5):
            y = 40 + line * (high - 80) / 5
            draw.line([50, y, wide - 20, y], fill=(210, 210, 210))
            draw.text((16, y - 8), str(100 - 20 * line), font=font(13), fill=(0, 0, 0))
        xs = np.linspace(70, wide - 50, points)
        for n, x in enumerate(xs):
            draw.text((x - 12, high - 34), labels[n][:4], font=font(11), fill=(0, 0, 0))
        for s in range(series):
            ys = high - 40 - rng.uniform(0.05, 0.95, points) * (high - 80)
            if style == 0:
                draw.line([(x, y) for x, y in zip(xs, ys, strict=True)], fill=inks[s], width=3)
            elif style == 1:
                for x, y in zip(xs, ys, strict=True):
                    draw.rectangle([x - 8 + 6 * s, y, x - 3 + 6 * s, high - 40], fill=inks[s])
            else:
                for x, y in zip(xs + rng.normal(0, 8, points), ys, strict=True):
                    draw.ellipse([x - 5, y - 5, x + 5, y + 5], fill=inks[s])
        yield np.asarray(picture)


def plate(rng, photos, count):
    wide, high = int(rng.integers(360, 520)), int(rng.integers(100, 180))
    paper, ink = (tint(rng, 200, 256), tint(rng, 0, 70)) if rng.random() < 0.8 else (tint(rng, 0, 70), tint(rng, 200, 256))
    prefix, size, scene = words(rng, 1)[0][:2].upper(), int(high * 0.55), photos[rng.integers(len(photos))]
    on_car = rng.random() < 0.5
    fixed = rng.integers(0, 5)
    stem = number(rng, 7)
    for _ in range(count):
        picture, draw = canvas(wide, high, paper)
        draw.rectangle([4, 4, wide - 5, high - 5], outline=ink, width=4)
        text = prefix + " " + stem[:fixed] + number(rng, 6 - fixed)
        draw.text((20, high * 0.18), text, font=font(min(size, int(wide / 6.5))), fill=ink)
        if on_car:
            whole = Image.fromarray(scene).resize((560, 420))
            whole.paste(picture.resize((int(wide * 0.8), int(high * 0.8))), (80, 230))
            picture = whole
        yield np.asarray(picture)


def card(rng, photos, count):
    wide, high = 520, 330
    back, accent, title, labels = tint(rng, 150, 256), tint(rng), words(rng, 2), words(rng, 6)
    for _ in range(count):
        picture, draw = canvas(wide, high, back)
        draw.rectangle([0, 0, wide, 56], fill=accent)
        draw.text((20, 12), " ".join(title).upper(), font=font(26), fill=(255, 255, 255))
        photo = photos[rng.integers(len(photos))]
        side = min(photo.shape[:2])
        picture.paste(Image.fromarray(photo[:side, :side]).resize((140, 170)), (24, 84))
        for n in range(4):
            draw.text((190, 84 + 48 * n), labels[n], font=font(13), fill=(60, 60, 60))
            text = " ".join(words(rng, 2)) if n % 2 else number(rng, 8)
            draw.text((190, 100 + 48 * n), text, font=font(20), fill=(0, 0, 0))
        yield np.asarray(picture)


def table(rng, photos, count):
    wide, high = int(rng.integers(420, 600)), int(rng.integers(320, 520))
    columns, rows, heads = int(rng.integers(3, 7)), int(rng.integers(6, 16)), words(rng, 7)
    paper, accent, mutable = tint(rng, 235, 256), tint(rng, 60, 220), rng.uniform(0.15, 1.0)
    base = [[number(rng, 4) for _ in range(columns)] for _ in range(rows)]
    for _ in range(count):
        picture, draw = canvas(wide, high, paper)
        draw.rectangle([0, 0, wide, high / (rows + 1)], fill=accent)
        for c in range(columns):
            draw.text((8 + c * wide / columns, 4), heads[c], font=font(14), fill=(255, 255, 255))
            for r in range(rows):
                text = number(rng, 4) if rng.random() < mutable else base[r][c]
                draw.text((8 + c * wide / columns, 4 + (r + 1) * high / (rows + 1)), text, font=font(14), fill=(20, 20, 20))
        yield np.asarray(picture)


def label(rng, photos, count):
    wide, high = int(rng.integers(300, 460)), int(rng.integers(240, 420))
    paper, title, modules = tint(rng, 220, 256), words(rng, 2), int(rng.integers(15, 26))
    code = rng.random() < 0.5
    for _ in range(count):
        picture, draw = canvas(wide, high, paper)
        draw.text((16, 10), " ".join(title), font=font(24), fill=(0, 0, 0))
        if code:
            grid = (rng.random((modules, modules)) < 0.5) * np.uint8(255)
            picture.paste(Image.fromarray(grid).resize((high // 2, high // 2), Image.Resampling.NEAREST), (20, 60))
        else:
            x = 20
            while x < wide - 30:
                w = int(rng.integers(1, 5))
                draw.rectangle([x, 60, x + w, high * 0.6], fill=(0, 0, 0))
                x += w + int(rng.integers(2, 6))
        draw.text((20, high * 0.75), number(rng, 11), font=font(22), fill=(0, 0, 0))
        yield np.asarray(picture)


def receipt(rng, photos, count):
    wide, high = int(rng.integers(260, 340)), int(rng.integers(480, 680))
    shop, paper = words(rng, 2), tint(rng, 230, 256)
    for _ in range(count):
        picture, draw = canvas(wide, high, paper)
        draw.text((wide / 4, 16), " ".join(shop), font=font(22), fill=(20, 20, 20))
        for row in range(rng.integers(6, 16)):
            y = 70 + row * 24
            draw.text((16, y), words(rng, 1)[0], font=font(15), fill=(30, 30, 30))
            draw.text((wide - 80, y), f"{rng.uniform(1, 99):.2f}", font=font(15), fill=(30, 30, 30))
        draw.text((16, high - 50), f"TOTAL {rng.uniform(10, 400):.2f}", font=font(20), fill=(0, 0, 0))
        yield np.asarray(picture)


def meter(rng, photos, count):
    """A display that shows another number."""
    wide, high = int(rng.integers(320, 480)), int(rng.integers(220, 340))
    body, glass, digits = tint(rng, 40, 200), tint(rng, 150, 240), int(rng.integers(3, 7))
    lamp, title = tint(rng), words(rng, 1)[0]
    for _ in range(count):
        picture, draw = canvas(wide, high, body)
        draw.rectangle([wide * 0.12, high * 0.25, wide * 0.88, high * 0.68], fill=glass, outline=(0, 0, 0), width=4)
        draw.text(
            (wide * 0.16, high * 0.3),
            number(rng, digits),
            font=font(int(min(high * 0.3, wide * 1.1 / digits))),
            fill=(10, 10, 10),
        )
        draw.text((wide * 0.12, high * 0.06), title, font=font(22), fill=(255, 255, 255))
        draw.ellipse([wide * 0.44, high * 0.76, wide * 0.56, high * 0.94], fill=lamp)
        yield np.asarray(picture)


DOCUMENTS = {f.__name__: f for f in (form, slide, screen, page, chart, plate, card, table, label, receipt, meter)}
