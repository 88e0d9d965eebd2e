"""The errors of datasets, and what is to be done about most of them."""

REMEDY = "restore it from a copy, or remove the dataset and prepare it anew"
ASK_STORAGE = "see whether the storage answers: the same command goes on then"


class DatasetError(ValueError):
    """A dataset that is incomplete, damaged, or not a dataset at all."""


class SilentStorage(DatasetError):
    """A storage that does not give a dataset's file. Asked again, it may."""
