"""What the network makes of the examples of a split: encoded once, fused as often as asked.

Evaluation uses one example a row, in index order, at one fixed shape, so that a prediction depends
neither on its neighbours nor on the number of devices; blocks are spread over the devices, and
every process gets all predictions.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Int, Shaped

from videobert_jax import schema
from videobert_jax.data import block as blocks
from videobert_jax.data import device_feed
from videobert_jax.data.config import DataConfig
from videobert_jax.data.index import Split
from videobert_jax.models import heads
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import ModelConfig
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.text.tokenizer import Tokenizer

ROWS = 32  # rows a block, of one example each
_CANDIDATE_TILE = 64  # the list of candidates is padded to multiples, to compile less often


@dataclasses.dataclass(frozen=True)
class Encodings:
    """The towers' outputs of examples, in the order of their ids, in host memory.

    text [n, t, d], video [n, v, d] and their segment ids (0: padding); the embeddings [n, joint]
    have norm 1, or are 0 where the side is absent. `piece_presence` [n, w] is None where the
    network has no such head.
    """

    example_ids: np.ndarray
    damaged: np.ndarray  # bool [n]: clip features with NaN, which count for nothing
    text: np.ndarray
    text_segment_ids: np.ndarray
    video: np.ndarray
    video_segment_ids: np.ndarray
    text_embeddings: np.ndarray
    video_embeddings: np.ndarray
    piece_presence: np.ndarray | None = None

    def rows_of(self, example_ids: Int[np.ndarray, " n"]) -> np.ndarray:
        """Rows, int64 [n], of examples. Raises EvaluationError where some were not encoded."""
        missing = np.setdiff1d(example_ids, self.example_ids)
        if len(missing):
            raise EvaluationError(
                f"{len(missing)} of {len(example_ids)} examples were not evaluated, the first are "
                f"{missing[:5].tolist()}; check the dataset with `videobert verify`."
            )
        return np.searchsorted(self.example_ids, example_ids)


@dataclasses.dataclass(frozen=True)
class MaskedText:
    """A sentence in which candidates are tried: piece ids with [CLS], masks and [SEP]; row of the
    video encodings it is fused with, and places of the masks."""

    ids: tuple[int, ...]
    slots: tuple[int, ...]
    video_row: int


class ModelRunner:
    """The network of a bundle on a mesh. ROWS examples go to a device at a time.

    Variables that lie on a mesh already (in training) stay there; else, or where another `mesh`
    is given, every device has a copy.
    """

    def __init__(self, bundle: ModelBundle, *, mesh: Mesh | None = None):
        self.bundle = bundle
        self.tokenizer = Tokenizer(bundle.tokenizer_model)
        born_on = _mesh_of(bundle.variables)
        everywhere = meshes.MeshConfig(data=-1, fsdp=1, tensor=1)
        self.mesh = mesh or born_on or meshes.create_mesh(everywhere)
        self.variables = bundle.variables
        if self.mesh != born_on:
            self.variables = _replicate(bundle.variables, self.mesh)
        self._functions = _compiled(bundle.config, self.mesh)

    @property
    def blocks_per_batch(self) -> int:
        return meshes.block_shards(self.mesh)

    def builder(self, split: Split, *, limit: int | None = None) -> blocks.EvaluationBuilder:
        """Blocks of one example a row, unmasked; as long as the longest, at most as in training.

        Longer examples are cut as in training: further positions were never learnt.
        """
        ids = np.arange(len(split))[:limit]
        text_length = max(map(len, self.tokenizer.encode(split.texts(ids.tolist()))), default=0) + 2
        clips = int(split.clip_count[ids].max(initial=1))
        settings = rows_of_one(self.bundle.data, text_length, clips, split.contract.dim)
        return blocks.EvaluationBuilder(split, self.tokenizer, settings)

    def encode(self, split: Split, *, limit: int | None = None) -> Encodings:
        """Encodings of all examples of a split, or of the first `limit`."""
        builder = self.builder(split, limit=limit)
        if limit is not None:
            builder = FirstBlocks(builder, -(-limit // ROWS))
        parts: list[dict[str, np.ndarray]] = []
        with jax.set_mesh(self.mesh):
            batches = device_feed.evaluation_batches(builder, self.mesh, self.blocks_per_batch)
            for batch in batches:
                outputs = self._functions.encode(self.variables, batch)
                parts.append({name: _rows(value) for name, value in outputs.items()})
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        # padding goes, and what two processes both have built is kept once
        ids, first = np.unique(joined["example_ids"], return_index=True)
        kept = first[(ids != schema.PADDING_EXAMPLE) & (ids < (limit or len(split)))]
        fields = {name: value[kept] for name, value in joined.items()}
        ids = fields["example_ids"]
        shown = (fields["video_segment_ids"] != schema.NO_SEGMENT).any(axis=1)
        damaged = (split.clip_count[ids] > 0) & ~shown  # a block leaves such clips out
        return Encodings(damaged=damaged, **fields)

    def candidate_scores(
        self,
        encodings: Encodings,
        texts: Sequence[MaskedText],
        candidates: Sequence[Sequence[int]],
        *,
        text_length: int,
        table_shape: tuple[int, int],
        with_video: bool,
    ) -> Float[np.ndarray, "n k"]:
        """Mean log-probability, float32 [texts, candidates], of a candidate's pieces at the masks.

        Meaningful where a candidate has as many pieces as the text has masks. `table_shape` is
        the number of candidates and of pieces to compile for, so that lists may share a program.
        """
        most = table_shape[1]
        table = np.zeros((_round_up(table_shape[0], _CANDIDATE_TILE), most), np.int32)
        weights = np.zeros(table.shape, np.float32)
        for row, pieces in enumerate(candidates):
            table[row, : len(pieces)] = pieces
            weights[row, : len(pieces)] = 1.0 / len(pieces)
        out = np.zeros((len(texts), len(candidates)), np.float32)
        with jax.set_mesh(self.mesh):
            shared = _replicate((table, weights), self.mesh)
            for rows in self._chunks(len(texts)):
                chosen = [texts[row] for row in rows]
                ids, segment_ids, slots = _text_arrays(chosen, text_length, most)
                videos = np.array([text.video_row for text in chosen])
                video_segments = encodings.video_segment_ids[videos] * np.int32(with_video)
                arrays = (ids, segment_ids, encodings.video[videos], video_segments, slots)
                scores = self._functions.candidates(self.variables, *self._spread(*arrays), *shared)
                out[rows] = _rows(scores)[: len(rows), : len(candidates)]
        return out

    def text_embeddings(self, texts: Sequence[Sequence[int]]) -> Float[np.ndarray, "n j"]:
        """Texts, piece ids with [CLS] and [SEP], in the joint space; float32, of norm 1."""
        longest = _round_up(max(map(len, texts)), 8)
        parts = []
        with jax.set_mesh(self.mesh):
            for rows in self._chunks(len(texts)):
                chosen = [MaskedText(tuple(texts[row]), (), 0) for row in rows]
                ids, segment_ids, _ = _text_arrays(chosen, longest, 0)
                embedded = self._functions.texts(self.variables, *self._spread(ids, segment_ids))
                parts.append(_rows(embedded)[: len(rows)])
        return np.concatenate(parts)

    @functools.cached_property
    def contrastive_scale(self) -> float:
        """Learnt factor of cosines in the joint space."""
        model = VideoBert(self.bundle.config)
        with jax.set_mesh(self.mesh):
            scale: Any = model.apply(self.variables, method="contrastive_scale")
            return float(scale)

    def matching_scores(
        self,
        encodings: Encodings,
        text_rows: Int[np.ndarray, " n"],
        video_rows: Int[np.ndarray, " n"],
    ) -> Float[np.ndarray, " n"]:
        """Logit of each (text, video) pair that the two belong together, float32 [n]."""
        out = np.zeros(len(text_rows), np.float32)
        with jax.set_mesh(self.mesh):
            for rows in self._chunks(len(text_rows)):
                texts, videos = text_rows[rows], video_rows[rows]
                arrays = (
                    encodings.text[texts],
                    encodings.text_segment_ids[texts],
                    encodings.video[videos],
                    encodings.video_segment_ids[videos],
                )
                logits = self._functions.matching(self.variables, *self._spread(*arrays))
                out[rows] = _rows(logits)[: len(rows)]
        return out

    def _chunks(self, count: int) -> Iterator[np.ndarray]:
        size = ROWS * self.blocks_per_batch
        for start in range(0, count, size):
            yield np.arange(start, min(start + size, count))

    def _spread(self, *arrays: Shaped[np.ndarray, "n ..."]) -> list[jax.Array]:
        """Rows padded to whole blocks `[k, r, ...]` and laid out over the devices."""
        shape = (self.blocks_per_batch, ROWS)
        sharding = partitioning.batch_sharding(self.mesh)
        spread = []
        for array in arrays:
            padding = [(0, shape[0] * shape[1] - len(array))] + [(0, 0)] * (array.ndim - 1)
            whole = np.pad(array, padding).reshape(*shape, *array.shape[1:])
            spread.append(_from_host(whole, sharding))
        return spread


def rows_of_one(
    data: DataConfig, text_length: int, clips: int, feature_dim: int
) -> blocks.BlockSettings:
    """Rows of one example, of which nothing is hidden; as long as asked, at most as in training."""
    shown = {"text_rate": 0.0, "whole_text_examples": 0.0, "video_rate": 0.0}
    data = dataclasses.replace(
        data,
        block_size=ROWS,
        examples_per_row=1,
        read_group=1,
        content_words="",  # of training alone
        text_length=min(_round_up(text_length, 8), data.text_length),
        video_length=min(clips, data.video_length),
        target_length=0,
        masking=dataclasses.replace(data.masking, **shown),
    )
    return blocks.BlockSettings.from_config(data, 0, feature_dim)


@dataclasses.dataclass(frozen=True)
class FirstBlocks:
    """A builder cut to its first blocks."""

    builder: Any
    count: int

    @property
    def num_blocks(self) -> int:
        return min(self.count, self.builder.num_blocks)

    def build(self, k: int) -> Any:
        return self.builder.build(k)


@dataclasses.dataclass(frozen=True)
class _Functions:
    encode: Callable[..., dict[str, jax.Array]]
    candidates: Callable[..., jax.Array]
    matching: Callable[..., jax.Array]
    texts: Callable[..., jax.Array]


@functools.lru_cache(maxsize=4)
def _compiled(config: ModelConfig, mesh: Mesh) -> _Functions:
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

    return _Functions(
        encode=over_blocks(encode_block, ()),
        candidates=over_blocks(score_candidates, (5, 6)),
        matching=over_blocks(score_pairs, ()),
        texts=over_blocks(embed_texts, ()),
    )


def encode_block(model: VideoBert, block: schema.Batch) -> dict[str, jax.Array]:
    """Fields of `Encodings` of one block `[r, ...]` of one example a row."""
    text = model.encode_text(block.text_ids, block.text_segment_ids, block.text_positions)
    video = model.encode_video(
        block.video_features, block.video_segment_ids, block.video_positions, block.video_masked
    )
    presence = {}
    if model.config.bag_of_words_head:
        of_examples = model.piece_presence(video, block.video_segment_ids, 1)
        presence["piece_presence"] = of_examples[:, 0]
    return {
        **presence,
        "example_ids": block.example_ids[:, 0],
        "text": text,
        "text_segment_ids": block.text_segment_ids,
        "video": video,
        "video_segment_ids": block.video_segment_ids,
        "text_embeddings": model.text_embeddings(text, block.text_segment_ids, 1)[:, 0],
        "video_embeddings": model.video_embeddings(video, block.video_segment_ids, 1)[:, 0],
    }


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
    fused_text, fused_video = model.fuse(text, text_segment_ids, video, video_segment_ids)
    pooled = model.pool(fused_text, text_segment_ids, fused_video, video_segment_ids, 1)
    return model.matching_logits(pooled)[:, 0]


def _text_arrays(texts: Sequence[MaskedText], length: int, num_slots: int) -> tuple:
    """(ids, segment ids) int32 [n, length] and slots int32 [n, num_slots], 0 where unused."""
    ids = np.zeros((len(texts), length), np.int32)
    segment_ids = np.zeros_like(ids)
    slots = np.zeros((len(texts), num_slots), np.int32)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = text.ids
        segment_ids[row, : len(text.ids)] = 1
        slots[row, : len(text.slots)] = text.slots
    return ids, segment_ids, slots


def _mesh_of(variables: Any) -> Mesh | None:
    """The mesh that the variables lie on, None where they are host arrays or on one device."""
    for leaf in jax.tree.leaves(variables):
        sharding = getattr(leaf, "sharding", None)
        mesh = sharding.mesh if isinstance(sharding, NamedSharding) else None
        if isinstance(mesh, Mesh) and mesh.axis_names == meshes.AXES:
            return mesh
    return None


def _replicate(tree: Any, mesh: Mesh) -> Any:
    sharding = partitioning.replicated(mesh)
    return jax.tree.map(lambda leaf: _from_host(np.asarray(leaf), sharding), tree)


def _from_host(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """Global array of which every process holds the whole on its host."""
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _rows(value: jax.Array) -> np.ndarray:
    """Blocks `[k, r, ...]` on the device as rows `[k * r, ...]` on the host."""
    host = np.asarray(value)
    return host.reshape(-1, *host.shape[2:])


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
