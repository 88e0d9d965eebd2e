"""Moments of many videos, found by a sentence: a folder of vectors on disk, and its search."""

from videobert_jax.search_index.errors import SearchIndexError
from videobert_jax.search_index.index import Index
from videobert_jax.search_index.moments import Hit

__all__ = ["Hit", "Index", "SearchIndexError"]
