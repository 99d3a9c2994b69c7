"""`curate search` and `curate models`."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from curate.embedders import _hub
from curate.geometry import COSINE
from curate.pipeline import search as stage
from curate.store import Store
from curate.types import Batch, EmbedderSpec, Facts, Item
from tests.embedders import tiny

BASE = ("--dataset", "folder:photos")


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_an_image_finds_itself_and_its_copies_first(photos, curate):
    assert curate("embed", *BASE, "--model", "pixels", "--json")[0] == 0
    code, document, _ = curate("search", "--image", "photos/00.png", "-k", 4, "--json")
    hits = document["hits"]
    assert code == 0 and document["unit"] == "Euclidean distance" and document["by"] == "exact"
    assert {h["id"] for h in hits[:3]} == {"00.png", "00-copy.png", "00-again.jpg"} and len(hits) == 4
    assert hits[0]["distance"] == 0 and [h["distance"] for h in hits] == sorted(h["distance"] for h in hits)
    assert document["query"] == {"image": "photos/00.png"}


def test_a_text_is_placed_among_the_images_of_the_stored_model(photos, curate, tmp_path):
    tiny.clip(tmp_path / "model")
    assert curate("embed", *BASE, "--model", "model", "--dtype", "fp32", "--preprocess", "exact", "--json")[0] == 0
    code, document, _ = curate("search", "--text", "a red bus", "-k", 3, "--json")
    assert code == 0 and document["unit"] == "cosine distance" and len(document["hits"]) == 3
    from curate import embedders

    with Store.open(tmp_path / ".curate") as store:
        (dataset,) = store.datasets()
        (held,) = store.specs(dataset)
        rows = store.embeddings(dataset, held.spec.fingerprint)
    assert held.spec.preprocess == "exact"
    text = embedders.load("model", preprocess="exact").embed_text(["a red bus"])
    distance = COSINE.distance(rows.vectors, np.broadcast_to(text, rows.vectors.shape))
    assert [h["id"] for h in document["hits"]] == [rows.ids[n] for n in np.argsort(distance)[:3]]


def test_text_search_is_refused_with_the_reason(photos, curate, tmp_path):
    assert curate("embed", *BASE, "--model", "pixels", "--store", "a", "--json")[0] == 0
    code, _, said = curate("search", "--text", "a bus", "--store", "a")
    assert code == 2 and "no text tower" in said
    tiny.clip(tmp_path / "model")
    assert curate("embed", *BASE, "--model", "model", "--layer", "pooler", "--store", "b", "--json")[0] == 0
    code, _, said = curate("search", "--text", "a bus", "--store", "b")
    assert code == 2 and "before the projection" in said


def test_changed_weights_are_noticed(photos, curate, tmp_path):
    tiny.clip(tmp_path / "model")
    assert curate("embed", *BASE, "--model", "model", "--json")[0] == 0
    shutil.rmtree(tmp_path / "model")
    tiny.clip(tmp_path / "model", seed=1)
    code, _, said = curate("search", "--text", "a bus")
    assert code == 2 and "is not the one that made the stored vectors: revision" in said


@pytest.mark.parametrize("query", [(), ("--text", "x", "--image", "photos/00.png")])
def test_one_query_is_needed(photos, curate, query):
    assert curate("search", *query)[0] == 2


def test_models_lists_the_catalogue_and_what_is_here(tmp_path, curate):
    code, document, _ = curate("models", "--json")
    rows = {row["name"]: row for row in document["models"]}
    assert code == 0 and rows["pixels"]["cached"] and not rows["openai/clip-vit-base-patch32"]["cached"]
    assert rows["ViT-B-32-EuCLIP"]["geometry"] == "euclidean" and rows["ViT-B-16-MERU"]["geometry"] == "lorentz"
    assert set(rows["microsoft/resnet-50"]) == {"name", "geometry", "dim", "media", "size_bytes", "licence", "cached"}
    tiny.clip(_hub.own_folder("openai/clip-vit-base-patch32"))
    (own,) = [r for r in curate("models", "--json")[1]["models"] if r["name"] == "openai/clip-vit-base-patch32"]
    assert own["cached"]


def test_fetch_checks_what_is_here_and_says_what_is_missing(tmp_path, curate):
    tiny.clip(tmp_path / "m")
    code, document, _ = curate("models", "fetch", str(tmp_path / "m"), "--json")
    assert code == 0 and document["model"]["dim"] == 24
    code, _, said = curate("models", "fetch", "microsoft/resnet-50", "--offline")
    assert code == 2 and "model.safetensors" in said and "microsoft--resnet-50" in said


# the kept index

SPEC = EmbedderSpec("m", "1", "x", 16, "cosine")


def fill(path, vectors, versions=None):
    with Store.open(path, write=True, create=True) as store:
        ids = [f"{n:04d}" for n in range(len(vectors))]
        version = versions or {}
        items = [Item(i, i, version.get(i, "v1")) for i in ids]
        listing = store.begin_listing("folder:x")
        listing.add(items)
        listing.finish()
        missing = {item.id for item in store.missing("folder:x", SPEC)}
        rows = [n for n, i in enumerate(ids) if i in missing]
        store.append(
            "folder:x",
            SPEC,
            Batch(
                [ids[n] for n in rows],
                [items[n].version for n in rows],
                vectors[rows],
                [Facts()] * len(rows),
                [None] * len(rows),
            ),
        )


def found(path, query, **options):
    said = []
    with Store.open(path) as store:
        hits = stage.search(store, "folder:x", SPEC, query, 10, notify=said.append, **options)
        exact = stage.search(store, "folder:x", SPEC, query, 10)
    return hits, exact, said


def test_the_kept_index_is_built_once_extended_and_passes_over_what_is_gone(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 16)).astype(np.float32)
    fill(tmp_path / "s", x[:500])
    query = x[7] + 0.01
    hits, exact, said = found(tmp_path / "s", query, exact_up_to=100)
    assert hits.by == "index" and exact.by == "exact" and said == ["building the index of 500 rows, once"]
    assert hits.ids == exact.ids and hits.distances == exact.distances and hits.ids[0] == "0007"
    assert found(tmp_path / "s", query, exact_up_to=100)[2] == []
    fill(tmp_path / "s", x)
    hits, exact, said = found(tmp_path / "s", x[550], exact_up_to=100)
    assert said == ["adding 100 rows to the index"] and hits.ids == exact.ids and hits.ids[0] == "0550"
    y = x.copy()
    y[7] = -x[7]
    fill(tmp_path / "s", y[:590], {"0007": "v2"})
    hits, exact, said = found(tmp_path / "s", query, exact_up_to=100)
    assert said == ["adding 1 rows to the index"] and hits.ids == exact.ids and "0007" not in hits.ids
    with Store.open(tmp_path / "s") as store:
        assert stage.recall(store, "folder:x", SPEC, rng=np.random.default_rng(0)) >= 0.99
    fill(tmp_path / "s", y[:300], {"0007": "v2"})
    hits, exact, said = found(tmp_path / "s", query, exact_up_to=100)
    assert said == ["building the index of 300 rows, once"] and hits.ids == exact.ids


def test_vectors_imported_anew_are_what_is_searched(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 16)).astype(np.float32)
    fill(tmp_path / "s", x)
    found(tmp_path / "s", x[0], exact_up_to=10)
    better = rng.standard_normal((300, 16)).astype(np.float32)
    with Store.open(tmp_path / "s", write=True) as store:
        store.import_vectors("folder:x", SPEC, [f"{n:04d}" for n in range(300)], better)
    hits, exact, _ = found(tmp_path / "s", better[5], exact_up_to=10)
    assert hits.ids == exact.ids and hits.ids[0] == "0005"


def test_searches_at_the_same_time_do_not_disturb_each_other(tmp_path):
    x = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    fill(tmp_path / "s", x)

    def one(row):
        for _ in range(5):
            shutil.rmtree(tmp_path / "s" / "indexes", ignore_errors=True)
            assert found(tmp_path / "s", x[row], exact_up_to=10)[0].ids[0] == f"{row:04d}"

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(one, range(3)))
    assert not list((tmp_path / "s" / "indexes").glob("*.part"))


def test_an_index_that_cannot_be_kept_does_not_stop_a_search(tmp_path):
    x = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    fill(tmp_path / "s", x)
    (tmp_path / "s" / "indexes").write_text("in the way")
    hits, exact, said = found(tmp_path / "s", x[3], exact_up_to=10)
    assert hits.by == "index" and hits.ids == exact.ids and "cannot be kept" in said[-1]


def test_a_broken_index_is_built_again(tmp_path):
    x = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    fill(tmp_path / "s", x)
    found(tmp_path / "s", x[0], exact_up_to=10)
    (rows,) = (tmp_path / "s" / "indexes").glob("*/rows.json")
    rows.write_text("{")
    hits, exact, said = found(tmp_path / "s", x[0], exact_up_to=10)
    assert hits.ids == exact.ids and "it is built again" in said[0]


def test_doctor_prints_the_recall_of_a_kept_index(tmp_path, curate, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    fill(tmp_path / ".curate", x)
    assert "recall" not in curate("doctor", "--json")[1]["store"]["state"]
    found(tmp_path / ".curate", x[0], exact_up_to=10)
    assert "index of folder:x by m: recall@10 1.000" in curate("doctor", "--json")[1]["store"]["state"]


def test_without_an_index_there_is_no_recall(tmp_path):
    fill(tmp_path / "s", np.eye(16, dtype=np.float32))
    with Store.open(tmp_path / "s") as store:
        assert stage.recall(store, "folder:x", SPEC, rng=np.random.default_rng(0)) is None


def test_plan_estimate_spends_nothing(photos, curate, tmp_path):
    code, document, said = curate("plan", *BASE, "--model", "pixels", "--estimate", "--json")
    found = document["estimate"]
    assert code == 0 and not (tmp_path / ".curate").exists()
    assert (found["rows"], found["probe"], found["failed"], found["reused"]) == (14, 14, 0, 0)
    assert found["bytes_to_fetch"] == pytest.approx(sum(p.stat().st_size for p in photos.rglob("*") if p.is_file()), rel=0.01)
    assert curate("embed", *BASE, "--model", "pixels", "--json")[0] == 0
    again = curate("plan", *BASE, "--model", "pixels", "--estimate", "--json")[1]["estimate"]
    assert (again["rows"], again["reused"]) == (0, 14)
    said = curate("plan", *BASE, "--model", "pixels", "--estimate")[2]
    assert "14 rows listed, 14 of them embedded already" in said
