"""The kept pairs of a run: another cut of them is what a new run with that cut finds."""

from dataclasses import replace

import numpy as np
import pytest

from curate.ops._graph import graph_from
from curate.ops.duplicates import Duplicates, graph_findings
from curate.pipeline.judge import context_of
from curate.protocols import Context
from curate.store import Store
from curate.types import EmbedderSpec, Embeddings, Findings

SPEC = EmbedderSpec("given", "", "", 8, "euclidean")


def world(seed=0, rows=60):
    """Rows of which a third have a neighbour at a distance between 0.1 and 1."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 10, (rows, 8)).astype(np.float32)
    for i in range(0, rows, 3):
        step = rng.normal(size=8)
        x[i + 1] = x[i] + step / np.linalg.norm(step) * rng.uniform(0.1, 1)
    return Embeddings([f"r{i:03d}" for i in range(rows)], x, SPEC)


def context(**more):
    return Context(rng=np.random.default_rng(0), fact=lambda _name: [], **more)


def apart_of(embeddings):
    place = {i: n for n, i in enumerate(embeddings.ids)}
    x = embeddings.vectors
    return lambda a, b: SPEC.space.distance(x[[place[i] for i in a]], x[[place[i] for i in b]])


@pytest.mark.parametrize("radius", [0.2, 0.45, 0.8, 1.2])
def test_another_radius_is_what_a_new_run_finds(radius):
    embeddings = world()
    kept = graph_from(Duplicates(radius=0.6, reach=2)(embeddings, context()).arrays)
    again = graph_findings(kept, kept.cut(radius=radius), apart_of(embeddings), precision=0.99)
    fresh = Duplicates(radius=radius)(embeddings, context())
    assert fresh.summary["rows"] > 0
    assert again.values == fresh.values
    assert again.evidence["groups"] == fresh.evidence["groups"]


def test_the_same_cut_gives_the_findings_of_the_run():
    embeddings = world(1)
    first = Duplicates(radius=0.6)(embeddings, context())
    kept = graph_from(first.arrays)
    again = graph_findings(kept, kept.scored, apart_of(embeddings), precision=0.99)
    assert (again.values, again.evidence["groups"]) == (first.values, first.evidence["groups"])
    assert kept.reach == pytest.approx(0.6)


def test_only_rows_that_may_take_part_are_kept():
    embeddings = world()
    kept = graph_from(Duplicates(radius=0.2, reach=1)(embeddings, context()).arrays)
    assert 0 < len(kept.ids) < 40
    assert list(kept.ids) == sorted(kept.ids)


def test_a_protected_row_is_kept_in_the_group_and_says_why():
    embeddings = world()
    first = Duplicates(radius=1.2)(embeddings, context())
    copy = first.evidence["groups"][0]["copies"][0]["id"]
    kept = graph_from(first.arrays)
    again = graph_findings(kept, kept.cut(radius=1.2), apart_of(embeddings), precision=0.99, protected=[copy])
    group = next(g for g in again.evidence["groups"] if g["keep"] == copy)
    assert group["why"].startswith("protected by curate:protect")

    marked = context(field=lambda _name: [i == copy for i in embeddings.ids])
    fresh = Duplicates(radius=1.2)(embeddings, marked)
    assert fresh.values == again.values


def test_reach_leaves_the_decisions_alone():
    embeddings = world()
    one, two = Duplicates(radius=0.5)(embeddings, context()), Duplicates(radius=0.5, reach=3)(embeddings, context())
    assert one.values == two.values


@pytest.mark.parametrize("reach", [0.5, 11])
def test_an_impossible_reach_is_refused(reach):
    with pytest.raises(Exception, match="between 1 and 10"):
        Duplicates(reach=reach)


def test_the_store_keeps_them_beside_the_findings(tmp_path):
    embeddings = world()
    found = Duplicates(radius=0.6)(embeddings, context())
    with Store.open(tmp_path / "s", write=True, create=True) as store:
        store.save_findings("folder:x", "f", found)
        store.save_findings("folder:x", "f", found)
        kept = store.arrays("folder:x", "f", "duplicates")
        assert sorted(kept) == sorted(found.arrays)
        for name, array in found.arrays.items():
            assert kept[name].dtype == array.dtype
            assert np.array_equal(kept[name], array, equal_nan=array.dtype.kind == "f")
        assert not store.findings("folder:x")["duplicates"].arrays
        key, summary = store.summaries("folder:x", "f")["duplicates"]
        assert summary == found.summary
        store.save_findings("folder:x", "f", Findings("duplicates", {}, {}, {}))
        assert store.arrays("folder:x", "f", "duplicates") == {}
        assert store.summaries("folder:x", "f")["duplicates"][0] != key


def test_pixels_cut_by_precision(photos, curate):
    """Through the real pipeline: pairs decided by pixels, cut at other precisions and at a distance."""
    curate("sync", "--dataset", "folder:photos", "--model", "pixels")
    with Store.open(photos.parent / ".curate") as store:
        (dataset,) = store.datasets()
        spec = store.specs(dataset)[0].spec
        kept = graph_from(store.arrays(dataset, spec.fingerprint, "duplicates"))
        embeddings = store.embeddings(dataset, spec.fingerprint)
        fresh = Duplicates(precision=0.9)(embeddings, context_of(store, dataset, embeddings, op="duplicates"))
    assert kept.by_pixels
    stars = kept.stars(kept.cut(precision=0.9))
    assert [len(s.copies) for s in stars] == [len(g["copies"]) for g in fresh.evidence["groups"]] == [2]
    nothing = kept.cut(precision=0.9, radius=0.0)
    assert sum(len(s.copies) for s in kept.stars(nothing)) == 1  # equal bytes need no pair
    assert replace(kept, scored=nothing).reach >= 0
