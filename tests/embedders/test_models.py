"""Models from Hugging Face directories, against transformers itself."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from curate import embedders
from curate.errors import ConfigError, EmbedderError, MediaError
from tests.embedders import tiny


def jpeg(seed=0, size=(90, 60), **options):
    rng = np.random.default_rng(seed)
    out = io.BytesIO()
    noise = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    noise.resize(size, Image.Resampling.BICUBIC).save(out, format="JPEG", **{"quality": 92, **options})
    return out.getvalue()


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    tiny.clip(folder)
    return folder


def processed(folder, images, size=32):
    from transformers import CLIPImageProcessor

    try:
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil as Processor
    except ImportError:
        Processor = CLIPImageProcessor
    made = Processor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    return np.stack([np.asarray(p) for p in made([Image.open(io.BytesIO(i)) for i in images])["pixel_values"]])


def test_clip_is_transformers_from_pixels_to_vectors(clip_folder):
    from transformers import CLIPModel

    images = [jpeg(n, size) for n, size in enumerate([(90, 60), (33, 71), (32, 32), (400, 300)])]
    reference = CLIPModel.from_pretrained(clip_folder).eval()
    values = processed(clip_folder, images)
    with torch.inference_mode():
        pooled = reference.vision_model(pixel_values=torch.as_tensor(values)).pooler_output
        wanted = reference.visual_projection(pooled).numpy()
    model = embedders.load(str(clip_folder), preprocess="exact")
    assert model.spec.layer == "projected" and model.spec.dim == 24 and model.spec.geometry == "cosine"
    np.testing.assert_allclose(model.encode_pixels(values), model.spec.space.prepare(wanted), atol=1e-5)
    found = model.embed([model.prepare(image) for image in images])
    assert model.spec.space.distance(found, wanted).max() < 1e-3
    pooler = embedders.load(str(clip_folder), layer="pooler")
    np.testing.assert_allclose(pooler.encode_pixels(values), pooler.spec.space.prepare(pooled.numpy()), atol=1e-5)
    assert pooler.spec.fingerprint != model.spec.fingerprint and pooler.spec.dim == 32


@pytest.mark.parametrize("size", [(90, 60), (61, 175), (224, 224), (500, 375), (1000, 333)])
def test_exact_preprocessing_is_within_one_level_of_the_image_processor(clip_folder, tmp_path, size):
    tiny.clip(tmp_path, size=64, tokenizer=False)
    model = embedders.load(str(tmp_path), preprocess="exact")
    image = jpeg(1, size)
    values = processed(tmp_path, [image], 64)[0].transpose(1, 2, 0)
    levels = (values * np.array(model.preprocess.std) + np.array(model.preprocess.mean)) * 255
    assert np.abs(model.prepare(image).astype(np.float64) - levels).max() <= 1.01


def test_fast_preprocessing_moves_vectors_little(tmp_path):
    tiny.clip(tmp_path, size=64, tokenizer=False)
    images = [jpeg(n, (1600, 1200)) for n in range(6)]
    exact, fast = (embedders.load(str(tmp_path), preprocess=p) for p in ("exact", "fast"))
    a, b = (m.embed([m.prepare(i) for i in images]) for m in (exact, fast))
    apart = exact.spec.space.pairwise(a, a)[np.triu_indices(6, 1)].mean()
    assert exact.spec.fingerprint != fast.spec.fingerprint
    assert 0 < exact.spec.space.distance(a, b).mean() <= 0.005 * apart


def test_a_very_long_image_is_cut_before_it_is_resized(tmp_path):
    tiny.clip(tmp_path, size=64, tokenizer=False)
    model = embedders.load(str(tmp_path), preprocess="exact")
    image = jpeg(2, (3000, 40))
    values = processed(tmp_path, [image], 64)[0].transpose(1, 2, 0)
    levels = (values * np.array(model.preprocess.std) + np.array(model.preprocess.mean)) * 255
    assert np.abs(model.prepare(image).astype(np.float64) - levels).max() <= 1.01
    out = io.BytesIO()
    Image.new("L", (60_000, 1), 128).save(out, format="PNG")
    assert model.prepare(out.getvalue()).shape == (64, 64, 3)


def test_images_stand_upright_before_they_are_cut(clip_folder):
    model = embedders.load(str(clip_folder), preprocess="exact")
    upright = Image.open(io.BytesIO(jpeg(5, (80, 60))))
    turned, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    upright.rotate(90, expand=True).save(turned, format="JPEG", quality=100, subsampling=0, exif=exif)
    plain = io.BytesIO()
    upright.save(plain, format="JPEG", quality=100, subsampling=0)
    difference = model.prepare(turned.getvalue()).astype(int) - model.prepare(plain.getvalue()).astype(int)
    assert np.abs(difference).mean() < 2


def test_texts_are_transformers_texts(clip_folder):
    from transformers import CLIPModel

    model = embedders.load(str(clip_folder))
    texts = ["a red bus", "  A  Red\nBUS ", "caf\u00e9 &amp; bar"]
    ids = model.tokenize(texts)
    assert ids.shape == (3, 16) and (ids[:, 0] == 512).all() and (ids[0] == ids[1]).all()
    assert [int((row == 513).sum()) for row in ids] == [1, 1, 1]
    reference = CLIPModel.from_pretrained(clip_folder).eval()
    with torch.inference_mode():
        pooled = reference.text_model(input_ids=torch.as_tensor(ids)).pooler_output
        wanted = reference.text_projection(pooled).numpy()
    np.testing.assert_allclose(model.embed_text(texts), model.spec.space.prepare(wanted), atol=1e-5)
    assert model.logit == "dot" and model.logit_scale == pytest.approx(float(reference.logit_scale.exp().detach()))
    assert model.embed_text([]).shape == (0, 24)


def test_the_tokenizer_pads_after_the_end_and_no_pad_counts(clip_folder):
    model = embedders.load(str(clip_folder))
    ids = model.tokenize(["dog"])
    other = ids.copy()
    other[0, list(ids[0]).index(513) + 1 :] = 7
    np.testing.assert_allclose(model.encode_tokens(ids), model.encode_tokens(other), atol=1e-6)


def test_a_text_longer_than_the_context_is_cut_as_clip_cuts_it_and_counted(clip_folder):
    lines = []
    model = embedders.load(str(clip_folder), notify=lines.append)
    ids = model.tokenize(["x" * 40, "short"])
    assert ids[0, 0] == 512 and ids[0, -1] == 513 and model.truncated == 1
    assert any("1 of 2 texts are longer than 16 tokens" in line for line in lines)
    assert len(set(ids[0, 1:-1])) == 1
    assert np.isfinite(model.embed_text(["x" * 40])).all() and model.truncated == 2


def test_text_search_is_refused_on_vectors_before_the_projection(clip_folder):
    with pytest.raises(EmbedderError, match=r"before the projection.*--layer projected"):
        embedders.load(str(clip_folder), layer="pooler").embed_text(["a bus"])


def test_clip_embeds_text_rows_when_asked(clip_folder):
    model = embedders.load(str(clip_folder), options={"media": "text"})
    assert model.spec.media == "text"
    both = embedders.load(str(clip_folder))
    row = model.prepare(b"a red bus")
    np.testing.assert_allclose(model.embed([row, "dog"]), both.embed_text(["a red bus", "dog"]), atol=1e-6)
    for data, reason in ((b"\xff\xfe\xfa", "not_text"), (b"  \n", "empty")):
        with pytest.raises(MediaError, match=reason):
            model.prepare(data)


@pytest.mark.parametrize("head", [True, False])
def test_resnet_is_the_average_pool_of_the_last_hidden_state(tmp_path, head):
    reference = tiny.resnet(tmp_path, head=head)
    backbone = reference.resnet if head else reference
    model = embedders.load(str(tmp_path), preprocess="exact")
    assert (model.spec.dim, model.spec.layer, model.spec.geometry) == (16, "pool", "cosine")
    assert (model.preprocess.short, model.preprocess.crop) == (256, 224)
    values = np.random.default_rng(0).standard_normal((3, 3, 64, 64)).astype(np.float32)
    with torch.inference_mode():
        wanted = backbone(torch.as_tensor(values)).last_hidden_state.mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(model.encode_pixels(values), model.spec.space.prepare(wanted), atol=1e-5)
    assert not hasattr(model, "embed_text")
    assert model.embed([model.prepare(jpeg())]).shape == (1, 16)


def test_resnet_preprocessing_is_its_image_processors(tmp_path):
    from transformers import ConvNextImageProcessor

    tiny.resnet(tmp_path, preprocessor={"crop_pct": 0.875, "size": {"shortest_edge": 224}, "image_mean": [0.5, 0.5, 0.5]})
    model = embedders.load(str(tmp_path), preprocess="exact")
    assert model.preprocess.mean == (0.5, 0.5, 0.5)
    try:
        from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil as Processor
    except ImportError:
        Processor = ConvNextImageProcessor
    made = Processor(size={"shortest_edge": 224}, crop_pct=0.875, do_normalize=False)
    image = jpeg(3, (500, 375))
    values = np.asarray(made(Image.open(io.BytesIO(image)))["pixel_values"][0]).transpose(1, 2, 0) * 255
    assert np.abs(model.prepare(image).astype(np.float64) - values).max() <= 1.01


def test_sentence_model_is_the_mean_over_the_mask(tmp_path):
    reference = tiny.sentences(tmp_path)
    lines = []
    model = embedders.load(str(tmp_path), notify=lines.append)
    assert (model.spec.media, model.spec.dim, model.spec.geometry) == ("text", 16, "cosine")
    texts = ["a red bus", "dog", "the cat on the street"]
    found = model.embed([model.prepare(t.encode()) for t in texts])
    for text, vector in zip(texts, found):
        ids = torch.as_tensor([model._tokenizer.encode(text).ids])
        with torch.inference_mode():
            wanted = reference(input_ids=ids).last_hidden_state.mean(dim=1).numpy()
        np.testing.assert_allclose(vector[None], model.spec.space.prepare(wanted), atol=1e-5)
    model.embed(["bus " * 30])
    assert model.truncated == 1 and "longer than 12 tokens" in lines[-1]


def test_same_weights_give_the_same_fingerprint_wherever_they_lie_and_others_do_not(tmp_path):
    tiny.clip(tmp_path / "a", seed=0)
    tiny.clip(tmp_path / "b", seed=1)
    tiny.clip(tmp_path / "c", seed=0)
    a, b, c = (embedders.load(str(tmp_path / name)).spec for name in "abc")
    assert a.revision == c.revision != b.revision and len(a.revision) == 16
    raw = json.loads((tmp_path / "c" / "config.json").read_text())
    raw["vision_config"]["hidden_act"] = "gelu"
    (tmp_path / "c" / "config.json").write_text(json.dumps(raw))
    assert embedders.load(str(tmp_path / "c")).spec.revision != a.revision


def test_unknown_layer_dtype_and_option_are_refused(clip_folder):
    with pytest.raises(EmbedderError, match=r"no layer 'hidden'; known: projected, pooler"):
        embedders.load(str(clip_folder), layer="hidden")
    with pytest.raises(ConfigError, match=r"unknown dtype 'int8'; known: auto, fp32, bf16, fp16"):
        embedders.load(str(clip_folder), dtype="int8")
    with pytest.raises(ConfigError, match="no option 'rotate'"):
        embedders.load(str(clip_folder), options={"rotate": 1})
    with pytest.raises(ConfigError, match=r"device 'cuda:99' is not on this machine; there is: cpu"):
        embedders.load(str(clip_folder), device="cuda:99")


@pytest.mark.parametrize(
    "preprocessor, message",
    [
        ({"resample": 0}, "another filter than bicubic"),
        ({"do_center_crop": False}, "switches a step off"),
        ({"size": {"height": 32, "width": 32}}, "only a short side"),
        ({"crop_size": 24, "size": 32}, "crops to 24"),
        ({"crop_size": 64, "size": 32}, "crops 64 out of"),
    ],
)
def test_a_preprocessing_that_is_not_the_published_form_is_refused(tmp_path, preprocessor, message):
    tiny.clip(tmp_path, preprocessor=preprocessor)
    with pytest.raises(EmbedderError, match=message):
        embedders.load(str(tmp_path))
