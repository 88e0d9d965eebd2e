"""From chosen examples to the arrays of one block: plan, read, fill, mask; one pass each."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Int, Int32, Int64, UInt32, UInt64

from videobert_jax import schema
from videobert_jax.data import answers, draw, index, masking, order, packing, random_reads, texts
from videobert_jax.data.alignment import Alignment
from videobert_jax.data.clip_labels import ClipLabels
from videobert_jax.data.config import DrawingConfig, MaskingConfig
from videobert_jax.data.index import Split
from videobert_jax.data.reader import ClipReader
from videobert_jax.data.texts import Encoded, Spoken
from videobert_jax.text.content_words import WordWeights
from videobert_jax.text.tokenizer import Tokenizer

NUM_ENDS = 2  # [CLS] and [SEP] around the pieces of an example
_ALIGNMENT = 64  # bytes; jax and TensorFlow take aligned host arrays without a copy
Window = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class HostBlock:
    """One block on the host, and what was lost on its way.

    batch: NumPy arrays `[r, ...]`. damaged: examples with NaN, infinite or unreadable features,
    which count for nothing. cut_pieces, cut_clips, cut_targets (of captions to write): left out
    because they did not fit.
    """

    batch: schema.Batch
    damaged: int
    cut_pieces: int
    cut_clips: int
    cut_targets: int


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The examples of a block in data order. ids -1: none there, only padding.

    seeds: of all draws of an example. drawing: what is taken of its video. alignment: its clips,
    where they are not those of the split. spoken: the texts, where they are not the captions.
    answers: number of each name of the split's answers, None where none is told; clip_labels:
    likewise of its clips. first_example, first_video: numbers of the split's first ones among all
    sources. window(counts, kept, seeds): first clip to keep of what does not fit.
    """

    split: Split
    reader: ClipReader
    regime: str
    ids: Int64[np.ndarray, " n"]
    seeds: UInt64[np.ndarray, " n"]
    drawing: DrawingConfig
    alignment: Alignment | None
    spoken: Spoken | None
    answers: Int32[np.ndarray, " a"] | None
    clip_labels: ClipLabels | None
    first_example: int
    first_video: int
    window: Window


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the examples of a block take, in data order, before rows cut it.

    runs: their clips. pieces, hashes: of their texts. targets: the captions to write, with [SEP].
    text, video: slots that each would fill on either side.
    """

    runs: draw.Runs
    pieces: Encoded
    hashes: UInt32[np.ndarray, " n"]
    targets: Encoded
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
    hashes: UInt32[np.ndarray, " n"]
    target_lengths: Int64[np.ndarray, "r e"]
    target_ids: Int[np.ndarray, " q"]
    cut_pieces: int
    cut_clips: int
    cut_targets: int


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
    plan = _plan(chosen, measure(chosen, tokenizer, shape.target_length > 0), shape, rows)
    batch = dataclasses.replace(
        schema.zero_block(shape, rows),
        video_features=_aligned_empty((rows, shape.video_length, shape.feature_dim)),
    )
    damaged = _fill_video(batch, chosen, plan)
    clips = masking.Ragged.of(plan.video_lengths.reshape(-1), plan.seeds)
    masked_pieces, masked_clips, word, whole = _select(plan, clips, damaged, tokenizer, config)
    hidden_pieces = _fill_text(batch, plan, masked_pieces, word, whole, tokenizer, words)
    shown_text = (plan.text_lengths.reshape(-1) > 0) & ~plan.pieces.wholly(hidden_pieces)
    shown_video = _mask_video(batch, plan, clips, masked_clips) & ~damaged
    _fill_identity(batch, chosen, plan)
    _fill_labels(batch, chosen, plan, damaged)
    told = shown_text & ~plan.pieces.partly(hidden_pieces) & (chosen.spoken is None)
    _fill_targets(batch, plan, damaged, told)
    pairs = shown_text & shown_video & ~damaged
    if config.whole_pairs:
        pairs &= ~plan.pieces.partly(masked_pieces) & ~clips.partly(masked_clips)
    batch.pair_weights[:] = pairs.reshape(rows, -1)
    cut = (plan.cut_pieces, plan.cut_clips, plan.cut_targets)
    return HostBlock(batch, int(damaged.sum()), *cut)


def measure(chosen: Chosen, tokenizer: Tokenizer, with_targets: bool) -> Measured:
    """Lengths of the examples, by the index and the tokenizer alone: no feature is read."""
    split, real = chosen.split, chosen.ids != schema.PADDING_EXAMPLE
    rows_of_index = np.where(real, chosen.ids, 0)
    with_text = real & (chosen.regime != "video_only")
    with_video = real & (chosen.regime != "text_only")

    taken = draw.runs(
        split, rows_of_index, chosen.seeds, chosen.regime, chosen.drawing, chosen.alignment
    )
    places = np.flatnonzero(with_text)
    ids, joined = rows_of_index[places], taken.joined[places]
    hashes = np.zeros(len(real), np.uint32)
    captions: list[list[int]] = []
    if chosen.spoken is None or with_targets:
        captions = tokenizer.encode(texts.captions(split, ids, joined))
    if chosen.spoken is None:
        encoded, hashes[places] = captions, random_reads.take(split.caption_hash, ids)
    else:
        said = chosen.spoken.texts(ids, joined)
        encoded, hashes[places] = tokenizer.encode(said), list(map(index.caption_hash, said))
    pieces = Encoded.of(encoded, places, len(real))
    ended: list[list[int]] = []
    if with_targets:
        ended = [[*caption, tokenizer.sep_id] if caption else [] for caption in captions]
    return Measured(
        runs=taken,
        pieces=pieces,
        hashes=hashes,
        targets=Encoded.of(ended, places[: len(ended)], len(real)),
        text=np.where(pieces.counts > 0, pieces.counts + NUM_ENDS, 0),
        video=np.where(with_video, taken.counts, 0),
    )


def _plan(chosen: Chosen, measured: Measured, shape: schema.RowShape, rows: int) -> _Plan:
    text = np.minimum(measured.text, shape.text_length)
    video = np.minimum(measured.video, shape.video_length)
    targets = np.minimum(measured.targets.counts, shape.target_length)
    sides = [text, video, targets] if shape.target_length else [text, video]
    at = packing.assign(sides, rows)
    text_lengths = packing.fit(text[at].reshape(rows, -1), shape.text_length)
    video_lengths = packing.fit(video[at].reshape(rows, -1), shape.video_length)
    seeds, kept = chosen.seeds[at], video_lengths.reshape(-1)
    window = chosen.window(measured.video[at], kept, seeds)
    clip_steps = np.where(kept > 0, measured.runs.steps[at], 1)
    first_clips = np.where(kept > 0, measured.runs.firsts[at] + window * clip_steps, 0)
    pieces = masking.Ragged.of(np.maximum(text_lengths.reshape(-1) - NUM_ENDS, 0), seeds)
    target_lengths = packing.fit(targets[at].reshape(rows, -1), shape.target_length)
    target_ids = measured.targets.taken(at, *packing.spread(target_lengths.reshape(-1)))
    return _Plan(
        ids=chosen.ids[at],
        seeds=seeds,
        text_lengths=text_lengths,
        video_lengths=video_lengths,
        first_clips=first_clips,
        clip_steps=clip_steps,
        pieces=pieces,
        piece_ids=measured.pieces.taken(at, pieces.owners, pieces.places),
        hashes=measured.hashes[at],
        target_lengths=target_lengths,
        target_ids=target_ids,
        cut_pieces=len(measured.pieces.ids) - len(pieces.owners),
        cut_clips=int(measured.video.sum() - kept.sum()),
        cut_targets=len(measured.targets.ids) - len(target_ids),
    )


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
) -> Bool[np.ndarray, " p"]:
    """Fills the text side; the pieces that are hidden.

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
    return hidden


