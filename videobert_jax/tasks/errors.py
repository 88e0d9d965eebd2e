"""The error of evaluations."""


class EvaluationError(ValueError):
    """An evaluation that cannot be carried out as its protocol says."""
