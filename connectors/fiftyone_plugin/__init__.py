"""The FiftyOne plugin of curate."""
