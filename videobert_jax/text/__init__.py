"""Text in, pieces out."""
