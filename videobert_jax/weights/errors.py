"""Errors of weights files."""


class WeightsError(ValueError):
    """A weights file is not what the network needs."""
