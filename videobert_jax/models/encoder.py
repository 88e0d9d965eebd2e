"""Transformer layers of the towers and of the cross-modal encoder, and their scanned stacks."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from videobert_jax.models.attention import Attention, Segments, turned
from videobert_jax.models.config import ModelConfig
from videobert_jax.models.layers import PROJECTED, Dropout, FeedForward, LayerNorm
from videobert_jax.sharding.partitioning import GATHERED, splits_parameters


class Residual(nn.Module):
    """x + dropout(f(norm(x))) where norm is "pre", norm(x + dropout(f(x))) where it is "post"."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "b n d"], branch: Callable[[jax.Array], jax.Array]
    ) -> Float[Array, "b n d"]:
        norm = LayerNorm(self.config, name="norm")
        dropout = Dropout(self.config.dropout_rate)
        if self.config.norm == "pre":
            return inputs + dropout(branch(norm(inputs)))
        return norm(inputs + dropout(branch(inputs)))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward (Vaswani et al. 2017, section 3.1)."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "b n d"], allowed: Bool[Array, "b n n"] | Segments
    ) -> Float[Array, "b n d"]:
        attention = Attention(self.config, name="attention")
        feed_forward = FeedForward(self.config, name="feed_forward")
        attended = Residual(self.config, name="attention_residual")(
            inputs, lambda x: attention(x, x, allowed)
        )
        return Residual(self.config, name="feed_forward_residual")(attended, feed_forward)


class CrossLayer(nn.Module):
    """Video attends to text and text to video, then each side to itself, then feed-forward.

    Both directions read the layer's inputs, as in LXMERT (Tan & Bansal 2019, section 2.2);
    `share_directions` uses one set of attention weights for both, as it does.
    """

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        sides: tuple[Float[Array, "b t d"], Float[Array, "b v d"]],
        allowed: tuple[Any, Any, Any],
    ) -> tuple[Float[Array, "b t d"], Float[Array, "b v d"]]:
        text, video = sides
        text_to_video, within_text, within_video = allowed
        if self.config.cross.share_directions:
            text_reads = video_reads = Attention(self.config, name="cross_attention")
        else:
            text_reads = Attention(self.config, name="text_reads_video")
            video_reads = Attention(self.config, name="video_reads_text")
        text_residual = Residual(self.config, name="text_reads_video_residual")
        video_residual = Residual(self.config, name="video_reads_text_residual")
        # Under pre-norm the side that is read is normed by its own direction's norm, which
        # `Residual` applies to the reading side alone: both are normed before they meet.
        if self.config.norm == "pre":
            read_video = LayerNorm(self.config, name="read_video_norm")(video)
            read_text = LayerNorm(self.config, name="read_text_norm")(text)
        else:
            read_video, read_text = video, text
        read_by_video = turned(text_to_video)
        text, video = (
            text_residual(text, lambda x: text_reads(x, read_video, text_to_video)),
            video_residual(video, lambda x: video_reads(x, read_text, read_by_video)),
        )
        text = EncoderLayer(self.config, name="text")(text, within_text)
        video = EncoderLayer(self.config, name="video")(video, within_video)
        return text, video


def self_attention_probabilities(intermediates: Any) -> Float[Array, "l b h n n"]:
    """What every layer of a tower attends to, out of what a call of `Encoder` with a mutable
    collection "intermediates" leaves there, be its parameters stacked or `unstacked`."""
    stack = intermediates["stack"]
    if "layers" in stack:
        return stack["layers"]["layer"]["attention"]["probabilities"][0]
    layers = (stack[str(number)] for number in range(len(stack)))
    return jnp.stack([layer["attention"]["probabilities"][0] for layer in layers])


def cross_attention_probabilities(
    intermediates: Any,
) -> tuple[Float[Array, "l b n t v"], Float[Array, "l b n v t"]]:
    """(how text reads video, how video reads text) of every cross layer, out of what a call of
    `CrossEncoder` with a mutable collection "intermediates" leaves there."""
    layer = intermediates["stack"]["layers"]["layer"]
    if "cross_attention" in layer:
        return layer["cross_attention"]["probabilities"]  # shared: called once a direction
    (text_reads,) = layer["text_reads_video"]["probabilities"]
    (video_reads,) = layer["video_reads_text"]["probabilities"]
    return text_reads, video_reads


