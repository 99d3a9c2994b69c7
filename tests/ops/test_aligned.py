"""Two images laid over each other: keypoints and their matches, alignments, and what is too unlike to be compared."""

from dataclasses import replace

import cv2
import numpy as np

from curate.ops import _aligned, _views
from curate.ops._aligned import COLUMNS, Way, compare, compare_all
from curate.ops._matched import matches
from curate.ops._views import keypoints, view_of
from curate.ops._words import rooted, shipped_words
from tests.ops._pictures import COPIES, jpeg, looked_at, picture, probability


def by_every_distance(a, b):
    """Rows of keypoints that match as they are defined, every step for every row."""
    apart = squared_distances(a, b)
    rows, first = np.arange(len(apart)), apart.argmin(axis=1)
    least = apart[rows, first]
    # Of rows that name one column and are equally near to it the first counts.
    named = np.where(first[:, None] == np.arange(apart.shape[1]), apart, np.inf)
    mutual = (named.argmin(axis=0)[first] == rows) & (least == apart.min(axis=0)[first])
    apart[rows, first] = np.inf
    keep = mutual & (least < 0.72 * apart.min(axis=1)) & (least < 0.35)
    return np.flatnonzero(keep), first[keep]


def squared_distances(a, b):
    return np.square((a.codes[:, None].astype(np.float64) - b.codes[None]) / 1024).sum(axis=2)


def consistent(a, b, rows, columns):
    """Whether three matches imply about the same similarity, match by match."""
    if len(rows) > 48:
        return True  # so many are not asked
    places = [
        (complex(*a.points[r]), complex(*b.points[c]), complex(b.arms[c]) / complex(a.arms[r]))
        for r, c in zip(rows, columns, strict=True)
    ]
    return any(
        sum(
            abs(goal + growth * (z - begin) - w) < 0.35 * abs(growth * (z - begin)) + 6 and abs(g - growth) < 0.6 * abs(growth)
            for z, w, g in places
        )
        >= 3
        for begin, goal, growth in places
    )


def test_matches_are_those_of_their_definition_whatever_is_matched_beside_them():
    views = [view_of(picture(n)) for n in range(4)] + [view_of(COPIES["turned"](picture(0))), view_of(picture(2)[:50, :70])]
    # Equal codes tie everywhere: the first row of a tie is the one that counts.
    doubled = tuple(np.concatenate([code[:40]] * 3) for code in views[0].codes)
    views.append(replace(views[0], codes=doubled, points=views[0].points[:120], arms=views[0].arms[:120]))
    views.append(view_of(np.full((100, 100, 3), 90, np.uint8)))
    # The same codes at other places, in other directions: many matches that contradict each other.
    mixed = np.random.default_rng(0).permutation(len(views[3].points))
    views.append(replace(views[3], points=views[3].points[mixed], arms=views[3].arms[mixed[::-1]]))
    every = [v.coded for v in views + [v.mirrored for v in views]]
    found, kept = 0, set()
    for a in every:
        together = matches(a, every)
        for b, ours in zip(every, together, strict=True):
            rows, columns = by_every_distance(a, b) if len(a.points) and len(b.points) else ([], [])
            if len(rows) >= 3:
                kept.add(consistent(a, b, rows, columns))
            if not consistent(a, b, rows, columns):
                rows, columns = [], []
            assert np.array_equal(ours[0], a.points[rows]) and np.array_equal(ours[1], b.points[columns])
            assert all(np.array_equal(x, y) for x, y in zip(matches(a, [b])[0], ours, strict=True))
            found += len(rows)
    assert found > 400
    assert len(matches(every[3], [every[8]])[0][0]) > 48
    assert kept == {True, False}
    assert matches(every[0], []) == []


def test_keypoints_turn_and_grow_with_their_image():
    scene = picture(7)
    small = view_of(cv2.resize(scene, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)).coded
    around = view_of(np.ascontiguousarray(np.rot90(scene))).coded
    whole, mirror = view_of(scene), view_of(np.ascontiguousarray(scene[:, ::-1]))
    for a, b, growth in (
        (whole.coded, small, 0.75),
        (whole.coded, around, -1j),
        (whole.mirrored.coded, mirror.coded, 1),
    ):
        rows, columns = by_every_distance(a, b)
        found = b.arms[columns] / a.arms[rows]
        assert np.median(np.abs(found - growth)) < 0.15
        assert len(matches(a, [b])[0][0]) > 10


