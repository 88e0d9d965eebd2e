"""What is wrong with an export."""


class ExportError(ValueError):
    """A folder that is no export, is a damaged one, or must not be overwritten; a network that a
    format cannot hold."""
