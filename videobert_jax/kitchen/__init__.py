"""A procedurally drawn, narrated cooking world: the corpus that ships with the package."""
