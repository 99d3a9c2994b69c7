"""Where two aligned images are apart, and what is left beside the worst band of it."""

import cv2
import numpy as np
import pytest

from curate.ops._apart import apart, beside, beside_band
from curate.ops._residual import _detail, _hues

HIGH, WIDE = 180, 240


@pytest.fixture
def scene():
    rng = np.random.default_rng(3)
    return cv2.GaussianBlur(rng.uniform(0, 255, (HIGH, WIDE)).astype(np.float32), (0, 0), 2.5) * 3 - 250


def figures(a, b, inside=None):
    inside = np.ones(a.shape, dtype=bool) if inside is None else inside
    far = apart(a, b, inside)
    rest, row = beside_band(far, inside)
    fine = _detail(a, b, inside, 9)
    return rest, row | beside(far, rest, fine.power_a, fine.power_b)


def disc(image, x, y, level):
    image = image.copy()
    cv2.circle(image, (x, y), 14, level, -1)
    return image


def test_a_shift_of_one_pixel_and_a_soft_edge_are_not_apart(scene):
    moved = cv2.warpAffine(scene, np.float32([[1, 0, 1], [0, 1, -1]]), (WIDE, HIGH), borderMode=cv2.BORDER_REPLICATE)
    _, row = figures(scene, moved)
    assert row["apart"] == 0 and row["beside_mutual"] == 0
    assert figures(scene, np.roll(scene, 6, axis=1))[1]["apart"] > 0.01


def test_writing_over_a_copy_lies_in_the_band_and_nothing_is_left_beside_it(scene):
    written = scene.copy()
    cv2.putText(written, "For sale", (20, 130), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 4)
    rest, row = figures(scene, written)
    assert row["apart"] > 0.005 and row["band_share"] > 0.97
    assert not rest[110:130].any() and rest[:90].all()
    assert row["beside_mutual"] == row["beside_one"] == row["beside_largest"] == 0


def test_pieces_that_stand_elsewhere_are_left_beside_any_band(scene):
    a = disc(disc(scene, 60, 30, 255), 180, 150, 0)
    b = disc(disc(scene, 180, 30, 255), 60, 150, 0)
    _, row = figures(a, b)
    assert 0.3 < row["band_share"] < 0.8
    assert row["beside_mutual"] > 0.005
    assert row["beside_largest"] > 1 and row["beside_peak"] > 0.3
    # What only one of two shows is an edit: the other side has nothing of its own.
    _, added = figures(disc(disc(scene, 60, 30, 255), 180, 150, 0), scene)
    assert added["beside_one"] > 0.01 and added["beside_mutual"] < row["beside_mutual"] / 5


def test_an_area_that_the_band_would_use_up_is_kept_whole(scene):
    inside = np.zeros(scene.shape, dtype=bool)
    inside[80:88, :100] = True
    rest, row = figures(scene, scene[::-1].copy(), inside)
    assert np.array_equal(rest, inside)
    assert all(np.isfinite(v) for v in row.values())


def test_flat_images_are_not_apart():
    flat = np.full((HIGH, WIDE), 200, np.float32)
    _, row = figures(flat, flat.copy())
    assert row["apart"] == 0 and row["band_share"] == 1.0 and row["beside_peak"] == 0


def test_hues_turned_alike_are_kept_and_others_are_not():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 60, (500, 2))
    angle = 0.6
    z = np.sqrt(0.75) * x[:, 0] - 1j * x[:, 1]

    def turned(by):
        w = z * np.exp(1j * by)
        return np.stack([w.real / np.sqrt(0.75), -w.imag], axis=1)

    alike = _hues(x, turned(angle))
    assert alike["hue_turn"] == pytest.approx(angle, abs=0.02) and alike["hue_kept"] > 0.99
    mixed = _hues(x, turned(np.where(np.arange(500) < 250, 1.5, -1.5)))
    assert mixed["hue_kept"] < 0.3
    assert _hues(np.zeros((500, 2)), x) == {"hue_turn": 0.0, "hue_kept": 1.0}
