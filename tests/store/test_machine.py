"""Any sequence of listings, embeddings, failures, crashes and clean-ups agrees with a dictionary."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from curate.store import Store, _upkeep
from curate.types import EmbedderSpec, Failure, Item
from tests.store.conftest import batch, vector_of

DATASET = "folder:machine"
SPEC = EmbedderSpec("pixels", "", "grid", 3, "euclidean")
IDS = ["a", "b\n", "ü", "\U0001f600", "e'", "f", "g", "h"]
ROWS = st.dictionaries(st.sampled_from(IDS), st.sampled_from(["v1", "v2", "v3"]))


class StoreMachine(RuleBasedStateMachine):
    """live: id -> version.  done: (id, version) with a vector.  failed: (id, version) -> retry."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(Path(self.folder.name), write=True, create=True)
        self.live, self.done, self.failed = {}, set(), {}

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    @rule(rows=ROWS, complete=st.booleans())
    def list_rows(self, rows, complete):
        listing = self.store.begin_listing(DATASET)
        for item_id, version in rows.items():
            listing.add([Item(item_id, item_id, version)])
        counts = listing.finish(complete=complete)
        assert counts.new == len(rows.keys() - self.live.keys())
        assert counts.changed == sum(1 for i, v in rows.items() if i in self.live and self.live[i] != v)
        assert counts.retired == (len(self.live.keys() - rows.keys()) if complete else 0)
        self.live = dict(rows) if complete else {**self.live, **rows}

    @rule(rows=ROWS)
    def abandon_listing(self, rows):
        with self.store.begin_listing(DATASET) as listing:
            listing.add([Item(i, i, v) for i, v in rows.items()])

    @rule(count=st.integers(0, 4), fail=st.booleans(), retry=st.booleans(), codec=st.sampled_from(["f32", "f16"]))
    def embed(self, count, fail, retry, codec):
        todo = self.store.missing(DATASET, SPEC)[:count]
        bad, good = (todo[:1], todo[1:]) if fail else ([], todo)
        if not todo:
            return
        failures = [Failure(i.id, i.version, "truncated", retry=retry) for i in bad]
        self.store.append(DATASET, SPEC, batch(good, failures=failures, dim=3), codec=codec)
        for item in good:
            self.done.add((item.id, item.version))
            self.failed.pop((item.id, item.version), None)
        self.failed |= {(f.id, f.version): f.retry for f in failures}

    @precondition(lambda self: self.done)
    @rule(codec=st.sampled_from(["f32", "f16"]))
    def rewrite(self, codec):
        self.store.rewrite(DATASET, SPEC.fingerprint, codec)

    @rule()
    def merge(self):
        many, _upkeep.MANY = _upkeep.MANY, 1
        try:
            _upkeep.merge_small(self.store._vectors, DATASET, SPEC.fingerprint)
        finally:
            _upkeep.MANY = many

    @rule()
    def prune(self):
        self.store.prune()
        self.done = {(i, v) for i, v in self.done if self.live.get(i) == v}
        self.failed = {(i, v): retry for (i, v), retry in self.failed.items() if self.live.get(i) == v}

    @rule()
    def crash(self):
        self.store._lock.release()
        dead = self.store
        self.store = Store.open(Path(self.folder.name), write=True)
        dead._db._db.close()

    @invariant()
    def agrees(self):
        if not hasattr(self, "store"):
            return
        assert {i.id: i.version for i in self.store.items(DATASET)} == self.live
        assert [i.id for i in self.store.items(DATASET)] == sorted(self.live)
        have = {(i, v) for i, v in self.live.items() if (i, v) in self.done}
        missing = {(i, v) for i, v in self.live.items() if (i, v) not in self.done and self.failed.get((i, v), True)}
        assert {(i.id, i.version) for i in self.store.missing(DATASET, SPEC)} == missing
        assert self.store.embedded_ids(DATASET, SPEC.fingerprint) == sorted(i for i, _ in have)
        failed = {(i, v): r for (i, v), r in self.failed.items() if self.live.get(i) == v}
        assert {(f.id, f.version): f.retry for f in self.store.failures(DATASET, SPEC.fingerprint)} == failed
        if self.done or self.failed:
            found = self.store.embeddings(DATASET, SPEC.fingerprint)
            for item_id, vector in zip(found.ids, found.vectors, strict=True):
                np.testing.assert_allclose(vector, vector_of(item_id, self.live[item_id], 3), atol=2e-3)
        assert self.store.verify() == []


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
