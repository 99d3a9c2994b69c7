"""Copies and groups over vectors: exact kinds, stars, what stays, leakage, bad input."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import ConfigError, EmbedderError, GeometryError
from curate.ops._groups import same_content, star_groups
from curate.ops._keep import sharpness
from curate.ops.duplicates import Duplicates
from curate.protocols import Context
from curate.types import EmbedderSpec, Embeddings


def context_for(ids, **columns):
    """A context over columns: facts by their names, everything else is a field."""
    facts = ("width", "height", "size_bytes", "content_hash", "pixel_hash", "uri")

    def field(name):
        if name not in columns or name in facts:
            raise ConfigError(f"no row has a field {name!r}")
        return columns[name]

    kept = {}
    return Context(
        rng=np.random.default_rng(0),
        field=field,
        fact=lambda name: columns.get(name, ()),
        pixels=columns.get("pixels", lambda _id: None),
        embed_pixels=columns.get("embed_pixels"),
        cached=columns.get("store", kept).get,
        keep=lambda key, value: columns.get("store", kept).__setitem__(key, value),
    )


def embeddings_of(ids, x, geometry="cosine"):
    x = np.asarray(x, dtype=np.float32)
    return Embeddings(list(ids), x, EmbedderSpec("test", "", "", x.shape[1], geometry))


def clumps(seed=0, centres=6, each=3, dim=16, spread=0.01):
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.normal(size=(centres, dim)), each, axis=0) + spread * rng.normal(size=(centres * each, dim))
    return [f"r{n:03d}" for n in range(len(x))], x


def test_copies_are_grouped_and_everything_else_is_left_alone():
    ids, x = clumps()
    found = Duplicates(radius=0.05)(embeddings_of(ids, x), context_for(ids))
    assert found.summary["groups"] == 6
    assert found.summary["rows"] == 12
    assert found.values["duplicate"]["r000"] == "kept"
    assert found.values["duplicate"]["r001"] == "copy-of/r000"
    assert 0 <= found.values["duplicate_score"]["r001"] <= 0.05
    assert found.evidence["unit"] == "cosine distance"


def test_the_order_of_rows_changes_nothing():
    ids, x = clumps(3, spread=0.2)
    rng = np.random.default_rng(5)
    hashes = [f"h{n % 7}" for n in range(len(ids))]
    first = Duplicates(radius=0.03)(embeddings_of(ids, x), context_for(ids, content_hash=hashes))
    for _ in range(5):
        mix = rng.permutation(len(ids))
        again = Duplicates(radius=0.03)(
            embeddings_of([ids[m] for m in mix], x[mix]), context_for(ids, content_hash=[hashes[m] for m in mix])
        )
        assert again == first


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 1.5), st.booleans())
def test_every_copy_was_matched_with_its_kept_row(seed, radius, between):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(24, 3)).astype(np.float32)
    ids = [f"{n:02d}" for n in range(24)]
    split = [["train", "test", None][n] for n in rng.integers(0, 3, size=24)]
    op = Duplicates(radius=radius, between="split" if between else None)
    found = op(embeddings_of(ids, x, "euclidean"), context_for(ids, split=split))
    copies = set()
    kept = {g["keep"] for g in found.evidence["groups"]}
    for group in found.evidence["groups"]:
        a = int(group["keep"])
        for copy in group["copies"]:
            b = int(copy["id"])
            assert np.sqrt(np.sum((x[a].astype(float) - x[b]) ** 2)) <= radius + 1e-9
            assert copy["id"] not in copies
            assert not between or (split[a] != split[b] and None not in (split[a], split[b]))
            copies.add(copy["id"])
    assert not copies & kept
    left = [n for n in range(24) if ids[n] not in copies]
    for a in left:
        for b in left:
            if a < b and not (between and (split[a] == split[b] or None in (split[a], split[b]))):
                assert np.sqrt(np.sum((x[a].astype(float) - x[b]) ** 2)) > radius


def test_a_chain_is_not_one_group():
    x = [[0.0, 0], [1, 0], [2, 0], [3, 0], [4, 0]]
    found = Duplicates(radius=1.1)(embeddings_of("abcde", x, "euclidean"), context_for("abcde"))
    assert [(g["keep"], [c["id"] for c in g["copies"]]) for g in found.evidence["groups"]] == [("a", ["b"]), ("c", ["d"])]


def test_equal_bytes_and_equal_pixels_are_kinds_of_their_own():
    x = np.eye(4)
    columns = {"content_hash": ["h", "h", "k", "l"], "pixel_hash": ["p", "p", "p", None]}
    found = Duplicates(radius=0.1)(embeddings_of("abcd", x), context_for("abcd", **columns))
    (group,) = found.evidence["groups"]
    assert {c["id"]: c["kind"] for c in group["copies"]} == {"b": "bytes", "c": "pixels"}
    assert found.values["duplicate_score"] == {"b": 1.0, "c": 1.0}


@pytest.mark.parametrize(
    ("columns", "kept", "why"),
    [
        ({"label": [None, None, "cat"], "width": [9, 5, 1], "height": [9, 5, 1]}, "c", "labeled (the copies: not labeled)"),
        ({"width": [5, 9, 1], "height": [5, 9, 1]}, "b", "9x9 pixels (the copies: 5x5 pixels)"),
        ({"size_bytes": [5, 6, 2000]}, "c", "2,000 bytes (the copies: 6 bytes)"),
        ({"created_at": ["2021", "2019", None]}, "b", "created 2019 (the copies: created 2021)"),
        ({}, "a", "first by id, equal in everything else"),
    ],
)
def test_which_copy_stays_and_why(columns, kept, why):
    found = Duplicates(radius=0.1)(embeddings_of("abc", np.ones((3, 4))), context_for("abc", **columns))
    (group,) = found.evidence["groups"]
    assert (group["keep"], group["why"]) == (kept, why)


def test_a_brighter_copy_is_not_sharper():
    coarse = np.random.default_rng(5).integers(0, 190, (40, 30, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (120, 160), interpolation=cv2.INTER_LINEAR)
    brighter = (picture * 1.33).astype(np.uint8)
    assert sharpness(brighter) == sharpness(picture) > sharpness(cv2.GaussianBlur(picture, (0, 0), 3))


def test_sharper_thumbnails_stay():
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 255, size=(40, 40, 3), dtype=np.uint8)
    flat = np.full((40, 40, 3), 100, dtype=np.uint8)
    context = context_for("ab", pixels={"a": flat, "b": sharp}.get)
    found = Duplicates(radius=0.1, keep=("sharpness",))(embeddings_of("ab", np.ones((2, 4))), context)
    assert found.evidence["groups"][0]["keep"] == "b"


def test_protected_rows_are_never_copies():
    ids, x = clumps(1, each=4)
    split = ["test" if n % 4 in (2, 3) else "train" for n in range(len(ids))]
    found = Duplicates(radius=0.05, protect=("split=test",))(embeddings_of(ids, x), context_for(ids, split=split))
    copies = {i for i, v in found.values["duplicate"].items() if v != "kept"}
    assert copies == {i for i, s in zip(ids, split, strict=True) if s == "train"}
    assert found.evidence["groups"][0]["why"].startswith("protected by split=test")


def test_leakage_between_splits_is_all_found_and_only_that():
    ids, x = clumps(2, each=3)
    split = ["train" if n < 9 or n % 3 else "test" for n in range(len(ids))]
    found = Duplicates(radius=0.05, between="split")(embeddings_of(ids, x), context_for(ids, split=split))
    rows = {i: s for i, s in zip(ids, split, strict=True)}
    assert found.summary["groups"] >= 3
    for group in found.evidence["groups"]:
        assert all(rows[c["id"]] != rows[group["keep"]] for c in group["copies"])
    touched = {g["keep"] for g in found.evidence["groups"]} | {c["id"] for g in found.evidence["groups"] for c in g["copies"]}
    assert touched >= {i for i, s in rows.items() if s == "test"}
    assert not touched & set(ids[:9])


def test_facts_of_all_rows_are_not_read_once_for_each_group():
    reads = []
    for centres in (5, 40):
        ids, x = clumps(centres=centres)
        context = context_for(ids)
        asked = []
        Duplicates(radius=0.05)(embeddings_of(ids, x), dataclasses.replace(context, fact=lambda n: asked.append(n) or ()))
        reads.append(len(asked))
    assert reads[0] == reads[1] > 0


def test_all_rows_equal_is_one_group():
    count = 3_000
    ids = [f"{n:05d}" for n in range(count)]
    found = Duplicates(radius=0.0)(embeddings_of(ids, np.ones((count, 8))), context_for(ids, content_hash=["h"] * count))
    assert (found.summary["groups"], found.summary["rows"]) == (1, count - 1)


@pytest.mark.parametrize("count", [0, 1])
def test_no_row_or_one_row_has_no_copies(count):
    found = Duplicates()(embeddings_of("a"[:count], np.ones((count, 4))), context_for("a"[:count]))
    assert found.summary["groups"] == found.summary["rows"] == 0


def test_values_at_the_cut_are_listed_as_borderline():
    x = [[0.0, 0], [1, 0], [5, 0], [6.000005, 0], [9, 9], [9, 9.5]]
    found = Duplicates(radius=1.0)(embeddings_of("abcdef", x, "euclidean"), context_for("abcdef"))
    assert [(b["a"], b["b"]) for b in found.evidence["borderline"]] == [("a", "b"), ("c", "d")]
    assert set(found.values["duplicate"]) == {"a", "b", "e", "f"}


def test_bad_input_is_refused_with_its_name():
    ids, x = clumps()
    with pytest.raises(GeometryError, match="radius 3 is impossible"):
        Duplicates(radius=3)(embeddings_of(ids, x), context_for(ids))
    with pytest.raises(GeometryError, match="small = alike"):
        Duplicates(radius=-0.1)(embeddings_of(ids, x), context_for(ids))
    with pytest.raises(ConfigError, match="precision"):
        Duplicates(precision=99)
    with pytest.raises(ConfigError, match="did you mean 'sharpness'"):
        Duplicates(keep=("sharpnes",))
    with pytest.raises(ConfigError, match="no row has a field 'splitt'"):
        Duplicates(radius=0.1, between="splitt")(embeddings_of(ids, x), context_for(ids))
    with pytest.raises(ConfigError, match="FIELD=VALUE"):
        Duplicates(radius=0.1, protect=("split",))(embeddings_of(ids, x), context_for(ids))
    x[4] = 0
    with pytest.raises(GeometryError, match="'r004' is zero"):
        Duplicates(radius=0.1)(embeddings_of(ids, x), context_for(ids))
    x[4] = np.nan
    with pytest.raises(EmbedderError, match="'r004' is not finite"):
        Duplicates(radius=0.1)(embeddings_of(ids, x), context_for(ids))


def test_same_content_joins_over_both_keys():
    assert same_content([["h", "h", None, "k"], ["p", None, "p", "q"]]).tolist() == [0, 0, 0, 3]


def test_stars_follow_the_given_order():
    stars = star_groups([2, 0, 1], np.arange(3), (np.array([0, 1]), np.array([1, 2]), np.array([0, 1])))
    assert [(s.kept, list(s.copies), list(s.pairs)) for s in stars] == [(2, [1], [1])]


def stars_by_the_book(order, content, links, protected, sets):
    """Kept row -> its copies with their pairs, by trying every row against every other."""
    taken, found = set(), {}
    for row in order:
        if row in taken or sets[row] < 0:
            continue
        taken.add(row)
        by = {content[row]: -1}
        for i, j, pair in zip(*links, strict=True):
            for a, b in ((content[i], content[j]), (content[j], content[i])):
                if a == content[row]:
                    by.setdefault(b, pair)
        free = [r for r in order if r not in taken and not protected[r] and sets[r] >= 0 and content[r] in by]
        copies = {r: by[content[r]] for r in free if sets[r] != sets[row] or not sets.any()}
        taken |= set(copies)
        found |= {row: copies} if copies else {}
    return found


@pytest.mark.parametrize("seed", range(40))
def test_stars_are_those_of_a_search_row_by_row(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 30))
    content = same_content([[str(v) if v < 15 else None for v in rng.integers(0, 25, count)]])
    i, j = rng.choice(np.unique(content), (2, int(rng.integers(0, 2 * count))))
    i, j = i[i != j], j[i != j]
    protected = rng.random(count) < 0.2
    sets = rng.integers(-1, 3, count) if seed % 2 else None
    order = rng.permutation(count)
    order = order[np.argsort(~protected[order], kind="stable")]
    stars = star_groups(order, content, (i, j, np.arange(len(i))), protected=protected, sets=sets)
    wanted = stars_by_the_book(order, content, (i, j, range(len(i))), protected, np.zeros(count) if sets is None else sets)
    assert {s.kept: dict(zip(s.copies, s.pairs, strict=True)) for s in stars} == wanted
    assert [s.kept for s in stars] == list(wanted)
    rows = [row for s in stars for row in (s.kept, *s.copies)]
    assert stars.rows().tolist() == rows
    largest = list(stars.largest_first())
    assert largest == sorted(stars, key=lambda s: -len(s.copies))


def test_the_op_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Duplicates().precision = 0.5


@pytest.mark.parametrize("options", [{}, {"radius": 0.1}])
def test_a_zero_vector_is_named_by_its_row(options):
    data = embeddings_of(["a", "b", "c"], np.array([[1, 0], [0, 1], [0, 0]], np.float32), "cosine")
    with pytest.raises(GeometryError, match="'c' is zero"):
        Duplicates(**options)(data, context_for(["a", "b", "c"]))
