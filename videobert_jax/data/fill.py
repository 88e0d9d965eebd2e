"""From chosen examples to the arrays of one block: plan, read, fill, mask; one pass each."""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Int, Int64, UInt64

from videobert_jax import schema
from videobert_jax.data import draw, masking, order, packing, random_reads
from videobert_jax.data.config import DrawingConfig, MaskingConfig
from videobert_jax.data.index import Split
from videobert_jax.data.reader import ClipReader
from videobert_jax.text.content_words import WordWeights
from videobert_jax.text.tokenizer import Tokenizer

NUM_ENDS = 2  # [CLS] and [SEP] around the pieces of an example
_ALIGNMENT = 64  # bytes; jax and TensorFlow take aligned host arrays without a copy
Window = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class HostBlock:
    """One block on the host, and what was lost on its way.

    batch: NumPy arrays `[r, ...]`. damaged: examples with NaN or infinite features, which count
    for nothing. cut_pieces, cut_clips: left out because they did not fit.
    """

    batch: schema.Batch
    damaged: int
    cut_pieces: int
    cut_clips: int


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The examples of a block in data order. ids -1: none there, only padding.

    seeds: of all draws of an example. drawing: what is taken of its video. first_example,
    first_video: numbers of the split's first ones among all sources. window(counts, kept, seeds):
    first clip to keep of what does not fit.
    """

    split: Split
    reader: ClipReader
    regime: str
    ids: Int64[np.ndarray, " n"]
    seeds: UInt64[np.ndarray, " n"]
    drawing: DrawingConfig
    first_example: int
    first_video: int
    window: Window


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the examples of a block take, in data order, before rows cut it.

    runs: their clips. num_pieces: of each text; piece_ids: of all, one text behind another.
    text, video: slots that each would fill on either side.
    """

    runs: draw.Runs
    num_pieces: Int64[np.ndarray, " n"]
    piece_ids: Int[np.ndarray, " p"]
    text: Int64[np.ndarray, " n"]
    video: Int64[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Examples in the order of their places (row after row), with lengths that fit."""

    ids: Int64[np.ndarray, " n"]
    seeds: UInt64[np.ndarray, " n"]
    text_lengths: Int64[np.ndarray, "r e"]
    video_lengths: Int64[np.ndarray, "r e"]
    first_clips: Int64[np.ndarray, " n"]
    clip_steps: Int64[np.ndarray, " n"]
    pieces: masking.Ragged
    piece_ids: Int[np.ndarray, " p"]
    cut_pieces: int
    cut_clips: int


def fill(
    chosen: Chosen,
    tokenizer: Tokenizer,
    words: WordWeights | None,
    shape: schema.RowShape,
    config: MaskingConfig,
) -> HostBlock:
    """The block of these examples, with weights of their content words where `words` has them.

    Raises DatasetError where a shard cannot be read.
    """
    rows = len(chosen.ids) // shape.examples
    plan = _plan(chosen, measure(chosen, tokenizer), shape, rows)
    batch = dataclasses.replace(
        schema.zero_block(shape, rows),
        video_features=_aligned_empty((rows, shape.video_length, shape.feature_dim)),
    )
    damaged = _fill_video(batch, chosen, plan)
    clips = masking.Ragged.of(plan.video_lengths.reshape(-1), plan.seeds)
    masked_pieces, masked_clips, word, whole = _select(plan, clips, damaged, tokenizer, config)
    shown_text = _fill_text(batch, plan, masked_pieces, word, whole, tokenizer, words)
    shown_video = _mask_video(batch, plan, clips, masked_clips) & ~damaged
    _fill_identity(batch, chosen, plan)
    pairs = shown_text & shown_video & ~damaged
    if config.whole_pairs:
        pairs &= ~plan.pieces.partly(masked_pieces) & ~clips.partly(masked_clips)
    batch.pair_weights[:] = pairs.reshape(rows, -1)
    return HostBlock(batch, int(damaged.sum()), plan.cut_pieces, plan.cut_clips)


def measure(chosen: Chosen, tokenizer: Tokenizer) -> Measured:
    """Lengths of the examples, by the index and the tokenizer alone: no feature is read."""
    split, real = chosen.split, chosen.ids != schema.PADDING_EXAMPLE
    rows_of_index = np.where(real, chosen.ids, 0)
    with_text = real & (chosen.regime != "video_only")
    with_video = real & (chosen.regime != "text_only")

    taken = draw.runs(split, rows_of_index, chosen.seeds, chosen.regime, chosen.drawing)
    texts = np.flatnonzero(with_text)
    encoded = tokenizer.encode(_texts(split, rows_of_index[texts], taken.joined[texts]))
    num_pieces = np.zeros(len(real), np.int64)
    num_pieces[texts] = np.fromiter(map(len, encoded), np.int64, len(encoded))
    return Measured(
        runs=taken,
        num_pieces=num_pieces,
        piece_ids=np.fromiter(
            itertools.chain.from_iterable(encoded), np.int32, int(num_pieces.sum())
        ),
        text=np.where(num_pieces > 0, num_pieces + NUM_ENDS, 0),
        video=np.where(with_video, taken.counts, 0),
    )


def _plan(chosen: Chosen, measured: Measured, shape: schema.RowShape, rows: int) -> _Plan:
    text = np.minimum(measured.text, shape.text_length)
    video = np.minimum(measured.video, shape.video_length)
    at = packing.assign(text, video, rows)
    text_lengths = packing.fit(text[at].reshape(rows, -1), shape.text_length)
    video_lengths = packing.fit(video[at].reshape(rows, -1), shape.video_length)
    seeds, kept = chosen.seeds[at], video_lengths.reshape(-1)
    window = chosen.window(measured.video[at], kept, seeds)
    clip_steps = np.where(kept > 0, measured.runs.steps[at], 1)
    first_clips = np.where(kept > 0, measured.runs.firsts[at] + window * clip_steps, 0)
    pieces = masking.Ragged.of(np.maximum(text_lengths.reshape(-1) - NUM_ENDS, 0), seeds)
    first_piece = (np.cumsum(measured.num_pieces) - measured.num_pieces)[at]
    return _Plan(
        ids=chosen.ids[at],
        seeds=seeds,
        text_lengths=text_lengths,
        video_lengths=video_lengths,
        first_clips=first_clips,
        clip_steps=clip_steps,
        pieces=pieces,
        piece_ids=measured.piece_ids[first_piece[pieces.owners] + pieces.places],
        cut_pieces=len(measured.piece_ids) - len(pieces.owners),
        cut_clips=int(measured.video.sum() - kept.sum()),
    )


def _texts(
    split: Split, ids: Int64[np.ndarray, " m"], joined: Int64[np.ndarray, " m"]
) -> list[str]:
    """Captions, each with that of the example it is joined with behind it."""
    texts = split.texts(ids)
    places = np.flatnonzero(joined >= 0)
    for place, following in zip(places.tolist(), split.texts(joined[places]), strict=True):
        texts[place] = f"{texts[place]} {following}"
    return texts


def _select(
    plan: _Plan,
    clips: masking.Ragged,
    damaged: Bool[np.ndarray, " n"],
    tokenizer: Tokenizer,
    config: MaskingConfig,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(hidden pieces, hidden clips, word of each piece, examples whose text is hidden whole);
    nothing of a damaged example is."""
    word = masking.words(
        plan.pieces, tokenizer.word_starts[plan.piece_ids], whole_words=config.whole_words
    )
    weights = None
    if config.text_frequency_exponent:
        weights = tokenizer.frequencies[plan.piece_ids] ** -config.text_frequency_exponent
    hidden_pieces = masking.select_words(
        plan.pieces, word, config.text_rate, weights, config.text_mean_span
    )
    hidden_pieces = masking.of_share(
        plan.pieces, hidden_pieces, config.text_examples, order.TEXT_SHARE
    )
    hidden_pieces, whole = masking.of_whole_texts(
        plan.pieces, hidden_pieces, config.whole_text_examples
    )
    hidden_clips = masking.select_clips(clips, config.video_rate, config.video_mean_span)
    hidden_clips = masking.of_share(clips, hidden_clips, config.video_examples, order.VIDEO_SHARE)
    hidden_pieces, hidden_clips = masking.show_one_side(
        plan.pieces, hidden_pieces, clips, hidden_clips
    )
    hidden_pieces &= ~damaged[plan.pieces.owners]
    whole &= plan.pieces.wholly(hidden_pieces)  # it is seen after all where no clip is
    return hidden_pieces, hidden_clips & ~damaged[clips.owners], word, whole


def _starts(lengths: Int64[np.ndarray, "r e"], row_length: int) -> Int64[np.ndarray, " n"]:
    """Where each example begins in the flattened rows."""
    offsets = np.cumsum(lengths, axis=1) - lengths
    return (offsets + np.arange(len(lengths))[:, None] * row_length).reshape(-1)


def _fill_text(
    batch: schema.Batch,
    plan: _Plan,
    masked: Bool[np.ndarray, " p"],
    word: Int64[np.ndarray, " p"],
    whole: Bool[np.ndarray, " n"],
    tokenizer: Tokenizer,
    words: WordWeights | None,
) -> Bool[np.ndarray, " n"]:
    """Fills the text side; examples of which some piece is seen.

    Of texts hidden as a whole no piece is seen, even where one finds no slot to be told in.
    """
    row_length, examples = batch.text_ids.shape[1], plan.text_lengths.shape[1]
    lengths, pieces = plan.text_lengths.reshape(-1), plan.pieces
    starts = _starts(plan.text_lengths, row_length)
    rows = pieces.owners // examples
    masked, rank = masking.fit_slots(masked, rows, word, batch.text_slots.shape[1])
    hidden = masked | whole[pieces.owners]
    seen = masking.corrupt(
        plan.piece_ids,
        hidden,
        pieces,
        always=whole,
        mask_id=tokenizer.mask_id,
        first_regular_id=tokenizer.first_regular_id,
        size=tokenizer.size,
    )
    flat = batch.text_ids.reshape(-1)
    at = starts[pieces.owners] + 1 + pieces.places
    flat[at] = seen
    present = lengths > 0
    flat[starts[present]] = tokenizer.cls_id
    flat[(starts + lengths)[present] - 1] = tokenizer.sep_id
    owners, places = packing.spread(lengths)
    _fill_segments(batch.text_segment_ids, batch.text_positions, starts, owners, places, examples)
    slots = (rows[masked], rank[masked])
    batch.text_slots[slots] = (at - rows * row_length)[masked]
    batch.text_targets[slots] = plan.piece_ids[masked]
    batch.text_slot_weights[slots] = 1
    if words is not None:
        weights = words.of_pieces(plan.piece_ids)
        batch.word_weights.reshape(-1)[at] = np.where(hidden, 0, weights)
    return present & ~pieces.wholly(hidden)


def _fill_segments(segment_ids, positions, starts, owners, places, examples: int) -> None:
    at = starts[owners] + places
    segment_ids.reshape(-1)[at] = owners % examples + 1
    positions.reshape(-1)[at] = places


def _fill_video(batch: schema.Batch, chosen: Chosen, plan: _Plan) -> Bool[np.ndarray, " n"]:
    """Fills the video side as it is on disk; damaged examples, whose clips stay padding."""
    row_length, examples = batch.video_segment_ids.shape[1], plan.video_lengths.shape[1]
    lengths = plan.video_lengths.reshape(-1)
    starts = _starts(plan.video_lengths, row_length)
    present = np.flatnonzero(lengths)
    for row, used in enumerate(plan.video_lengths.sum(axis=1).tolist()):
        batch.video_features[row, used:] = 0  # the memory is not zeroed as a whole: 3 ms a block
    # A run of neighbouring clips is read as one; of a subsampled one every clip is.
    apart = np.where(plan.clip_steps[present] > 1, lengths[present], 1)
    pieces, number = packing.spread(apart)
    owners = present[pieces]
    features = batch.video_features.reshape(-1, batch.video_features.shape[-1])
    damaged_pieces = chosen.reader.read_into(
        features,
        starts[owners] + number,
        random_reads.take(chosen.split.video, plan.ids[owners]).astype(np.int64),
        plan.first_clips[owners] + number * plan.clip_steps[owners],
        np.where(plan.clip_steps[owners] > 1, 1, lengths[owners]),
    )
    damaged = np.zeros(len(lengths), np.bool_)
    damaged[owners[damaged_pieces]] = True
    for example in np.flatnonzero(damaged):
        features[starts[example] : starts[example] + lengths[example]] = 0
    owners, places = packing.spread(np.where(damaged, 0, lengths))
    _fill_segments(batch.video_segment_ids, batch.video_positions, starts, owners, places, examples)
    return damaged


def _mask_video(
    batch: schema.Batch, plan: _Plan, clips: masking.Ragged, masked: Bool[np.ndarray, " p"]
) -> Bool[np.ndarray, " n"]:
    """Marks the hidden clips; examples of which some clip is seen."""
    row_length, examples = batch.video_masked.shape[1], plan.video_lengths.shape[1]
    rows = clips.owners // examples
    alone = np.arange(len(masked))
    masked, rank = masking.fit_slots(masked, rows, alone, batch.video_slots.shape[1])
    at = _starts(plan.video_lengths, row_length)[clips.owners] + clips.places
    batch.video_masked.reshape(-1)[at] = masked
    slots = (rows[masked], rank[masked])
    batch.video_slots[slots] = (at - rows * row_length)[masked]
    batch.video_slot_weights[slots] = 1
    return (clips.lengths > 0) & ~clips.wholly(masked)


def _fill_identity(batch: schema.Batch, chosen: Chosen, plan: _Plan) -> None:
    real = np.flatnonzero(plan.ids != schema.PADDING_EXAMPLE)
    ids = plan.ids[real]
    batch.example_ids.reshape(-1)[real] = ids + chosen.first_example
    batch.video_ids.reshape(-1)[real] = (
        random_reads.take(chosen.split.video, ids) + chosen.first_video
    )
    batch.clip_indices.reshape(-1)[real] = plan.first_clips[real]
    batch.clip_steps.reshape(-1)[real] = plan.clip_steps[real]
    has_text = plan.text_lengths.reshape(-1)[real] > 0
    batch.caption_hashes.reshape(-1)[real] = np.where(
        has_text, random_reads.take(chosen.split.caption_hash, ids), 0
    )


def _aligned_empty(shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape)) * 2
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(np.float16).reshape(shape)
