"""Measurements against other people's code. Each writes one JSON record with its hardware."""
