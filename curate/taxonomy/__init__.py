"""Taxonomies: what tags there are, what is a kind of what, and the texts that describe each of them.

    taxonomy = read_taxonomy("tags.yaml")
    for facet in taxonomy.facets.values():
        print(facet.name, len(facet), "tags", len(facet.leaves), "leaves")

Files: YAML (nested names), CSV or TSV of child-parent pairs, WordNet-style is-a files.  See docs/hierarchy.md.
"""

from curate.taxonomy._load import parse_taxonomy, read_taxonomy
from curate.taxonomy._model import DEFAULT_FACET, TEMPLATES, Facet, Taxonomy
from curate.taxonomy._records import Record, build

__all__ = [
    "DEFAULT_FACET",
    "TEMPLATES",
    "Facet",
    "Record",
    "Taxonomy",
    "build",
    "parse_taxonomy",
    "read_taxonomy",
]
