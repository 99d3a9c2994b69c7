"""Two tiny towers, and the three losses: CLIP, EuCLIP, EuCLIP with entailment (arXiv 2409.13079)."""

import math
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

DIM = 64
WORDS = 12


class ImageTower(nn.Module):
    """A small convolutional net; no normalisation after the last layer, as EuCLIP asks."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, 32, 64, 96]
        self.blocks = nn.Sequential(*(self._block(a, b) for a, b in pairwise(widths)))
        self.head = nn.Linear(widths[-1] * 16, DIM, bias=False)

    @staticmethod
    def _block(a: int, b: int) -> nn.Sequential:
        halve = nn.Conv2d(a, b, 3, stride=2, padding=1)
        return nn.Sequential(halve, nn.GroupNorm(8, b), nn.GELU(), nn.Conv2d(b, b, 3, padding=1), nn.GELU())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, 3, 32, 32) -> (n, 64)."""
        return self.head(self.blocks(pixels - 0.4).flatten(1))


class TextTower(nn.Module):
    """One transformer layer over words."""

    def __init__(self, vocabulary: list[str]) -> None:
        super().__init__()
        self.place = {word: k + 1 for k, word in enumerate(vocabulary)}
        self.words = nn.Embedding(len(vocabulary) + 1, DIM, padding_idx=0)
        self.positions = nn.Parameter(0.02 * torch.randn(WORDS, DIM))
        shape = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.layer = nn.TransformerEncoderLayer(DIM, 4, 4 * DIM, **shape)
        self.head = nn.Linear(DIM, DIM, bias=False)

    def forward(self, texts: list[str]) -> torch.Tensor:
        """Texts -> (n, 64)."""
        ids = torch.tensor([([self.place[w] for w in text.split()] + [0] * WORDS)[:WORDS] for text in texts])
        known = (ids > 0).float()
        x = self.layer(self.words(ids) + self.positions, src_key_padding_mask=ids == 0)
        return self.head((x * known[..., None]).sum(1) / known.sum(1, keepdim=True))


class Model(nn.Module):
    """kind: "clip" (unit vectors, dot product) or "euclip" (vectors / sqrt(dim), minus the squared distance)."""

    def __init__(self, kind: str, vocabulary: list[str], entailment: float) -> None:
        super().__init__()
        self.kind, self.entailment = kind, entailment
        self.image, self.text = ImageTower(), TextTower(vocabulary)
        start = math.log(1 / 0.07) if kind == "clip" else -1.0 if entailment else 0.0
        self.logit_scale = nn.Parameter(torch.tensor(start))

    def points(self, raw: torch.Tensor) -> torch.Tensor:
        """The vectors that distances are taken between."""
        return functional.normalize(raw, dim=-1) if self.kind == "clip" else raw / math.sqrt(DIM)

    def loss(self, pixels: torch.Tensor, texts: list[str]) -> torch.Tensor:
        """Contrastive loss both ways, plus the entailment loss of image behind text."""
        x, t = self.points(self.image(pixels)), self.points(self.text(texts))
        score = x @ t.T if self.kind == "clip" else -torch.cdist(x, t, compute_mode="donot_use_mm_for_euclid_dist").square()
        logits = self.logit_scale.exp() * score
        own = torch.arange(len(x))
        loss = (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
        return loss + self.entailment * outside_cone(t, x).mean() if self.entailment else loss

    def clamp(self) -> None:
        """As the authors do after every step."""
        with torch.no_grad():
            self.logit_scale.clamp_(0, math.log(100))


def outside_cone(parent: torch.Tensor, child: torch.Tensor, min_radius: float = 0.1) -> torch.Tensor:
    """max(0, exterior angle - aperture), from differences, so that collinear vectors give no NaN: (n, d) x 2 -> (n,)."""
    length = parent.norm(dim=-1).clamp_min(1e-6)
    out = parent / length[:, None]
    step = child - parent
    along = (step * out).sum(-1)
    beside = (step - along[:, None] * out).square().sum(-1).add(1e-12).sqrt()
    aperture = torch.asin((min_radius / length).clamp(max=1 - 1e-6))
    return (torch.atan2(beside, along) - aperture).clamp_min(0)


def train(kind: str, data: tuple[np.ndarray, list[str]], *, entailment: float, steps: int, batch: int, seed: int) -> Model:
    """A model after `steps` steps of AdamW with a cosine schedule; the same seed gives the same model."""
    torch.manual_seed(seed)
    pixels, captions = torch.from_numpy(data[0]), data[1]
    model = Model(kind, sorted({word for text in captions for word in text.split()}), entailment)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        rows = rng.choice(len(captions), batch, replace=False)
        optimiser.zero_grad()
        model.loss(pixels[rows], [captions[i] for i in rows]).backward()
        optimiser.step()
        schedule.step()
        model.clamp()
    return model.eval()
