"""The op "tag": what it writes, where it stops, what it promises, and what it says when it cannot."""

import json

import numpy as np
import pytest

from curate.errors import ConfigError, EmbedderError
from curate.geometry import COSINE, EUCLIDEAN
from curate.ops._leaf_scores import from_prototypes
from curate.ops._tag_calibration import TAUS, calibrate_threshold, fit_temperature, folds, rows_needed, upper_bound
from curate.ops._tagging import probabilities, ways_down
from curate.ops.hierarchy import Tag
from curate.taxonomy import parse_taxonomy
from tests.ops._worlds import Texts, context, embeddings, images, planted, tree

TREE = tree(3, 3, 3)
FACET = TREE.facets["path"]


def world(seed=0, *, count=400, noise=0.15, geometry="euclidean", taxonomy=TREE):
    rng = np.random.default_rng(seed)
    facet = taxonomy.facets["path"]
    points = planted(taxonomy, rng)
    truth = rng.choice(facet.leaves, count)
    return embeddings(images(rng, points, truth, noise), geometry), truth, Texts(taxonomy, {"path": points})


def labels(truth, facet=FACET):
    return {"label": [facet.keys[v] for v in truth]}


@pytest.mark.parametrize("geometry", ["euclidean", "cosine", "lorentz:0.5"])
def test_clear_images_get_their_leaf(geometry):
    emb, truth, texts = world(noise=0.05, geometry=geometry)
    found = Tag(TREE, scale=50.0)(emb, context(embed_text=texts))
    right = [found.values["path"].get(i) == FACET.path(v) for i, v in zip(emb.ids, truth, strict=True)]
    assert np.mean(right) > 0.98
    assert set(found.values) == {"path", "path_confidence"} == Tag(TREE).owns
    assert all(0.6 <= p <= 1 for p in found.values["path_confidence"].values())


def test_vague_images_stop_high_and_hopeless_ones_are_untagged():
    texts = world()[2]
    middle = texts.known[FACET.texts(FACET.find("1"))[0]]
    x = np.stack([middle, np.zeros_like(middle)])
    found = Tag(TREE, scale=2.0)(embeddings(x), context(embed_text=texts))
    assert found.values["path"] == {"i00000": "1"}
    assert found.summary["tagged"] == 1 and found.summary["abstained"] == 1
    rows = found.evidence["rows"]
    assert rows[0]["levels"][0] >= 0.6 > rows[0]["next"]["p"]
    assert rows[1]["path"] is None and rows[1]["confidence"] is None


def test_levels_follow_the_path_and_never_rise():
    emb, _, texts = world(noise=0.4)
    found = Tag(TREE, scale=3.0)(emb, context(embed_text=texts))
    for row in found.evidence["rows"]:
        assert all(a >= b for a, b in zip(row["levels"], row["levels"][1:], strict=False))
        if row["path"]:
            assert len(row["levels"]) == row["path"].count("/") + 1
            assert row["levels"][-1] == row["confidence"] >= 0.6
    json.dumps(found.evidence)


def test_the_result_does_not_depend_on_order_or_company():
    emb, _, texts = world(noise=0.4)
    op = Tag(TREE, scale=3.0)
    whole = op(emb, context(embed_text=texts)).values
    back = embeddings(emb.vectors[::-1].copy())
    mirrored = op(back, context(embed_text=texts)).values["path"]
    assert {emb.ids[-1 - k]: mirrored.get(i) for k, i in enumerate(back.ids)} == {i: whole["path"].get(i) for i in emb.ids}
    alone = op(embeddings(emb.vectors[:1]), context(embed_text=texts)).values
    assert alone["path_confidence"].get("i00000") == whole["path_confidence"].get("i00000")


def test_tau_zero_reaches_a_leaf_and_tau_one_abstains():
    emb, _, texts = world(noise=0.4)
    leaves = {FACET.path(v) for v in FACET.leaves}
    found = Tag(TREE, tau=0.0, scale=3.0)(emb, context(embed_text=texts))
    assert set(found.values["path"].values()) <= leaves and len(found.values["path"]) == len(emb)
    assert Tag(TREE, tau=1.0, scale=3.0)(emb, context(embed_text=texts)).summary["abstained"] == len(emb)


