"""Copies decided by pixels: edited copies are found, look-alikes are not, and what cannot be read falls back."""

import cv2
import numpy as np
import pytest

from curate.errors import MediaError
from curate.ops._aligned import compare_all
from curate.ops._memory import VERSION, Remembered, packed, rounded, unpacked
from curate.ops._pixels import PAIR_COLUMNS, cut_for
from curate.ops._signature import mirrored_picture, signatures, small_picture
from curate.ops._verify_model import model_from, shipped_model
from curate.ops._views import view_of
from curate.ops._words import shipped_words
from curate.ops.duplicates import Duplicates
from tests.ops._pictures import COPIES, jpeg, looked_at, picture
from tests.ops.test_duplicates import context_for, embeddings_of


def weak_vectors(images):
    """A poor embedding: a tiny grey picture."""
    return np.stack([cv2.resize(i.mean(axis=2).astype(np.float32), (6, 6)).ravel() for i in images])


@pytest.fixture(scope="module")
def album():
    images = {f"s{n}": picture(n) for n in range(10)}
    for n, (name, change) in enumerate(sorted(COPIES.items())):
        images[f"s{n}-{name}"] = change(images[f"s{n}"])
    return images


def judged(images, memory=None, **options):
    ids = sorted(images)
    columns = {"pixels": images.get, "content_hash": [f"hash-of-{i}" for i in ids]}
    if memory is not None:
        columns["store"] = memory
    context = context_for(ids, **columns)
    return Duplicates(**options)(embeddings_of(ids, weak_vectors([images[i] for i in ids]), "euclidean"), context)


def test_edited_copies_are_found_and_nothing_else(album):
    found = judged(album)
    copies = {c["id"]: (g["keep"], c["kind"]) for g in found.evidence["groups"] for c in g["copies"]}
    groups = {frozenset([c, kept]) for c, (kept, _) in copies.items()}
    assert groups == {frozenset([i, i.split("-")[0]]) for i in album if "-" in i}
    kinds = {kind for c, (kept, kind) in copies.items() if "mirrored" in c + kept}
    assert kinds == {"mirrored"}
    assert found.evidence["decided_by"] == "pixels"
    assert all(0.5 <= v <= 1 for v in found.values["duplicate_score"].values())


def test_a_second_run_looks_at_no_pair_again(album, monkeypatch):
    from curate.ops import _pixels

    memory = {}
    first = judged(album, memory)
    looked = []
    monkeypatch.setattr(_pixels, "compare_all", lambda *a: looked.append(1))
    assert judged(album, memory) == first
    assert not looked


def test_new_rows_are_compared_with_all_and_old_pairs_not_again(album, monkeypatch):
    from curate.ops import _pixels

    memory, seen = {}, []

    def counting(a, others, ways):
        seen.extend(others)
        return compare_all(a, others, ways)

    monkeypatch.setattr(_pixels, "compare_all", counting)
    judged(album, memory)
    at_first = len(seen)
    seen.clear()
    more = dict(album, new=COPIES["cropped"](album["s9"]))
    again = judged(more, memory)
    assert again.values["duplicate"]["new"] in ("kept", "copy-of/s9")
    assert 0 < len(seen) < at_first / 2
    monkeypatch.undo()
    assert judged(more) == again


def test_the_order_of_rows_changes_nothing_with_pixels(album):
    ids = sorted(album)
    x = weak_vectors([album[i] for i in ids])
    hashes = {i: f"hash-of-{i}" for i in ids}
    first = judged(album)
    mix = np.random.default_rng(1).permutation(len(ids))
    context = context_for(ids, pixels=album.get, content_hash=[hashes[ids[m]] for m in mix])
    assert Duplicates()(embeddings_of([ids[m] for m in mix], x[mix], "euclidean"), context) == first


def test_rows_whose_pixels_cannot_be_read_are_decided_by_distance(album):
    images = dict(album)

    def broken(item):
        if item == "s8-again":
            raise MediaError("truncated")
        return images.get(item)

    ids = sorted([*images, "s8-again"])
    x = weak_vectors([images["s8"] if i == "s8-again" else images[i] for i in ids])
    found = Duplicates()(embeddings_of(ids, x, "euclidean"), context_for(ids, pixels=broken))
    assert found.evidence["without_pixels"] == ["s8-again"]
    assert found.values["duplicate"]["s8-again"] == "copy-of/s8"
    (copy,) = [c for g in found.evidence["groups"] for c in g["copies"] if c["id"] == "s8-again"]
    assert "probability" not in copy["evidence"]