def test_codes_of_two_views_keep_nearly_all_that_tells_their_descriptors_apart():
    code = view_of(picture(1)).coded
    rows = rooted(keypoints(cv2.cvtColor(picture(1), cv2.COLOR_RGB2GRAY))[2])
    whole = np.square(rows[:, None] - rows[None]).sum(axis=2)
    assert np.corrcoef(whole.ravel(), squared_distances(code, code).ravel())[0, 1] > 0.9


def test_the_mirror_images_codes_are_those_of_mirrored_bins():
    raw = keypoints(cv2.cvtColor(picture(1), cv2.COLOR_RGB2GRAY))[2]
    words = shipped_words()
    turned = raw.reshape(-1, 4, 4, 8)[:, ::-1][..., [0, 7, 6, 5, 4, 3, 2, 1]].reshape(-1, 128)
    assert np.array_equal(words.codes(raw)[1], words.codes(turned)[0])
    assert not rooted(np.zeros((2, 128), np.uint8)).any()
    assert view_of(picture(1)).mirrored.codes[0] is not view_of(picture(1)).codes[0]


def test_draws_are_enough_to_find_five_right_matches():
    from curate.ops._aligned import _iterations

    assert [_iterations(n) for n in (5, 6, 16, 400)] == [1, 6, 149, 1_000]
    for count in (8, 16, 30):
        missed = (1 - (5 / count) ** 3) ** _iterations(count)
        assert missed <= 0.01


def test_stretches_are_the_singular_values():
    from curate.ops._aligned import _plausible, _stretches

    rng = np.random.default_rng(0)
    for matrix in rng.normal(size=(50, 2, 3)):
        most, least = _stretches(matrix)
        values = np.linalg.svd(matrix[:, :2], compute_uv=False)
        assert np.allclose([most, abs(least)], values)
        assert (least > 0) == (np.linalg.det(matrix[:, :2]) > 0)
    assert _plausible(np.array([[0.9, 0.1, 3.0], [-0.1, 0.9, 4.0]]))
    assert not _plausible(np.array([[-0.9, 0.1, 3.0], [0.1, 0.9, 4.0]]))


def test_images_of_other_shapes_are_refined_too():
    from curate.ops._aligned import _REFINE, _refined, _shared_edges

    whole = picture(5)
    a, b = view_of(whole), view_of(np.ascontiguousarray(whole[:, 20:220]))
    right = np.array([[1.0, 0.0, -20.0], [0.0, 1.0, 0.0]])
    off = right + np.array([[0.004, 0.0, 1.4], [0.0, -0.004, -1.2]])
    assert a.size != b.size
    before = _shared_edges(a, b, off, _REFINE, 1.0)
    refined, after = _refined(a, b, off, before)
    assert after > before
    corners = np.array([[20, 0, 1], [220, 0, 1], [20, 180, 1], [220, 180, 1]], float)
    assert np.abs(corners @ (refined - right).T).max() < 0.3 < np.abs(corners @ (off - right).T).max()
    assert _refined(a, b, off, 1.0)[0] is off  # no better than what there is


def test_a_refinement_within_rounding_of_what_there_is_is_not_taken(monkeypatch):
    # Sums of floats differ with where in memory an image lies: a tie must not be decided by that.

    a, b = view_of(picture(2)), view_of(jpeg(picture(2), 60))
    given = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    moved = given + 1e-5
    monkeypatch.setattr(_aligned, "_ecc", lambda *_: moved)
    for better, taken in ((1e-6, given), (1e-2, moved)):
        monkeypatch.setattr(_aligned, "_shared_edges", lambda *_, better=better: 0.9 + better)
        assert _aligned._refined(a, b, given, 0.9)[0] is taken