def test_several_facets_get_fields_of_their_own():
    taxonomy = parse_taxonomy("facets:\n  object: {animal: [dog, cat], car: }\n  scene: [indoor, outdoor]\n")
    rng = np.random.default_rng(0)
    points = {name: planted(taxonomy, rng, facet=name) for name in taxonomy.facets}
    op = Tag(taxonomy, scale=40.0, labels_field={"scene": "where"})
    scene = taxonomy.facets["scene"]
    x = points["scene"][[0, 1, 1]] + points["object"][taxonomy.facets["object"].find("dog")]
    fields = {"where": [scene.keys[0], scene.keys[1], None]}
    found = op(embeddings(x), context(embed_text=Texts(taxonomy, points), fields=fields))
    assert op.owns == {"path_object", "path_scene", "path_confidence_object", "path_confidence_scene"} == set(found.values)
    assert list(found.values["path_scene"].values()) == [scene.keys[0], scene.keys[1], scene.keys[1]]
    assert set(found.values["path_object"].values()) == {"animal/dog"}
    assert found.evidence["facets"]["scene"]["labels"]["rows"] == 2
    assert [row["facet"] for row in found.evidence["rows"]] == ["object"] * 3 + ["scene"] * 3


def test_without_labels_it_says_uncalibrated():
    emb, _, texts = world()
    found = Tag(TREE)(emb, context(embed_text=texts))
    assert found.summary["calibrated"] is False and found.summary["facets"]["path"]["tau"] == 0.6
    assert "uncalibrated" in found.summary["notes"][0]


def test_labels_fit_the_temperature():
    emb, truth, texts = world(noise=0.5, count=600)
    too_sure = Tag(TREE, scale=100.0)
    fitted = Tag(TREE, scale=100.0, labels_field="label")
    ctx = context(embed_text=texts, fields=labels(truth))
    wrong = {}
    for name, op in (("raw", too_sure), ("fitted", fitted)):
        paths = op(emb, ctx).values["path"]
        above = {v: {FACET.path(a) for a in FACET.ancestors(v)} for v in FACET.leaves}
        wrong[name] = np.mean([i in paths and paths[i] not in above[v] for i, v in zip(emb.ids, truth, strict=True)])
    evidence = fitted(emb, ctx).evidence["facets"]["path"]
    assert evidence["temperature_fitted"] and evidence["temperature"] < 50
    assert wrong["fitted"] < 0.6 * wrong["raw"]


def test_the_temperature_equals_a_grid_search():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(len(FACET.leaves), 300))
    truth = [FACET.leaves[k] for k in softmax_draw(rng, 2.5 * scores)]
    truth[:50] = [FACET.parents[v][0] for v in truth[:50]]
    fitted = fit_temperature(FACET, scores, truth, start=2.0, spread=100.0)

    def loss(scale):
        whole = probabilities(FACET, scores, scale)
        return -np.log([whole[v, k] for k, v in enumerate(truth)]).sum()

    grid = np.exp(np.linspace(np.log(0.5), np.log(10), 400))
    assert fitted == pytest.approx(grid[np.argmin([loss(s) for s in grid])], rel=0.02)
    assert 2 < fitted < 3.2
    assert fit_temperature(FACET, scores[:, :9], truth[:9], start=2.0, spread=1.0) is None


def softmax_draw(rng, scores):
    chances = np.exp(scores - scores.max(axis=0))
    chances /= chances.sum(axis=0)
    return [rng.choice(len(chances), p=chances[:, k]) for k in range(chances.shape[1])]


def test_few_labels_hardly_move_the_temperature():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(27, 12))
    truth = [FACET.leaves[k] for k in softmax_draw(rng, 3.0 * scores)]
    free = fit_temperature(FACET, scores, truth, start=30.0, spread=100.0)
    held = fit_temperature(FACET, scores, truth, start=30.0, spread=0.1)
    assert free < held < 30


def test_clopper_pearson_equals_the_definition():
    from scipy.stats import binom

    for wrong, rows in ((0, 22), (3, 50), (17, 200)):
        bound = upper_bound(wrong, rows, 0.1)
        assert binom.cdf(wrong, rows, bound) == pytest.approx(0.1, abs=1e-9)
    assert upper_bound(5, 5, 0.1) == 1.0
    assert rows_needed(0.1, 0.1) == 22 and upper_bound(0, 22, 0.1) <= 0.1 < upper_bound(0, 21, 0.1)


def test_the_threshold_is_the_last_before_the_first_that_fails():
    emb, truth, texts = world(noise=0.6, count=800)
    scores = EUCLIDEAN.scores(np.stack([texts.known[FACET.texts(v)[0]] for v in FACET.leaves]), emb.vectors)
    ways = ways_down(FACET, probabilities(FACET, scores, 4.0))
    found = calibrate_threshold(FACET, ways, truth.tolist(), risk=0.1, delta=0.1)
    expected = None
    for tau in TAUS:
        ends = ways.ends(FACET, tau)
        wrong = sum(end >= 0 and end not in FACET.ancestors(v) for end, v in zip(ends, truth, strict=True))
        if upper_bound(wrong, 800, 0.1) > 0.1:
            break
        expected = tau
    assert found.tau == expected is not None
    assert found.bound <= 0.1 and found.rows == 800


