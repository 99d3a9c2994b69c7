"""What the benchmarks of the embedding stage share: photographs of three sizes, and the image processor to beat."""

import io
import sys

import numpy as np

SIZES = {"500x375": ((500, 375), 94, 24), "1080p": ((1920, 1080), 88, 8), "12 MP": ((4000, 3000), 88, 3)}
"""Size, JPEG quality and how many."""


def photographs(folder, size, quality, count):
    """`count` photographs at `size` with sensor noise, as JPEG bytes."""
    from PIL import Image

    paths, rng, made = sorted((folder / "photos").glob("*.JPEG"))[:count], np.random.default_rng(0), []
    if not paths:
        sys.exit(f"no photographs in {folder / 'photos'}; pass --data DIR")
    for path in paths:
        image = Image.open(path).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        noisy = np.asarray(image, np.int16) + rng.integers(-4, 5, (size[1], size[0], 3), dtype=np.int16)
        out = io.BytesIO()
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=quality)
        made.append(out.getvalue())
    return made


def image_processor():
    """The image processor people use with CLIP: Pillow's backend, for there is no torchvision."""
    try:
        from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil as Processor
    except ImportError:
        from transformers import CLIPImageProcessor as Processor
    return Processor()


def of_pillow(processor, data):
    from PIL import Image

    return np.asarray(processor(Image.open(io.BytesIO(data)).convert("RGB"))["pixel_values"][0])


def verdict(value, target):
    return "" if target is None else f"   target {target:g}: {'reached' if value >= target else 'NOT reached'}"
