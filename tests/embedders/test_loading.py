"""What goes wrong with files, names and devices: nothing runs, nothing is guessed, and the message says what to do."""

import gzip
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from curate import embedders
from curate.embedders import _device, _hub, _tokens, _torch, catalogue, euclip
from curate.embedders._weights import read_weights
from curate.errors import ConfigError, EmbedderError, MissingExtra, UnknownName
from curate.pipeline.embed import embed_shard, settle
from curate.types import EmbedderSpec, Item
from tests.embedders import tiny

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path_factory):
    home = tmp_path_factory.mktemp("hf")
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return home


@pytest.fixture
def euclip_copy(tmp_path):
    shutil.copytree(GOLDEN / "euclip-tiny", tmp_path / "m")
    return tmp_path / "m"


class Canary:
    """Writes a file if it is ever unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "ran"))


@pytest.mark.parametrize("place", ["euclip checkpoint", "hugging face directory"])
def test_a_pickle_that_carries_code_is_refused_and_nothing_runs(tmp_path, euclip_copy, place):
    trap = tmp_path / "ran"
    if place == "euclip checkpoint":
        (euclip_copy / "open_clip_model.safetensors").unlink()
        path, name = euclip_copy / "evil.pt", str(euclip_copy / "evil.pt")
        state = read_weights(GOLDEN / "euclip-tiny" / "open_clip_model.safetensors")
    else:
        model = tiny.clip(tmp_path / "hf")
        (tmp_path / "hf" / "model.safetensors").unlink()
        path, name, state = tmp_path / "hf" / "pytorch_model.bin", str(tmp_path / "hf"), model.state_dict()
    torch.save({"state_dict": state, "optimizer": Canary(trap)}, path)
    with pytest.raises(EmbedderError, match="carries something that is not a number") as caught:
        embedders.load(name)
    assert "Nothing of it was run" in str(caught.value) and not trap.exists()
    assert "it names getattr" in str(caught.value) and "weights_only" not in str(caught.value)
    torch.load(path, weights_only=False)  # The canary does sing where it is let.
    assert trap.exists()


def test_a_checkpoint_with_numpy_scalars_loads(euclip_copy):
    found = torch.load(euclip_copy / "epoch_5.pt", weights_only=True, map_location="cpu")
    found["optimizer"] = {"param_groups": [{"lr": np.float64(1e-3), "step": np.int64(3)}]}
    torch.save(found, euclip_copy / "numpy.pt")
    expected = np.load(GOLDEN / "euclip-tiny" / "expected.npz")
    model = embedders.load(str(euclip_copy / "numpy.pt"))
    np.testing.assert_allclose(model.encode_pixels(expected["pixel_values"]), expected["image_embeds"], atol=1e-5)


@pytest.mark.parametrize("file", ["epoch_5.pt", "open_clip_model.safetensors"])
def test_truncated_weights_are_named(euclip_copy, file):
    path = euclip_copy / file
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(EmbedderError, match=f"{file}.*(cut short|truncated)"):
        embedders.load(str(path))


def test_missing_weights_are_named(euclip_copy, tmp_path):
    (euclip_copy / "open_clip_model.safetensors").unlink()
    with pytest.raises(EmbedderError, match=r"open_clip_model.safetensors do not exist; put"):
        embedders.load(str(euclip_copy))
    tiny.clip(tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").unlink()
    with pytest.raises(EmbedderError, match=r"no weights: neither model.safetensors nor pytorch_model.bin"):
        embedders.load(str(tmp_path / "hf"))


def test_weights_that_do_not_fit_their_configuration_are_refused(euclip_copy):
    config = json.loads((euclip_copy / "open_clip_config.json").read_text())
    config["vision_cfg"]["layers"] = 3
    (euclip_copy / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(EmbedderError, match=r"does not fit.*16 parameters are missing"):
        embedders.load(str(euclip_copy))


def test_a_config_without_an_image_tower_is_refused(euclip_copy, tmp_path):
    config = json.loads((euclip_copy / "open_clip_config.json").read_text())
    del config["vision_cfg"]
    (euclip_copy / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(EmbedderError, match="no image tower"):
        embedders.load(str(euclip_copy))
    tiny.clip(tmp_path / "hf")
    raw = json.loads((tmp_path / "hf" / "config.json").read_text())
    del raw["vision_config"]
    (tmp_path / "hf" / "config.json").write_text(json.dumps(raw))
    with pytest.raises(EmbedderError, match="no image tower"):
        embedders.load(str(tmp_path / "hf"))


def test_parts_a_plain_clip_has_not_are_refused(euclip_copy):
    config = json.loads((euclip_copy / "open_clip_config.json").read_text())
    config["vision_cfg"]["timm_model_name"] = "x"
    (euclip_copy / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(EmbedderError, match="vision_cfg has timm_model_name"):
        embedders.load(str(euclip_copy))


def test_meta_json_decides_the_geometry_and_a_strange_one_is_refused(euclip_copy):
    meta = json.loads((euclip_copy / "meta.json").read_text())
    (euclip_copy / "meta.json").unlink()
    assert embedders.load(str(euclip_copy)).logit == "-d2"
    (euclip_copy / "meta.json").write_text(json.dumps({**meta, "geometry": "euclidean"}))
    assert embedders.load(str(euclip_copy)).logit == "-d"
    (euclip_copy / "meta.json").write_text(json.dumps({**meta, "geometry": "elliptic"}))
    with pytest.raises(EmbedderError, match="geometry that is not known"):
        embedders.load(str(euclip_copy))


def test_a_clip_tokenizer_too_large_for_the_model_is_refused(euclip_copy):
    tiny.clip_tokenizer(euclip_copy)
    with pytest.raises(EmbedderError, match="the model knows 256 tokens, its tokenizer 514"):
        embedders.load(str(euclip_copy)).embed_text(["a bus"])


def published(monkeypatch, home, data):
    """The catalogue with one small published file."""
    model = catalogue.Model(
        "euclip", "euclidean", 32, len(data), "MIT", repo="o/r", file="T.pt", sha256=hashlib.sha256(data).hexdigest()
    )
    monkeypatch.setitem(catalogue.MODELS, "T", model)
    own = home / "curate" / "T" / "T.pt"
    own.parent.mkdir(parents=True)
    own.write_bytes(data)
    return own


def small_checkpoint():
    """The form of the published files: widths of 64, no configuration beside it, a training state around it."""
    from curate.embedders import _open_clip

    shape = _open_clip.Shape(32, 32, 8, 64, 1, 1, 128, 64, 1, 1, 256, 16, 256)
    model = tiny.jittered(__import__("transformers").CLIPModel(_open_clip._config(shape, 255)))
    back = {new: old for old, new in _open_clip._NAMES.items()} | {new: old for old, new in _open_clip._PROJECTIONS.items()}
    blocks = {new: old for old, new in _open_clip._BLOCK.items()}
    state = {}
    for name, value in model.state_dict().items():
        if name in back:
            state[back[name]] = value.T if name in _open_clip._PROJECTIONS.values() else value
        elif "pre_layrnorm" in name:
            state[f"visual.ln_pre.{name.rpartition('.')[2]}"] = value
        elif ".layers." in name and "_proj." not in name.replace("out_proj", ""):
            tower, _, rest = name.partition(".encoder.layers.")
            number, _, part = rest.partition(".")
            module, _, kind = part.rpartition(".")
            prefix = "visual." if tower == "vision_model" else ""
            state[f"{prefix}transformer.resblocks.{number}.{blocks[module]}.{kind}"] = value
    for tower, prefix in (("vision_model", "visual."), ("text_model", "")):
        for kind in ("weight", "bias"):
            parts = [model.state_dict()[f"{tower}.encoder.layers.0.self_attn.{p}_proj.{kind}"] for p in "qkv"]
            state[f"{prefix}transformer.resblocks.0.attn.in_proj_{kind}"] = torch.cat(parts)
    out = io.BytesIO()
    torch.save(
        {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in state.items()}, "optimizer": {"lr": np.float64(0.1)}}, out
    )
    return out.getvalue()


def test_a_published_file_is_checked_and_converted_once(monkeypatch, no_network):
    lines = []
    own = published(monkeypatch, no_network, small_checkpoint())
    first = embedders.load("T", notify=lines.append)
    assert (first.spec.geometry, first.logit, first.spec.dim) == ("euclidean", "-d2", 32)
    assert first.spec.revision == catalogue.MODELS["T"].sha256[:16]
    assert euclip.converted("T").is_file() and "is needed no more" in lines[-1]
    own.unlink()
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(embedders.load("T").embed([image]), first.embed([image]))


def test_a_published_file_with_another_sum_is_refused(monkeypatch, no_network):
    own = published(monkeypatch, no_network, small_checkpoint())
    own.write_bytes(own.read_bytes() + b"\0")
    with pytest.raises(EmbedderError, match=r"not the published file: its sha256 is [0-9a-f]{64}, expected"):
        embedders.load("T")
    assert not euclip.converted("T").exists()


@pytest.mark.parametrize(
    "name, files",
    [
        ("openai/clip-vit-base-patch32", ["config.json", "model.safetensors", "openai--clip-vit-base-patch32"]),
        ("microsoft/resnet-50", ["config.json", "model.safetensors", "microsoft--resnet-50"]),
        ("sentence-transformers/all-MiniLM-L6-v2", ["config.json", "tokenizer.json", "model.safetensors"]),
        ("ViT-B-32-EuCLIP", ["ViT-B-32-EuCLIP.pt"]),
        ("someone/some-model", ["config.json", "someone--some-model"]),
    ],
)
def test_a_model_missing_offline_says_which_file_to_put_where(no_network, name, files):
    with pytest.raises(EmbedderError) as caught:
        embedders.load(name, offline=True)
    text = str(caught.value)
    assert all(file in text for file in files) and str(no_network / "curate") in text
    assert "--offline" in text and "--model pixels" in text and "curate models fetch" in text
    assert caught.value.exit_code == 2


def test_files_put_by_hand_are_found(no_network):
    tiny.clip(_hub.own_folder("openai/clip-vit-base-patch32"))
    model = embedders.load("openai/clip-vit-base-patch32", offline=True)
    assert model.spec.name == "openai/clip-vit-base-patch32" and model.spec.dim == 24
    assert embedders.load("clip", offline=True).spec.revision == model.spec.revision


def test_text_without_a_tokenizer_says_what_to_put_where(tmp_path, no_network):
    tiny.clip(tmp_path / "m", tokenizer=False)
    with pytest.raises(EmbedderError, match=r"Put tokenizer.json of openai/clip-vit-base-patch32 into .*open_clip_torch"):
        embedders.load(str(tmp_path / "m")).embed_text(["a bus"])


def test_the_published_table_of_merges_makes_clips_tokenizer(tmp_path):
    table = tmp_path / _tokens.BPE_FILE
    with gzip.open(table, "wt", encoding="utf-8") as file:
        file.write("#version\nb u\nbu s</w>\nr e\nre d</w>\n")
    sha = hashlib.sha256(table.read_bytes()).hexdigest()
    made = _tokens.ClipTokens(_tokens.from_bpe_table(table, sha256=sha, merges=4), context=8, vocabulary=600)
    assert made(["Red  &amp; bus!"]).tolist() == [[516, 515, 261, 513, 256, 517, 0, 0]]
    with pytest.raises(EmbedderError, match="not the published file"):
        _tokens.from_bpe_table(table)


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_broken_config_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(EmbedderError, match=r"config\.json"):
        embedders.load(str(tmp_path))


def test_a_path_that_is_no_model_says_so(tmp_path):
    with pytest.raises(EmbedderError, match="no model directory"):
        embedders.load(str(tmp_path))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(EmbedderError, match="no model"):
        embedders.load(str(tmp_path / "a.txt"))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(EmbedderError, match="of type 'llama'"):
        embedders.load(str(tmp_path))


class ThirdParty:
    """Named by module:Class in the tests below."""

    def __init__(self, size, *, dtype="auto"):
        self.spec = EmbedderSpec("third", "1", "x", size, "euclidean", dtype="fp32" if dtype == "auto" else dtype)

    def prepare(self, data):
        return np.zeros((1, 1, 3), np.uint8)

    def embed(self, batch):
        return np.zeros((len(batch), self.spec.dim), np.float32)


def test_module_and_class_take_their_options_and_the_flags_they_have():
    name = f"{__name__}:ThirdParty"
    made = embedders.load(name, options={"size": 5}, dtype="bf16")
    assert made.spec.dim == 5 and made.spec.dtype == "bf16"
    for options, flags, message in [
        ({}, {}, "needs the option 'size'"),
        ({"size": 5, "colour": 1}, {}, "no option 'colour'"),
        ({"size": 5}, {"layer": "pooler"}, "has no --layer"),
        ({"size": 5}, {"preprocess": "exact"}, "has no --preprocess"),
    ]:
        with pytest.raises(ConfigError, match=message):
            embedders.load(name, options=options, **flags)
    with pytest.raises(ConfigError, match="cannot be imported"):
        embedders.load("curate.nothing:Here")
    with pytest.raises(EmbedderError, match="lacks spec, prepare, embed"):
        embedders.load("curate.types:EmbedderSpec", options={k: "x" for k in ("name", "revision", "layer", "dim", "geometry")})


def test_an_unknown_name_lists_what_is_near():
    with pytest.raises(UnknownName, match="did you mean 'ViT-B-32-EuCLIP'"):
        embedders.load("ViT-B-32-EuClip")


# devices


def images(count, seed=0):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (count, 2, 2, 3), dtype=np.uint8)
    return [np.ascontiguousarray(b.repeat(16, axis=0).repeat(16, axis=1)) for b in blocks]


def test_out_of_memory_halves_the_batch_goes_on_and_says_so(tmp_path, monkeypatch):
    tiny.clip(tmp_path)
    lines = []
    model = embedders.load(str(tmp_path), notify=lines.append)
    wanted = model.embed(images(30))
    real, sizes = _torch.Runner._forward, []

    def short(self, rows, *rest):
        sizes.append(len(rows))
        if len(rows) > 5:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")
        return real(self, rows, *rest)

    monkeypatch.setattr(_torch.Runner, "_forward", short)
    np.testing.assert_allclose(model.embed(images(30)), wanted, atol=1e-5)
    assert sizes[:4] == [30, 15, 7, 3] and set(sizes[4:]) == {3}
    assert lines == [
        "cpu is out of memory with 30 rows at once; going on with 15",
        "cpu is out of memory with 15 rows at once; going on with 7",
        "cpu is out of memory with 7 rows at once; going on with 3",
    ]


def test_no_memory_for_one_row_is_an_error_that_says_so(tmp_path, monkeypatch):
    tiny.clip(tmp_path)
    model = embedders.load(str(tmp_path))

    def never(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(_torch.Runner, "_forward", never)
    with pytest.raises(EmbedderError, match="no memory for one row"):
        model.embed(images(4))


def encoded(image):
    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG")
    return out.getvalue()


def test_a_gpu_that_vanishes_keeps_what_was_embedded(tmp_path, monkeypatch):
    tiny.clip(tmp_path)
    model = embedders.load(str(tmp_path))
    real, calls = _torch.Runner._forward, []

    def lost(self, rows, *rest):
        calls.append(len(rows))
        if len(calls) > 1:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return real(self, rows, *rest)

    monkeypatch.setattr(_torch.Runner, "_forward", lost)
    data, got = [encoded(i) for i in images(12)], []
    rows = [Item(f"{n:02d}", "", "v") for n in range(12)]
    with pytest.raises(EmbedderError, match=r"launch failure.*run the same command again"):
        for batch in embed_shard(rows, model, lambda item: data[int(item.id)], batch_size=4):
            got.append(batch)
    assert [i for b in got for i in b.ids] == ["00", "01", "02", "03"]


def test_non_finite_output_fails_its_row(tmp_path, monkeypatch):
    tiny.clip(tmp_path)
    model = embedders.load(str(tmp_path))
    real = _torch.Runner._forward

    def odd(self, rows, *rest):
        found = real(self, rows, *rest).copy()
        found[1] = np.inf
        found[2] = 0
        return found

    monkeypatch.setattr(_torch.Runner, "_forward", odd)
    data = [encoded(i) for i in images(4)]
    (batch,) = embed_shard([Item(str(n), "", "v") for n in range(4)], model, lambda item: data[int(item.id)])
    assert [(f.id, f.reason) for f in batch.failures] == [("1", "non_finite"), ("2", "zero_vector")]
    assert batch.ids == ["0", "3"]


# number formats


def settled(folder, monkeypatch, *, fast=True, spoil=0.0, **options):
    monkeypatch.setattr(_torch, "has_fast_bf16", lambda _device: fast)
    model = embedders.load(str(folder))
    if spoil:
        real = _torch.Runner._forward

        def worse(self, rows, dtype, *rest):
            found = real(self, rows, dtype, *rest)
            return found + spoil * np.random.default_rng(0).standard_normal(found.shape).astype(np.float32) * (dtype == "bf16")

        monkeypatch.setattr(_torch.Runner, "_forward", worse)
    return model, model.settle(images(16), **options)


def test_auto_takes_bf16_where_it_is_safe_and_reports_the_drift(tmp_path, monkeypatch):
    tiny.clip(tmp_path)
    model, drift = settled(tmp_path, monkeypatch)
    assert 0 < drift.share <= _device.SAFE_DRIFT and drift.images == 16 and model.spec.dtype == "bf16"
    assert "bf16 moves vectors by 0.0" in str(drift) and str(drift).endswith("used")
    assert model.settle(images(16)) is None


def test_auto_falls_back_to_fp32_where_bf16_moves_too_much(tmp_path, monkeypatch):
    tiny.clip(tmp_path)
    model, drift = settled(tmp_path, monkeypatch, spoil=5.0)
    assert drift.share > _device.SAFE_DRIFT and model.spec.dtype == "fp32" and "fp32 is used" in str(drift)


def test_auto_is_fp32_without_the_hardware_and_until_it_is_settled(tmp_path, monkeypatch):
    tiny.clip(tmp_path)
    model, drift = settled(tmp_path, monkeypatch, fast=False)
    assert drift is None and model.spec.dtype == "fp32"
    assert embedders.load(str(tmp_path)).spec.dtype == "fp32"


def test_auto_keeps_the_format_that_the_store_has(tmp_path, monkeypatch):
    tiny.clip(tmp_path)
    model, _drift = settled(tmp_path, monkeypatch)
    again, none = settled(tmp_path, monkeypatch, stored=[model.spec.fingerprint], spoil=5.0)
    assert none is None and again.spec == model.spec


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_format_on_demand_is_part_of_the_fingerprint(tmp_path, dtype):
    tiny.clip(tmp_path)
    exact, short = (embedders.load(str(tmp_path), dtype=d) for d in ("fp32", dtype))
    assert exact.spec.fingerprint != short.spec.fingerprint and short.spec.dtype == dtype
    a, b = exact.embed(images(8)), short.embed(images(8))
    assert 0 < np.abs(a - b).max() < 0.05


def test_several_devices_give_the_same_batches(tmp_path, monkeypatch):
    tiny.clip(tmp_path)
    one = embedders.load(str(tmp_path))
    monkeypatch.setattr(_torch, "devices_for", lambda _wanted: [torch.device("cpu")] * 2)
    two = embedders.load(str(tmp_path))
    assert len(two.lanes) == 2
    data = [encoded(i) for i in images(20)]
    rows = [Item(f"{n:02d}", "", "v") for n in range(20)]
    both = [list(embed_shard(rows, m, lambda item: data[int(item.id)], batch_size=4)) for m in (one, two)]
    for a, b in zip(*both):
        assert a.ids == b.ids
        np.testing.assert_allclose(a.vectors, b.vectors, atol=1e-6)


def test_the_sample_for_the_decision_depends_on_the_rows_alone(tmp_path, monkeypatch):
    tiny.clip(tmp_path)
    monkeypatch.setattr(_torch, "has_fast_bf16", lambda _device: True)
    data = {f"{n:03d}": encoded(i) for n, i in enumerate(images(100))}
    rows = [Item(name, "", "v") for name in data]

    def read(item):
        if item.id == "003":
            raise FileNotFoundError("gone")
        return data[item.id]

    said = []
    for order in (rows, rows[::-1]):
        model = embedders.load(str(tmp_path))
        said.append(settle(model, order, read))
        assert model.spec.dtype == ("bf16" if said[-1].endswith("used") and "fp32" not in said[-1] else "fp32")
    assert said[0] == said[1] and "bf16 moves vectors by 0.0" in said[0]
    again = embedders.load(str(tmp_path))
    assert settle(again, [], read, stored=[model.spec.fingerprint]) is None and again.spec == model.spec
    assert settle(embedders.load("pixels"), rows, read) is None


# engines


class FakeOpenVino:
    """What the engine uses of OpenVINO: a converted model is a file that names the module, compiled to a call of it."""

    __version__ = "1"
    PartialShape = staticmethod(list)
    converted: ClassVar = []
    hints: ClassVar = []
    modules: ClassVar = {}

    class Core:
        def read_model(self, path):
            return path

        def compile_model(self, path, device, hints):
            FakeOpenVino.hints.append((device, hints))
            module = FakeOpenVino.modules[path.with_suffix(".bin").read_text()]
            return lambda rows: [module(torch.from_numpy(rows)).numpy()]

    @staticmethod
    def convert_model(module, example_input, input):
        FakeOpenVino.converted.append((tuple(example_input.shape), input))
        FakeOpenVino.modules["m"] = module
        return "m"

    @staticmethod
    def save_model(name, path, compress_to_fp16):
        assert compress_to_fp16 is False
        path.write_text("xml")
        path.with_suffix(".bin").write_text(name)


@pytest.fixture
def openvino(monkeypatch):
    import importlib.machinery
    import sys

    FakeOpenVino.converted, FakeOpenVino.hints = [], []
    monkeypatch.setattr(FakeOpenVino, "__spec__", importlib.machinery.ModuleSpec("openvino", None), raising=False)
    monkeypatch.setitem(sys.modules, "openvino", FakeOpenVino)
    return FakeOpenVino


def test_openvino_converts_once_and_gives_the_same_vectors(tmp_path, openvino):
    tiny.clip(tmp_path)
    lines = []
    wanted = embedders.load(str(tmp_path), options={"engine": "torch"}).embed(images(5))
    for _ in range(2):
        model = embedders.load(str(tmp_path), notify=lines.append)
        np.testing.assert_allclose(model.embed(images(5)), wanted, atol=1e-5)
    assert openvino.converted == [((2, 3, 32, 32), [[-1, 3, 32, 32]])]
    assert lines == ["converting the model for OpenVINO, once"]
    embedders.load(str(tmp_path), dtype="bf16").embed(images(2))
    assert [hint["INFERENCE_PRECISION_HINT"] for _, hint in openvino.hints] == ["f32", "f32", "bf16"]
    assert all(device == "CPU" and hint["INFERENCE_NUM_THREADS"] >= 1 for device, hint in openvino.hints)


def test_an_engine_that_does_not_exist_or_fit_is_refused(tmp_path, monkeypatch, openvino):
    tiny.clip(tmp_path)
    with pytest.raises(ConfigError, match=r"unknown engine 'tpu'.*auto, torch, openvino"):
        embedders.load(str(tmp_path), options={"engine": "tpu"})
    with pytest.raises(ConfigError, match="not in fp16"):
        embedders.load(str(tmp_path), options={"engine": "openvino"}, dtype="fp16")
    monkeypatch.setattr(_torch, "devices_for", lambda _wanted: [torch.device("meta")])
    with pytest.raises(ConfigError, match="runs on the cpu"):
        embedders.load(str(tmp_path), options={"engine": "openvino"})


def test_openvino_where_it_is_not_installed_prints_the_pip_line(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    tiny.clip(tmp_path)
    with pytest.raises(MissingExtra, match=r"pip install 'curate-vision\[openvino\]'"):
        embedders.load(str(tmp_path), options={"engine": "openvino"})
