"""Video-text matching (VideoBERT, section 3.3; ViLBERT, Lu et al. 2019, section 3.1).

Mismatched pairs come from the same block and are made on the device: every row of texts meets the
towers' outputs of another row of videos, its examples turned by a rotation of segment ids, and the
small cross-modal encoder runs again. Both passes see the same corruption, or the head would learn
to detect [MASK].

Partners are drawn uniformly, or hard: in proportion to the joint space's probability of them
(ALBEF, Li et al. 2021, section 3.2). There an example meets another example; here a whole row does,
in proportion to the product over its examples, which is the same where a row holds one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from videobert_jax import schema
from videobert_jax.objectives import twins


class Mismatch(NamedTuple):
    """Whom each row of texts meets: the videos of this row, every one `rotations` places later."""

    rows: Int[Array, " r"]
    rotations: Int[Array, " r"]


def draw_uniform(key: Key[Array, ""], rows: int, examples: int) -> Mismatch:
    """One of the cyclic shifts of rows and examples; the identity only if there is one example."""
    row_key, segment_key = jax.random.split(key)
    low = 1 if rows > 1 else 0
    shift = jax.random.randint(row_key, (), low, max(rows, low + 1))
    rotation = (
        jax.random.randint(segment_key, (), 0 if rows > 1 else 1, examples)
        if examples > 1
        else jnp.zeros((), jnp.int32)
    )
    return Mismatch((jnp.arange(rows) - shift) % rows, jnp.full(rows, rotation))


def draw_hard(
    key: Key[Array, ""],
    text: Float[Array, "r e j"],
    video: Float[Array, "r e j"],
    scale: Float[Array, ""],
    block: schema.Batch,
    clip_distance: int,
) -> Mismatch:
    """For every row another row, or itself, and a rotation, drawn by similarity; no gradient.

    The logarithm of a draw's probability is, up to a constant, the mean of `scale` times cosine
    over the pairs that may be judged, times the examples a row; what has no such pair is drawn
    only where nothing else is left.
    """
    rows, examples = block.example_ids.shape
    means, judged = row_similarities(text, video, block, clip_distance)
    logits = jnp.where(judged, examples * scale * means, jnp.finfo(jnp.float32).min)
    logits = jax.lax.stop_gradient(logits).reshape(rows, -1)
    chosen = jax.random.categorical(key, logits, axis=-1)
    return Mismatch(chosen // examples, chosen % examples)


def row_similarities(
    text: Float[Array, "r e j"],
    video: Float[Array, "r e j"],
    block: schema.Batch,
    clip_distance: int,
) -> tuple[Float[Array, "r r e"], Bool[Array, "r r e"]]:
    """(mean cosine over the pairs that may be judged when a row of texts meets a row of videos at
    a rotation, whether there are any)."""
    allowed = allowed_partners(block, clip_distance).astype(jnp.float32)
    cosines = jnp.einsum("rej,sfj->resf", text, video, preferred_element_type=jnp.float32)
    counts = _by_rotation(allowed)
    return _by_rotation(cosines * allowed) / jnp.maximum(counts, 1.0), counts > 0


def allowed_partners(block: schema.Batch, clip_distance: int) -> Bool[Array, "r e r e"]:
    """Text and video that both are there to be judged, and are not alike."""
    identity = twins.example_identity(block)
    alike = twins.alike_pairs(identity, identity, clip_distance)
    judged = block.pair_weights.reshape(-1) > 0
    allowed = judged[:, None] & judged[None] & ~alike
    return allowed.reshape(*block.example_ids.shape, *block.example_ids.shape)


def _by_rotation(pairs: Float[Array, "r e r e"]) -> Float[Array, "r r e"]:
    """Sums of the pairs that a row of texts, a row of videos and a rotation bring together."""
    sums = [
        jnp.diagonal(jnp.roll(pairs, rotation, axis=3), axis1=1, axis2=3).sum(-1)
        for rotation in range(pairs.shape[1])
    ]
    return jnp.stack(sums, axis=-1)


def mismatched_video(
    mismatch: Mismatch,
    encoded: Float[Array, "r v d"],
    segment_ids: Int[Array, "r v"],
    examples: int,
) -> tuple[Float[Array, "r v d"], Int[Array, "r v"]]:
    """(encoded video, segment ids) of whom the texts meet; padding stays padding."""
    # A product rather than a gather, as in heads.gather_slots; the values stay what they are.
    one_hot = jax.nn.one_hot(mismatch.rows, len(encoded), dtype=encoded.dtype)
    video = jnp.einsum("rs,svd->rvd", one_hot, encoded, precision=jax.lax.Precision.HIGHEST)
    given = segment_ids[mismatch.rows]
    rotated = (given - 1 + mismatch.rotations[:, None]) % examples + 1
    return video, jnp.where(given == schema.NO_SEGMENT, schema.NO_SEGMENT, rotated)


def mismatched_examples(mismatch: Mismatch, values: Array) -> Array:
    """Values `[r, e]` of the example whose video each text meets."""
    examples = values.shape[1]
    places = (jnp.arange(examples)[None] - mismatch.rotations[:, None]) % examples
    return jnp.take_along_axis(values[mismatch.rows], places, axis=1)


def mismatched_weights(
    mismatch: Mismatch, block: schema.Batch, clip_distance: int
) -> Float[Array, "r e"]:
    """1 where the mismatched pair has both sides and its halves are not alike."""
    own = twins.example_identity(block)
    other = twins.Identity(*(mismatched_examples(mismatch, values) for values in own))
    both = block.pair_weights * mismatched_examples(mismatch, block.pair_weights)
    return jnp.where(twins.alike(own, other, clip_distance), 0.0, both)


def balanced(weights: Float[Array, "r e"], block: schema.Batch) -> Float[Array, "r e"]:
    """Weights of mismatched pairs so that in a row they weigh what the matched ones do.

    So their sum does not depend on who was drawn, and is known before anything is encoded.
    """
    judged = weights.sum(1, keepdims=True)
    matched = block.pair_weights.sum(1, keepdims=True)
    return jnp.where(judged > 0, weights * matched / jnp.maximum(judged, 1.0), 0.0)


def uniform_weight(mismatch: Mismatch, block: schema.Batch, clip_distance: int) -> Float[Array, ""]:
    """Number of judged pairs, matched and mismatched."""
    mismatched = mismatched_weights(mismatch, block, clip_distance)
    return block.pair_weights.sum() + mismatched.sum()


def hard_weight(block: schema.Batch, clip_distance: int) -> Float[Array, ""]:
    """Weight of the matched pairs and, balanced, of the mismatched ones."""
    has_partner = allowed_partners(block, clip_distance).any((1, 2, 3))
    return (block.pair_weights * (1.0 + has_partner[:, None])).sum()


def total(
    matched_logits: Float[Array, "r e"],
    mismatched_logits: Float[Array, "r e"],
    weights: Float[Array, "r e"],
    block: schema.Batch,
) -> Float[Array, ""]:
    """Sum of -log p(right answer), nats, over the pairs; `weights` of the mismatched ones."""
    matched = (jax.nn.softplus(-matched_logits) * block.pair_weights).sum()
    return matched + (jax.nn.softplus(mismatched_logits) * weights).sum()