def _fill_targets(
    batch: schema.Batch, plan: _Plan, damaged: Bool[np.ndarray, " n"], told: Bool[np.ndarray, " n"]
) -> None:
    """Fills the captions to write, but those of damaged examples; `told` ones stand in the text.

    What is cut has no [SEP], for it does not end there.
    """
    rows, row_length = batch.target_ids.shape
    if row_length == 0:
        return
    examples = plan.target_lengths.shape[1]
    starts = _starts(plan.target_lengths, row_length)
    owners, places = packing.spread(plan.target_lengths.reshape(-1))
    kept = ~damaged[owners]
    owners, places = owners[kept], places[kept]
    batch.target_ids.reshape(-1)[starts[owners] + places] = plan.target_ids[kept]
    segments = (batch.target_segment_ids, batch.target_positions)
    _fill_segments(*segments, starts, owners, places, examples)
    batch.target_shown[:] = told.reshape(rows, -1)


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
    batch.caption_hashes.reshape(-1)[real] = np.where(has_text, plan.hashes[real], 0)


def _fill_labels(
    batch: schema.Batch, chosen: Chosen, plan: _Plan, damaged: Bool[np.ndarray, " n"]
) -> None:
    """Fills the answers of examples with a question and the labels of clips, but those of damaged
    examples."""
    ids, row_length = plan.ids, batch.clip_labels.shape[1]
    if chosen.answers is not None and batch.answers.shape[1]:
        asked = (ids != schema.PADDING_EXAMPLE) & (plan.text_lengths.reshape(-1) > 0) & ~damaged
        of_asked = answers.of_examples(chosen.split, ids[asked], chosen.answers)
        batch.answers.reshape(-1)[asked] = of_asked
    if chosen.clip_labels is not None and row_length:
        owners, places = packing.spread(np.where(damaged, 0, plan.video_lengths.reshape(-1)))
        clips = plan.first_clips[owners] + places * plan.clip_steps[owners]
        found = chosen.clip_labels.of(random_reads.take(chosen.split.video, ids[owners]), clips)
        at = _starts(plan.video_lengths, row_length)[owners] + places
        batch.clip_labels.reshape(-1)[at] = found


def _aligned_empty(shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape)) * 2
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(np.float16).reshape(shape)
