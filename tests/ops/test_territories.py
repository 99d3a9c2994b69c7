"""A set that holds photographs and look-alikes: the share of copies is found for each by itself."""

import numpy as np

from curate.ops._pixels import Candidates, adapted, cut_for

RNG = np.random.default_rng(0)


def pairs_of(i, j):
    return Candidates(i, j, np.ones(len(i), dtype=bool), np.zeros(len(i), dtype=bool))


def mixed():
    """20 rows in pairs of true copies, 30 rows that all resemble each other, as a verifier in doubt sees them."""
    pairs = [(2 * k, 2 * k + 1, RNG.uniform(0.97, 0.998)) for k in range(10)]
    alike = range(20, 50)
    pairs += [(a, b, float(RNG.beta(1, 3) * 0.9 + 0.03)) for a in alike for b in alike if a < b]
    i, j, p = (np.array(column) for column in zip(*pairs, strict=True))
    return pairs_of(i, j), p


def test_look_alikes_do_not_take_the_photographs_with_them():
    pairs, p = mixed()
    found = adapted(pairs, p)
    decided = found >= cut_for(found, 0.99)
    assert decided[:10].all()
    assert decided[10:].sum() == 0


def test_nothing_in_doubt_is_left_as_it_is():
    pairs = pairs_of(np.array([0]), np.array([1]))
    assert adapted(pairs, np.array([0.001]))[0] == 0.001


def test_the_order_of_pairs_does_not_matter():
    pairs, p = mixed()
    turn = RNG.permutation(len(p))
    turned = adapted(pairs_of(pairs.i[turn], pairs.j[turn]), p[turn])
    np.testing.assert_allclose(turned, adapted(pairs, p)[turn], atol=1e-12)


def test_among_nothing_but_copies_an_unlikely_pair_stays_none():
    p = np.r_[np.full(400, 0.997), 0.021]
    pairs = pairs_of(np.arange(0, 802, 2), np.arange(1, 802, 2))
    found = adapted(pairs, p)
    assert found[:400].min() > 0.997
    assert found[400] < 0.5
