"""A connector, an embedder and an op for curate."""
