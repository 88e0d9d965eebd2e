"""What evaluation runs on devices: pure functions of a network and one block, one example a row."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from videobert_jax import schema
from videobert_jax.models import heads
from videobert_jax.models.config import ModelConfig
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning


@dataclasses.dataclass(frozen=True)
class Functions:
    """The programs of one network on one mesh, of blocks `[k, r, ...]`."""

    encode: Callable[..., dict[str, jax.Array]]
    text_states: Callable[..., tuple[jax.Array, jax.Array]]
    video_states: Callable[..., tuple[jax.Array, jax.Array]]
    candidates: Callable[..., jax.Array]
    matching: Callable[..., jax.Array]
    judged_texts: Callable[..., jax.Array]
    answers: Callable[..., jax.Array]
    texts: Callable[..., jax.Array]
    videos: Callable[..., jax.Array]
    clip_labels: Callable[..., jax.Array]
    vectors_of_clips: Callable[..., dict[str, jax.Array]]
    clip_states: Callable[..., jax.Array]
    clip_states_with_text: Callable[..., jax.Array]


@functools.lru_cache(maxsize=4)
def compiled(config: ModelConfig, mesh: Mesh) -> Functions:
    """Jitted once a network and mesh, so that an evaluation in training compiles once a run.

    Blocks lie over the mesh's data axes; outputs are gathered on every device.
    """
    model = VideoBert(dataclasses.replace(config, attention="dense"))  # rows are short

    def over_blocks(function: Callable, shared: tuple[int, ...]) -> Callable:
        def call(variables, *arguments):
            axes = tuple(None if i in shared else 0 for i in range(len(arguments)))
            mapped = jax.vmap(
                functools.partial(model.apply, variables, method=function),
                in_axes=axes,
                spmd_axis_name=meshes.BLOCK_AXES,
            )
            return mapped(*arguments)

        return jax.jit(call, out_shardings=partitioning.replicated(mesh))

    return Functions(
        encode=over_blocks(encode_block, ()),
        text_states=over_blocks(text_states, ()),
        video_states=over_blocks(video_states, ()),
        candidates=over_blocks(score_candidates, (5, 6)),
        matching=over_blocks(score_pairs, ()),
        judged_texts=over_blocks(score_texts, ()),
        answers=over_blocks(tell_answers, ()),
        texts=over_blocks(embed_texts, ()),
        videos=over_blocks(embed_videos, ()),
        clip_labels=over_blocks(tell_clip_labels, ()),
        vectors_of_clips=over_blocks(vectors_of_clips, ()),
        clip_states=over_blocks(tell_clip_states, ()),
        clip_states_with_text=over_blocks(tell_clip_states_with_text, (2, 3)),
    )


def encode_block(model: VideoBert, block: schema.Batch) -> dict[str, jax.Array]:
    """Fields of `Encodings` of one block `[r, ...]` of one example a row."""
    example_ids, text = text_states(model, block)
    _, video = video_states(model, block)
    presence = {}
    if model.config.bag_of_words_head:
        clips = (block.video_features, block.video_segment_ids, block.video_masked)
        presence["piece_presence"] = model.piece_presence(video, *clips, 1)[:, 0]
    return {
        **presence,
        "example_ids": example_ids,
        "text": text,
        "text_segment_ids": block.text_segment_ids,
        "video": video,
        "video_segment_ids": block.video_segment_ids,
        "text_embeddings": model.text_embeddings(text, block.text_segment_ids, 1)[:, 0],
        "video_embeddings": model.video_embeddings(video, block.video_segment_ids, 1)[:, 0],
    }


def text_states(
    model: VideoBert, block: schema.Batch
) -> tuple[Int[Array, " b"], Float[Array, "b t d"]]:
    """(example ids, what the text tower says of each piece)."""
    states = model.encode_text(block.text_ids, block.text_segment_ids, block.text_positions)
    return block.example_ids[:, 0], states


def video_states(
    model: VideoBert, block: schema.Batch
) -> tuple[Int[Array, " b"], Float[Array, "b v d"]]:
    """(example ids, what the video tower says of each clip)."""
    states = model.encode_video(
        block.video_features, block.video_segment_ids, block.video_positions, block.video_masked
    )
    return block.example_ids[:, 0], states


def score_candidates(
    model: VideoBert,
    ids: Int[Array, "b t"],
    segment_ids: Int[Array, "b t"],
    video: Float[Array, "b v d"],
    video_segment_ids: Int[Array, "b v"],
    slots: Int[Array, "b m"],
    candidates: Int[Array, "k m"],
    weights: Float[Array, "k m"],
) -> Float[Array, "b k"]:
    """Weighted sum of the log-probabilities of each candidate's pieces at the slots."""
    text = model.encode_text(ids, segment_ids, _positions(ids))
    fused, _ = model.fuse(text, segment_ids, video, video_segment_ids)
    logits = model.piece_logits(heads.gather_slots(fused, slots))
    log_probabilities = jax.nn.log_softmax(logits, axis=-1)
    places = jnp.arange(candidates.shape[1])[None]
    chosen = log_probabilities[:, places, candidates]  # [b, k, m]
    return (chosen * weights[None]).sum(-1)


def embed_texts(
    model: VideoBert, ids: Int[Array, "b t"], segment_ids: Int[Array, "b t"]
) -> Float[Array, "b j"]:
    """Texts, one a row, in the joint space."""
    text = model.encode_text(ids, segment_ids, _positions(ids))
    return model.text_embeddings(text, segment_ids, 1)[:, 0]


