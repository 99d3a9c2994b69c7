"""Copies among texts: shared words, or a near vector."""

import itertools
import sys

import numpy as np
import pytest

from curate.errors import MissingExtra
from curate.ops._texts import shingles, similar_texts
from curate.ops.duplicates import Duplicates
from curate.types import EmbedderSpec, Embeddings
from tests.ops.test_duplicates import context_for

WORDS = [f"word{n}" for n in range(200)]


def corpus():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 60)) for _ in range(30)]
    for n in range(6):
        words = texts[n].split()
        words[30] = "changed"
        texts.append(" ".join(words))
    return texts


def test_texts_that_share_their_words_are_found():
    pytest.importorskip("datasketch")
    texts = corpus()
    i, j, share = similar_texts([*texts, None, ""])
    sets = [shingles(t) for t in texts]
    exact = [
        (a, b)
        for a, b in itertools.combinations(range(len(texts)), 2)
        if len(sets[a] & sets[b]) / len(sets[a] | sets[b]) >= 0.7
    ]
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == exact == [(n, 30 + n) for n in range(6)]
    assert (share >= 0.7).all()


def test_text_rows_are_copies_by_words_or_by_distance():
    pytest.importorskip("datasketch")
    texts = corpus()
    ids = [f"t{n:02d}" for n in range(len(texts))]
    x = np.random.default_rng(1).normal(size=(len(texts), 32)).astype(np.float32)
    x[20] = x[21]
    rows = Embeddings(ids, x, EmbedderSpec("minilm", "", "", 32, "cosine", media="text"))
    found = Duplicates()(rows, context_for(ids, text=texts))
    copies = {c["id"]: g["keep"] for g in found.evidence["groups"] for c in g["copies"]}
    assert copies == {**{f"t{30 + n}": f"t{n:02d}" for n in range(6)}, "t21": "t20"}
    without = Duplicates()(rows, context_for(ids))
    assert without.values["duplicate"] == {"t20": "kept", "t21": "copy-of/t20"}


def test_without_datasketch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(MissingExtra, match=r"curate-vision\[text\]"):
        similar_texts(["a", "b"])