def test_one_template_with_other_content_is_no_copy():
    forms = {}
    for n in range(6):
        rng = np.random.default_rng(n)
        page = np.full((260, 200, 3), 245, np.uint8)
        for row in range(8):
            cv2.putText(page, f"Field {row}:", (8, 30 + 28 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1)
            value = "".join(str(d) for d in rng.integers(0, 10, 8))
            cv2.putText(page, value, (80, 30 + 28 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (120, 0, 0), 1)
        forms[f"f{n}"] = page
    forms["f0-copy"] = jpeg(forms["f0"], 40)
    found = judged(forms, precision=0.6)
    assert {frozenset([g["keep"], *(c["id"] for c in g["copies"])]) for g in found.evidence["groups"]} == {
        frozenset(["f0", "f0-copy"])
    }


def test_small_images_are_laid_over_each_other():
    rng = np.random.default_rng(0)
    images = {f"n{n:02d}": cv2.resize(picture(50 + n), (32, 32), interpolation=cv2.INTER_AREA) for n in range(24)}
    for n in range(5):
        images[f"n{n:02d}-copy"] = np.roll(images[f"n{n:02d}"], 2, axis=1)
        images[f"n{n:02d}-copy"] = jpeg(
            np.clip(images[f"n{n:02d}-copy"] + rng.normal(0, 2, (32, 32, 3)), 0, 255).astype(np.uint8), 90
        )
    images["n09-mirror"] = np.ascontiguousarray(images["n09"][:, ::-1])
    found = judged(images)
    groups = {frozenset([g["keep"], *(c["id"] for c in g["copies"])]) for g in found.evidence["groups"]}
    assert {frozenset([f"n{n:02d}", f"n{n:02d}-copy"]) for n in range(5)} <= groups
    assert all(len({i.split("-")[0] for i in g}) == 1 for g in groups)


def test_signatures_of_a_mirror_image_are_the_mirrored_signatures():
    view, words = view_of(picture(3)), shipped_words()
    mirror = view_of(np.ascontiguousarray(picture(3)[:, ::-1]))
    straight, turned_ = signatures(view, words)
    other, _ = signatures(mirror, words)
    assert straight @ other < turned_ @ other
    assert turned_ @ other > 0.8
    row = small_picture(picture(3))[None]
    assert np.allclose(mirrored_picture(row)[0], small_picture(np.ascontiguousarray(picture(3)[:, ::-1])), atol=1e-3)


def test_the_mirror_image_of_what_is_nearly_symmetric_is_found():
    # Its keypoints match straight as well as mirrored, so that the straight alignment alone looks good.
    half = picture(9)[:, :120]
    knight = np.concatenate([half, half[:, ::-1]], axis=1)
    cv2.rectangle(knight, (150, 60), (185, 95), (250, 240, 30), -1)
    found = looked_at(knight, np.ascontiguousarray(knight[:, ::-1]))
    assert found.mirrored[0]
    assert found.probability[0] > 0.9
    straight = looked_at(knight, jpeg(knight, 40))
    assert not straight.mirrored[0]
    assert straight.probability[0] > 0.9


def test_a_model_reads_back_what_it_wrote():
    model = shipped_model("large")
    again = model_from(model.arrays())
    rows = np.random.default_rng(0).normal(size=(20, len(PAIR_COLUMNS))).astype(np.float32)
    rows[3] = np.nan
    assert np.array_equal(model.probability(rows), again.probability(rows))
    assert model.probability(rows)[3] == 0
    assert np.isfinite(model.probability(rows)).all()


@pytest.mark.parametrize(("precision", "cut"), [(0.5, 0.5), (0.9, 0.7), (0.99, 0.99), (0.9999, 1.0)])
def test_the_cut_reaches_the_asked_precision(precision, cut):
    probability = np.array([1.0, 0.99, 0.95, 0.9, 0.7, 0.5, 0.2, 0.0])
    assert cut_for(probability, precision) == pytest.approx(cut)
    chosen = probability[probability >= cut_for(probability, precision)]
    assert chosen.mean() >= precision


def test_without_any_likely_pair_nothing_is_decided():
    assert cut_for(np.array([0.1, 0.2]), 0.99) == 0.5
    assert cut_for(np.array([0.6, 0.2]), 0.99) > 0.6


def test_memory_is_written_in_few_values_and_survives():
    kept = {}
    memory = Remembered(kept.get, kept.__setitem__, "images")
    row = np.linspace(-0.3, 0.4, 50).astype(np.float32)
    memory.put("ab12", packed([row, row[:0]]))
    memory.flush()
    assert list(kept) == [f"duplicates/{VERSION}/images/ab"]
    again, empty = unpacked(Remembered(kept.get, kept.__setitem__, "images").get("ab12"), (50, 0))
    assert np.allclose(again, row, atol=0.4 / 127)
    assert empty.shape == (0,)
    at_once = rounded([row, np.zeros(3, np.float32)])
    assert np.array_equal(at_once[0], again)
    assert not at_once[1].any()


def test_the_cut_is_fitted_on_edited_copies_and_kept(album):
    kept = {}
    ids = sorted(i for i in album if "-" not in i)
    images = {i: album[i] for i in ids}

    def embed(batch):
        return weak_vectors(batch).astype(np.float32)

    context = context_for(ids, pixels=images.get, embed_pixels=embed, store=kept)
    found = Duplicates()(embeddings_of(ids, weak_vectors([images[i] for i in ids]), "euclidean"), context)
    fitted = found.evidence["calibration"]
    assert fitted["radius"] > 0
    assert set(fitted["recall"]) >= {"re-encoded", "mirrored", "turned"}
    assert [k for k in kept if k.startswith("duplicates/cut/")]
    blind = context_for(ids, store=kept)
    again = Duplicates()(embeddings_of(ids, weak_vectors([images[i] for i in ids]), "euclidean"), blind)
    assert (again.evidence["decided_by"], again.evidence["radius"]) == ("distance", fitted["radius"])


def test_threads_give_results_in_order_and_say_how_far_they_are():
    import threading
    import time

    from curate.ops._pixels import _AHEAD, threaded

    began, ticks = [], []

    def work(n):
        began.append(n)
        time.sleep(0.002 * (n % 3))
        return n, threading.current_thread() is threading.main_thread()

    tasks = range(2 * _AHEAD + 5)
    results = threaded(work, tasks, ticks.append)
    assert next(results) == (0, False)
    assert len(began) <= _AHEAD + 1  # no more than that is held at once
    assert [n for n, _ in results] == list(tasks)[1:]
    assert ticks == [_AHEAD, 2 * _AHEAD, len(tasks)]
    assert list(threaded(work, [])) == []
    began.clear()
    over = threading.Event()

    def failing(n):
        began.append(n)
        return 1 // n if n == 0 else over.wait(0.5)

    with pytest.raises(ZeroDivisionError):
        list(threaded(failing, range(_AHEAD)))
    assert len(began) < _AHEAD / 2  # the rest is not waited for


def test_runs_share_their_first_image_and_leave_out_no_pair():
    from curate.ops._pixels import _RUN, _runs

    i = np.repeat([0, 1, 5, 6], [1, 2 * _RUN + 3, 2, _RUN])
    runs = _runs(i)
    assert [n for run in runs for n in range(run.start, run.stop)] == list(range(len(i)))
    assert all(len(set(i[run])) == 1 and run.stop - run.start <= _RUN for run in runs)
    assert len(runs) == 1 + 3 + 1 + 1
    assert _runs(i[:0]) == []


def test_views_that_are_let_go_give_the_same_decisions(album, monkeypatch):
    from curate.ops import _pixels

    held = judged(album)
    monkeypatch.setattr(_pixels, "WORKING", 1)
    monkeypatch.setattr(_pixels, "HELD", 0)
    assert judged(album) == held


def test_blas_starts_no_threads_under_those_that_compare():
    from threadpoolctl import threadpool_info, threadpool_limits

    from curate.ops._pixels import threaded

    def blas_threads(_):
        return [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]

    # Two, also where the environment or the machine allows one only.
    with threadpool_limits(limits=2, user_api="blas"):
        assert max(blas_threads(0)) == 2
        assert {n for found in threaded(blas_threads, range(3)) for n in found} == {1}
        assert max(blas_threads(0)) == 2