def embed_videos(
    model: VideoBert, features: Float[Array, "b v c"], segment_ids: Int[Array, "b v"]
) -> Float[Array, "b j"]:
    """Clips, those of one example a row, in the joint space."""
    positions = _positions(segment_ids)
    video = model.encode_video(features, segment_ids, positions, segment_ids < 0)
    return model.video_embeddings(video, segment_ids, 1)[:, 0]


def tell_clip_labels(
    model: VideoBert,
    features: Float[Array, "b v c"],
    segment_ids: Int[Array, "b v"],
    hidden: Bool[Array, "b v"],
) -> Int[Array, "b v"]:
    """The likeliest label of every clip, by the network's head. Needs `config.clip_labels`."""
    video = model.encode_video(features, segment_ids, _positions(segment_ids), hidden)
    return model.clip_label_logits(video).argmax(-1).astype(jnp.int32)


def vectors_of_clips(model: VideoBert, block: schema.Batch) -> dict[str, jax.Array]:
    """Example ids, and vectors of each example's clips, float32 `[r, k]`: in the joint space, the
    mean of the video tower's states, and that of the cross-modal encoder's without text."""
    example_ids, video = video_states(model, block)
    segment_ids = block.video_segment_ids
    fused = fuse_without_text(model, video, segment_ids)
    return {
        "example_ids": example_ids,
        "joint_embedding": model.video_embeddings(video, segment_ids, 1)[:, 0],
        "video_tower": heads.example_means(video, segment_ids, 1)[:, 0],
        "cross_modal": heads.example_means(fused, segment_ids, 1)[:, 0],
    }


def fuse_without_text(
    model: VideoBert, video: Float[Array, "b v d"], segment_ids: Int[Array, "b v"]
) -> Float[Array, "b v d"]:
    """What the cross-modal encoder says of each clip where no text is to be read, as in training of
    examples without any: clips attend to each other, and what they read of text is 0."""
    nothing = jnp.zeros((len(video), 1), jnp.int32)  # a place of padding
    text = jnp.zeros((*nothing.shape, video.shape[-1]), video.dtype)
    return model.fuse(text, nothing, video, segment_ids)[1]


def tell_clip_states(
    model: VideoBert, features: Float[Array, "b v c"], segment_ids: Int[Array, "b v"]
) -> Float[Array, "b v d"]:
    """What the cross-modal encoder says of each clip where no text is to be read, float32."""
    video = model.encode_video(features, segment_ids, _positions(segment_ids), segment_ids < 0)
    return fuse_without_text(model, video, segment_ids).astype(jnp.float32)


def tell_clip_states_with_text(
    model: VideoBert,
    features: Float[Array, "b v c"],
    segment_ids: Int[Array, "b v"],
    ids: Int[Array, " t"],
    hidden: Bool[Array, " t"],
) -> Float[Array, "b v e"]:
    """What the cross-modal encoder says of each clip that reads a sentence and, behind it, the mean
    of what it says of the sentence's hidden pieces: float32, twice as wide."""
    video = model.encode_video(features, segment_ids, _positions(segment_ids), segment_ids < 0)
    ids = jnp.broadcast_to(ids[None], (len(features), *ids.shape))
    text = model.encode_text(ids, jnp.ones_like(ids), _positions(ids))
    fused_text, fused = model.fuse(text, jnp.ones_like(ids), video, segment_ids)
    told = jnp.where(hidden[None, :, None], fused_text.astype(jnp.float32), 0.0).sum(1)
    told = jnp.broadcast_to((told / hidden.sum())[:, None], fused.shape)
    return jnp.concatenate([fused.astype(jnp.float32), told], axis=-1)


def _positions(ids: Int[Array, "b t"]) -> Int[Array, "b t"]:
    return jnp.broadcast_to(jnp.arange(ids.shape[1], dtype=jnp.int32)[None], ids.shape)


def score_pairs(
    model: VideoBert,
    text: Float[Array, "b t d"],
    text_segment_ids: Int[Array, "b t"],
    video: Float[Array, "b v d"],
    video_segment_ids: Int[Array, "b v"],
) -> Float[Array, " b"]:
    """Matching logits of pairs, one a row."""
    pooled = _pooled(model, text, text_segment_ids, video, video_segment_ids)
    return model.matching_logits(pooled)[:, 0]


def score_texts(
    model: VideoBert,
    ids: Int[Array, "b t"],
    segment_ids: Int[Array, "b t"],
    video: Float[Array, "b v d"],
    video_segment_ids: Int[Array, "b v"],
) -> Float[Array, " b"]:
    """Matching logits of texts and encoded videos, a pair a row."""
    text = model.encode_text(ids, segment_ids, _positions(ids))
    return score_pairs(model, text, segment_ids, video, video_segment_ids)


def tell_answers(
    model: VideoBert,
    text: Float[Array, "b t d"],
    text_segment_ids: Int[Array, "b t"],
    video: Float[Array, "b v d"],
    video_segment_ids: Int[Array, "b v"],
) -> Float[Array, "b w"]:
    """Logits over answers to encoded questions about encoded videos, a pair a row."""
    pooled = _pooled(model, text, text_segment_ids, video, video_segment_ids)
    return model.answer_logits(pooled)[:, 0]


def _pooled(
    model: VideoBert, text: Array, text_segment_ids: Array, video: Array, video_segment_ids: Array
) -> Float[Array, "b 1 d"]:
    """A vector a pair of encoded sides, one a row, of the cross-modal encoder."""
    fused_text, fused_video = model.fuse(text, text_segment_ids, video, video_segment_ids)
    return model.pool(fused_text, text_segment_ids, fused_video, video_segment_ids, 1)
