"""One record of clip features: a `tf.train.Example` whose bytes stand at fixed places.

A record holds 16 consecutive clip features of one video; the last record of a video is filled up
with zeros and `num_clips` says how many are real. Every record of a dataset has the same length
and the features lie at one offset, so that a reader takes them with `np.frombuffer` and needs
neither TensorFlow nor protobuf; tfds reads the same bytes as an Example. The integers are stored
as eight raw bytes for that reason: as varints their length would change with their value.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float16, Int64

CLIPS_PER_RECORD = 16
FEATURES, NUM_CLIPS, FIRST_CLIP, VIDEO = "features", "num_clips", "first_clip", "video"
_INTEGERS = (VIDEO, FIRST_CLIP, NUM_CLIPS)
# Tags of the protobuf fields in Example -> Features -> map entry -> Feature -> BytesList.
_FIRST_FIELD, _SECOND_FIELD = b"\x0a", b"\x12"


class RecordError(ValueError):
    """A record of another length or form than its dataset says."""


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field_head(tag: bytes, length: int) -> bytes:
    return tag + _varint(length)


def _entry_head(key: str, length: int) -> bytes:
    """What stands before `length` raw bytes, as one entry of an Example's map of features."""
    values = _field_head(_FIRST_FIELD, length)
    values_list = _field_head(_FIRST_FIELD, len(values) + length) + values
    feature = _field_head(_SECOND_FIELD, len(values_list) + length) + values_list
    name = _field_head(_FIRST_FIELD, len(key)) + key.encode()
    return _field_head(_FIRST_FIELD, len(name) + len(feature) + length) + name + feature


@dataclasses.dataclass(frozen=True)
class RecordFormat:
    """Where things are in the records of features `[16, dim]` float16.

    num_bytes: length of every record; features_offset: where the features begin.
    """

    dim: int

    @functools.cached_property
    def num_features_bytes(self) -> int:
        return CLIPS_PER_RECORD * self.dim * 2

    @functools.cached_property
    def _head(self) -> bytes:
        head = _entry_head(FEATURES, self.num_features_bytes)
        rest = sum(len(_entry_head(key, 8)) + 8 for key in _INTEGERS)
        return _field_head(_FIRST_FIELD, len(head) + self.num_features_bytes + rest) + head

    @functools.cached_property
    def features_offset(self) -> int:
        return len(self._head)

    @functools.cached_property
    def num_bytes(self) -> int:
        rest = sum(len(_entry_head(key, 8)) + 8 for key in _INTEGERS)
        return self.features_offset + self.num_features_bytes + rest

    @functools.cached_property
    def _integer_offsets(self) -> dict[str, int]:
        offset, offsets = self.features_offset + self.num_features_bytes, {}
        for key in _INTEGERS:
            offset += len(_entry_head(key, 8))
            offsets[key] = offset
            offset += 8
        return offsets

    def serialise(self, features: Float16[np.ndarray, "n c"], video: int, first_clip: int) -> bytes:
        """Record of up to 16 clip features of `video` from clip `first_clip` on.

        Raises RecordError when there are none or more than 16, or their size is not `dim`.
        """
        num_clips, dim = features.shape
        if not 0 < num_clips <= CLIPS_PER_RECORD or dim != self.dim:
            raise RecordError(
                f"features of shape {list(features.shape)}, expected 1 to {CLIPS_PER_RECORD} clips "
                f"of {self.dim}"
            )
        parts = [self._head, features.astype("<f2").tobytes()]
        parts.append(bytes((CLIPS_PER_RECORD - num_clips) * dim * 2))
        values = {VIDEO: video, FIRST_CLIP: first_clip, NUM_CLIPS: num_clips}
        for key in _INTEGERS:
            parts.append(_entry_head(key, 8) + values[key].to_bytes(8, "little", signed=True))
        return b"".join(parts)

    def check(self, record: bytes) -> None:
        """Raises RecordError unless `record` has the length and the head of this format."""
        if len(record) != self.num_bytes or not record.startswith(self._head):
            raise RecordError(
                f"a record of {len(record)} bytes beginning {record[:8].hex()}, expected "
                f"{self.num_bytes} beginning {self._head[:8].hex()} (features of {self.dim} "
                "dimensions); the shard is damaged or of another dataset: prepare it anew"
            )

    def holds(self, record: bytes, video: int, first_clip: int, num_clips: int) -> bool:
        """Whether `record` is of this form, and has these clips of this video."""
        said = ((VIDEO, video), (FIRST_CLIP, first_clip), (NUM_CLIPS, num_clips))
        return (
            len(record) == self.num_bytes
            and record.startswith(self._head)
            and all(
                record[(at := self._integer_offsets[key]) : at + 8]
                == value.to_bytes(8, "little", signed=True)
                for key, value in said
            )
        )

    def features(self, records: Sequence[bytes]) -> Float16[np.ndarray, "n clips c"]:
        """Features `[records, 16, dim]` of records, zeros behind a video's last clip.

        Raises RecordError on a record of another form.
        """
        for record in records:
            self.check(record)
        table = np.frombuffer(b"".join(records), np.uint8).reshape(len(records), self.num_bytes)
        start = self.features_offset
        flat = np.ascontiguousarray(table[:, start : start + self.num_features_bytes])
        return flat.view("<f2").reshape(len(records), CLIPS_PER_RECORD, self.dim)

    def integers(self, record: bytes) -> Int64[np.ndarray, "3"]:
        """(video, first clip, number of real clips) of a record; raises RecordError."""
        self.check(record)
        places = (self._integer_offsets[key] for key in _INTEGERS)
        return np.array([np.frombuffer(record, "<i8", 1, place)[0] for place in places])
