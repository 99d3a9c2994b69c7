"""The public checks find what they promise to find: each broken part is caught, by the sentence that names the demand."""

from dataclasses import dataclass

import numpy as np
import pytest

from curate.errors import ConnectorError, MediaError, Transient
from curate.testing import Crash, FakeConnector, FakeEmbedder, check_connector, check_embedder, check_op, sample_images
from curate.types import Applied, Findings, Item, Page


def fake():
    return FakeConnector({f"{n}.img": data for n, data in enumerate(sample_images(4))})


def twice(page):
    return Page([*page.items, page.items[0]])


class Listing(FakeConnector):
    change = staticmethod(lambda page: page)

    def pages(self, dataset_id, *, since=None):
        for page in super().pages(dataset_id, since=since):
            yield self.change(page)


def connector(**methods):
    base = type("Broken", (FakeConnector,), methods)
    one = base({f"{n}.img": data for n, data in enumerate(sample_images(4))})
    return lambda: one


def listing(change):
    one = type("Broken", (Listing,), {"change": staticmethod(change)})(fake().rows)
    return lambda: one


def forgetful(self, dataset_id, changes):
    return Applied(len(changes))


def all_accepted(self, dataset_id, changes):
    known = [c for c in changes if c.item_id in self.rows]
    FakeConnector.push_fields(self, dataset_id, known)
    return Applied(len(changes))


def wipes(self, dataset_id, changes):
    for values in self.fields.values():
        values.clear()
    return FakeConnector.push_fields(self, dataset_id, changes)


