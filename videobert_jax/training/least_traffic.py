"""What the devices of a mesh have to send each other in a step, whatever the program.

By the ring algorithms, which send least: of n bytes over k devices (k - 1) / k n for a gather or a
reduce-scatter, twice that for an all-reduce (Rajbhandari et al. 2020, section 7).
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from videobert_jax.configuration import RunConfig
from videobert_jax.models.config import ModelConfig
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import partitioning
from videobert_jax.training import model_flops, state
from videobert_jax.training.roofline import Sent
from videobert_jax.training.update_rule import UpdateRule

_TOWERS = ("text_embedding", "text_encoder", "video_embedding", "video_encoder", "joint_head")
_JUDGES = ("cross_encoder", "pooler", "matching_head")  # run again for every mismatch


def least_sent(
    run: RunConfig,
    model: VideoBert,
    rule: UpdateRule,
    mesh_shape: Mapping[str, int],
    slices: int = 1,
) -> dict[str, Sent]:
    """Bytes that a device sends a step, by what they are of, on a mesh whose data axis goes over so
    many slices.

    parameters: gathered over fsdp in the compute dtype, in every forward and backward pass of a
    micro-batch. gradients: of each of these passes scattered over fsdp and, once a step, summed
    over data, both in the compute dtype; where fsdp splits nothing summed once a step in float32.
    embeddings: float32, gathered for the contrastive loss, their
    gradients scattered. activations: over tensor, summed behind every projection that contracts
    what is split, in both directions (Shoeybi et al. 2019, section 3). Modules that no objective
    uses send nothing.
    """
    data, fsdp, tensor = (mesh_shape[axis] for axis in ("data", "fsdp", "tensor"))
    size = jnp.dtype(model.config.compute_dtype).itemsize
    in_slice, by_all = Sent(_others(fsdp), 0.0), _over_slices(data * fsdp, slices)
    parameters = gradients = embeddings = activations = Sent(0.0, 0.0)
    for module, elements, split in _leaves(run, model, mesh_shape):
        forward, backward = _passes(run, module)
        trained = module not in rule.frozen
        if split:
            parameters += (forward + backward * trained) * elements * size * in_slice
            gradients += trained * backward * elements * size * in_slice
            summed_size = 4 if fsdp == 1 else size
            gradients += trained * 2 * summed_size * elements / fsdp * _over_slices(data, slices)
        else:
            gradients += trained * 2 * 4 * elements * by_all
    if run.objectives.contrastive.weight > 0:
        examples = run.data.global_batch_size
        embeddings = 2 * 2 * examples * model.config.joint_dim * 4 * by_all
    if tensor > 1:
        places = run.data.blocks_per_batch * run.data.rows / (data * fsdp)
        summed = places * _sums(run, model.config) * model.config.embed_dim * size
        activations = 2 * summed * Sent(_others(tensor), 0.0)
    return {
        "parameters": parameters,
        "gradients": gradients,
        "embeddings": embeddings,
        "activations": activations,
    }


def _others(devices: int) -> float:
    return (devices - 1) / devices


def _over_slices(devices: int, slices: int) -> Sent:
    """What a gather over devices of several slices sends of a byte: each slice gathers its own, of
    which its devices then swap their parts with those of other slices."""
    mine = devices // slices
    return Sent(_others(mine), _others(slices) / mine)


def _leaves(
    run: RunConfig, model: VideoBert, mesh_shape: Mapping[str, int]
) -> list[tuple[str, float, bool]]:
    """(top-level module, elements on a device that fsdp does not split, whether it does) of every
    leaf that an objective uses."""
    found, used = [], model_flops.modules(model.config, run.objectives)
    axes = jax.tree_util.tree_leaves_with_path(
        state.parameter_axes(model), is_leaf=lambda node: isinstance(node, tuple)
    )
    shapes = jax.tree.leaves(state.parameter_shapes(model))
    for (path, names), struct in zip(axes, shapes, strict=True):
        over = {axis for name in names for axis in partitioning.MESH_AXES[name] or ()}
        elements = math.prod(struct.shape) / (mesh_shape["tensor"] if "tensor" in over else 1)
        key: Any = path[0]
        if key.key in used:
            found.append((key.key, elements, "fsdp" in over))
    return found


def _passes(run: RunConfig, module: str) -> tuple[int, int]:
    """(forward, backward) passes through a module a step."""
    objectives, micro_batches = run.objectives, run.training.accumulation_steps
    passes = 1
    if module in _JUDGES:
        passes += objectives.mismatches
    if module == "cross_encoder" and objectives.captioning.weight > 0:
        passes += objectives.captioning.inputs != "both"
    again = module in _TOWERS and micro_batches > 1 and objectives.contrastive.weight > 0
    return micro_batches * (passes + again), micro_batches * passes


def _sums(run: RunConfig, config: ModelConfig) -> float:
    """Places of a row times sums over tensor of what stands there, forward and backward."""
    text, video, target = run.data.text_length, run.data.video_length, run.data.target_length
    judged = _passes(run, "cross_encoder")[1] / run.training.accumulation_steps
    layers = (
        2 * config.text.num_layers * text
        + 2 * config.video.num_layers * video
        + 3 * config.cross.num_layers * (text + video) * judged
        + 3 * config.decoder.num_layers * target
    )
    # Under "full" what the first of a layer's sums gave is summed again in the backward pass.
    return layers * (2.5 if config.remat == "full" else 2.0) + text
