"""Errors of search indexes."""


class SearchIndexError(ValueError):
    """An index that cannot be made, changed or searched as asked. Says why, and the remedy."""


class FatalMismatch(SearchIndexError):
    """The extractor makes other features than the model knows: no video can be indexed."""
