"""What the store's tests share: a spec, rows, batches."""

import numpy as np
import pytest

from curate.store import Store
from curate.types import Batch, EmbedderSpec, Facts, Item

DATASET = "folder:photos"
SPEC = EmbedderSpec("pixels", "", "grid", 16, "euclidean")


def rows(count, *, version="v1", start=0):
    return [
        Item(f"img{n:05d}.jpg", f"/photos/img{n:05d}.jpg", version, {"split": "train"}) for n in range(start, start + count)
    ]


def vector_of(item_id, version, dim=16):
    """The vector that a fake embedder gives: a function of the content alone."""
    seed = int.from_bytes(f"{item_id}|{version}".encode(), "little") % (2**63)
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)


def batch(items, *, failures=(), dim=16):
    return Batch(
        [i.id for i in items],
        [i.version for i in items],
        np.array([vector_of(i.id, i.version, dim) for i in items], np.float32).reshape(len(items), dim),
        [Facts(4, 3, len(i.id), f"hash of {i.id}", None) for i in items],
        [f"JPEG {i.id} {i.version}".encode() for i in items],
        failures,
    )


def listed(store, items, *, complete=True, cursor=None, dataset=DATASET):
    listing = store.begin_listing(dataset)
    listing.add(items)
    return listing.finish(cursor, complete)


def embed_all(store, *, size=10, spec=SPEC, codec="f32", dataset=DATASET):
    todo = store.missing(dataset, spec)
    for at in range(0, len(todo), size):
        store.append(dataset, spec, batch(todo[at : at + size], dim=spec.dim), codec=codec)
    return len(todo)


def assert_right(store, *, spec=SPEC, dataset=DATASET):
    """Every vector the store gives is the one of its row's current content."""
    found = store.embeddings(dataset, spec.fingerprint)
    versions = {i.id: i.version for i in store.items(dataset)}
    assert list(found.ids) == sorted(found.ids)
    for item_id, vector in zip(found.ids, found.vectors, strict=True):
        np.testing.assert_array_equal(vector, vector_of(item_id, versions[item_id], spec.dim))
    return len(found)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store", write=True, create=True) as opened:
        yield opened