def test_finer_keypoints_are_sought_only_where_it_is_worth_it(monkeypatch):
    sought = []
    whole = _views.keypoints
    monkeypatch.setattr(_views, "keypoints", lambda grey, **how: sought.append(how) or whole(grey, **how))
    a, b = view_of(picture(1, 300, 400)), view_of(picture(2, 300, 400))
    assert compare(a, b)[0] is None
    assert sought == [{}, {}]
    assert compare(a, b, Way(kin=True))[0] is None
    assert len(sought) == 4 and sought[-1]["count"] > _views.POINTS
    assert a.closer is a.closer.closer and len(a.closer.points) > len(a.points)
    copy = view_of(jpeg(picture(1, 300, 400)[20:, 30:], 60))
    assert compare(a, copy, Way(mirrors=False, kin=True))[0] is not None
    assert len(sought) == 5
    flipped = view_of(np.ascontiguousarray(picture(1, 300, 400)[:, ::-1]))
    assert compare(a, flipped, Way(straight=False))[1]


def test_frames_that_do_not_agree_from_afar_are_not_laid_over_each_other():
    from curate.ops._aligned import _far, _frame_fit

    def fit(a, b):
        (bright,), (edges,) = _far(a.frame, [b.frame])
        return _frame_fit(a, b, bright, edges)

    a = view_of(picture(1))
    assert np.allclose(_far(a.frame, [a.frame]), 1, atol=1e-2)
    assert fit(a, view_of(jpeg(picture(1), 30))).score > 0.95
    assert fit(a, view_of(picture(2))) is None
    assert _frame_fit(a, a, 0.9, 0.08) is None
    assert _frame_fit(a, a, 0.19, 0.9) is None
    assert _frame_fit(a, a, 0.3, 0.1).score == 0.3
    # What stands beside a frame changes no digit.
    noise = view_of(np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8))
    others = [view_of(picture(n)).frame for n in range(7)] + [noise.frame, noise.frame.mirrored]
    for one in (a.frame, noise.frame):
        bright, by_edges = _far(one, others)
        assert list(zip(bright, by_edges, strict=True)) == [(p[0], q[0]) for p, q in (_far(one, [other]) for other in others)]
    flat = view_of(np.full((100, 100, 3), 90, np.uint8))
    assert not flat.frame.bright.any() and not flat.frame.edges.any()
    assert fit(a, flat) is None
    mirror = view_of(np.ascontiguousarray(picture(1)[:, ::-1]))
    assert np.min(_far(mirror.frame, [a.frame.mirrored])) > 0.98 > 0.5 > np.max(_far(mirror.frame, [a.frame]))


def test_an_image_is_compared_with_many_as_with_each():
    a = view_of(picture(1))
    others = [view_of(change(picture(1))) for change in COPIES.values()] + [view_of(picture(n)) for n in range(2, 6)]
    ways = [Way(straight=n % 3 != 1, mirrors=n % 3 != 2, kin=n % 2 == 0) for n in range(len(others))]
    together = compare_all(a, others, ways)
    assert sum(row is not None for row, _ in together) >= 4
    for found, b, way in zip(together, others, ways, strict=True):
        row, turned_ = compare(a, b, way)
        assert turned_ == found[1]
        assert (row is None and found[0] is None) or np.array_equal(row, found[0])


def test_what_has_little_in_common_is_not_compared_to_its_end(monkeypatch):
    a, b, small = view_of(picture(4)), view_of(jpeg(picture(4), 60)), view_of(jpeg(picture(4)[:110, :150], 60))
    many, few = (np.expm1(compare(a, other)[0][COLUMNS.index("inliers")]) for other in (b, small))
    assert many > _aligned._MANY > few
    monkeypatch.setattr(_aligned, "_USUALLY", (0.16, 0.2, 1.1))
    assert compare(a, small)[0] is None
    assert compare(a, b)[0] is not None  # so many keypoints agree that a model has to look
    # Also where it is the whole frame that agrees best.
    same = view_of(jpeg(picture(2), 70))
    row = compare(view_of(picture(2)), same)[0]
    assert row is not None
    monkeypatch.setattr(_aligned, "_MANY", 10_000)
    assert compare(view_of(picture(2)), same)[0] is None


