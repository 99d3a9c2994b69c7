"""The public contract suite: what a connector, an embedder and an op must do, as functions that a third party's tests call.

    from curate.testing import check_embedder
    def test_my_embedder():
        check_embedder(MyEmbedder())

Each check raises AssertionError with one sentence that names the broken demand.  `FakeConnector` and `FakeEmbedder` pass the
checks and have knobs for failure, to test what is built on top of a connector or embedder.
"""

from __future__ import annotations

from curate.testing._connector import check_connector
from curate.testing._embedder import check_embedder, sample_images, sample_texts
from curate.testing._fakes import Crash, FakeConnector, FakeEmbedder
from curate.testing._op import check_op, make_context, sample_embeddings

__all__ = [
    "Crash",
    "FakeConnector",
    "FakeEmbedder",
    "check_connector",
    "check_embedder",
    "check_op",
    "make_context",
    "sample_embeddings",
    "sample_images",
    "sample_texts",
]
