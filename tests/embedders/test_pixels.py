import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from curate import embedders
from curate.errors import ConfigError, EmbedderError, UnknownName


def encoded(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, format=kind, **options)
    return out.getvalue()


def scene(seed, size=(320, 240)):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("name, dim", [("pixels", 112), ("pixels-784", 784)])
def test_a_black_image_is_the_zero_vector(name, dim):
    embedder = embedders.load(name)
    vector = embedder.embed([embedder.prepare(encoded(Image.new("RGB", (40, 30))))])
    assert vector.shape == (1, dim) and vector.dtype == np.float32 and not vector.any()
    assert embedder.spec.geometry == "euclidean" and embedder.spec.dim == dim


def test_copies_of_a_scene_are_nearer_than_other_scenes():
    embedder = embedders.load("pixels")
    scenes = [scene(n) for n in range(12)]
    copies = [
        lambda i: encoded(i, "JPEG", quality=30),
        lambda i: encoded(i.resize((100, 75))),
        lambda i: encoded(ImageEnhance.Brightness(i).enhance(1.4)),
        lambda i: encoded(ImageEnhance.Contrast(i).enhance(0.6)),
        lambda i: encoded(i.crop((8, 6, 312, 234))),
    ]
    originals = embedder.embed([embedder.prepare(encoded(i)) for i in scenes])
    for make in copies:
        vectors = embedder.embed([embedder.prepare(make(i)) for i in scenes])
        distance = embedder.spec.space.pairwise(vectors, originals)
        assert (distance.argmin(axis=1) == np.arange(12)).all()


def test_pixels_784_is_the_flattened_greyscale():
    embedder = embedders.load("pixels-784", preprocess="exact")
    grey = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    vector = embedder.embed([embedder.prepare(encoded(Image.fromarray(grey)))])[0]
    np.testing.assert_allclose(vector, grey.ravel() / 255, atol=1e-6)


def test_embed_pixels_is_prepare_without_the_decoding():
    embedder = embedders.load("pixels")
    image = scene(3)
    np.testing.assert_array_equal(
        embedder.embed_pixels([np.asarray(image)]), embedder.embed([embedder.prepare(encoded(image))])
    )
    assert embedder.embed([]).shape == (0, 112)


@pytest.mark.parametrize(
    "flags, error",
    [
        ({"device": "cuda"}, ConfigError),
        ({"dtype": "bf16"}, ConfigError),
        ({"dtype": "fp64"}, ConfigError),
        ({"preprocess": "squash"}, ConfigError),
        ({"layer": "pooler"}, EmbedderError),
        ({"options": {"grid": 3}}, ConfigError),
    ],
)
def test_a_flag_that_means_nothing_is_refused(flags, error):
    with pytest.raises(error):
        embedders.load("pixels", **flags)


def test_an_unknown_name_says_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'pixels'"):
        embedders.load("pixel")


def test_exact_and_fast_are_different_sets_of_vectors():
    assert embedders.load("pixels", preprocess="exact").spec.fingerprint != embedders.load("pixels").spec.fingerprint
