"""A package of one's own that extends videobert_jax without a fork (docs/extending.md)."""
