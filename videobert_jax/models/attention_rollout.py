"""Attention rolled out: of what the network read, how much is in each of its outputs.

After Abnar & Zuidema 2020 (arXiv 2005.00928), section 3: a residual attention of weights W, the
mean over heads, mixes its inputs by 0.5 W + 0.5 I, and mixtures multiply from layer to layer. There
one sequence attends to itself. Here text and video are one joint sequence [text; video]: the towers
and the self-attention of a cross layer mix within the two sides, and the two directions of its
cross-attention, which read the same inputs, between them in one step. These are the four blocks,
text from text to video from video, that Chefer et al. 2021 (arXiv 2103.15679) keep of networks
whose sides attend to each other; they weigh heads by gradients of an answer, and here there is
none.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from videobert_jax.models.encoder import (
    cross_attention_probabilities,
    self_attention_probabilities,
)

Mixing = Float[Array, "l b n n"]  # l steps, the first one first; rows sum to 1


class Rollout(NamedTuple):
    """Shares of the network's inputs (columns) in its fused outputs (rows), by side. A row of text,
    its two blocks together, sums to 1, and so does one of video; 0 where either is padding."""

    text_from_text: Any  # [b, t, t]
    text_from_video: Any  # [b, t, v]
    video_from_text: Any  # [b, v, t]
    video_from_video: Any  # [b, v, v]


def roll_out(
    intermediates: Any, text_segments: Int[Array, "b t"], video_segments: Int[Array, "b v"]
) -> Rollout:
    """Rollout out of what a call of both towers and of the cross-modal encoder, which has a layer,
    with a mutable collection "intermediates" leaves there. A frozen BERT's layers count, too."""
    length = text_segments.shape[1]
    text, video = _identity(text_segments), _identity(video_segments)
    if "text_embedding" in intermediates:
        (bert,) = intermediates["text_embedding"]["bert"]
        text = _through(text, _within(bert["text_encoder"]))
    if "text_encoder" in intermediates:
        text = _through(text, _within(intermediates["text_encoder"]))
    if "video_encoder" in intermediates:
        video = _through(video, _within(intermediates["video_encoder"]))
    cross = _cross_steps(intermediates["cross_encoder"])
    joint = _through(_blocks(text[None], video[None])[0], cross)
    is_real = jnp.concatenate([text_segments, video_segments], axis=1) > 0
    joint = jnp.where(is_real[:, :, None] & is_real[:, None], joint, 0.0)
    by_text, by_video = joint[:, :length], joint[:, length:]
    return Rollout(
        by_text[..., :length], by_text[..., length:], by_video[..., :length], by_video[..., length:]
    )


def mixing(weights: Float[Array, "l b n n"]) -> Mixing:
    """0.5 W + 0.5 I with rows brought to sum 1: a query that reads nothing stays what it is."""
    mixed = 0.5 * weights + 0.5 * jnp.eye(weights.shape[-1])[None, None]
    return mixed / mixed.sum(-1, keepdims=True)


def _identity(segments: Int[Array, "b n"]) -> Float[Array, "b n n"]:
    rows, length = segments.shape
    return jnp.broadcast_to(jnp.eye(length)[None], (rows, length, length))


def _through(below: Float[Array, "b n n"], steps: Mixing) -> Float[Array, "b n n"]:
    """What is in the outputs of further steps."""

    def add(below: jax.Array, step: jax.Array) -> tuple[jax.Array, None]:
        return jnp.matmul(step, below, precision="highest"), None

    return jax.lax.scan(add, below, steps)[0]


def _within(tower: Any) -> Mixing:
    """Steps of a tower."""
    return mixing(self_attention_probabilities(tower).mean(2))


def _cross_steps(cross_encoder: Any) -> Mixing:
    """Of every cross layer two: both directions at once, then each side within itself."""
    between = [weights.mean(2) for weights in cross_attention_probabilities(cross_encoder)]
    layer = cross_encoder["stack"]["layers"]["layer"]
    within = [layer[side]["attention"]["probabilities"][0].mean(2) for side in ("text", "video")]
    steps = jnp.stack([mixing(_crossed(*between)), mixing(_blocks(*within))], axis=1)
    return steps.reshape(-1, *steps.shape[2:])


def _blocks(
    text: Float[Array, "l b t t"], video: Float[Array, "l b v v"]
) -> Float[Array, "l b n n"]:
    """Both sides by themselves, on the joint sequence."""
    t, v = text.shape[-1], video.shape[-1]
    by_text = jnp.pad(text, [(0, 0)] * 3 + [(0, v)])
    by_video = jnp.pad(video, [(0, 0)] * 3 + [(t, 0)])
    return jnp.concatenate([by_text, by_video], axis=2)


def _crossed(
    by_text: Float[Array, "l b t v"], by_video: Float[Array, "l b v t"]
) -> Float[Array, "l b n n"]:
    """Each side from the other, on the joint sequence."""
    t, v = by_text.shape[-2:]
    of_text = jnp.pad(by_text, [(0, 0)] * 3 + [(t, 0)])
    of_video = jnp.pad(by_video, [(0, 0)] * 3 + [(0, v)])
    return jnp.concatenate([of_text, of_video], axis=2)
