"""Image quality and outliers: each issue is found, ordinary images are left alone."""

import cv2
import numpy as np
import pytest

from curate.errors import ConfigError
from curate.ops._rows import ordered
from curate.ops.quality import Quality, blur, fence, look, strangeness, uniqueness
from curate.protocols import Context, CurationOp
from curate.types import EmbedderSpec, Embeddings


def picture(seed, size=(96, 128)):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (size[0] // 6, size[1] // 6, 3), dtype=np.uint8)
    sharp = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_NEAREST)
    return np.clip(sharp.astype(int) + rng.integers(-12, 12, sharp.shape), 0, 255).astype(np.uint8)


def embeddings(x, geometry="euclidean"):
    ids = [f"row{i:05d}" for i in range(len(x))]
    return Embeddings(ids, np.asarray(x, np.float32), EmbedderSpec("m", "1", "projected", np.shape(x)[1], geometry))


def context(images=(), **facts):
    pixels = {f"row{i:05d}": image for i, image in enumerate(images)}
    return Context(rng=np.random.default_rng(0), pixels=pixels.get, fact=lambda name: facts.get(name, []))


def images():
    many = [picture(i) for i in range(24)]
    many[3] = cv2.GaussianBlur(many[3], (0, 0), 6)
    many[7] = many[7] // 5
    many[11] = 218 + many[11] // 6
    many[15] = np.full_like(many[15], 90)
    return many


def test_every_issue_is_found_and_nothing_else():
    data = np.random.default_rng(0).normal(size=(24, 4))
    found = Quality(outliers=False)(embeddings(data), context(images()))
    ids = {key: [line["id"] for line in lines] for key, lines in found.evidence["issues"].items()}
    assert ids == {"blurry": ["row00003"], "dark": ["row00007"], "bright": ["row00011"], "flat": ["row00015"]}
    assert found.summary["checked"] == 24 and found.summary["unseen"] == 0 and found.values == {}
    assert "darker than" in found.evidence["issues"]["dark"][0]["text"]


def test_a_dataset_that_is_soft_as_a_whole_has_no_blurry_images():
    soft = [cv2.GaussianBlur(picture(i), (0, 0), 4) for i in range(24)]
    found = Quality(outliers=False)(embeddings(np.zeros((24, 2))), context(soft))
    assert "blurry" not in found.evidence["issues"]


def test_odd_sizes_and_shapes_stand_out_from_the_dataset():
    width, height = [640] * 22 + [40, 6400], [480] * 22 + [30, 480]
    found = Quality(outliers=False)(embeddings(np.zeros((24, 2))), context(width=width, height=height))
    lines = found.evidence["issues"]
    assert [line["id"] for line in lines["small"]] == ["row00022"] and "40 x 30" in lines["small"][0]["text"]
    assert [line["id"] for line in lines["shape"]] == ["row00023"] and "large" not in lines
    assert found.summary["checked"] == 24 and found.summary["unseen"] == 24


def test_a_second_kind_of_image_is_not_odd():
    found = Quality(outliers=False)(
        embeddings(np.zeros((40, 2))), context(width=[64] * 30 + [900] * 10, height=[64] * 30 + [600] * 10)
    )
    assert found.evidence["issues"] == {}


def test_rows_without_pixels_are_counted_not_judged():
    found = Quality(outliers=False)(embeddings(np.zeros((3, 2))), context([picture(0)]))
    assert found.summary["unseen"] == 2 and found.evidence["issues"] == {}


def test_blur_grows_with_blurring_and_not_with_contrast():
    sharp = cv2.cvtColor(picture(1), cv2.COLOR_RGB2GRAY).astype(np.float32)
    values = [blur(cv2.GaussianBlur(sharp, (0, 0), s)) for s in (0.5, 1, 2, 4)]
    assert values == sorted(values) and blur(sharp * 0.3) == pytest.approx(blur(sharp), abs=1e-4)
    assert blur(np.zeros((50, 50), np.float32)) == 1.0 and np.isnan(look(np.zeros((8, 8, 3), np.uint8)).blur)


def test_blur_is_the_published_measure():
    from skimage.measure import blur_effect

    grey = cv2.cvtColor(picture(2), cv2.COLOR_RGB2GRAY).astype(np.float32)
    for sigma in (0.5, 2, 4):
        soft = cv2.GaussianBlur(grey, (0, 0), sigma)
        assert blur(soft) == pytest.approx(blur_effect(soft / 255, h_size=11), abs=0.03)


@pytest.mark.parametrize("geometry", ["euclidean", "cosine"])
def test_a_lonely_row_is_an_outlier_and_is_said_in_words(geometry):
    x = np.random.default_rng(0).normal(size=(200, 6)) * 0.1 + np.eye(6)[0]
    x[50] = 5 * np.eye(6)[3]
    (line,) = Quality(images=False)(embeddings(x, geometry), context()).evidence["outliers"]
    assert line["id"] == "row00050" and "times as far" in line["text"] and line["distance"] >= line["nearest"] > 0


def test_copies_do_not_make_a_rare_row_common():
    x = np.random.default_rng(0).normal(size=(200, 6)) * 0.1
    x[150:160] = 5 + 0.001 * np.arange(10)[:, None]
    data = embeddings(x)
    plain = Quality(images=False)(data, context())
    previous = ["kept" if i == 150 else "copy-of/row00150" if 150 < i < 160 else None for i in range(200)]
    told = Quality(images=False)(data, Context(rng=np.random.default_rng(0), previous=lambda _: previous))
    found = [{line["id"] for line in one.evidence["outliers"]} for one in (plain, told)]
    assert "row00150" not in found[0] and "row00150" in found[1]


def test_neighbour_distances_are_those_of_brute_force():
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    gap = np.sqrt(((x[:, None].astype(float) - x[None]) ** 2).sum(2))
    np.fill_diagonal(gap, np.inf)
    near, mean = strangeness(ordered(embeddings(x)), np.zeros(60, bool), 4)
    assert np.allclose(near, gap.min(axis=1)) and np.allclose(mean, np.sort(gap, axis=1)[:, :4].mean(axis=1))


@pytest.mark.parametrize("rows", [0, 1, 2, 40])
def test_few_and_equal_rows_have_no_outliers(rows):
    found = Quality(images=False)(embeddings(np.ones((rows, 3))), context())
    assert found.evidence["outliers"] == [] and sum(found.evidence["uniqueness"]["counts"]) == (rows if rows > 1 else 0)


def test_settings():
    assert isinstance(Quality(), CurationOp) and Quality().owns == frozenset()
    for bad in ({"neighbours": 0}, {"images": False, "outliers": False}):
        with pytest.raises(ConfigError):
            Quality(**bad)
    assert fence(np.arange(7.0)) == np.inf and fence(np.array([1.0] * 20)) == 1.0
    assert "half of them" in uniqueness(np.array([0.1, 0.2, 0.3]))["text"]
