"""imagededup's perceptual hashes: pairs of a folder with their Hamming distance, as JSON.

    python hash_pairs.py IMAGES OUT.json

Its package imports torch and torchvision for a method that is not run here (it downloads weights): empty modules stand in.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

ABSENT = ("torch", "torchvision")


class Anything(ModuleType):
    """A module whose every name is a class."""

    __path__: tuple = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class Stand(MetaPathFinder, Loader):
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] in ABSENT else None

    def create_module(self, spec):
        return Anything(spec.name)

    def exec_module(self, module):
        pass


def main(folder, out):
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        sys.meta_path.insert(0, Stand())
    from imagededup.methods import DHash, PHash

    found = {}
    for method in (PHash, DHash):
        began = time.process_time()
        hasher = method(verbose=False)
        codes = hasher.encode_images(folder, num_enc_workers=0)
        near = hasher.find_duplicates(encoding_map=codes, max_distance_threshold=20, scores=True, num_dist_workers=0)
        pairs = sorted({(*sorted((a, b)), int(s)) for a, others in near.items() for b, s in others})
        found[method.__name__] = {"pairs": pairs, "default": 10, "unit": "bits", "cpu": time.process_time() - began}
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:3])
