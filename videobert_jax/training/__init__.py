"""Optimizer, state, steps, checkpoints and the loop."""
