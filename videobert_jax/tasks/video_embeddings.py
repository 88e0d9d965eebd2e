"""Whole videos in the joint space, by the video tower alone."""

import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from videobert_jax import schema
from videobert_jax.data import device_feed
from videobert_jax.data.index import Split
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.tasks import rows
from videobert_jax.tasks.encoding import ModelRunner


def of_videos(runner: ModelRunner, split: Split) -> Float[np.ndarray, "v j"]:
    """Mean of the embeddings of each video's examples, float32, of norm 1; 0 where none of them has
    undamaged clips.

    No more than a batch of examples is in memory. Raises DatasetError where a shard is damaged.
    """
    builder = rows.clips_builder(runner.tokenizer, runner.bundle.data, split)
    embed = jax.jit(
        functools.partial(_of_blocks, VideoBert(runner.bundle.config)),
        out_shardings=partitioning.replicated(runner.mesh),
    )
    totals = np.zeros((len(split.videos), runner.bundle.config.joint_dim))
    with jax.set_mesh(runner.mesh):
        for batch in device_feed.evaluation_batches(builder, runner.mesh, runner.blocks_per_batch):
            ids, embeddings = map(np.asarray, embed(runner.variables, batch))
            real = ids != schema.PADDING_EXAMPLE
            np.add.at(totals, split.video[ids[real]], embeddings[real])
    lengths = np.linalg.norm(totals, axis=1, keepdims=True)
    return (totals / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def _of_blocks(
    model: VideoBert, variables: dict, batch: schema.Batch
) -> tuple[Int[Array, "k r"], Float[Array, "k r j"]]:
    call: Any = functools.partial(model.apply, variables, method=_of_block)
    return jax.vmap(call, spmd_axis_name=meshes.BLOCK_AXES)(batch)


def _of_block(
    model: VideoBert, block: schema.Batch
) -> tuple[Int[Array, " r"], Float[Array, "r j"]]:
    video = model.encode_video(
        block.video_features, block.video_segment_ids, block.video_positions, block.video_masked
    )
    embeddings = model.video_embeddings(video, block.video_segment_ids, 1)
    return block.example_ids[:, 0], embeddings[:, 0]
