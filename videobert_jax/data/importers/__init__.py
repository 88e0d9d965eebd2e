"""Clip features that others have published, one reader a layout."""

from videobert_jax.data.importers.layouts import LAYOUTS, open_source
from videobert_jax.data.importers.source import FeatureError, FeatureSource, Settings

__all__ = ["LAYOUTS", "FeatureError", "FeatureSource", "Settings", "open_source"]
