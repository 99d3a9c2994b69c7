"""The public contract suite over every built-in op."""

import functools
from importlib.metadata import entry_points

import numpy as np
import pytest

from curate.errors import ConfigError
from curate.ops.clusters import Clusters
from curate.ops.duplicates import Duplicates
from curate.ops.hierarchy import Tag
from curate.ops.labels import Labels
from curate.ops.quality import Quality
from curate.ops.sampling import Sample
from curate.taxonomy import read_taxonomy
from curate.testing import check_op, make_context, sample_embeddings

TAXONOMY = "animal: [dog, cat]\nvehicle: [car, bus]\n"


def labelled(embeddings):
    """A context in which every row has a split, a confidence and a true tag of its own."""
    number = {i: int(i[-4:]) for i in embeddings.ids}
    fields = {
        "split": {i: ("train", "test")[n % 2] for i, n in number.items()},
        "confidence": {i: (n * 37 % 101) / 101 for i, n in number.items()},
        "guess": {i: ("dog", "cat", "car", "cat")[n % 4] for i, n in number.items()},
        "label": {i: ("dog", "cat", "car", "bus")[n % 4] for i, n in number.items()},
    }
    return make_context(embeddings, fields=fields, embed_text=embed_text)


def embed_text(texts):
    seeds = [sum(text.encode()) for text in texts]
    return np.array([np.random.default_rng(s).normal(size=16) for s in seeds], np.float32).reshape(len(texts), 16)


def thumbnails(embeddings):
    """A context with small images: rows 1 and 11 show the same one."""
    images = {}
    for item_id in embeddings.ids:
        number = int(item_id[-4:])
        coarse = np.random.default_rng(1 if number == 11 else number).integers(0, 256, (6, 8, 3))
        images[item_id] = np.kron(coarse, np.ones((4, 4, 1))).astype(np.uint8)
    return make_context(embeddings, pixels=images)


@functools.cache
def taxonomy():
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tags.yaml"
        path.write_text(TAXONOMY)
        return read_taxonomy(path)


CASES = {
    "duplicates": (Duplicates, make_context),
    "duplicates with a radius": (lambda: Duplicates(radius=0.01), make_context),
    "duplicates with pixels": (Duplicates, thumbnails),
    "duplicates between splits": (lambda: Duplicates(between="split"), labelled),
    "clusters": (Clusters, make_context),
    "clusters of a number": (lambda: Clusters(count=3), make_context),
    "sample": (Sample, make_context),
    **{
        f"sample {method}": (functools.partial(Sample, method=method, budget=9), labelled)
        for method in ("random", "cluster", "k-center", "facility-location", "typicality")
    },
    **{
        f"sample {method}": (functools.partial(Sample, method=method, budget="20%"), labelled)
        for method in ("ordered confidence", "ordered -confidence", "balanced label", "uncertain confidence")
    },
    "quality": (Quality, thumbnails),
    "quality without thumbnails": (Quality, make_context),
    "labels": (Labels, labelled),
    "labels with predictions": (lambda: Labels(predictions="guess", confidence="confidence", by=["split"]), labelled),
    "tag": (lambda: Tag(taxonomy()), labelled),
    "tag calibrated": (lambda: Tag(taxonomy(), risk=0.5, labels_field="label"), labelled),
}


@pytest.mark.parametrize("geometry", ["cosine", "euclidean"])
@pytest.mark.parametrize("case", CASES)
def test_op(case, geometry):
    build, context = CASES[case]
    least = 4 if case == "tag calibrated" else 0
    check_op(build(), embeddings=sample_embeddings(geometry=geometry), context=context, least=least)


def test_every_built_in_op_is_checked():
    built_in = {p.name for p in entry_points(group="curate.ops") if p.module.startswith("curate.")}
    assert built_in <= {case.split()[0] for case in CASES}


def test_an_unknown_field_is_an_error_not_a_guess():
    with pytest.raises(ConfigError):
        Sample(method="ordered nothing")(sample_embeddings(), make_context(sample_embeddings()))
