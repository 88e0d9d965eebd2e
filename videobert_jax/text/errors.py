"""Errors of tokenizers."""


class TokenizerError(ValueError):
    """A tokenizer that is damaged or not one that a run can use, or no text to learn."""
