"""The embedding stage against what people do today: decode, model, and the whole pipeline over HTTP, interleaved in one run.

    python benchmarks/embed.py [--data DIR] [--rounds 5] [--rows 960] [--only decode,model,pipeline,busy,gpu]

Decode and model are CPU seconds of one thread (`time.process_time`), so that other work on the machine matters little; the
pipeline is wall time.  Every ratio compares two measurements of the same round; medians over the rounds are printed, with
the arithmetic.  Models have their true size and random weights: speed does not depend on what the weights say.
"""

import argparse
import multiprocessing
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._embed_data import SIZES, image_processor, of_pillow, photographs, verdict
from benchmarks.embed_pipeline import Stub, busy, pipeline

TARGETS = {
    "decode": {"500x375": 2.8, "1080p": 4.0, "12 MP": 5.5},
    "model": {"default": 4.0, "openvino": 5.5},
}


def views(fast):
    from curate import media
    from curate.embedders._images import Preprocess

    made = Preprocess(224, 224, scaled=fast)
    return lambda data: made.view(media.decode(data, at_least=made.at_least))


def cpu_seconds(work, rows):
    start = time.process_time()
    for row in rows:
        work(row)
    return (time.process_time() - start) / len(rows)


def interleaved(ways, rows, rounds):
    """Way -> CPU seconds a row, one value a round; every way once before the clock starts."""
    for work in ways.values():
        work(rows[0])
    taken = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            taken[name].append(cpu_seconds(work, rows))
    return taken


def ratio(taken, base, name):
    return statistics.median(b / t for b, t in zip(taken[base], taken[name], strict=True))


def decode(args, vit):
    """Decode + resize + crop per core, against the Hugging Face image processor."""
    import torch

    torch.set_num_threads(1)
    processor = image_processor()
    print("\n## Decode + short side 224 + centre crop, CPU of one thread")
    for name, (size, quality, count) in SIZES.items():
        rows = photographs(args.data, size, quality, count)
        ways = {"HF": lambda d: of_pillow(processor, d), "exact": views(False), "fast": views(True)}
        taken = interleaved(ways, rows, args.rounds)
        kb = statistics.mean(map(len, rows)) / 1e3
        print(f"{name} ({kb:,.0f} kB)")
        for way, values in taken.items():
            middle = statistics.median(values)
            gain = ratio(taken, "HF", way)
            target = TARGETS["decode"][name] if way == "fast" else None
            print(f"  {way:6} {1 / middle:8.1f} images/s/core  {gain:5.2f}x{verdict(gain, target)}")
        errors(rows, processor, vit, name)
        torch.set_num_threads(1)


def errors(rows, processor, vit, name):
    """Pixel error of `exact` and embedding drift of both, through a ViT-B/32 of true size."""
    from curate.geometry import norms

    mean, std = (np.array(v) for v in (vit.preprocess.mean, vit.preprocess.std))
    reference = [of_pillow(processor, d) for d in rows]
    levels = np.stack([(r.transpose(1, 2, 0) * std + mean) * 255 for r in reference])
    some = {way: np.stack([views(way == "fast")(d) for d in rows]) for way in ("exact", "fast")}
    wanted = vit.encode_pixels(np.stack(reference))
    pairs = np.triu_indices(len(rows), 1)
    apart = vit.spec.space.chord(vit.spec.space.pairwise(wanted, wanted)[pairs].astype(np.float64)).mean()
    for way, images in some.items():
        off = np.abs(images.astype(np.float64) - levels)
        drift = norms(vit.embed(list(images)) - wanted).mean() / apart
        limit = (
            f"max {off.max():.2f} levels"
            if way == "exact"
            else f"mean {off.mean():.2f}, p99 {np.percentile(off, 99):.1f} levels"
        )
        print(f"  {way:6} pixel error {limit}; drift {drift:.4f} of the mean pair distance ({len(rows)} images)")


