"""What a block must hold, said one example at a time and from the features as they were drawn."""

import dataclasses

import jax
import numpy as np

from tests.data import drawn
from videobert_jax.data import block, index
from videobert_jax.data.config import AS_WRITTEN, DrawingConfig, MaskingConfig
from videobert_jax.schema import RowShape
from videobert_jax.text import tokenizer

MASKING = MaskingConfig(
    text_rate=0.15,
    text_examples=1.0,
    text_frequency_exponent=0.0,
    text_mean_span=1.0,
    whole_text_examples=0.0,
    video_rate=0.15,
    video_examples=1.0,
    video_mean_span=2.0,
    whole_words=True,
    whole_pairs=False,
)
NO_MASKING = dataclasses.replace(MASKING, text_rate=0.0, video_rate=0.0)


def make_tokenizer(dataset: index.Dataset) -> tokenizer.Tokenizer:
    texts = [text for s in dataset.splits.values() for text in s.texts(range(len(s)))]
    return tokenizer.Tokenizer(tokenizer.train(texts, 300))


def settings(
    *,
    block_size: int = 8,
    examples: int = 1,
    text_length: int = 48,
    video_length: int = 40,
    target_length: int = 0,
    drawing: DrawingConfig = AS_WRITTEN,
    masking: MaskingConfig = MASKING,
    seed: int = 0,
    read_group: int = 1,
    max_damaged_fraction: float = 0.0,
    parallel_reads: int = 1,
    slots: int | None = None,
    weighted: int = 0,
    answered: int = 0,
    labelled: int = 0,
) -> block.BlockSettings:
    if slots is None:
        slots = 48 if masking.whole_text_examples else 0 if masking.text_rate == 0 else 16
    sizes = (examples, text_length, video_length, slots, slots, drawn.DIM)
    shape = RowShape(*sizes, weighted, target_length, answered, labelled)
    return block.BlockSettings(
        shape,
        block_size,
        drawing,
        masking,
        seed,
        read_group,
        max_damaged_fraction,
        parallel_reads,
    )


def assert_same(one: block.HostBlock, other: block.HostBlock) -> None:
    """Equal to the last bit."""
    pairs = zip(jax.tree.leaves(one.batch), jax.tree.leaves(other.batch), strict=True)
    for a, b in pairs:
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    counts = ("damaged", "cut_pieces", "cut_clips", "cut_targets")
    assert [getattr(one, name) for name in counts] == [getattr(other, name) for name in counts]


def examples_of(built: block.HostBlock) -> dict[int, dict]:
    """Every example of a block as plain values, taken out of its row by its segment ids."""
    batch = built.batch
    out = {}
    for row in range(len(batch.example_ids)):
        targets = batch.text_ids[row].copy()
        for slot in np.flatnonzero(batch.text_slot_weights[row]):
            targets[batch.text_slots[row, slot]] = batch.text_targets[row, slot]
        for place, example in enumerate(batch.example_ids[row].tolist()):
            if example < 0:
                continue
            text = batch.text_segment_ids[row] == place + 1
            video = batch.video_segment_ids[row] == place + 1
            assert batch.text_positions[row, text].tolist() == list(range(text.sum()))
            assert batch.video_positions[row, video].tolist() == list(range(video.sum()))
            slots = batch.video_slots[row][batch.video_slot_weights[row] > 0].tolist()
            assert sorted(slots) == np.flatnonzero(batch.video_masked[row]).tolist()
            out[example] = {
                "seen": batch.text_ids[row, text].tolist(),
                "ids": targets[text].tolist(),
                "features": batch.video_features[row, video],
                "masked": batch.video_masked[row, video],
                "video": int(batch.video_ids[row, place]),
                "clip": int(batch.clip_indices[row, place]),
                "caption": int(batch.caption_hashes[row, place]),
                "pair": float(batch.pair_weights[row, place]),
            }
        assert not batch.video_features[row, batch.video_segment_ids[row] == 0].any()
        assert not batch.text_ids[row, batch.text_segment_ids[row] == 0].any()
    return out


def train_builder(
    dataset: index.Dataset, tokens: tokenizer.Tokenizer, regime: str = "text_video", **changes
) -> block.BlockBuilder:
    """Of the training split alone; changes: of `settings`."""
    return block.BlockBuilder([(dataset.split("train"), regime, 1.0)], tokens, settings(**changes))
