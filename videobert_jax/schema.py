"""Names, shapes and dtypes that every part shares: the batch and the feature contract.

Letters: r rows of a block, e examples a row, t text length, v video length, m slots, c feature dim,
u target length.
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

PADDING_EXAMPLE = -1  # example id of a place in a block that holds no example
NO_SEGMENT = 0  # segment id of padding; examples of a row are numbered from 1
NO_LABEL = -1  # of an example without one, and of a clip of which it is not told what it shows
NO_ANSWER = -1  # of an example without an answer that the answer head tells
UNKNOWN = "unknown"
EMBEDDED = ("kitchen", "kitchen_captions", "kitchen_qa")  # datasets drawn by this package
SPECIAL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # the first piece ids, no words


@dataclasses.dataclass(frozen=True)
class RowShape:
    """Sizes of one packed row; everything static about a batch but its number of rows."""

    examples: int
    text_length: int
    video_length: int
    masked_text: int
    masked_video: int
    feature_dim: int
    weighted_text: int  # text_length where words are weighted, else 0
    target_length: int  # 0: no captions to write
    answered: int  # examples where their answers are told, else 0
    labelled: int  # video_length where the labels of clips are told, else 0


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Batch:
    """What the model is trained on. One block is `[r, ...]`; a global batch is `[k, r, ...]`.

    `text_ids` are corrupted already (BERT's 80/10/10), `video_features` are not: the model replaces
    the masked ones, and the targets of masked video modelling are the uncorrupted inputs.
    A slot with weight 0 points at position 0 and is unused. `pair_weights` is 1 where both sides
    are present and neither is wholly masked. `word_weights` share a content word's weight among its
    pieces, and are 0 at other words and hidden ones; `[r, 0]` without the objective that takes
    them. Arrays of a host block are NumPy's, else jax's.
    """

    text_ids: Any  # int32 [r, t]
    text_segment_ids: Any  # int32 [r, t]
    text_positions: Any  # int32 [r, t], from 0 in each example
    video_features: Any  # float16 [r, v, c]
    video_segment_ids: Any  # int32 [r, v]
    video_positions: Any  # int32 [r, v], from 0 in each example
    video_masked: Any  # bool [r, v]
    text_slots: Any  # int32 [r, m], position in the row
    text_targets: Any  # int32 [r, m]
    text_slot_weights: Any  # float32 [r, m]
    word_weights: Any  # float32 [r, t] or [r, 0]
    video_slots: Any  # int32 [r, m]
    video_slot_weights: Any  # float32 [r, m]
    example_ids: Any  # int32 [r, e], PADDING_EXAMPLE where there is none
    video_ids: Any  # int32 [r, e]
    clip_indices: Any  # int32 [r, e], the example's first clip within its video
    clip_steps: Any  # int32 [r, e], from one of its clips to the next; 1 unless subsampled
    caption_hashes: Any  # uint32 [r, e], 0 where there is no caption
    pair_weights: Any  # float32 [r, e]
    target_ids: Any  # int32 [r, u], captions to write: the pieces of each, then [SEP]
    target_segment_ids: Any  # int32 [r, u]
    target_positions: Any  # int32 [r, u], from 0 in each example
    target_shown: (
        Any  # bool [r, e], the text is the caption to write, with nothing hidden; or [r, 0]
    )
    answers: Any  # int32 [r, e], NO_ANSWER where there is none; or [r, 0]
    clip_labels: Any  # int32 [r, v], that of no step behind those of steps, or NO_LABEL; or [r, 0]


def batch_fields(shape: RowShape) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Field name -> (shape of one row, dtype)."""
    text, video, example = (shape.text_length,), (shape.video_length,), (shape.examples,)
    words, clips, target = (shape.masked_text,), (shape.masked_video,), (shape.target_length,)
    return {
        "text_ids": (text, np.int32),
        "text_segment_ids": (text, np.int32),
        "text_positions": (text, np.int32),
        "video_features": ((*video, shape.feature_dim), np.float16),
        "video_segment_ids": (video, np.int32),
        "video_positions": (video, np.int32),
        "video_masked": (video, np.bool_),
        "text_slots": (words, np.int32),
        "text_targets": (words, np.int32),
        "text_slot_weights": (words, np.float32),
        "word_weights": ((shape.weighted_text,), np.float32),
        "video_slots": (clips, np.int32),
        "video_slot_weights": (clips, np.float32),
        "example_ids": (example, np.int32),
        "video_ids": (example, np.int32),
        "clip_indices": (example, np.int32),
        "clip_steps": (example, np.int32),
        "caption_hashes": (example, np.uint32),
        "pair_weights": (example, np.float32),
        "target_ids": (target, np.int32),
        "target_segment_ids": (target, np.int32),
        "target_positions": (target, np.int32),
        "target_shown": (example if shape.target_length else (0,), np.bool_),
        "answers": ((shape.answered,), np.int32),
        "clip_labels": ((shape.labelled,), np.int32),
    }


def batch_structs(shape: RowShape, blocks: int, rows: int) -> Batch:
    """Batch of `ShapeDtypeStruct` `[blocks, rows, ...]`."""
    return Batch(
        **{
            name: jax.ShapeDtypeStruct((blocks, rows, *sizes), dtype)
            for name, (sizes, dtype) in batch_fields(shape).items()
        }
    )


def zero_block(shape: RowShape, rows: int) -> Batch:
    """Block of NumPy zeros `[rows, ...]` whose places are all padding; to be filled."""
    fields = {
        name: np.zeros((rows, *sizes), dtype)
        for name, (sizes, dtype) in batch_fields(shape).items()
    }
    fields["example_ids"][:] = PADDING_EXAMPLE
    fields["clip_steps"][:] = 1
    fields["answers"][:] = NO_ANSWER
    fields["clip_labels"][:] = NO_LABEL
    return Batch(**fields)


def zero_batch(shape: RowShape, blocks: int, rows: int) -> Batch:
    """Batch of NumPy zeros `[blocks, rows, ...]` whose places are all padding."""
    block = zero_block(shape, rows)
    return jax.tree.map(lambda x: np.broadcast_to(x, (blocks, *x.shape)).copy(), block)


_NUMBER, _NONE = (int, float), (type(None),)
_CONTRACT_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("backbone", "weights_sha256", "layer", "crop", "dtype"), (str,)),
    "dim": (int,),
    "fps": _NUMBER + _NONE,
    "frames_per_clip": (int, *_NONE),
    "stride_seconds": _NUMBER,
    "normalised": (bool,),
}


