"""The open shards of a split: records by number, those that are damaged told apart from a storage
that does not answer."""

import sys
import threading
import time
from typing import Any

import numpy as np

from videobert_jax.data import index, shard_file
from videobert_jax.data.errors import ASK_STORAGE, SilentStorage
from videobert_jax.data.record import CLIPS_PER_RECORD

_WAITS = (0.1, 0.5, 2.0)  # seconds before the storage is asked again
_TOLD = 20  # damaged records of a split, that are named


class _DamagedRecord(ValueError):
    """Bytes of a record that are not those that were written."""


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

        Raises DatasetError where the shard is damaged as a whole, and SilentStorage where it is
        missing or the storage does not give it, asked often enough.
        """
        try:
            records: list[bytes | None] = list(self._ask(shard, numbers))
        except (SilentStorage, _DamagedRecord):
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
                self._open[shard] = shard_file.open_shard(path, count)
            return self._open[shard]

    def _ask(self, shard: int, numbers: list[int]) -> list[bytes]:
        """Records of a shard. Raises _DamagedRecord, and SilentStorage where asking again may help;
        then what is open is closed, for it may be a connection that is gone."""
        reader = self._reader(shard)
        try:
            return reader.read(numbers)
        except (RuntimeError, ValueError, IndexError) as error:
            if shard_file.is_damage(str(error)):
                raise _DamagedRecord(str(error)) from error
            with self._locks[shard]:
                if self._open.get(shard) is reader:
                    del self._open[shard]
            raise SilentStorage(
                f"{self._split.shard_paths[shard]}: record {numbers[0]} cannot be read ({error}); "
                f"{ASK_STORAGE}"
            ) from error

    def _read_one(self, shard: int, number: int) -> bytes | None:
        """A record, None where it is damaged. Raises SilentStorage when asked often enough."""
        silent: SilentStorage | None = None
        for wait in (0.0, *_WAITS):
            time.sleep(wait)
            try:
                (record,) = self._ask(shard, [number])
                return record
            except _DamagedRecord as damaged:
                self._tell(shard, number, str(damaged))
                return None
            except SilentStorage as error:
                silent = error
        raise SilentStorage(f"asked {1 + len(_WAITS)} times in vain: {silent}") from silent

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
