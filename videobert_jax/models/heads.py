"""Heads: pieces, clips, matching and the joint space. They see gathered positions only."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from videobert_jax.models.config import FEATURES, ModelConfig
from videobert_jax.models.embeddings import PIECE_AXES
from videobert_jax.models.layers import Dropout, LayerNorm, Linear, activation, parameter
from videobert_jax.sharding.partitioning import constrain, gathered

INITIAL_SCALE = 1 / 0.07  # of cosine similarities; CLIP (Radford et al. 2021), section 2.4
MAXIMUM_SCALE = 100.0
NOT_THERE = -1e9  # logit or cosine of padding, however large the temperature


def gather_slots(values: Float[Array, "b n d"], slots: Int[Array, "b m"]) -> Float[Array, "b m d"]:
    """Values at the slots of every row, by a one-hot product.

    A product rather than a gather: its transpose is a product too, where a gather's is a scatter,
    slow on accelerators and run on one core by XLA's CPU backend.
    """
    one_hot = jax.nn.one_hot(slots, values.shape[1], dtype=values.dtype)
    return jnp.einsum("bmn,bnd->bmd", one_hot, values)


def example_means(
    values: Float[Array, "b n d"], segment_ids: Int[Array, "b n"], num_examples: int
) -> Float[Array, "b e d"]:
    """Mean over the positions of every example, float32; 0 for an example without any."""
    numbers = jnp.arange(1, num_examples + 1)[None, None]
    member = (segment_ids[:, :, None] == numbers).astype(jnp.float32)
    totals = jnp.einsum("bne,bnd->bed", member, values.astype(jnp.float32))
    return totals / jnp.maximum(member.sum(1), 1.0)[:, :, None]


def example_firsts(
    values: Float[Array, "b n d"], segment_ids: Int[Array, "b n"], num_examples: int
) -> Float[Array, "b e d"]:
    """Value at the first position of every example ([CLS] on the text side); 0 without any."""
    numbers = jnp.arange(1, num_examples + 1)[None, None]
    member = segment_ids[:, :, None] == numbers
    first = member & (jnp.cumsum(member, axis=1) == 1)
    return jnp.einsum("bne,bnd->bed", first.astype(jnp.float32), values.astype(jnp.float32))


def unit_norm(values: Float[Array, "*x d"]) -> Float[Array, "*x d"]:
    """Values of Euclidean norm 1; 0, with no gradient, where they are 0."""
    squares = jnp.square(values).sum(-1, keepdims=True)
    safe = jnp.where(squares > 0, squares, 1.0)
    return jnp.where(squares > 0, values * jax.lax.rsqrt(safe), 0.0)


class PieceHead(nn.Module):
    """Logits over pieces (Devlin et al. 2019, section 3.1), tied to the piece embeddings: the text
    tower's own, or, of another width, those of a frozen BERT."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, values: Float[Array, "b m d"], table: Float[Array, "w c"]
    ) -> Float[Array, "b m w"]:
        config, dtype = self.config, jnp.dtype(self.config.compute_dtype)
        hidden = Linear(table.shape[1:], ("embed", "embed_out"), dtype, ("bias",), name="hidden")(
            values
        )
        hidden = LayerNorm(config, name="norm")(activation(config.activation)(hidden))
        zeros = nn.initializers.zeros_init()
        bias = parameter(self, "bias", zeros, ("vocabulary",), table.shape[:1])
        logits = jnp.einsum(
            "bmc,wc->bmw",
            hidden,
            gathered(table, PIECE_AXES, dtype),
            preferred_element_type=jnp.float32,
        )
        return constrain(logits + bias[None, None], "act_row", "act_length", "act_vocabulary")