def true_clip(folder, patch=32, layers=12, width=768, heads=12):
    """A CLIP directory of true size with random weights."""
    import json

    import torch
    from safetensors.torch import save_file
    from transformers import CLIPConfig, CLIPModel

    folder.mkdir(parents=True, exist_ok=True)
    vision = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers, "num_attention_heads": heads}
    config = CLIPConfig(vision_config={**vision, "patch_size": patch}, text_config={"num_hidden_layers": 1}, projection_dim=512)
    torch.manual_seed(0)
    model = CLIPModel(config).eval()
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), default=str))
    save_file({k: v.contiguous().clone() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    return model


def true_resnet(folder):
    import json

    import torch
    from safetensors.torch import save_file
    from transformers import ResNetConfig, ResNetModel

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = ResNetModel(ResNetConfig()).eval()
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), default=str))
    save_file({k: v.contiguous().clone() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    return model


def naive(model, name):
    """transformers, fp32, one image at a time."""
    import torch

    tower = model.vision_model if name == "ViT-B/32" else model

    @torch.inference_mode()
    def one(image):
        values = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        return tower(pixel_values=values).pooler_output.numpy()

    return one


def model(args, folders, references):
    """Images to vectors on one CPU thread, against transformers in fp32 with batch 1."""
    import torch

    from curate import embedders
    from curate.embedders._device import has_fast_bf16

    torch.set_num_threads(1)
    bf16 = has_fast_bf16(torch.device("cpu"))
    images = list(np.random.default_rng(0).integers(0, 256, (32, 224, 224, 3), dtype=np.uint8))
    print(f"\n## Model, CPU of one thread, batch 32 (bf16 in hardware: {bf16})")
    for name, folder in folders.items():
        engines = ["torch", *(["openvino"] if has_openvino() else [])]
        one = naive(references[name], name)
        ways = {"transformers fp32 b1": lambda _, one=one: one(images[0])}
        for engine in engines:
            for dtype in ("fp32", *(["bf16"] if bf16 else [])):
                made = embedders.load(str(folder), device="cpu", dtype=dtype, options={"engine": engine})
                made.runner.threads = 1
                ways[f"curate {engine} {dtype}"] = lambda _, made=made: made.embed(images)
        taken = interleaved(ways, [None], args.rounds)
        print(name)
        base = "transformers fp32 b1"
        for way, values in taken.items():
            count = 1 if way == base else len(images)
            gain = statistics.median(b * count / t for b, t in zip(taken[base], values, strict=True))
            print(
                f"  {way:24} {count / statistics.median(values):7.1f} images/s/core  {gain:5.2f}x"
                + model_target(name, way, bf16, gain)
            )


def model_target(name, way, bf16, gain):
    best = "bf16" if bf16 else "fp32"
    if name != "ViT-B/32" or not way.endswith(best):
        return ""
    return verdict(gain, TARGETS["model"]["openvino" if "openvino" in way else "default"])


def has_openvino():
    import importlib.util

    return importlib.util.find_spec("openvino") is not None


def gpu_models():
    large = {"patch": 14, "layers": 24, "width": 1024, "heads": 16}
    return {"ViT-B/32": true_clip, "ViT-L/14": lambda folder: true_clip(folder, **large), "ResNet-50": true_resnet}


def gpu(args, scratch, *, device="cuda", rows=8192, makers=None):
    """Images/s from local files on the GPU, and the share of min(decode limit, model limit), both measured here.

    device, rows, makers: smaller ones, so that a test can run this on a CPU.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        print("\n## GPU: none on this machine; not measured")
        return
    from curate import embedders
    from curate.pipeline.embed import cores, embed_shard
    from curate.types import Item

    named = torch.cuda.get_device_name(0) if device == "cuda" else device
    print(f"\n## GPU: {named}, {cores()} cores, bf16, local files")
    bodies = photographs(args.data, *SIZES["500x375"])
    items = [Item(f"{n:06d}", "", "v") for n in range(rows)]
    for name, make in (makers or gpu_models()).items():
        folder = scratch / f"gpu {name}".replace("/", "-")
        make(folder)
        made = embedders.load(str(folder), device=device, dtype="bf16", options={"engine": "torch"})
        images = [made.prepare(bodies[n % len(bodies)]) for n in range(made.batch_size)]
        made.embed(images)
        start = time.perf_counter()
        for _ in range(20):
            made.embed(images)
        model_limit = 20 * len(images) / (time.perf_counter() - start)
        stub = Stub()
        stub.preprocess = made.preprocess
        stub.at_least, stub.view = made.at_least, made.view
        stub.embed, stub.batch_size = (lambda batch: np.ones((len(batch), 4), np.float32)), made.batch_size
        limits = []
        for embedder in (stub, made):
            start = time.perf_counter()
            done = sum(
                len(b.ids) for b in embed_shard(items, embedder, lambda i: bodies[int(i.id) % len(bodies)], keep=lambda b: None)
            )
            limits.append(done / (time.perf_counter() - start))
        decode_limit, reached = limits
        bound = min(decode_limit, model_limit)
        target = 0.9 if name == "ViT-L/14" else 0.8
        print(
            f"  {name}: {reached:,.0f} images/s = {reached / bound:.2f} of min(decode {decode_limit:,.0f}, model "
            f"{model_limit:,.0f}){verdict(reached / bound, target)}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=960)
    parser.add_argument("--only", default="decode,model,pipeline,busy,gpu")
    args = parser.parse_args()
    only = set(args.only.split(","))
    packages = ("torch", "transformers", "pillow", "simplejpeg", "numpy", "urllib3", "requests")
    print(
        f"{platform.processor() or platform.machine()}, {multiprocessing.cpu_count()} cores, Python {platform.python_version()}"
    )
    print(", ".join(f"{p} {version(p)}" for p in packages) + (f", openvino {version('openvino')}" if has_openvino() else ""))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if "pipeline" in only:
            pipeline(args)  # before torch has threads: the DataLoader's workers are forks.
        if "busy" in only:
            busy(args)
        if only & {"decode", "model"}:
            from curate import embedders

            references = {"ViT-B/32": true_clip(scratch / "vit"), "ResNet-50": true_resnet(scratch / "resnet")}
            folders = {"ViT-B/32": scratch / "vit", "ResNet-50": scratch / "resnet"}
            if "decode" in only:
                decode(args, embedders.load(str(folders["ViT-B/32"]), device="cpu", dtype="fp32", preprocess="exact"))
            if "model" in only:
                model(args, folders, references)
        if "gpu" in only:
            gpu(args, scratch)


if __name__ == "__main__":
    main()
