"""Neighbours over plain arrays: every pair within a radius, the k nearest, and a kept index for search.

An index only proposes; every distance that leaves this package was computed by `Geometry.distance`.
"""

from curate.index._kept import KeptIndex
from curate.index._nearest import ExactIndex, nearest
from curate.index._within import STRATEGIES, Pairs, neighbours_within

__all__ = ["STRATEGIES", "ExactIndex", "KeptIndex", "Pairs", "nearest", "neighbours_within"]