class ContractMismatch(ValueError):
    """Features were made in another way than those the model knows."""


@dataclasses.dataclass(frozen=True)
class FeatureContract:
    """How clip features were made. `dim`, `stride_seconds`, `normalised` must be known.

    Strings may be "unknown", numbers None where the source does not say.
    """

    backbone: str  # of `weights.backbones`, a dotted path, or what the source calls it
    weights_sha256: str  # of the backbone's file
    layer: str  # whose output a feature is
    dim: int
    fps: float | None  # at which frames were taken, a second
    frames_per_clip: int | None  # that a feature is of
    stride_seconds: float  # between the starts of clips
    crop: str  # what of a frame was seen
    normalised: bool  # to norm 1
    dtype: str  # of the stored numbers

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "FeatureContract":
        """Contract of a JSON object. Raises ContractMismatch on missing or extra fields, and on
        values of another type."""
        if not isinstance(fields, dict):
            raise ContractMismatch(
                f"a feature contract is an object of fields, not a {type(fields).__name__}"
            )
        names = {field.name for field in dataclasses.fields(cls)}
        if set(fields) != names:
            raise ContractMismatch(
                f"a feature contract has the fields {sorted(names)}; missing "
                f"{sorted(names - set(fields))}, unexpected {sorted(set(fields) - names)}"
            )
        for name, kinds in _CONTRACT_TYPES.items():
            value = fields[name]
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise ContractMismatch(f"a feature contract with {name}={value!r:.60}")
        return cls(**fields)

    @property
    def clip_seconds(self) -> float:
        """Seconds that a clip shows; those from one to the next where that is not known.

        Raises ValueError, as do the methods below, where a contract without a stride leaves nothing
        to count with.
        """
        if not self.stride_seconds > 0:
            raise ValueError(
                f"stride_seconds={self.stride_seconds} in the contract, so say which clips it "
                "covers"
            )
        if self.fps and self.frames_per_clip:
            return self.frames_per_clip / self.fps
        return self.stride_seconds

    def covered_seconds(self, num_clips: int) -> float:
        """Where a video's last clip ends."""
        return (num_clips - 1) * self.stride_seconds + self.clip_seconds

    def clips_at(self, times: Float[np.ndarray, " t"], num_clips: int) -> Int[np.ndarray, " t"]:
        """The clip, int64, whose centre is nearest to each time of a video that has clips, in
        seconds."""
        nearest = np.rint(np.round((times - self.clip_seconds / 2) / self.stride_seconds, 6))
        return np.clip(nearest, 0, num_clips - 1).astype(np.int64)

    def clips_between(
        self, start: float | int, end: float | int, num_clips: int
    ) -> tuple[int, int]:
        """(first clip, number of clips) whose centres lie from `start` to `end`, in seconds; the
        nearest one if none does.

        (0, 0), no clips, where the video has none or the times lie outside it.
        """
        if num_clips == 0:
            return 0, 0
        stride, half = self.stride_seconds, self.clip_seconds / 2
        # Steps often begin exactly at a clip's centre, or where the video ends: rounding keeps
        # 3.0000000000000004 from being 4.
        if end <= 0 or round((start - self.covered_seconds(num_clips)) / stride, 6) >= 0:
            return 0, 0
        first = max(0, math.ceil(round((start - half) / stride, 6)))
        last = min(num_clips, math.ceil(round((end - half) / stride, 6)))
        if last > first:
            return first, last - first
        middle = (start + end) / 2
        return min(num_clips - 1, max(0, round((middle - half) / stride))), 1

    def verify_against(self, other: "FeatureContract", *, found: str, expected: str) -> bool:
        """True where every field is known on both sides and equal, False where some is unknown.

        `found` and `expected` say in words where this contract and the other come from.
        Raises ContractMismatch where two known values differ.
        """
        verified, differing = True, []
        for field in dataclasses.fields(self):
            if field.name == "dtype":  # a storage format, not a property of the feature space
                continue
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if mine in (UNKNOWN, None) or theirs in (UNKNOWN, None):
                verified = False
            elif mine != theirs:
                differing.append(f"{field.name}: {found} has {mine!r}, {expected} has {theirs!r}")
        if differing:
            raise ContractMismatch(
                f"the clip features of {found} are not those of {expected}: "
                + "; ".join(differing)
                + ". Use features made like the expected ones, or train on the found ones."
            )
        return verified


@dataclasses.dataclass(frozen=True)
class InputStatistics:
    """Mean and standard deviation a dimension, float32 [c], of the training split's features."""

    mean: np.ndarray
    scale: np.ndarray
