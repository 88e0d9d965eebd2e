"""Configurations: `base` holds every field, the others are diffs on it."""
