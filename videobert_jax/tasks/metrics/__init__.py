"""Metrics over NumPy arrays; no model, no file."""
