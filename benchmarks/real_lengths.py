"""Blocks with the lengths of YouCook II's steps, packed as the pipeline packs them.

Made from the annotations alone: no dataset is written, so that machines without TensorFlow, which
writes a dataset's metadata, have the same lengths. What stands in the rows is drawn.
"""

import json
import math
import pathlib
from typing import Any

import numpy as np
from jaxtyping import Int64

from benchmarks import alternate
from benchmarks.rows import SLOTS, STRIDE, Rows
from videobert_jax import schema
from videobert_jax.data import fill, packing, packing_fit, segments
from videobert_jax.schema import FeatureContract
from videobert_jax.text import tokenizer as tokenizers

_CONTRACT = FeatureContract(
    "none", "unknown", "none", 1, None, None, STRIDE, "unknown", False, "float16"
)
_FIRST_REGULAR_ID = len(schema.SPECIAL_PIECES)


def of_annotations(
    path: pathlib.Path, vocabulary_size: int, block_size: int
) -> packing_fit.Lengths:
    """Lengths of all steps, shuffled, in whole blocks; a clip every 1.5 s, pieces of a tokenizer of
    the steps' sentences. Raises BenchmarkError where the annotations cannot be read."""
    try:
        database = json.loads(path.read_bytes())["database"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise alternate.BenchmarkError(
            f"{path}: not readable ({error}); expected youcookii_annotations_trainval.json"
        ) from error
    sentences, clips = [], []
    for video in database.values():
        num_clips = math.ceil(video["duration"] / STRIDE)
        for step in video["annotations"]:
            start, end = map(float, step["segment"])
            segment = segments.Segment(start, end, step["sentence"])
            sentences.append(step["sentence"])
            clips.append(segments.clips_of_segment(segment, num_clips, _CONTRACT)[1])
    tokenizer = tokenizers.Tokenizer(tokenizers.train(sentences, vocabulary_size))
    pieces = [len(encoded) + fill.NUM_ENDS for encoded in tokenizer.encode(sentences)]
    count = len(pieces) // block_size
    order = np.random.default_rng(0).permutation(len(pieces))[: count * block_size]
    text, video = (np.array(side, np.int64)[order] for side in (pieces, clips))
    return packing_fit.Lengths(
        text.reshape(count, block_size), video.reshape(count, block_size), None
    )


def equal(rows: Rows, block_size: int, count: int) -> packing_fit.Lengths:
    """Lengths of examples that share rows evenly and fill them."""
    text, video = (
        np.full((count, block_size), length // rows.examples, np.int64)
        for length in (rows.text_length, rows.video_length)
    )
    return packing_fit.Lengths(text, video, None)


def block_of(
    text: Int64[np.ndarray, " n"],
    video: Int64[np.ndarray, " n"],
    rows: Rows,
    vocabulary_size: int,
    feature_dim: int,
) -> schema.Batch:
    """A block `[r, ...]` of examples of these lengths, of which three pieces and three clips are
    hidden and told, at most half of an example's."""
    generator = np.random.default_rng(len(text))
    count = len(text) // rows.examples
    slots = SLOTS * rows.examples
    shape = schema.RowShape(
        examples=rows.examples,
        text_length=rows.text_length,
        video_length=rows.video_length,
        masked_text=slots,
        masked_video=slots,
        feature_dim=feature_dim,
        weighted_text=0,
        target_length=0,
        answered=0,
        labelled=0,
    )
    made = schema.zero_block(shape, count)
    at = packing.assign([text, video], count)
    for side, lengths in (("text", text), ("video", video)):
        fitted = packing.fit(lengths[at].reshape(count, -1), getattr(shape, f"{side}_length"))
        _fill_side(made, side, fitted, generator)
    at_pieces, at_clips = made.text_segment_ids > 0, made.video_segment_ids > 0
    made.text_ids[at_pieces] = generator.integers(
        _FIRST_REGULAR_ID, vocabulary_size, at_pieces.sum()
    )
    made.text_targets[:] = generator.integers(
        _FIRST_REGULAR_ID, vocabulary_size, made.text_targets.shape
    )
    made.video_features[at_clips] = generator.standard_normal(
        (at_clips.sum(), feature_dim), np.float32
    )
    hidden = np.nonzero(made.video_slot_weights)
    made.video_masked[hidden[0], made.video_slots[hidden]] = True
    numbers = np.arange(len(text)).reshape(count, -1)
    made.example_ids[:], made.video_ids[:] = numbers, numbers
    made.caption_hashes[:] = numbers + 1
    made.pair_weights[:] = 1
    return made


def _fill_side(
    made: schema.Batch, side: str, lengths: Int64[np.ndarray, "r e"], generator: Any
) -> None:
    """Segments, positions and slots of rows of these lengths."""
    segment_ids = getattr(made, f"{side}_segment_ids")
    slots, weights = getattr(made, f"{side}_slots"), getattr(made, f"{side}_slot_weights")
    starts = np.cumsum(lengths, axis=1) - lengths
    for row, (of_row, begins) in enumerate(zip(lengths, starts, strict=True)):
        owners, places = packing.spread(of_row)
        segment_ids[row, : len(owners)] = owners + 1
        getattr(made, f"{side}_positions")[row, : len(owners)] = places
        for example, (length, begin) in enumerate(zip(of_row, begins, strict=True)):
            told = np.sort(generator.permutation(length)[: min(SLOTS, length // 2)])
            own = slice(example * SLOTS, example * SLOTS + len(told))
            slots[row, own], weights[row, own] = begin + told, 1
