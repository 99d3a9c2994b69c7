"""Numbers of the authors' implementation: EuCLIP, MERU and CLIP, random weights, see tests/golden."""

from pathlib import Path

import numpy as np
import pytest

from curate import embedders
from curate.geometry import geometry_named

GOLDEN = Path(__file__).parent.parent / "golden"
VARIANTS = ["euclip-tiny", "euclip-tiny-ln", "euclip-tiny-dist", "clip-tiny", "clip-tiny-quickgelu", "meru-tiny"]
LOGITS = ["-d2", "-d2", "-d", "dot", "dot", "lorentz"]
GEOMETRIES = ["euclidean", "euclidean", "euclidean", "cosine", "cosine", "lorentz:1.03158"]


@pytest.fixture(scope="module")
def models():
    return {name: embedders.load(str(GOLDEN / name)) for name in VARIANTS}


def expected(name):
    return np.load(GOLDEN / name / "expected.npz")


@pytest.mark.parametrize("name", VARIANTS)
def test_embeddings_and_logits_are_the_authors(models, name):
    model, x = models[name], expected(name)
    images, texts = model.encode_pixels(x["pixel_values"]), model.encode_tokens(x["input_ids"])
    np.testing.assert_allclose(images, x["image_embeds"], atol=1e-5)
    np.testing.assert_allclose(texts, x["text_embeds"], atol=1e-5)
    assert model.logit_scale == pytest.approx(float(x["logit_scale"]), rel=1e-5)
    space = geometry_named(model.spec.geometry)
    found = space.logits(images, texts, scale=model.logit_scale, logit=model.logit)
    np.testing.assert_allclose(found, x["logits_per_image"], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("name, logit, geometry", zip(VARIANTS, LOGITS, GEOMETRIES, strict=True))
def test_the_variant_is_known_from_its_files(models, name, logit, geometry):
    assert (models[name].logit, models[name].spec.geometry, models[name].spec.dim) == (logit, geometry, 32)


@pytest.mark.parametrize("name", VARIANTS[:3])
def test_cones_of_euclip(models, name):
    x, space = expected(name), models[name].spec.space
    texts, images = models[name].encode_tokens(x["input_ids"]), models[name].encode_pixels(x["pixel_values"])
    for n, text in enumerate(texts):
        parent = np.broadcast_to(text, images.shape)
        np.testing.assert_allclose(space.exterior_angle(parent, images), x["ext_text_to_image"][n], atol=1e-4)
        for k in (0.1, 0.3):
            entailed = x[f"entail_text_image_K{k}"][n]
            np.testing.assert_allclose(space.entailment_loss(parent, images, min_radius=k), entailed, atol=1e-4)
            np.testing.assert_allclose(space.aperture(parent[:1], min_radius=k), x[f"aper_text_K{k}"][n], atol=1e-4)


@pytest.mark.parametrize("k", [0.1, 0.3])
def test_entailment_loss_of_meru(models, k):
    x, model = expected("meru-tiny"), models["meru-tiny"]
    texts, images = model.encode_tokens(x["input_ids"][:6]), model.encode_pixels(x["pixel_values"])
    loss = 0.2 * model.spec.space.entailment_loss(texts, images, min_radius=k).mean()
    assert loss == pytest.approx(float(x[f"entailment_loss_w0.2_K{k}_first6"]), abs=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_zero_shot_logits(models, name):
    x, model = expected(name), models[name]
    ids = x["zs_token_ids"]
    classes = model.encode_tokens(ids.reshape(-1, ids.shape[-1])).reshape(*ids.shape[:2], -1).mean(axis=1)
    if model.spec.geometry == "cosine":
        classes = model.spec.space.prepare(classes)
    np.testing.assert_allclose(classes, x["zs_class_embeds"], atol=1e-4)
    found = model.spec.space.logits(model.encode_pixels(x["pixel_values"]), classes, scale=100, logit=model.logit)
    np.testing.assert_allclose(found, x["zs_logits_100x"], atol=2e-3, rtol=1e-5)


def test_a_training_checkpoint_gives_the_same_vectors(models):
    x = expected("euclip-tiny")
    checkpoint = embedders.load(str(GOLDEN / "euclip-tiny" / "epoch_5.pt"))
    np.testing.assert_array_equal(
        checkpoint.encode_pixels(x["pixel_values"]), models["euclip-tiny"].encode_pixels(x["pixel_values"])
    )
    assert checkpoint.logit == "-d2" and checkpoint.spec.geometry == "euclidean"


@pytest.mark.parametrize("name", ["clip-tiny", "euclip-tiny"])
def test_batch_size_and_order_do_not_move_a_vector(models, name):
    model = models[name]
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8))
    together = model.embed(images)
    apart = model.spec.space.pairwise(together, together)[np.triu_indices(24, 1)].mean()
    single = np.concatenate([model.embed([image]) for image in images])
    sevens = np.concatenate([model.embed(images[n : n + 7]) for n in range(0, 24, 7)])
    backwards = model.embed(images[::-1])[::-1]
    for other in (single, sevens, backwards):
        moved = np.sqrt(np.square(other - together).sum(axis=1)).max()
        assert moved <= 1e-4 * apart
