"""The errors of evaluations."""


class EvaluationError(ValueError):
    """An evaluation that cannot be carried out as its protocol says."""


class UnfitSplit(EvaluationError):
    """A split, or what of it is evaluated, that has not what a task needs; another may."""
