"""Captioning: the decoder writes an example's caption piece by piece (UniVL, Luo et al. 2020,
section 3), by cross-entropy with smoothed labels (Szegedy et al. 2016, section 7)."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from videobert_jax import schema
from videobert_jax.models.decoder import BEGIN
from videobert_jax.models.layers import keep_mask
from videobert_jax.objectives import chunks, cross_entropy
from videobert_jax.objectives.config import CaptioningConfig

_MASK = schema.SPECIAL_PIECES.index("[MASK]")


def decoder_inputs(
    block: schema.Batch, config: CaptioningConfig, key: Key[Array, ""]
) -> Int[Array, "r u"]:
    """The piece before each target: what the decoder reads when it has to write that one.

    At `config.word_dropout` a [MASK] in its place, so that more is told from the memory and less
    from what usually follows (Bowman et al. 2016, arXiv:1511.06349, section 3.1).
    """
    before = jnp.roll(block.target_ids, 1, axis=1)
    if config.word_dropout > 0:
        kept = keep_mask(key, config.word_dropout, before.shape)
        before = jnp.where(kept, before, _MASK)
    return jnp.where(block.target_positions == 0, BEGIN, before)


def piece_weights(block: schema.Batch, config: CaptioningConfig) -> Float[Array, "r u"]:
    """1 at the pieces of captions that count.

    An example counts where something of what the decoder reads is to be seen: a clip, or a word
    of its text. Where it would read the very caption with nothing hidden, writing it is no task.
    """
    clips = jnp.where(block.video_masked, schema.NO_SEGMENT, block.video_segment_ids)
    is_word = block.text_ids >= len(schema.SPECIAL_PIECES)
    words = jnp.where(is_word, block.text_segment_ids, schema.NO_SEGMENT)
    examples = block.example_ids.shape[1]
    if config.inputs == "video":
        counts = _has_any(clips, examples)
    elif config.inputs == "transcript":
        counts = _has_any(words, examples) & ~block.target_shown
    else:
        counts = (_has_any(clips, examples) | _has_any(words, examples)) & ~block.target_shown
    padded = jnp.pad(counts, ((0, 0), (1, 0)))  # segment 0 is padding
    return jnp.take_along_axis(padded, block.target_segment_ids, axis=1).astype(jnp.float32)


def _has_any(segment_ids: Int[Array, "r n"], examples: int) -> Bool[Array, "r e"]:
    numbers = jnp.arange(1, examples + 1)[None, None]
    return (segment_ids[:, :, None] == numbers).any(1)


def weight(block: schema.Batch, config: CaptioningConfig) -> Float[Array, ""]:
    """Number of pieces to write, [SEP] counted."""
    return piece_weights(block, config).sum()


def total(
    decoded: Float[Array, "r u d"],
    logits_of: Callable[[Float[Array, "n u d"]], Float[Array, "n u w"]],
    block: schema.Batch,
    config: CaptioningConfig,
) -> Float[Array, ""]:
    """Sum over the pieces that count of the cross-entropy with smoothed labels, nats.

    `logits_of` the decoder's outputs are made for `config.chunks` parts of the rows one after the
    other, and once more in the backward pass: of all pieces of a block they would be large.
    """

    def of_rows(inputs: tuple[Array, Array, Array]) -> Float[Array, ""]:
        values, targets, weights = inputs
        losses = cross_entropy.with_smoothed_labels(
            logits_of(values), targets, config.label_smoothing
        )
        return (losses * weights).sum()

    inputs = (decoded, block.target_ids, piece_weights(block, config))
    return chunks.total(of_rows, inputs, config.chunks)
