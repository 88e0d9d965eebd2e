"""Made-up batches that follow every rule of `schema.Batch`, for tests below the data."""

import jax
import jax.numpy as jnp
import numpy as np

from videobert_jax import schema

FEATURE_DIM = 24
VOCABULARY = 300
PACKED_SHAPE = schema.RowShape(
    examples=2,
    text_length=16,
    video_length=8,
    masked_text=4,
    masked_video=4,
    feature_dim=FEATURE_DIM,
    weighted_text=16,
    target_length=12,
    answered=0,
    labelled=0,
)
CONTRACT = schema.FeatureContract(
    backbone="random",
    weights_sha256="0" * 64,
    layer="none",
    dim=FEATURE_DIM,
    fps=16.0,
    frames_per_clip=16,
    stride_seconds=1.0,
    crop="none",
    normalised=False,
    dtype="float16",
)


def batch(
    blocks: int, rows: int, shape: schema.RowShape = PACKED_SHAPE, seed: int = 0
) -> schema.Batch:
    """Random batch `[blocks, rows, ...]`: every example has both sides, two masked places each."""
    generator = np.random.default_rng(seed)
    made = schema.zero_batch(shape, blocks, rows)
    count = shape.examples
    _lay_out(made, "text", shape.text_length // count, generator)
    _lay_out(made, "video", shape.video_length // count, generator)
    made.text_ids[:] = np.where(
        made.text_segment_ids > 0, generator.integers(5, VOCABULARY, made.text_ids.shape), 0
    )
    features = generator.normal(size=made.video_features.shape)
    made.video_features[:] = np.where(made.video_segment_ids[..., None] > 0, features, 0)
    for example in range(count):
        made.text_slots[..., example] = example * (shape.text_length // count) + 1
        made.text_slot_weights[..., example] = 1
        clip = example * (shape.video_length // count)
        made.video_slots[..., example] = clip
        made.video_slot_weights[..., example] = 1
        made.video_masked[..., clip] = True
    made.text_targets[:] = generator.integers(5, VOCABULARY, made.text_targets.shape)
    number = np.arange(blocks * rows * count, dtype=np.int32).reshape(blocks, rows, count)
    made.example_ids[:] = number
    made.video_ids[:] = number // 3
    made.clip_indices[:] = (number % 3) * 2
    made.caption_hashes[:] = generator.integers(1, 40, made.caption_hashes.shape)
    made.pair_weights[:] = 1
    if shape.weighted_text:
        weights = generator.uniform(0.5, 3.0, made.word_weights.shape)
        weights[(made.text_segment_ids == 0) | (generator.random(weights.shape) < 0.5)] = 0
        np.put_along_axis(weights, made.text_slots[..., :count], 0, axis=-1)  # what is hidden
        made.word_weights[:] = weights
    if shape.target_length:
        _lay_out(made, "target", shape.target_length // count, generator)
        targets = generator.integers(5, VOCABULARY, made.target_ids.shape)
        made.target_ids[:] = np.where(made.target_segment_ids > 0, targets, 0)
    return made


def _lay_out(made: schema.Batch, side: str, room: int, generator: np.random.Generator) -> None:
    """Gives every example 2 to `room` places of this side."""
    segments = getattr(made, f"{side}_segment_ids")
    positions = getattr(made, f"{side}_positions")
    places = np.arange(room)
    for example in range(made.example_ids.shape[-1]):
        used = generator.integers(2, room + 1, size=(*segments.shape[:2], 1))
        span = slice(example * room, (example + 1) * room)
        segments[..., span] = np.where(places < used, example + 1, schema.NO_SEGMENT)
        positions[..., span] = np.where(places < used, places, 0)


def block(rows: int, shape: schema.RowShape = PACKED_SHAPE, seed: int = 0) -> schema.Batch:
    """One block `[rows, ...]` of `batch`."""
    return jax.tree.map(lambda values: values[0], batch(1, rows, shape, seed))


def on_device(made: schema.Batch) -> schema.Batch:
    """The same as jax arrays, which is what the model takes."""
    return jax.tree.map(jnp.asarray, made)
