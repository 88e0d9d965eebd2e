"""What checkpoints are called on command lines: WORKDIR, WORKDIR@STEP, WORKDIR@best."""

BEST = "best"  # the step that training.best_metric chose


def split(name: str) -> tuple[str, str | None]:
    """(folder; digits of a step, BEST, or None where the name has neither behind an @)."""
    folder, at, step = name.rpartition("@")
    if at and (step == BEST or step.isdigit()):
        return folder, step
    return name, None
