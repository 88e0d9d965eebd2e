"""Token contrast: which video of the block has what this word names (TACo, Yang et al. 2021, arXiv
2108.09980, the token-level loss).

A word is as similar to a video as to the nearest of its clips. Every content word by itself chooses
its own video among the block's; words count by their inverse document frequency. Negatives are
local, and twins are none.
"""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Float

from videobert_jax import schema
from videobert_jax.objectives import chunks, cross_entropy, twins
from videobert_jax.objectives.config import TokenContrastiveConfig


def weight(block: schema.Batch) -> Float[Array, ""]:
    """Number of pairs whose caption shows a content word."""
    return jnp.where(_totals(block) > 0, block.pair_weights, 0.0).sum()


def total(
    text: Float[Array, "r t j"],
    video: Float[Array, "r v j"],
    block: schema.Batch,
    config: TokenContrastiveConfig,
    clip_distance: int,
) -> Float[Array, ""]:
    """Sum over those pairs of the mean of their words' -log p(own video), nats, by word weight.

    `text` and `video` have norm 1; hidden clips are not looked at. With `config.chunks` above 1 the
    similarities of so many parts of the rows' words are made one after the other, in the backward
    pass too.
    """
    of_rows = functools.partial(
        _total_of_rows, video, block, temperature=config.temperature, clip_distance=clip_distance
    )
    numbers = jnp.arange(block.example_ids.size).reshape(block.example_ids.shape)
    identity = twins.example_identity(block)
    own = (text, block.text_segment_ids, _shares(block), identity, numbers)
    return chunks.total(of_rows, own, config.chunks)


def _total_of_rows(
    video: Array, block: schema.Batch, own: tuple, *, temperature: float, clip_distance: int
) -> Float[Array, ""]:
    """The sum over the words of some rows `own` `[s, ...]` among all videos of the block."""
    text, segment_ids, shares, identity, numbers = own
    paired = block.pair_weights.reshape(-1) > 0
    similarities = _best_clips(text, video, block) / temperature
    alike = twins.alike_pairs(identity, twins.example_identity(block), clip_distance)
    candidates = (~alike & paired[None]).reshape(*numbers.shape, -1)
    positive = numbers[..., None] == jnp.arange(len(paired))[None, None]
    losses = cross_entropy.with_positives(
        jnp.where(paired[None, None], similarities, 0.0).reshape(-1, len(paired)),
        _of_pieces(positive, segment_ids).reshape(-1, len(paired)),
        _of_pieces(candidates, segment_ids).reshape(-1, len(paired)),
    )
    return (losses * shares.reshape(-1)).sum()


def _best_clips(
    text: Float[Array, "s t j"], video: Float[Array, "r v j"], block: schema.Batch
) -> Float[Array, "s t n"]:
    """Cosine of each piece with the nearest clip that each example shows; the least there is where
    it shows none."""
    cosines = jnp.einsum("stj,rvj->strv", text, video, preferred_element_type=jnp.float32)
    shown = jnp.where(block.video_masked, schema.NO_SEGMENT, block.video_segment_ids)
    lowest = jnp.finfo(jnp.float32).min
    best = [
        jnp.where((shown == number)[None, None], cosines, lowest).max(-1)
        for number in range(1, block.example_ids.shape[1] + 1)
    ]
    return jnp.stack(best, axis=-1).reshape(*text.shape[:2], -1)


def _of_pieces(values: Array, segment_ids: Array) -> Array:
    """Values `[s, e, n]` of every piece's example, `[s, t, n]`; any where there is none."""
    place = jnp.maximum(segment_ids - 1, 0)[..., None]
    return jnp.take_along_axis(values, place, axis=1)


def _member(block: schema.Batch) -> Float[Array, "r t e"]:
    numbers = jnp.arange(1, block.example_ids.shape[1] + 1)[None, None]
    return (block.text_segment_ids[..., None] == numbers).astype(jnp.float32)


def _totals(block: schema.Batch) -> Float[Array, "r e"]:
    """Weight of all content words of each example."""
    return jnp.einsum("rte,rt->re", _member(block), block.word_weights)


def _shares(block: schema.Batch) -> Float[Array, "r t"]:
    """Each piece's share of its example's words, 0 where the example is no pair."""
    totals = _totals(block)
    factors = jnp.where(totals > 0, block.pair_weights / jnp.where(totals > 0, totals, 1.0), 0.0)
    return block.word_weights * jnp.einsum("rte,re->rt", _member(block), factors)