# What a layer keeps for its backward pass. Gathered parameters are gathered again in any case: of
# all layers they would be as large as if nothing were split over fsdp.
REMAT_SAVEABLE = {
    "none": jax.checkpoint_policies.save_anything_except_these_names(GATHERED),
    "dots": jax.checkpoint_policies.save_only_these_names(PROJECTED),
    "full": jax.checkpoint_policies.nothing_saveable,
}


class _ScanBody(nn.Module):
    """One layer in the form `nn.scan` wants: (carry, constant) -> (carry, nothing)."""

    layer: type[nn.Module]
    config: ModelConfig

    @nn.compact
    def __call__(self, carry: Any, allowed: Any) -> tuple[Any, None]:
        return self.layer(self.config, name="layer")(carry, allowed), None


class Stack(nn.Module):
    """`num_layers` equal layers, scanned: parameters stacked on a leading "layers" axis.

    Scanning keeps compile time independent of depth (a 32-layer step not scanned took 280 s to
    compile for TPU). Rematerialisation follows `config.remat`. Parameters that `unstacked` gave are
    applied layer by layer.
    """

    layer: type[nn.Module]
    config: ModelConfig
    num_layers: int

    @nn.compact
    def __call__(self, inputs: Any, allowed: Any) -> Any:
        if self.num_layers == 0:
            return inputs
        if self.has_variable("params", "0"):
            for number in range(self.num_layers):
                inputs = self.layer(self.config, name=str(number))(inputs, allowed)
            return inputs
        body: Any = _ScanBody
        if self.config.remat != "none" or splits_parameters():
            body = nn.remat(body, prevent_cse=False, policy=REMAT_SAVEABLE[self.config.remat])
        scanned = nn.scan(
            body,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=cast(Any, nn.broadcast),
            length=self.num_layers,
            unroll=self.num_layers if self.config.unroll_layers else 1,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        outputs, _ = scanned(self.layer, self.config, name="layers")(inputs, allowed)
        return outputs


def unstacked(encoder: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of an `Encoder` with every layer's apart, for inference on CPU: out of a stack a
    layer's parameters are copied each time before they are read, which for short inputs is most of
    the time. Without layers as they are."""
    if "stack" not in encoder:
        return dict(encoder)
    layers = jax.tree.map(np.asarray, encoder["stack"]["layers"]["layer"])
    count = len(jax.tree.leaves(layers)[0])
    apart = {str(n): jax.tree.map(operator.itemgetter(n), layers) for n in range(count)}
    return {**encoder, "stack": apart}


class Encoder(nn.Module):
    """A tower: a stack of encoder layers, with a last norm where the layers norm their inputs."""

    config: ModelConfig
    num_layers: int

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "b n d"], allowed: Bool[Array, "b n n"] | Segments
    ) -> Float[Array, "b n d"]:
        outputs = Stack(EncoderLayer, self.config, self.num_layers, name="stack")(inputs, allowed)
        if self.config.norm == "pre":
            return LayerNorm(self.config, name="norm")(outputs)
        return outputs


class CrossEncoder(nn.Module):
    """The cross-modal encoder: a stack of cross layers over (text, video)."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        text: Float[Array, "b t d"],
        video: Float[Array, "b v d"],
        allowed: tuple[
            Bool[Array, "b t v"] | Segments,
            Bool[Array, "b t t"] | Segments,
            Bool[Array, "b v v"] | Segments,
        ],
    ) -> tuple[Float[Array, "b t d"], Float[Array, "b v d"]]:
        num_layers = self.config.cross.num_layers
        text, video = Stack(CrossLayer, self.config, num_layers, name="stack")(
            (text, video), allowed
        )
        if self.config.norm == "pre":
            text = LayerNorm(self.config, name="text_norm")(text)
            video = LayerNorm(self.config, name="video_norm")(video)
        return text, video