def test_a_promised_risk_holds_on_fresh_images():
    kept = 0
    for seed in range(12):
        emb, truth, texts = world(seed, noise=0.45, count=1500)
        half = labels(truth)["label"][:500] + [None] * 1000
        found = Tag(TREE, risk=0.1, labels_field="label")(emb, context(embed_text=texts, fields={"label": half}))
        assert found.summary["calibrated"] and found.evidence["facets"]["path"]["risk_bound"] <= 0.1
        paths = found.values["path"]
        above = {v: {FACET.path(a) for a in FACET.ancestors(v)} for v in FACET.leaves}
        fresh = list(zip(emb.ids, truth, strict=True))[500:]
        kept += np.mean([i in paths and paths[i] not in above[v] for i, v in fresh]) <= 0.1
    assert kept >= 10


def test_labels_without_rhyme_or_reason_leave_every_row_untagged():
    emb, _, texts = world(noise=0.05)
    nonsense = np.random.default_rng(5).choice(FACET.leaves, len(emb))
    found = Tag(TREE, risk=0.05, labels_field="label", scale=500.0)(emb, context(embed_text=texts, fields=labels(nonsense)))
    assert found.summary["tagged"] == 0 or found.evidence["facets"]["path"]["risk_bound"] <= 0.05


def test_prototypes_need_no_texts():
    emb, truth, _ = world(noise=0.2, count=600)
    known = [FACET.keys[v] if k < 300 else None for k, v in enumerate(truth)]
    found = Tag(TREE, labels_field="label")(emb, context(fields={"label": known}))
    fresh = [found.values["path"].get(i) == FACET.path(v) for i, v in list(zip(emb.ids, truth, strict=True))[300:]]
    assert np.mean(fresh) > 0.8
    assert found.evidence["facets"]["path"]["scores"] == "prototypes"


def test_prototypes_are_shrunken_means_over_pooled_deviations():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 4)).astype(np.float32) * [1, 2, 3, 4]
    truth = [FACET.leaves[k % 5] for k in range(60)]
    score = from_prototypes(FACET, EUCLIDEAN, x, truth).score(x[:3])
    wide, tags = x.astype(np.float64), np.array(truth)
    means = {}
    for v, above in enumerate(FACET.parents):
        own = [k for k in range(60) if v in FACET.ancestors(int(tags[k]))]
        towards = means[above[0]] if above else wide.mean(axis=0)
        means[v] = (wide[own].sum(axis=0) + 3 * towards) / (len(own) + 3)
    within = sum(((wide[tags == v] - wide[tags == v].mean(axis=0)) ** 2).sum(axis=0) for v in set(truth))
    variance = (within + 10 * wide.var(axis=0)) / (60 - 5 + 10)
    variance = 0.9 * variance + 0.1 * variance.mean()
    for row, v in enumerate(FACET.leaves):
        if v in truth:
            np.testing.assert_allclose(score[row], -(((wide[:3] - means[v]) ** 2) / variance).sum(axis=1), atol=1e-6)
        else:
            assert np.isneginf(score[row]).all()


def test_leaves_without_labelled_rows_are_never_tagged_and_named():
    emb, truth, _ = world(count=300)
    known = [FACET.keys[v] if v != FACET.leaves[0] else None for v in truth]
    found = Tag(TREE, labels_field="label")(emb, context(fields={"label": known}))
    assert FACET.path(FACET.leaves[0]) not in found.values["path"].values()
    assert any("1 leaves have no labelled row" in note for note in found.summary["notes"])


def test_texts_are_embedded_once_and_kept():
    kept = {}
    emb, _, texts = world()
    ctx = context(embed_text=texts, cached=kept.get, keep=kept.__setitem__)
    first = Tag(TREE)(emb, ctx)
    assert texts.calls == 1
    assert Tag(TREE)(emb, ctx) == first
    assert texts.calls == 1 and len(json.dumps(kept)) < 100_000


def test_internal_labels_are_used_and_strange_ones_named():
    emb, truth, texts = world()
    known = ["nowhere" if k < 7 else FACET.keys[FACET.parents[v][0]] if k % 2 else FACET.keys[v] for k, v in enumerate(truth)]
    found = Tag(TREE, labels_field="label")(emb, context(embed_text=texts, fields={"label": known}))
    said = found.evidence["facets"]["path"]["labels"]
    assert said["rows"] == len(emb) - 7 and said["outside"] == {"nowhere": 7}
    assert any("'nowhere' is not in the taxonomy" in note for note in found.summary["notes"])


def test_folds_are_even_and_follow_the_ids():
    ids = [f"x{k}" for k in range(100)]
    truth = [k % 4 for k in range(100)]
    part = folds(ids, truth, 5)
    assert [int((part == f).sum()) for f in range(5)] == [20] * 5
    order = np.random.default_rng(0).permutation(100)
    assert folds([ids[k] for k in order], [truth[k] for k in order], 5).tolist() == part[order].tolist()


