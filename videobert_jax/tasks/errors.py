"""The errors of evaluations."""


class EvaluationError(ValueError):
    """An evaluation that cannot be carried out as its protocol says."""


class UntrainedHead(EvaluationError):
    """A network whose head that a task asks was never trained; another may be."""


class UnfitSplit(EvaluationError):
    """A split, or what of it is evaluated, that has not what a task needs; another may."""
