"""What is wrong with checkpoints; apart from what reads them, which imports orbax."""


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, of another model, or that could not be written."""