def test_evaluation_never_sees_the_label_of_the_row_it_tags():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(270, 400)).astype(np.float32)
    truth = np.repeat(FACET.leaves, 10)
    figures = Tag(TREE, tau=0.0, labels_field="label")
    exact = figures.evaluate(embeddings(x), context(fields=labels(truth)))["path"]["exact"]
    assert exact < 0.12


def test_evaluation_of_a_clear_world():
    emb, truth, texts = world(noise=0.05)
    op = Tag(TREE, labels_field="label", scale=50.0)
    figures = op.evaluate(emb, context(embed_text=texts, fields=labels(truth)))["path"]
    assert figures["f1"] > 0.98 and figures["wrong"] < 0.02 and figures["violations"] == 0
    assert figures["depth_at_95"]["depth"] > 2.9 and figures["calibration_error"] < 0.05


BAD = [
    (dict(risk=0.1, tau=0.5, labels_field="label"), "not both"),
    (dict(risk=1.5, labels_field="label"), "risk = 1.5"),
    (dict(tau=1.5), "tau = 1.5"),
    (dict(risk=0.1), "which field holds the true tag"),
    (dict(scores="magic"), "known: auto, text, prototypes"),
    (dict(labels_field={"scene": "x"}), "unknown facet 'scene'"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_settings_that_cannot_be_meant_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Tag(TREE, **settings)


def test_a_path_is_no_taxonomy():
    with pytest.raises(ConfigError, match="read_taxonomy"):
        Tag("tags.yaml")


def test_no_texts_and_no_labels_says_what_is_needed():
    emb, _, _ = world()
    with pytest.raises(ConfigError, match=r"at least 5 to 8 images for each leaf.*text tower.*CLIP"):
        Tag(TREE)(emb, context())
    with pytest.raises(ConfigError, match="no text tower"):
        Tag(TREE, scores="text")(emb, context())


def test_too_few_labels_say_how_many_are_needed():
    emb, truth, texts = world()
    few = [FACET.keys[v] if k < 21 else None for k, v in enumerate(truth)]
    with pytest.raises(ConfigError, match=r"21 labelled rows .* at least 22 are needed"):
        Tag(TREE, risk=0.1, labels_field="label")(emb, context(embed_text=texts, fields={"label": few}))
    with pytest.raises(ConfigError, match="too few: at least 10"):
        Tag(TREE, labels_field="label").evaluate(emb, context(embed_text=texts, fields={"label": few[:5] + [None] * 395}))


def test_labels_that_are_all_outside_are_an_error():
    emb, _, texts = world()
    with pytest.raises(ConfigError, match=r"no label of field 'label' is in the taxonomy tree: '0\.0\.x' is not"):
        Tag(TREE, labels_field="label")(emb, context(embed_text=texts, fields={"label": ["0.0.x"] * len(emb)}))


def test_texts_of_another_length_are_refused():
    emb, _, _ = world()
    with pytest.raises(EmbedderError, match="--layer projected"):
        Tag(TREE)(emb, context(embed_text=lambda texts: np.ones((len(texts), 7), np.float32)))


def test_cosine_means_of_texts_are_unit_length():
    from curate.ops._leaf_scores import text_vectors

    rng = np.random.default_rng(0)
    known = {}
    vectors = text_vectors(
        FACET, FACET.leaves, COSINE, lambda ts: np.stack([known.setdefault(t, rng.normal(size=8) * 5) for t in ts])
    )
    np.testing.assert_allclose(np.square(vectors).sum(axis=1), 1, atol=1e-6)


def test_rows_labelled_none_count_against_every_tag():
    emb, truth, texts = world(noise=0.1, count=600)
    rng = np.random.default_rng(1)
    strange = rng.random(600) < 0.3
    x = np.where(strange[:, None], rng.normal(size=emb.vectors.shape) * 0.4, emb.vectors).astype(np.float32)
    known = ["None" if odd else FACET.keys[v] for v, odd in zip(truth, strange, strict=True)]
    ctx = context(embed_text=texts, fields={"label": known})
    found = Tag(TREE, risk=0.05, labels_field="label")(embeddings(x), ctx)
    assert found.evidence["facets"]["path"]["labels"]["rows"] == 600
    tagged = [i in found.values["path"] for i in emb.ids]
    assert np.mean(np.array(tagged)[strange]) < 0.15 < 0.8 < np.mean(np.array(tagged)[~strange])
    prototypes = Tag(TREE, labels_field="label")(embeddings(x), context(fields={"label": known}))
    assert prototypes.summary["tagged"] > 300
    figures = Tag(TREE, labels_field="label").evaluate(embeddings(x), ctx)["path"]
    assert figures["rows"] == 600 and figures["wrong"] < 0.35
