import functools
import io
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

from curate import embedders, media
from curate.errors import AuthError, ConfigError, EmbedderError, MediaError, NotFound, Transient
from curate.pipeline import _flow
from curate.pipeline.embed import embed_shard
from curate.types import EmbedderSpec, Item


def jpeg(seed, size=(64, 48)):
    rng = np.random.default_rng(seed)
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(size).save(out, format="JPEG")
    return out.getvalue()


FILES = {f"r{n:03d}": jpeg(n) for n in range(40)}
ROWS = [Item(name, name, "v1") for name in FILES]


def read(item):
    return FILES[item.id]


class Mean:
    """A third party's embedder: no `view`, three numbers an image."""

    spec = EmbedderSpec("mean", "1", "rgb", 3, "cosine")

    def __init__(self, change=lambda x, n: x):
        self.change, self.sizes = change, []

    def prepare(self, data):
        return media.decode(data).pixels

    def embed(self, batch):
        self.sizes.append(len(batch))
        return self.change(np.stack([np.asarray(p, np.float32).mean(axis=(0, 1)) for p in batch]), len(batch))


def embedded(batches):
    return {i: v for b in batches for i, v in zip(b.ids, b.vectors)}


def failures(batches):
    return {f.id: (f.reason, f.retry) for b in batches for f in b.failures}


@pytest.mark.parametrize("embedder", [embedders.load("pixels"), Mean()], ids=["shared decode", "third party"])
def test_batches_come_in_row_order_with_facts_and_thumbnails(embedder):
    batches = list(embed_shard(ROWS, embedder, read, batch_size=7))
    assert [len(b.ids) for b in batches] == [7] * 5 + [5]
    assert [i for b in batches for i in b.ids] == list(FILES)
    for batch in batches:
        assert batch.vectors.shape == (len(batch.ids), embedder.spec.dim) and batch.vectors.dtype == np.float32
        for item_id, facts, thumb in zip(batch.ids, batch.facts, batch.thumbs):
            decoded = media.decode(FILES[item_id])
            assert facts == media.facts(FILES[item_id], decoded) and facts.pixel_hash
            assert thumb == media.thumbnail(decoded.pixels)


def test_threads_and_delays_do_not_change_the_batches():
    def late(item):
        time.sleep(0.02 * (hash(item.id) % 3))
        return read(item)

    embedder = embedders.load("pixels")
    one = list(embed_shard(ROWS, embedder, read, batch_size=8, workers=1))
    other = list(embed_shard(iter(ROWS), embedder, late, batch_size=8, workers=4))
    assert [list(b.ids) for b in one] == [list(b.ids) for b in other]
    for a, b in zip(one, other):
        np.testing.assert_array_equal(a.vectors, b.vectors)


def test_every_bad_row_is_a_failure_with_its_reason():
    tries = {}

    def bad(item):
        tries[item.id] = tries.get(item.id, 0) + 1
        if item.id == "r001":
            raise MediaError("http_403", "no")
        if item.id == "r002":
            raise Transient("later", retry_after=0.0)
        if item.id == "r003":
            raise NotFound("gone")
        if item.id == "r004":
            raise PermissionError("not yours")
        if item.id == "r005":
            return read(item)[:40]
        if item.id == "r006" and tries[item.id] < 3:
            raise Transient("busy", retry_after=0.0)
        return b"" if item.id == "r007" else read(item)

    batches = list(embed_shard(ROWS, embedders.load("pixels"), bad, batch_size=8))
    assert failures(batches) == {
        "r001": ("http_403", False),
        "r002": ("unreachable", True),
        "r003": ("not_found", False),
        "r004": ("unreadable", True),
        "r005": ("truncated", False),
        "r007": ("empty", False),
    }
    assert tries["r002"] == _flow.ATTEMPTS and tries["r006"] == 3
    assert set(embedded(batches)) == set(FILES) - set(failures(batches))


