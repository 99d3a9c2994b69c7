"""The similarity backend: true distances, their order, deletions, texts, and a sidecar that can be cut short or lost."""

import numpy as np
import pytest

from curate.errors import EmbedderError, StoreError
from curate.geometry import geometry_named
from curate.types import EmbedderSpec

DIM = 16


class Words:
    """A model with a text tower: a text is the vector of its length, an image that of its size."""

    def __init__(self):
        self.spec = spec("tests.connectors.test_fiftyone_similarity:Words")

    def prepare(self, data):
        return data

    def embed(self, batch):
        return np.stack([np.eye(DIM, dtype=np.float32)[len(data) % DIM] for data in batch])

    def embed_text(self, texts):
        return np.stack([np.eye(DIM, dtype=np.float32)[len(text)] for text in texts])


def spec(name="model", geometry="cosine"):
    return EmbedderSpec(name, "", "projected", DIM, geometry)


@pytest.fixture
def made(fo):
    made = fo.Dataset("rows", persistent=True, overwrite=True)
    made.add_samples([fo.Sample(filepath=f"/nowhere/{n}.png") for n in range(60)])
    return made


def vectors(count=60, seed=0):
    # Far from the origin: what FiftyOne's own index would centre away.
    x = np.random.default_rng(seed).normal(size=(count, DIM)) + 3
    x[1::6] = x[::6] + 0.01
    return x.astype(np.float32)


def index_of(made, connector, model=None, x=None, text=False):
    from curate.protocols import Presentation

    model, x = model or spec(), vectors() if x is None else x
    connector.place("rows")
    connector.push_vectors("rows", model, made.values("id"), x)
    connector.present("rows", {}, Presentation(model, text=text))
    made.reload()
    return made.load_brain_results("curate_sim", cache=False)


@pytest.mark.parametrize("geometry", ["cosine", "euclidean", "lorentz"])
def test_queries_rank_by_true_distance_before_and_after_others(made, fiftyone_connect, geometry):
    index = index_of(made, fiftyone_connect(), spec(geometry=geometry))
    ids, space = np.array(made.values("id")), geometry_named(geometry)
    decoded, order, _ = index.get_embeddings()
    assert list(order) == sorted(ids)

    def truth(query):
        far = space.distance(decoded, np.broadcast_to(query, decoded.shape))
        rows = np.lexsort((np.arange(60), far))
        return [str(i) for i in order[rows]], far[rows]

    for query, vector in ((str(order[7]), decoded[7]), (vectors()[3], vectors()[3]), (str(order[9]), decoded[9])) * 2:
        found, _, far = index._kneighbors(query=query, k=60, aggregation="mean", return_dists=True)
        wanted, exact = truth(vector)
        assert [str(i) for i in found] == wanted
        np.testing.assert_allclose(far, exact, atol=1e-12)
    assert index._kneighbors(query=str(order[7]), k=1)[0] == [order[7]]
    far = index._kneighbors(query=vectors()[3], k=3, reverse=True)[0]
    assert [str(i) for i in far] == truth(vectors()[3])[0][::-1][:3]


@pytest.mark.parametrize("geometry", ["cosine", "euclidean"])
def test_the_nearest_few_are_those_of_the_whole_ranking(fo, fiftyone_connect, geometry):
    made = fo.Dataset("rows", persistent=True, overwrite=True)
    made.add_samples([fo.Sample(filepath=f"/nowhere/{n}.png") for n in range(400)])
    x = vectors(400)
    x[200:260] = x[200]  # more rows at one distance than a product proposes
    index = index_of(made, fiftyone_connect(), spec(geometry=geometry), x)
    for query in (x[3], x[200], index.get_embeddings()[0][17]):
        ids, _, distances = index._kneighbors(query, None, return_dists=True)
        for k in (1, 5, 20, 400):
            near, _, far = index._kneighbors(query, k, return_dists=True)
            assert near == ids[:k]
            np.testing.assert_array_equal(far, distances[:k])


