"""Judgements over vectors: pure, seeded, independent of the order of rows."""
