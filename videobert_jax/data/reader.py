"""Reads the clip features of a block: every record once, many calls at a time, copied once."""

import concurrent.futures
import functools

import numpy as np
from jaxtyping import Bool, Float16, Int64

from videobert_jax.data import index, packing
from videobert_jax.data.record import CLIPS_PER_RECORD
from videobert_jax.data.shards import Shards

# A float16 is NaN or infinite where all exponent bits are 1: the largest bit patterns of each
# sign. Two integer maxima find them 20 times faster than `isfinite`, which converts to float32.
_POSITIVE_INFINITY, _NEGATIVE_INFINITY = 0x7C00, 0xFC00
_CHECKED_AT_A_TIME = 1 << 18  # values; half a megabyte


class ClipReader:
    """Random access to the clip features of a split. Threads may share it; pickles without its
    open files.

    parallel_reads: calls under way at a time. The records of one call stand in one shard, and a
    block's in hundreds: where a store answers late, calls after one another would be the block's
    time.
    """

    def __init__(self, split: index.Split, parallel_reads: int):
        self._split, self._parallel_reads = split, parallel_reads
        self._shards = Shards(split)
        self._threads = concurrent.futures.ThreadPoolExecutor(
            parallel_reads, thread_name_prefix="read"
        )

    def __reduce__(self):
        return ClipReader, (self._split, self._parallel_reads)

    def read_into(
        self,
        out: Float16[np.ndarray, "n c"],
        destinations: Int64[np.ndarray, " e"],
        videos: Int64[np.ndarray, " e"],
        first_clips: Int64[np.ndarray, " e"],
        counts: Int64[np.ndarray, " e"],
    ) -> Bool[np.ndarray, " e"]:
        """Damaged runs, those with NaN, infinite or unreadable features; fills `out`, damaged runs
        with 0.

        Run i is clips `first_clips[i]` to `first_clips[i] + counts[i]` of video `videos[i]`, at
        rows `destinations[i]` and on. A record is unreadable where its checksum is another one, and
        where it is another record than belongs there; the first of them are told on standard error.
        Raises DatasetError where a shard is missing or cannot be read at all.
        """
        if out.dtype != np.dtype("<f2") or not out.flags.c_contiguous:
            raise ValueError(f"features go to a contiguous float16 array, not {out.dtype}")
        damaged = np.zeros(len(counts), np.bool_)
        first_records = first_clips // CLIPS_PER_RECORD
        last_records = (first_clips + counts - 1) // CLIPS_PER_RECORD
        owners, number = packing.spread(np.where(counts > 0, last_records - first_records + 1, 0))
        if not len(owners):
            return damaged
        # The piece of a run that lies in one record: clips [begins, ends) of its video.
        in_video = first_records[owners] + number
        begins = np.maximum(first_clips[owners], in_video * CLIPS_PER_RECORD)
        ends = np.minimum((first_clips + counts)[owners], (in_video + 1) * CLIPS_PER_RECORD)
        rows = destinations[owners] + begins - first_clips[owners]
        records = self._split.record_start[videos[owners]] + in_video
        self._require_inside(records)
        by_record = np.argsort(records, kind="stable")
        places = begins - in_video * CLIPS_PER_RECORD
        pieces = np.stack([owners, rows, places, ends - begins, records, videos[owners], in_video])[
            :, by_record
        ]
        read = functools.partial(self._read_pieces, out=out)
        if self._parallel_reads == 1:
            damaged[read(pieces)] = True
        else:
            for lost in self._threads.map(read, _parts(pieces, self._parallel_reads)):
                damaged[lost] = True
        if damaged.any() or not _all_finite(out):
            for run, (row, count) in enumerate(zip(destinations, counts, strict=True)):
                damaged[run] |= not _all_finite(out[row : row + count])
                if damaged[run]:
                    out[row : row + count] = 0
        return damaged

    def _require_inside(self, records: Int64[np.ndarray, " p"]) -> None:
        """Raises DatasetError where the index names records that there are not."""
        there = int(self._split.shard_starts[-1])
        if records.min() < 0 or records.max() >= there:
            raise index.DatasetError(
                f"{self._split.path}: the index of split {self._split.name} names record "
                f"{int(records.max())} of {there}; it is damaged: {index.REMEDY}"
            )

    def _read_pieces(
        self, pieces: Int64[np.ndarray, "7 p"], out: Float16[np.ndarray, "n c"]
    ) -> list[int]:
        """Owners of pieces that cannot be read; fills `out` with the others, which come in the
        order of their records, one call a shard."""
        lost: list[int] = []
        starts = self._split.shard_starts
        borders = np.searchsorted(pieces[4], starts)
        for shard in np.flatnonzero(np.diff(borders)).tolist():
            within = pieces[:, borders[shard] : borders[shard + 1]]
            lost += self._read_shard(shard, int(starts[shard]), within, out)
        return lost

    def _read_shard(
        self,
        shard: int,
        first_record: int,
        pieces: Int64[np.ndarray, "7 p"],
        out: Float16[np.ndarray, "n c"],
    ) -> list[int]:
        form, lost = self._split.record_format, []
        numbers, firsts, which = np.unique(
            pieces[4] - first_record, return_index=True, return_inverse=True
        )
        records = self._shards.read(shard, numbers.tolist(), *pieces[5:, firsts])
        owners, rows, places, lengths = pieces[:4].tolist()
        # Copies of views keep the interpreter's lock; those of arrays would give it away each
        # time, and threads would do little but hand it over.
        into, clip = out.reshape(-1).view(np.uint8).data, out.shape[1] * out.itemsize
        for owner, row, place, length, i in zip(
            owners, rows, places, lengths, which.tolist(), strict=True
        ):
            record = records[i]
            if record is None:
                lost.append(owner)
                # the memory was never filled, and zeros are no damage of their own
                into[row * clip : (row + length) * clip] = bytes(length * clip)
                continue
            begin = form.features_offset + place * clip
            piece = memoryview(record)[begin : begin + length * clip]
            into[row * clip : (row + length) * clip] = piece
        return lost


def _parts(pieces: Int64[np.ndarray, "7 p"], count: int) -> list[Int64[np.ndarray, "7 _"]]:
    """Pieces in at most `count` parts of about as many records, each record in one part."""
    firsts = np.flatnonzero(np.diff(pieces[4], prepend=-1))
    chosen = np.arange(min(count, len(firsts))) * len(firsts) // min(count, len(firsts))
    return np.split(pieces, firsts[chosen[1:]], axis=1)


def _all_finite(features: Float16[np.ndarray, "n c"]) -> bool:
    """Whether no value is NaN or infinite; rows go through the cache a few at a time."""
    flat = features.reshape(-1)
    for begin in range(0, flat.size, _CHECKED_AT_A_TIME):
        values = flat[begin : begin + _CHECKED_AT_A_TIME]
        if values.view(np.int16).max() >= _POSITIVE_INFINITY:
            return False
        if values.view(np.uint16).max() >= _NEGATIVE_INFINITY:
            return False
    return True