class Pooler(nn.Module):
    """One vector an example: [CLS] of the fused text beside the mean of the fused video."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        text: Float[Array, "b t d"],
        text_segment_ids: Int[Array, "b t"],
        video: Float[Array, "b v d"],
        video_segment_ids: Int[Array, "b v"],
        num_examples: int,
    ) -> Float[Array, "b e d"]:
        dtype = jnp.dtype(self.config.compute_dtype)
        both = jnp.concatenate(
            [
                example_firsts(text, text_segment_ids, num_examples),
                example_means(video, video_segment_ids, num_examples),
            ],
            axis=-1,
        )
        pooled = Linear(
            (self.config.embed_dim,), ("embed", "embed_out"), dtype, ("bias",), name="project"
        )(both)
        return jnp.tanh(pooled.astype(jnp.float32))


class MatchingHead(nn.Module):
    """Logit that text and video of an example belong together."""

    @nn.compact
    def __call__(self, pooled: Float[Array, "b e d"]) -> Float[Array, "b e"]:
        logits = Linear((1,), ("embed", "one"), jnp.dtype("float32"), ("one",), name="score")(
            pooled
        )
        return logits[..., 0]


class BagOfWordsHead(nn.Module):
    """Presence of every piece in the caption of an example, from the mean of its video: of what the
    video tower says of its clips, or of their features (`config.bag_of_words_reads`).

    Starts from 0, the best constant for most pieces. Few examples teach a linear map of features
    sooner than a tower, and dropout of what it reads is then, with a squared error, ridge
    regression with a penalty of rate / (1 - rate) times each feature's variance (Wager et al. 2013,
    arXiv 1307.1493, section 2).
    """

    config: ModelConfig
    vocabulary_size: int

    @nn.compact
    def __call__(self, values: Float[Array, "b e d"]) -> Float[Array, "b e w"]:
        axis = "embed"
        if self.config.bag_of_words_reads == FEATURES:
            axis = "feature"
            # Adam changes every weight by as much, so such a map by the sum of what it reads: of
            # length 4, 1,200 steps come as near to least squares as 4,000 would of length 1
            values = values * (4.0 / math.sqrt(values.shape[-1]))
        dropped = Dropout(self.config.bag_of_words_dropout_rate)(values)
        return _over_classes(self, dropped, self.vocabulary_size, axis)


class AnswerHead(nn.Module):
    """Logits over answers to the question about an example, of its pooled vector: a layer of twice
    its width, then one over the answers (LXMERT, Tan & Bansal 2019, its head for VQA).

    Starts from 0: every answer is as likely.
    """

    config: ModelConfig

    @nn.compact
    def __call__(self, pooled: Float[Array, "b e d"]) -> Float[Array, "b e w"]:
        config, dtype = self.config, jnp.dtype(self.config.compute_dtype)
        width = (2 * config.embed_dim,)
        hidden = Linear(width, ("embed", "embed_out"), dtype, ("bias",), name="hidden")(pooled)
        hidden = LayerNorm(config, name="norm")(activation(config.activation)(hidden))
        logits = _over_classes(self, hidden, config.padded_answers)
        is_answer = jnp.arange(config.padded_answers) < config.answers
        return jnp.where(is_answer[None, None], logits, NOT_THERE)


class ClipLabelHead(nn.Module):
    """Logits over what a clip shows, a step or none, of the video tower's output: one layer
    (VideoCLIP, Xu et al. 2021, section 5). Starts from 0: every label is as likely."""

    config: ModelConfig

    @nn.compact
    def __call__(self, video: Float[Array, "b v d"]) -> Float[Array, "b v w"]:
        logits = _over_classes(self, video, self.config.padded_clip_labels)
        is_label = jnp.arange(self.config.padded_clip_labels) <= self.config.clip_labels
        return jnp.where(is_label[None, None], logits, NOT_THERE)


def _over_classes(
    module: BagOfWordsHead | AnswerHead | ClipLabelHead,
    values: Float[Array, "b e d"],
    size: int,
    axis: str = "embed",
) -> Float[Array, "b e w"]:
    """Product with the module's kernel, which starts from 0, and its bias; float32."""
    zeros, shape = nn.initializers.zeros_init(), (values.shape[-1], size)
    kernel = parameter(module, "kernel", zeros, (axis, "vocabulary"), shape)
    bias = parameter(module, "bias", zeros, ("vocabulary",), shape[1:])
    dtype = jnp.dtype(module.config.compute_dtype)
    products = jnp.einsum(
        "bed,dw->bew",
        values.astype(dtype),
        gathered(kernel, (axis, "vocabulary"), dtype),
        preferred_element_type=jnp.float32,
    )
    return constrain(products + bias[None, None], "act_row", "act_length", "act_vocabulary")


class TokenHead(nn.Module):
    """Pieces and clips in one space, on the unit sphere (TACo, Yang et al. 2021)."""

    config: ModelConfig

    def setup(self) -> None:
        config, dtype = self.config, jnp.dtype(self.config.compute_dtype)
        self.text = Linear((config.joint_dim,), ("embed", "joint"), dtype)
        self.video = Linear((config.joint_dim,), ("embed", "joint"), dtype)

    def __call__(
        self, text: Float[Array, "b t d"], video: Float[Array, "b v d"]
    ) -> tuple[Float[Array, "b t j"], Float[Array, "b v j"]]:
        return (
            unit_norm(self.text(text).astype(jnp.float32)),
            unit_norm(self.video(video).astype(jnp.float32)),
        )


class JointHead(nn.Module):
    """Both towers' examples in one space, on the unit sphere, and the scale of similarities."""

    config: ModelConfig

    def setup(self) -> None:
        config, dtype = self.config, jnp.dtype(self.config.compute_dtype)
        self.text = Linear((config.joint_dim,), ("embed", "joint"), dtype)
        self.video = Linear((config.joint_dim,), ("embed", "joint"), dtype)
        init = nn.initializers.constant(math.log(INITIAL_SCALE))
        self.log_scale = parameter(self, "log_scale", init, (), ())

    def scale(self) -> Float[Array, ""]:
        return jnp.exp(_within_limit(self.log_scale))


def with_limited_scale(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters by module, the logarithm of the scale of similarities at its limit where an update
    brought it beyond (CLIP, Radford et al. 2021, section 2.5): there it would have no gradient, and
    stay for good."""
    if "joint_head" not in params:
        return params
    head = params["joint_head"]
    return {**params, "joint_head": {**head, "log_scale": _within_limit(head["log_scale"])}}


def _within_limit(log_scale: Float[Array, ""]) -> Float[Array, ""]:
    limit = math.log(MAXIMUM_SCALE)
    return jnp.where(log_scale > limit, limit, log_scale)  # at the limit the gradient is whole