def test_duplicates_are_all_pairs_within_the_distance(made, fiftyone_connect):
    index = index_of(made, fiftyone_connect())
    decoded, _, _ = index.get_embeddings()
    far = np.array([geometry_named("cosine").distance(decoded, np.broadcast_to(v, decoded.shape)) for v in decoded])
    for thresh in (0.001, 0.0005, 0.01):
        near, distances = index._radius_neighbors(thresh=thresh, return_dists=True)
        for n, (some, apart) in enumerate(zip(near, distances, strict=True)):
            assert sorted(some) == [m for m in range(60) if m != n and far[n, m] <= thresh]
            np.testing.assert_allclose(apart, far[n, some], atol=1e-12)
    index.find_duplicates(thresh=0.001)
    assert len(index.duplicate_ids) == 10
    view = index.duplicates_view(type_field="kind")
    assert len(view) == 20 and view.count_values("kind") == {"nearest": 10, "duplicate": 10}
    index.find_unique(20)
    assert len(index.unique_ids) == 20


def test_too_many_pairs_for_memory_give_the_same_duplicates(made, fiftyone_connect, monkeypatch):
    from connectors.fiftyone_plugin import similarity

    index = index_of(made, fiftyone_connect())
    index.find_duplicates(thresh=0.02)
    few = list(index.duplicate_ids)
    monkeypatch.setattr(similarity, "MOST_PAIRS", 0)
    index.find_duplicates(thresh=0.02)
    assert few == list(index.duplicate_ids) and few


def test_a_block_at_a_time_where_decoding_all_would_take_too_much(made, fiftyone_connect, monkeypatch):
    from connectors.fiftyone_plugin import similarity

    index = index_of(made, fiftyone_connect())
    whole = index._kneighbors(query=vectors()[3], k=60, aggregation="mean", return_dists=True)
    monkeypatch.setattr(similarity, "DECODED_BYTES", 0)
    monkeypatch.setattr(similarity, "BLOCK", 7)
    again = made.load_brain_results("curate_sim", cache=False)
    assert again._kneighbors(query=vectors()[3], k=60, aggregation="mean", return_dists=True) == whole
    assert again._decoded is None


def test_deleted_samples_take_no_part(made, fiftyone_connect):
    index = index_of(made, fiftyone_connect())
    index.find_duplicates(thresh=0.001)
    kept = [str(i) for i in index.neighbors_map]
    made.delete_samples(kept)
    assert index.duplicates_view() is not None
    index.find_duplicates(thresh=0.001)
    assert index.duplicate_ids == [] and index.index_size == 50
    assert len(made.sort_by_similarity(made.first().id, brain_key="curate_sim")) == 50
    with pytest.raises(ValueError, match="do not exist"):
        index.sort_by_similarity(kept[0])


def test_a_view_narrows_the_search(made, fiftyone_connect):
    index = index_of(made, fiftyone_connect())
    few = made.select(made.values("id")[:10])
    found = few.sort_by_similarity(made.last().id, brain_key="curate_sim")
    assert sorted(found.values("id")) == sorted(few.values("id"))
    with index.use_view(few):
        assert index.index_size == 10
        index.find_duplicates(thresh=0.001)
        assert len(index.duplicate_ids) == 2


def test_uniqueness_and_maps_take_the_index(made, fiftyone_connect):
    import fiftyone.brain as fob

    index_of(made, fiftyone_connect())
    fob.compute_uniqueness(made, similarity_index="curate_sim")
    low, high = made.bounds("uniqueness")
    assert 0 <= low < high <= 1
    assert fob.compute_visualization(made, similarity_index="curate_sim", method="pca").points.shape == (60, 2)


