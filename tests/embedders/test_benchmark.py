"""The part of the benchmark that wants a GPU runs as written, here on a CPU and with tiny models."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.embedders import tiny


def test_the_gpu_benchmark_measures_and_judges(tmp_path, capsys):
    from benchmarks.embed import gpu, gpu_models

    (tmp_path / "photos").mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "photos" / f"{number}.JPEG")
    makers = {"ViT-L/14": tiny.clip, "ResNet-50": tiny.resnet}
    assert set(makers) < set(gpu_models())
    gpu(SimpleNamespace(data=tmp_path), tmp_path, device="cpu", rows=96, makers=makers)
    told = capsys.readouterr().out
    assert "ViT-L/14: " in told and "target 0.9" in told and "ResNet-50: " in told and "target 0.8" in told


def test_without_a_gpu_it_says_so(tmp_path, capsys, monkeypatch):
    import torch

    from benchmarks.embed import gpu

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu(SimpleNamespace(data=tmp_path), tmp_path)
    assert "not measured" in capsys.readouterr().out
