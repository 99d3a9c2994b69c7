"""Bars pasted over the edge of a picture are no evidence against a copy; what belongs to the picture is."""

import cv2
import numpy as np

from curate.ops._strips import lone_strips, strips
from tests.ops._pictures import picture, probability

SAME = np.array([[1.0, 0, 0], [0, 1, 0]])


def grey(image):
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)


def captioned(image, top=147, tone=0, text="Breaking news"):
    image = image.copy()
    image[top:] = tone
    cv2.putText(image, text, (8, image.shape[0] - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255 - tone,) * 3, 1)
    return image


def test_a_bar_is_found_on_every_edge_with_what_is_written_on_it():
    image = grey(captioned(picture(3)))
    for turn in range(4):
        mask = np.rot90(strips(np.ascontiguousarray(np.rot90(image, turn))), -turn)
        assert mask[148:].all()
        assert not mask[:146].any()


def test_a_plain_background_or_a_picture_without_a_bar_has_none():
    product = np.full((180, 240), 255, np.float32)
    cv2.circle(product, (120, 90), 60, 40.0, -1)
    assert not strips(product).any()
    assert not strips(grey(picture(3))).any()
    assert not strips(np.full((180, 240), 7, np.float32)).any()


def test_a_bar_that_both_have_is_compared_like_everything_else():
    image = picture(3)
    one, two = grey(captioned(image, text="Invoice 1")), grey(captioned(image, text="Invoice 2"))
    assert not lone_strips(strips(one), strips(two), SAME).any()
    assert lone_strips(strips(one), strips(grey(image)), SAME)[150:].all()
    assert lone_strips(strips(grey(image)), strips(one), SAME)[150:].all()


def test_a_captioned_copy_is_likelier_than_without_the_bars_knowledge(monkeypatch):
    from curate.ops import _aligned

    pairs = [(picture(n), captioned(picture(n), tone=tone)) for n in range(4) for tone in (0, 255)]
    known = [probability(a, b) for a, b in pairs]
    assert min(known) > 0.5
    monkeypatch.setattr(_aligned, "lone_strips", lambda a, b, m: np.zeros(b.shape, dtype=bool))
    assert np.mean(known) > np.mean([probability(a, b) for a, b in pairs]) + 0.1


def test_a_dark_bar_is_found_though_the_picture_beyond_it_is_nearly_as_dark():
    night = (picture(5) * 0.08).astype(np.uint8)
    mask = lone_strips(strips(grey(night)), strips(grey(captioned(night))), SAME)
    assert mask[150:].all()
    assert not mask[:142].any()
    bar = np.abs(grey(night)[143:147]) <= 6
    assert bar.mean() > 0.3
    assert probability(picture(5) // 2, captioned(picture(5) // 2)) > 0.5


def test_a_bar_does_not_draw_the_alignment_away():
    # Keypoints say where the picture lies; the refinement by brightness would rather match the bar.
    for number, light, top in ((7, 0.4, 135), (8, 0.25, 147)):
        night = (picture(number) * light).astype(np.uint8)
        assert probability(night, captioned(night, top=top, tone=255)) > 0.5


def test_another_picture_under_the_same_bar_is_no_copy():
    assert probability(captioned(picture(1)), captioned(picture(2))) < 0.5
