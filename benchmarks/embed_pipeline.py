"""The pipeline of the embedding stage over HTTP: against a loop and a DataLoader, and how busy it keeps its device.

Part of benchmarks/embed.py (`--only pipeline,busy`).
"""

import functools
import io
import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks._embed_data import SIZES, image_processor, of_pillow, photographs, verdict

DEVICE_RATE = 150.0
TARGETS = {("blog loop", 20): 7, ("blog loop", 100): 15, ("DataLoader(8)", 20): 2.5, ("DataLoader(8)", 100): 4}


def serve(bodies, latency_s, port):
    """A keep-alive HTTP server that answers every GET after `latency_s`; runs in a process of its own."""
    import asyncio

    async def client(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(latency_s)
                body = bodies[int(head.split(b" ", 2)[1].rsplit(b"/", 1)[1]) % len(bodies)]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def run():
        server = await asyncio.start_server(client, "127.0.0.1", 0, limit=2**20)
        port.value = server.sockets[0].getsockname()[1]
        await server.serve_forever()

    asyncio.run(run())


def device(count):
    """A stand-in for a device that does 150 images a second."""
    time.sleep(count / DEVICE_RATE)


def blog_loop(urls):
    """The loop of the blog: one requests.get, PIL, the processor, batch 1."""
    import requests
    from PIL import Image

    processor = image_processor()
    start = time.perf_counter()
    for url in urls:
        response = requests.get(url, timeout=30)
        processor(Image.open(io.BytesIO(response.content)).convert("RGB"))
        device(1)
    return len(urls) / (time.perf_counter() - start), 0.0


class Urls:
    """The dataset of the DataLoader way: a Session a worker, the processor in the worker."""

    def __init__(self, urls):
        self.urls, self.session, self.processor = urls, None, None

    def __len__(self):
        return len(self.urls)

    def __getitem__(self, n):
        if self.session is None:
            import requests
            import torch

            torch.set_num_threads(1)
            self.session, self.processor = requests.Session(), image_processor()
        data = self.session.get(self.urls[n], timeout=30).content
        return of_pillow(self.processor, data)


def data_loader(urls):
    from torch.utils.data import DataLoader

    loader = DataLoader(Urls(urls), batch_size=32, num_workers=8)
    rows = iter(loader)
    start = time.perf_counter()
    for batch in rows:
        device(len(batch))
    return len(urls) / (time.perf_counter() - start), 0.0


class Stub:
    """CLIP's preprocessing in front of the stand-in device."""

    batch_size = 32

    def __init__(self, media="image", dim=4):
        from curate.embedders._images import Preprocess
        from curate.types import EmbedderSpec

        self.spec = EmbedderSpec("stub", "1", "x", dim, "euclidean", media=media)
        self.preprocess = Preprocess(224, 224)
        self.at_least, self.view = self.preprocess.at_least, self.preprocess.view
        self.busy = 0.0

    def prepare(self, data):
        from curate import media

        return self.view(media.decode(data, at_least=self.at_least))

    def embed(self, batch):
        start = time.perf_counter()
        device(len(batch))
        self.busy += time.perf_counter() - start
        return np.ones((len(batch), self.spec.dim), np.float32)


def filled(store, rows):
    listing = store.begin_listing("bench:x")
    listing.add(rows)
    listing.finish()


def ours(urls, *, keep=True):
    """`embed_shard` with thumbnails and facts; rate, and the share the device was busy.

    keep: every batch is spooled and committed to a store, as in `curate embed`.
    """
    from curate import media
    from curate.pipeline.embed import embed_shard
    from curate.store import Store
    from curate.types import Item

    stub, rows = Stub(), [Item(f"{n:06d}", url, "v") for n, url in enumerate(urls)]
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "s", write=True, create=True) as store:
        filled(store, rows)

        def read(item):
            return media.fetch(item.uri, allow_hosts=("127.0.0.1",))

        def spool(batch):
            store.spool("bench:x", stub.spec, batch)

        start = time.perf_counter()
        for batch in embed_shard(rows, stub, read, keep=spool if keep else None):
            if keep:
                store.append("bench:x", stub.spec, batch)
            assert not batch.failures, batch.failures[:1]
        wall = time.perf_counter() - start
    return len(urls) / wall, stub.busy / wall


def pipeline(args):
    """The whole pipeline over a loopback server with latency."""
    bodies = photographs(args.data, *SIZES["500x375"])
    print(
        f"\n## Pipeline over HTTP, stand-in device at {DEVICE_RATE:g} images/s, {args.rows} rows; ours keeps thumbs and vectors"
    )
    for latency_ms in (20, 100):
        port = multiprocessing.Value("i", 0)
        server = multiprocessing.Process(target=serve, args=(bodies, latency_ms / 1e3, port), daemon=True)
        server.start()
        while not port.value:
            time.sleep(0.05)
        ways = {
            "blog loop": (blog_loop, args.rows // 16),
            "DataLoader(8)": (data_loader, args.rows // 2),
            "curate": (ours, args.rows),
            "without store": (functools.partial(ours, keep=False), args.rows),
        }
        taken = {name: [] for name in ways}
        busy = {name: [] for name in ways}
        for _ in range(max(2, args.rounds // 2)):
            for name, (way, count) in ways.items():
                rate, share = way([f"http://127.0.0.1:{port.value}/{n}" for n in range(count)])
                taken[name].append(rate)
                busy[name].append(share)
        server.terminate()
        print(f"{latency_ms} ms")
        for name, rates in taken.items():
            if name in ("curate", "without store"):
                share = statistics.median(busy[name])
                print(
                    f"  {name:14} {statistics.median(rates):7.1f} images/s, device busy {share:.3f} of wall"
                    + verdict(share, 0.95)
                )
                continue
            gain = statistics.median(c / r for c, r in zip(taken["curate"], rates, strict=True))
            target = TARGETS[name, latency_ms]
            print(f"  {name:14} {statistics.median(rates):7.1f} images/s; curate is {gain:.1f}x{verdict(gain, target)}")


def busy(args):
    """How much of the wall time the device works when it is the bottleneck: rows that cost no decoding, slow reads, commits."""
    from curate.pipeline.embed import embed_shard
    from curate.store import Store
    from curate.types import Item

    print(
        f"\n## Device busy: {args.rows} rows without decoding, 512-d, device at {DEVICE_RATE:g} rows/s, every batch committed"
    )
    for latency_ms in (20, 100):
        for spooled in (True, False):
            stub = Stub(media="text", dim=512)
            stub.prepare = lambda data: np.zeros(150_528, np.uint8)
            rows = [Item(f"{n:06d}", "", "v", {}, "text") for n in range(args.rows)]

            def read(item, wait=latency_ms / 1e3):
                time.sleep(wait)
                return bytes(86_000)

            with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "s", write=True, create=True) as store:
                filled(store, rows)
                keep = functools.partial(store.spool, "bench:x", stub.spec) if spooled else None
                start, commits = time.perf_counter(), 0.0
                for batch in embed_shard(rows, stub, read, keep=keep):
                    began = time.perf_counter()
                    store.append("bench:x", stub.spec, batch)
                    commits += time.perf_counter() - began
                wall = time.perf_counter() - start
            how = "as curate embed" if spooled else "a device that waits for commits"
            told = f"{stub.busy / wall:.3f} of {wall:.1f} s (a commit {1e3 * commits / -(-len(rows) // 32):.0f} ms)"
            print(f"  {latency_ms} ms, {how}: busy {told}{verdict(stub.busy / wall, 0.95) if spooled else ''}")