def test_vectors_that_cannot_be_used_fail_their_row_only():
    class Odd(Mean):
        def prepare(self, data):
            pixels = super().prepare(data)
            n = list(FILES.values()).index(data)
            return np.zeros_like(pixels) if n == 3 else pixels.astype(np.float32) * (np.nan if n == 4 else 1)

    batches = list(embed_shard(ROWS[:10], Odd(), read))
    assert failures(batches) == {"r003": ("zero_vector", False), "r004": ("non_finite", False)}
    assert len(embedded(batches)) == 8 and all(np.isfinite(v).all() for v in embedded(batches).values())


def test_one_row_that_breaks_prepare_or_embed_costs_only_itself():
    class Fragile(Mean):
        def prepare(self, data):
            if data == FILES["r002"]:
                raise ValueError("odd")
            return np.zeros(3) if data == FILES["r005"] else super().prepare(data)

    batches = list(embed_shard(ROWS[:10], Fragile(), read))
    assert {i: r for i, (r, _) in failures(batches).items()} == {"r002": "prepare_failed", "r005": "embed_failed"}
    assert len(embedded(batches)) == 8


def test_a_bad_row_alone_in_its_batch_costs_only_itself_and_is_tried_again():
    def fragile(x, n):
        if any((x[k] == 0).all() for k in range(n)):
            raise ValueError("odd")
        return x

    class Black(Mean):
        def prepare(self, data):
            return super().prepare(data) * (data not in (FILES["r008"], FILES["r009"]))

    for size in (1, 2, 3, 8):
        batches = list(embed_shard(ROWS[:10], Black(fragile), read, batch_size=size))
        assert {i: r for i, (r, _) in failures(batches).items()} == {"r008": "embed_failed", "r009": "embed_failed"}
        assert len(embedded(batches)) == 8
    only = list(embed_shard(ROWS[8:10], Black(fragile), read, batch_size=8))
    assert failures(only) == {"r008": ("embed_failed", True), "r009": ("embed_failed", True)}


def test_a_model_that_takes_no_row_ends_the_run_whatever_the_batch_size():
    def broken(x, n):
        raise RuntimeError("no kernel image")

    for size in (1, 3, 32):
        with pytest.raises(EmbedderError, match="no kernel image"):
            list(embed_shard(ROWS, Mean(broken), read, batch_size=size))


def test_a_model_that_vanishes_ends_the_run_after_the_batches_before():
    def vanish(x, n):
        if len(broken.sizes) > 2:
            raise RuntimeError("device lost")
        return x

    broken, got = Mean(vanish), []
    with pytest.raises(EmbedderError, match=r"device lost.*run the same command again"):
        for batch in embed_shard(ROWS, broken, read, batch_size=8):
            got.append(batch)
    assert [i for b in got for i in b.ids] == list(FILES)[:16]


def test_a_wrong_shape_is_refused():
    with pytest.raises(EmbedderError, match="gave shape"):
        list(embed_shard(ROWS, Mean(lambda x, n: x[:, :2]), read))


def test_what_is_not_about_one_row_ends_the_run():
    def refused(item):
        raise AuthError("key revoked")

    with pytest.raises(AuthError):
        list(embed_shard(ROWS, embedders.load("pixels"), refused))


@pytest.mark.parametrize("kept", [False, True])
def test_a_device_is_ahead_of_the_commits_only_where_batches_are_kept(kept):
    """Without `keep` a batch starts after the commit of the last one; with it at most two wait for theirs."""
    model, names = Mean(), []
    flow = embed_shard(ROWS, model, read, batch_size=4, keep=(lambda b: names.extend(b.ids)) if kept else None)
    for number, batch in enumerate(flow, start=1):
        deadline = time.monotonic() + (5 if kept else 0.2)
        allowed = min(10, number + (_flow.AHEAD if kept else 0))
        while len(model.sizes) < allowed and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.02)
        assert len(model.sizes) == allowed
        assert set(batch.ids) <= set(names) if kept else not names
    assert names == (list(FILES) if kept else [])


