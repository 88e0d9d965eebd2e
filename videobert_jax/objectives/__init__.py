"""Pretraining objectives, as pure functions of one block."""
