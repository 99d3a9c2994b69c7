"""What is drawn to be judged by eye, and what follows from it."""

import numpy as np
import pytest
from scipy.stats import binom

from curate.errors import ConfigError
from curate.ops._audit import around, drawn, lower_bound, other_cuts, read_judgements
from curate.ops.duplicates import Duplicates, in_id_order
from tests.ops.test_duplicates import clumps, context_for, embeddings_of


@pytest.mark.parametrize(("right", "judged"), [(60, 60), (55, 60), (1, 7)])
def test_the_bound_is_where_the_result_becomes_improbable(right, judged):
    bound = lower_bound(right, judged)
    assert binom.sf(right - 1, judged, bound) == pytest.approx(0.05, abs=1e-9)
    assert bound < right / judged


def test_no_right_pair_bounds_nothing():
    assert lower_bound(0, 10) == 0.0
    with pytest.raises(ConfigError, match="impossible"):
        lower_bound(5, 3)


def test_judgements_are_counted_and_nonsense_is_named():
    rows = [{"copy": v} for v in ("yes", "no", "", "Y", "1")]
    assert read_judgements(rows) == (3, 4, 1)
    with pytest.raises(ConfigError, match=r"line 3.*'perhaps'"):
        read_judgements([{"copy": "yes"}, {"copy": "perhaps"}])


def test_pairs_are_drawn_from_decided_copies_the_same_each_time():
    ids, x = clumps()
    found = Duplicates(radius=0.05)(embeddings_of(ids, x), context_for(ids))
    first = drawn(found, 5, np.random.default_rng(3))
    assert first == drawn(found, 5, np.random.default_rng(3))
    assert len(first) == 5
    assert all(found.values["duplicate"][p["b"]] == f"copy-of/{p['a']}" for p in first)
    assert len(drawn(found, 500, np.random.default_rng(3))) == found.summary["rows"]


def test_other_cuts_remove_more_the_looser_they_are():
    ids, x = clumps(4, spread=0.3)
    op = Duplicates(radius=0.4)
    embeddings, context = in_id_order(embeddings_of(ids, x), context_for(ids))
    scored, basis = op.scored(embeddings, context)
    rows = [op.findings_of(decided, basis, embeddings, context).summary["rows"] for _, decided in other_cuts(scored, basis)]
    assert rows == sorted(rows)
    assert rows[0] < rows[-1]
    shown = around(scored, basis, embeddings.ids, 6)
    assert 0 < len(shown) <= 6
    assert all(p["decided"] == (p["distance"] <= 0.4) for p in shown)
