"""The open shards of a split: records by number, those that are damaged told apart from a storage
that does not answer."""

import sys
import threading
import time
from typing import Any

import numpy as np

from videobert_jax.data import index
from videobert_jax.data.record import CLIPS_PER_RECORD

# What the library says of bytes that are not those that were written. Anything else it says is of
# the storage: that is asked again, and damage is not.
_DAMAGE = (
    "Corrupted",
    "hash mismatch",
    "Truncated",
    "DATA_LOSS",
    "not valid",
    "Invalid",
    "Malformed",
)
_WAITS = (0.1, 0.5, 2.0)  # seconds before the storage is asked again
_TOLD = 20  # damaged records of a split, that are named


class Shards:
    """Random access to the records of a split. Threads may share it."""

    def __init__(self, split: index.Split):
        self._split = split
        self._open: dict[int, Any] = {}  # of array_record
        # A lock a shard: opening takes several reads, and others need not wait for it.
        self._locks = [threading.Lock() for _ in split.shard_paths]
        self._told: set[tuple[int, int]] = set()

    def read(
        self, shard: int, numbers: list[int], videos: np.ndarray, in_video: np.ndarray
    ) -> list[bytes | None]:
        """Records `numbers` of a shard; None for one that is damaged, or another record than
        number `in_video` of the video of that number.

        Raises DatasetError where the shard is missing, or the storage does not give it.
        """
        try:
            records: list[bytes | None] = list(self._reader(shard).read(numbers))
        except (RuntimeError, ValueError, IndexError) as error:
            if isinstance(error, index.DatasetError):
                raise
            records = [self._read_one(shard, number) for number in numbers]
        split, form = self._split, self._split.record_format
        for place, record in enumerate(records):
            video, first = int(videos[place]), int(in_video[place]) * CLIPS_PER_RECORD
            count = min(int(split.num_clips[video]) - first, CLIPS_PER_RECORD)
            if record is not None and not form.holds(record, video, first, count):
                self._tell(shard, numbers[place], f"it is not clips {first} on of video {video}")
                records[place] = None
        return records

    def _reader(self, shard: int) -> Any:
        with self._locks[shard]:
            if shard not in self._open:
                path, count = self._split.shard_paths[shard], self._split.shard_records[shard]
                self._open[shard] = index.open_shard(path, count)
            return self._open[shard]

    def _read_one(self, shard: int, number: int) -> bytes | None:
        """A record, None where it is damaged. Raises DatasetError where the storage is silent."""
        error: Exception | None = None
        for wait in (0.0, *_WAITS):
            time.sleep(wait)
            try:
                (record,) = self._reader(shard).read([number])
                return record
            except (RuntimeError, ValueError, IndexError) as found:
                if isinstance(found, index.DatasetError):
                    raise
                error = found
            if any(said in str(error) for said in _DAMAGE):
                self._tell(shard, number, str(error))
                return None
            with self._locks[shard]:
                self._open.pop(shard, None)  # what is open may be a connection that is gone
        raise index.DatasetError(
            f"{self._split.shard_paths[shard]}: record {number} cannot be read, asked "
            f"{1 + len(_WAITS)} times ({error}); see whether the storage answers: the same command "
            "goes on then"
        ) from error

    def _tell(self, shard: int, number: int, reason: str) -> None:
        """Names a damaged record on standard error, once."""
        if (shard, number) in self._told or len(self._told) >= _TOLD:
            return
        self._told.add((shard, number))
        print(
            f"{self._split.shard_paths[shard]}: record {number} is damaged ({reason:.200}); its "
            "examples weigh nothing. `videobert verify` names all damage; restore the shard or "
            "prepare the dataset anew",
            file=sys.stderr,
            flush=True,
        )
