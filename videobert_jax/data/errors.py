"""The error of datasets, and what is to be done about most of them."""

REMEDY = "restore it from a copy, or remove the dataset and prepare it anew"


class DatasetError(ValueError):
    """A dataset that is incomplete, damaged, or not a dataset at all."""