def test_texts_are_searched_for_with_the_model_that_made_the_vectors(made, fiftyone_connect):
    model = Words().spec
    index = index_of(made, fiftyone_connect(), model, text=True)
    assert index.supports_prompts and made.get_brain_info("curate_sim").config.supports_prompts
    found = made.sort_by_similarity("cat", k=5, brain_key="curate_sim").values("id")
    by_vector = index._kneighbors(query=np.eye(DIM)[3], k=5)[0]
    assert found == [str(i) for i in by_vector]


def test_a_model_without_texts_or_gone_says_so(made, fiftyone_connect):
    index = index_of(made, fiftyone_connect())
    with pytest.raises(ValueError, match="does not support prompts"):
        index.sort_by_similarity("cat")
    other = index_of(made, fiftyone_connect(), spec("pixels", "euclidean"), text=True)
    with pytest.raises(EmbedderError, match="pixels"):
        other.sort_by_similarity("cat")


def test_vectors_of_another_kind_are_refused(made, fiftyone_connect):
    index = index_of(made, fiftyone_connect())
    for bad in (np.zeros((1, 3), np.float32), np.full((1, DIM), np.nan, np.float32)):
        with pytest.raises(EmbedderError):
            index.add_to_index(bad, [made.first().id])
    with pytest.raises(ValueError, match=f"{DIM} finite numbers"):
        index._kneighbors(query=np.zeros(3), k=1)


def test_vectors_can_be_added_replaced_and_removed(made, fiftyone_connect):
    index, first = index_of(made, fiftyone_connect()), made.first().id
    new = np.ones((1, DIM), np.float32)
    index.add_to_index(new, [first], overwrite=False)
    assert np.abs(index.get_embeddings([first])[0] - new).max() > 0.1
    index.add_to_index(new, [first])
    assert np.abs(index.get_embeddings([first])[0] - new).max() < 0.05
    index.remove_from_index([first])
    assert index.total_index_size == 59 and len(index.get_embeddings([first])[1]) == 0
    with pytest.raises(ValueError, match="not in this index"):
        index.get_embeddings([first], allow_missing=False)


def test_a_record_cut_short_is_passed_over_and_written_over(made, fiftyone_connect):
    connector = fiftyone_connect()
    index = index_of(made, connector)
    path = index._sidecar.folder / "rows.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert index.total_index_size == 59
    connector.push_vectors("rows", spec(), made.values("id")[-3:], vectors()[-3:])
    assert index.total_index_size == 60 and path.stat().st_size % index._sidecar.bytes_per_sample == 0


def test_a_sidecar_that_is_gone_is_named_with_the_way_out(made, fiftyone_connect):
    import shutil

    index = index_of(made, fiftyone_connect())
    shutil.rmtree(index._sidecar.folder)
    with pytest.raises(StoreError, match=r"are gone .*curate sync"):
        made.load_brain_results("curate_sim", cache=False)
    assert index_of(made, fiftyone_connect()).total_index_size == 60


@pytest.mark.parametrize("dim", [1, 2, 3, 16, 511])
def test_the_code_is_finer_than_int8_at_every_dimension(dim):
    from connectors.fiftyone_plugin._fine import Fine
    from curate.codecs import codec_named

    x = np.random.default_rng(dim).normal(size=(300, dim)).astype(np.float32)
    x[0] = 0
    fine, coarse = Fine(), codec_named("int8")
    codes = fine.encode(x)
    assert codes.shape == (300, fine.bytes_per_vector(dim))
    error = np.square(fine.decode(codes) - x).sum()
    assert error <= 0.2 * np.square(coarse.decode(coarse.encode(x)) - x).sum() + 1e-9
    assert not fine.decode(codes)[0].any()
    np.testing.assert_array_equal(fine.encode(x[7:8]), codes[7:8])


def test_its_size_is_a_fifteenth_of_the_native_run():
    from connectors.fiftyone_plugin._sidecar import Sidecar

    assert Sidecar(None, EmbedderSpec("m", "", "p", 512, "cosine"), "int8+2", "", "").bytes_per_sample == 660 <= 11_000 / 15