def test_stop_finishes_the_batch_in_flight_and_ends_all_threads():
    before = threading.active_count()
    slow, asked = Mean(lambda x, n: (time.sleep(0.2), x)[1]), threading.Event()
    got = []
    for batch in embed_shard(ROWS, slow, read, batch_size=8, stop=asked.is_set):
        got.append(batch)
        asked.set()
    assert 1 <= len(got) <= 3 and len(got) == len(slow.sizes)
    assert [i for b in got for i in b.ids] == list(FILES)[: 8 * len(got)]
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_an_interrupt_while_waiting_keeps_the_batch_in_flight(request):
    # A shell that starts the tests in the background has interrupts ignored.
    request.addfinalizer(functools.partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    started = threading.Event()

    def slowly(x, n):
        started.set()
        time.sleep(0.4)
        return x

    def interrupt():
        import _thread

        started.wait(5)
        _thread.interrupt_main()

    threading.Thread(target=interrupt, daemon=True).start()
    got = []
    with pytest.raises(KeyboardInterrupt):
        for batch in embed_shard(ROWS, Mean(slowly), read, batch_size=8):
            got.append(batch)
    assert [i for b in got for i in b.ids] == list(FILES)[:8]


def test_a_read_that_hangs_does_not_hold_up_a_stop():
    hang, asked = threading.Event(), threading.Event()
    threading.Timer(0.2, asked.set).start()
    start = time.monotonic()
    assert list(embed_shard(ROWS, embedders.load("pixels"), lambda item: hang.wait(20) and b"", stop=asked.is_set)) == []
    assert time.monotonic() - start < 5
    hang.set()


def test_held_bytes_are_bounded_whatever_the_number_of_rows(monkeypatch):
    from curate.pipeline import embed

    monkeypatch.setattr(embed, "HELD_BYTES", 8 * 2**20)
    held, peak, lock = 0, 0, threading.Lock()

    class Counting(Mean):
        def prepare(self, data):
            nonlocal held
            time.sleep(0.002)
            with lock:
                held -= len(data)
            return np.ones((2, 2, 3), np.uint8)

        spec = EmbedderSpec("count", "1", "x", 3, "cosine", media="text")

    def large(item):
        nonlocal held, peak
        with lock:
            held += 2**20
            peak = max(peak, held)
        return bytes(2**20)

    rows = [Item(f"{n:04d}", "", "v", media_type="text") for n in range(300)]
    batches = list(embed_shard(rows, Counting(), large, batch_size=4, workers=1))
    assert sum(len(b.ids) for b in batches) == 300
    assert peak <= 16 * 2**20


def test_several_devices_keep_the_order():
    class Two(Mean):
        @property
        def lanes(self):
            return (self.embed, lambda batch: (time.sleep(0.03), self.embed(batch))[1])

    batches = list(embed_shard(ROWS, Two(), read, batch_size=4))
    assert [i for b in batches for i in b.ids] == list(FILES)
    one = embedded(embed_shard(ROWS, Mean(), read, batch_size=4))
    assert all(np.array_equal(one[i], v) for i, v in embedded(batches).items())


def test_thumbs_off_and_full():
    big = {"a": jpeg(1, (1000, 800))}
    embedder, row = embedders.load("pixels"), [Item("a", "a", "v")]
    off = next(embed_shard(row, embedder, lambda i: big[i.id], thumbs="off"))
    full = next(embed_shard(row, embedder, lambda i: big[i.id], thumbs="full"))
    on = next(embed_shard(row, embedder, lambda i: big[i.id]))
    assert off.thumbs == [None]
    assert media.read_thumbnail(full.thumbs[0]).shape == (800, 1000, 3)
    assert media.read_thumbnail(on.thumbs[0]).shape == (256, 320, 3)
    np.testing.assert_array_equal(full.vectors, on.vectors)
    assert on.facts[0].pixel_hash is None and full.facts[0].pixel_hash
    with pytest.raises(ConfigError):
        embed_shard(row, embedder, read, thumbs="yes")


def test_too_many_pixels_is_refused_before_decoding():
    batches = list(embed_shard(ROWS[:2], embedders.load("pixels"), read, max_pixels=100))
    assert {r for r, _ in failures(batches).values()} == {"too_many_pixels"}


def test_progress_counts_rows_that_are_done():
    seen = []
    list(embed_shard(ROWS, embedders.load("pixels"), read, batch_size=16, progress=seen.append))
    assert seen == [16, 32, 40]