def test_only_images_whose_edges_nearly_agree_are_refined(monkeypatch):
    refined = []
    ecc = cv2.findTransformECC
    monkeypatch.setattr(cv2, "findTransformECC", lambda *a: refined.append(1) or ecc(*a))
    scene = picture(6)
    assert compare(view_of(scene), view_of(jpeg(scene, 50)))[0] is not None
    assert len(refined) == 1
    assert compare(view_of(scene), view_of(scene[:160]))[0] is not None
    assert len(refined) == 2
    monkeypatch.setattr(_aligned, "_USUALLY", (1.1, 0.2, 0.2))
    monkeypatch.setattr(_aligned, "_SURELY", (1.1, 0.2, 0.2))
    assert compare(view_of(scene), view_of(jpeg(scene, 50)))[0] is None
    assert len(refined) == 2


def test_features_have_names_and_are_finite():
    row, mirrored = compare(view_of(picture(4)), view_of(COPIES["cropped"](picture(4))))
    assert row.shape == (len(COLUMNS),)
    assert np.isfinite(row).all()
    assert not mirrored
    assert row[COLUMNS.index("zncc")] > 0.95
    assert compare(view_of(picture(4)), view_of(np.full((100, 100, 3), 90, np.uint8)))[0] is None


def test_views_are_no_larger_than_a_thumbnail_needs_to_be():
    large = picture(4, 375, 500)
    view = view_of(large)
    assert view.size == view.rgb.shape[:2] == (240, 320)
    assert view.points[:, 0].max() < 320
    assert view_of(picture(4, 270, 360)).size == (270, 360)
    assert view_of(picture(4, 60, 80)).size == (120, 160)
    assert probability(large, COPIES["half"](large)) > 0.9
    assert probability(large, picture(5, 375, 500)) < 0.5


def test_most_strangers_are_told_apart_before_they_are_compared_closely(monkeypatch):
    closely = []
    whole = _aligned.residuals
    monkeypatch.setattr(_aligned, "residuals", lambda *pair: closely.append(pair) or whole(*pair))
    scenes = [np.ascontiguousarray(picture(n)[:140, : 140 + 8 * n]) for n in range(12)]
    assert looked_at(*scenes).probability.max() < 0.5
    assert len(closely) < 66 / 4


def test_percentiles_sums_and_tones_are_those_of_plain_arrays():
    from curate.ops._percentiles import percentiles
    from curate.ops._residual import _toned, correlation, gradient

    rng = np.random.default_rng(0)
    for values in (
        rng.normal(size=4_001).astype(np.float32),
        rng.integers(0, 9, 500, dtype=np.uint8),
        np.ones(1),
        np.arange(2.0),
    ):
        for shares in ((1, 5, 20), (50, 95, 99), (99.5,), (2,), (98,), (0,), (100,)):
            assert np.allclose(percentiles(values, shares), np.percentile(values, shares), atol=1e-5)
    a, b = (cv2.cvtColor(picture(n), cv2.COLOR_RGB2GRAY) for n in (1, 2))
    b = (0.6 * a + 0.2 * b + 9).astype(np.uint8)
    inside = np.zeros(a.shape, dtype=bool)
    inside[20:150, 30:200] = True
    x, y = a.astype(np.float32), b.astype(np.float32)
    assert abs(correlation(x, y, inside) - np.corrcoef(a[inside], b[inside])[0, 1]) < 1e-6
    assert correlation(x, np.full_like(x, 7), inside) == 0
    sides = [[cv2.Sobel(cv2.GaussianBlur(s, (0, 0), 1.0), cv2.CV_32F, *d)[inside] for d in ((1, 0), (0, 1))] for s in (x, y)]
    p, q = (np.concatenate(s).astype(np.float64) for s in sides)
    assert abs(gradient(x, y, inside) - p @ q / np.sqrt(p @ p * (q @ q))) < 1e-6
    toned, same, explained = _toned(a, b, inside)
    u, v = a[inside][::3].astype(float), b[inside][::3].astype(float)
    curve = np.polyfit(u, v, 2)
    assert np.allclose(toned, np.polyval(curve, a), atol=1e-3)
    assert abs(explained - (1 - np.square(v - np.polyval(curve, u)).mean() / v.var())) < 1e-9
    assert np.array_equal(same, y)