def half(self, dataset_id, spec, ids, vectors):
    return Applied(len(ids) // 2)


def missing_file(self, item):
    return open(f"/nowhere/{item.id}", "rb").read() if item.id not in self.rows else self.rows[item.id]


def restless(self, item):
    if item.id not in self.rows:
        raise MediaError("missing")
    self.reads[item.id] += 1
    return self.rows[item.id] + bytes([self.reads[item.id]])


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (connector(name="a:b"), "without a colon"),
        (connector(has=lambda self, dataset_id: True), "False for an unknown dataset"),
        (connector(check=lambda self, dataset_id: None), "`check` raises ConnectorError"),
        (listing(twice), "every row once"),
        (listing(lambda page: Page([Item(i.id, i.uri, "") for i in page.items])), "non-empty version"),
        (listing(lambda page: Page([Item(i.id, i.uri, "1", {"box": [1]}) for i in page.items])), "texts, numbers"),
        (listing(lambda page: Page([Item(i.id, i.uri, str(np.random.rand())) for i in page.items])), "same versions"),
        (connector(read=missing_file), "row that is not there"),
        (connector(read=restless), "same bytes every time"),
        (connector(push_fields=forgetful), "is shown by a new connector"),
        (connector(push_fields=all_accepted), "unknown row comes back"),
        (connector(push_vectors=half), "accepts every row"),
        (connector(takes_vectors=False), "rejects every row by name"),
    ],
)
def test_broken_connectors_are_caught(build, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_connector(build, "rows")


def test_a_push_that_clears_other_fields_is_caught():
    one = type("Broken", (FakeConnector,), {"push_fields": wipes})(fake().rows, fields={"1.img": {"split": "train"}})
    with pytest.raises(AssertionError, match="keeps its fields"):
        check_connector(lambda: one, "rows")


class Changed(FakeEmbedder):
    """An embedder whose vectors go through `change`."""

    change = staticmethod(lambda self, vectors: vectors)

    def embed(self, batch):
        return self.change(self, super().embed(batch))


def embedder(**methods):
    return type("Broken", (Changed,), {k: staticmethod(v) if k == "change" else v for k, v in methods.items()})()


def sideways(self, data):
    from io import BytesIO

    from PIL import Image

    try:
        return np.asarray(Image.open(BytesIO(data)).convert("RGB").resize((2, 2)), np.float32)
    except OSError as err:
        raise MediaError("undecodable") from err


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: embedder(change=lambda self, x: x.astype(np.float64)), "float32"),
        (lambda: embedder(change=lambda self, x: x[:, :5]), "shape"),
        (lambda: embedder(change=lambda self, x: x * np.float32("nan")), "finite"),
        (lambda: embedder(change=lambda self, x: x * 0 + 1), "different rows"),
        (lambda: embedder(change=lambda self, x: x + len(x)), "size of its batch"),
        (lambda: embedder(change=lambda self, x: x + self.batches), "second call"),
        (lambda: embedder(change=lambda self, x: np.sort(x, axis=0)), "order of its batch|size of its batch"),
        (lambda: embedder(prepare=sideways), "EXIF orientation"),
        (lambda: embedder(prepare=lambda self, data: np.frombuffer(data[:12].ljust(12), "u1").astype("f4")), "MediaError for"),
        (lambda: embedder(view=lambda self, decoded: decoded.pixels[:2, :2].astype("f4"), at_least=None), "`view`"),
        (lambda: embedder(view=lambda self, decoded: None), "`at_least`"),
        (lambda: embedder(embed_pixels=lambda self, images: np.zeros((1, 2), np.float32)), "`embed_pixels`"),
        (lambda: embedder(embed_text=lambda self, texts: np.zeros((1, 2), np.float32)), "`embed_text`"),
    ],
)
def test_broken_embedders_are_caught(build, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_embedder(build())


@dataclass
class Op:
    """An op that numbers rows by `rule(embeddings, context)`."""

    rule: object = None
    name: str = "numbers"
    owns: frozenset = frozenset({"cluster"})
    field: str = "cluster"
    summary: object = None

    def __call__(self, embeddings, context):
        return Findings("numbers", {self.field: self.rule(embeddings, context)}, {}, self.summary or {})


def by_sign(embeddings, context):
    return {i: int(x[0] > 0) for i, x in zip(embeddings.ids, embeddings.vectors, strict=True)}


def by_place(embeddings, context):
    return {i: n for n, i in enumerate(embeddings.ids)}


def by_luck(embeddings, context):
    return {i: int(np.random.randint(9)) for i in embeddings.ids}


def by_numpy(embeddings, context):
    return {i: np.int64(1) for i in embeddings.ids}


def in_place(embeddings, context):
    embeddings.vectors[:] = 0
    return {}


COUNTER = iter(range(10**9))


@pytest.mark.parametrize(
    ("op", "sentence"),
    [
        (Op(by_place), "order of the rows"),
        (Op(by_luck), "global random state"),
        (Op(by_numpy), "no value for the field"),
        (Op(in_place), "does not write into the vectors"),
        (Op(by_sign, field="sample"), "fields it owns"),
        (Op(lambda e, c: {"stranger": 1}), "rows that were given"),
        (Op(lambda e, c: dict.fromkeys(e.ids, "zero")), "no value for the field"),
        (Op(lambda e, c: dict.fromkeys(e.ids, next(COUNTER))), "same rows and seed"),
        (Op(by_sign, summary={"share": float("nan")}), "JSON"),
        (Op(by_sign, name="other"), "carry the op's name"),
        (Op(by_sign, owns={"cluster"}), "frozenset"),
    ],
)
def test_broken_ops_are_caught(op, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_op(op)


def test_a_good_op_passes_and_the_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()
    check_op(Op(by_sign))
    assert np.array_equal(before, np.random.get_state()[1])


def test_the_knobs_of_the_fake_connector():
    one = fake()
    items = next(one.pages("rows")).items
    one.fail_next(2)
    for _ in range(2):
        with pytest.raises(Transient):
            one.read(items[0])
    one.fail_next(1, ConnectorError("down"))
    with pytest.raises(ConnectorError, match="down"):
        one.read(items[0])
    assert one.read(items[0]) == one.rows["0.img"] and one.reads["0.img"] == 1 and one.calls["read"] == 4
    one.die_after = 1
    one.read(items[1])
    for _ in range(2):
        with pytest.raises(Crash):
            one.read(items[1])
    del one.rows["3.img"]
    one.die_after = None
    with pytest.raises(MediaError):
        one.read(items[3])


def test_the_knobs_of_the_fake_embedder():
    one, data = FakeEmbedder(), sample_images(4)
    one.fail_on = lambda d: d == data[1]
    one.nan_on = lambda d: d == data[2]
    with pytest.raises(MediaError, match="fake_failure"):
        one.prepare(data[1])
    assert np.isnan(one.embed([one.prepare(data[2])])).all()
    one.die_after = 0
    with pytest.raises(Crash):
        one.embed([one.prepare(data[0])])
    assert (one.prepared, one.embedded, one.batches) == (3, 1, 2)


@dataclass
class Told:
    """An op that writes nothing, and says `evidence`."""

    evidence: object
    name: str = "told"
    owns: frozenset = frozenset()

    def __call__(self, embeddings, context):
        return Findings("told", {}, self.evidence(embeddings), {})


def test_evidence_may_list_rows_in_any_order_but_not_depend_on_it():
    check_op(Told(lambda e: {"rows": [{"id": i, "parts": ["x", i]} for i in e.ids]}))
    with pytest.raises(AssertionError, match="evidence does not depend"):
        check_op(Told(lambda e: {"rows": [{"id": i, "place": n} for n, i in enumerate(e.ids)]}))
