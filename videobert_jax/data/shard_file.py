"""A shard, opened: one that is damaged told apart from a storage that does not answer."""

from typing import Any

from videobert_jax.data.errors import ASK_STORAGE, REMEDY, DatasetError, SilentStorage
from videobert_jax.files import extras, storage

_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # fastest for random access
# What array_record says of bytes that are not those that were written. Anything else it says is of
# the storage: that is asked again, and damage is not.
_DAMAGE = (
    "Corrupted",
    "hash mismatch",
    "Truncated",
    "DATA_LOSS",
    "not valid",
    "Invalid",
    "Malformed",
    "should be at least 64KB",
)


def is_damage(said: str) -> bool:
    """Whether what array_record says of a file is said of its bytes."""
    return any(words in said for words in _DAMAGE)


def open_shard(path: storage.Path, expected: int) -> Any:
    """array_record's random-access reader of a shard of `expected` records.

    Raises DatasetError where the shard holds something else, SilentStorage where it is missing or
    the storage does not give it, MissingExtra where array_record is absent.
    """
    module: Any = extras.require("array_record.python.array_record_module", "train")
    try:
        size = storage.size(path)
    except FileNotFoundError as error:
        raise SilentStorage(
            f"{path}: the shard is missing, expected {expected} records; see whether its storage "
            f"is there, else {REMEDY}"
        ) from error
    except OSError as error:
        said = f"{path}: the shard cannot be opened ({error}); {ASK_STORAGE}"
        raise SilentStorage(said) from error
    found, reason = 0, ""
    try:
        reader = module.ArrayRecordReader(str(path), _OPTIONS)
        if reader.ok() and (found := reader.num_records()) == expected:
            return reader
        if not reader.ok():
            reader.read([0])  # why it could not be opened is said to who reads, not to who opens
    except (RuntimeError, ValueError, IndexError) as error:
        reason = f" ({error})"
    if reason and not is_damage(reason):
        raise SilentStorage(f"{path}: the shard cannot be opened{reason}; {ASK_STORAGE}")
    raise DatasetError(
        f"{path}: {size} bytes with {found} readable records, expected {expected}: truncated or "
        f"damaged{reason}; {REMEDY}"
    )
