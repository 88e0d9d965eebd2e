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
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Bool, Float, Float16, Int, Shaped

from videobert_jax import schema
from videobert_jax.data import block as blocks
from videobert_jax.data import device_feed
from videobert_jax.data.index import Split
from videobert_jax.files import stopping
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.videobert import VideoBert
from videobert_jax.sharding import mesh as meshes
from videobert_jax.sharding import partitioning
from videobert_jax.tasks import programs, token_states
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.rows import ROWS, evaluation_builder, round_up
from videobert_jax.tasks.token_states import States, TokenStates
from videobert_jax.text.tokenizer import Tokenizer

_CANDIDATE_TILE = 64  # the list of candidates is padded to multiples, to compile less often


@dataclasses.dataclass(frozen=True)
class Encodings:
    """The towers' outputs of examples, in the order of their ids, in host memory.

    text [n, t, d], video [n, v, d] (of many examples made when rows of them are asked for) and
    their segment ids (0: padding); the embeddings [n, joint] have norm 1, or are 0 where the side
    is absent. `piece_presence` [n, w] is None where the
    network has no such head.
    """

    example_ids: np.ndarray
    damaged: np.ndarray  # bool [n]: clip features with NaN, which count for nothing
    text: States
    text_segment_ids: np.ndarray
    video: States
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
        self._functions = programs.compiled(bundle.config, self.mesh)

    @property
    def blocks_per_batch(self) -> int:
        return meshes.block_shards(self.mesh)

    def builder(self, split: Split, *, limit: int | None = None) -> blocks.EvaluationBuilder:
        """Blocks of a split as `evaluation_builder` makes them, for this network."""
        return evaluation_builder(self.tokenizer, self.bundle.data, split, limit=limit)

    def encode(self, split: Split, *, limit: int | None = None) -> Encodings:
        """Encodings of all examples of a split, or of the first `limit`."""
        builder = self.builder(split, limit=limit)
        builder = builder.of_examples(np.arange(min(limit or len(split), len(split))))
        shape, config = builder.settings.shape, self.bundle.config
        sizes = {"text": shape.text_length, "video": shape.video_length}
        sizes = {side: 4 * length * config.embed_dim for side, length in sizes.items()}
        kept = sum(sizes.values()) * len(builder.examples) <= token_states.KEPT_BYTES
        parts: list[dict[str, np.ndarray]] = []
        with jax.set_mesh(self.mesh):
            batches = device_feed.evaluation_batches(builder, self.mesh, self.blocks_per_batch)
            for batch in batches:
                outputs = self._functions.encode(self.variables, batch)
                taken = [name for name in outputs if kept or name not in sizes]
                parts.append({name: _rows(outputs[name]) for name in taken})
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        # padding goes, and what two processes both have built is kept once
        ids, first = np.unique(joined["example_ids"], return_index=True)
        own = first[ids != schema.PADDING_EXAMPLE]
        fields: dict[str, Any] = {name: value[own] for name, value in joined.items()}
        ids = fields["example_ids"]
        if not kept:
            made = {"text": self._functions.text_states, "video": self._functions.video_states}
            for side, function in made.items():
                fields[side] = self._made_states(builder, ids, function, sizes[side])
        shown = (fields["video_segment_ids"] != schema.NO_SEGMENT).any(axis=1)
        damaged = (split.clip_count[ids] > 0) & ~shown  # a block leaves such clips out
        return Encodings(damaged=damaged, **fields)

    def _made_states(
        self, builder: blocks.EvaluationBuilder, ids: np.ndarray, function: Any, size: int
    ) -> TokenStates:
        def on_host(variables: Any, batch: Any) -> tuple[np.ndarray, np.ndarray]:
            example_ids, states = function(variables, batch)
            return _rows(example_ids), _rows(states)

        return TokenStates(
            builder, ids, on_host, self.variables, self.mesh, self.blocks_per_batch, size
        )

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
        table = np.zeros((round_up(table_shape[0], _CANDIDATE_TILE), most), np.int32)
        weights = np.zeros(table.shape, np.float32)
        for row, pieces in enumerate(candidates):
            table[row, : len(pieces)] = pieces
            weights[row, : len(pieces)] = 1.0 / len(pieces)
        out = np.zeros((len(texts), len(candidates)), np.float32)
        with jax.set_mesh(self.mesh):
            shared = _replicate((table, weights), self.mesh)
            for group in token_states.groups((encodings.video,), len(texts)):
                videos = np.array([texts[row].video_row for row in group])
                video, places = token_states.held(encodings.video, videos)
                for rows in self.chunks(len(group)):
                    chosen = [texts[row] for row in group[rows]]
                    ids, segment_ids = text_arrays([text.ids for text in chosen], text_length)
                    slots = _padded([text.slots for text in chosen], most)
                    segments = encodings.video_segment_ids[videos[rows]] * np.int32(with_video)
                    arrays = (ids, segment_ids, video[places[rows]], segments, slots)
                    spread = self.spread(*arrays)
                    scores = self._functions.candidates(self.variables, *spread, *shared)
                    out[group[rows]] = _rows(scores)[: len(rows), : len(candidates)]
        return out

    def sentences(self, texts: Sequence[str]) -> list[list[int]]:
        """Piece ids of texts with [CLS] and [SEP], cut as in training."""
        return self.cut_sentences(texts)[0]

    def cut_sentences(self, texts: Sequence[str]) -> tuple[list[list[int]], Bool[np.ndarray, " n"]]:
        """(`sentences`, which of them were longer)."""
        room = self.bundle.maximum_pieces - 2
        cls, sep = self.tokenizer.cls_id, self.tokenizer.sep_id
        encoded = self.tokenizer.encode(texts)
        cut = np.array([len(pieces) > room for pieces in encoded], bool)
        return [[cls, *pieces[:room], sep] for pieces in encoded], cut

    def text_embeddings(self, texts: Sequence[Sequence[int]]) -> Float[np.ndarray, "n j"]:
        """Texts, piece ids with [CLS] and [SEP], in the joint space; float32, of norm 1."""
        longest = round_up(max(map(len, texts)), 8)
        return self._by_rows(
            self._functions.texts,
            len(texts),
            lambda rows: text_arrays([texts[row] for row in rows], longest),
        )

    def video_embeddings(
        self, features: Float16[np.ndarray, "n v c"], shown: Bool[np.ndarray, "n v"]
    ) -> Float[np.ndarray, "n j"]:
        """Rows of clips, those that are shown before the others, in the joint space; float32, of
        norm 1."""
        return self._by_rows(
            self._functions.videos,
            len(features),
            lambda rows: (features[rows], shown[rows].astype(np.int32)),
        )

    def clip_labels(
        self,
        features: Float16[np.ndarray, "n v c"],
        shown: Bool[np.ndarray, "n v"],
        *,
        hidden: bool,
    ) -> Int[np.ndarray, "n v"]:
        """The likeliest label of every clip of rows, by the network's head; `hidden`: of clips that
        it does not see."""
        return self._by_rows(
            self._functions.clip_labels,
            len(features),
            lambda rows: (features[rows], shown[rows].astype(np.int32), shown[rows] & hidden),
        )

    def clip_states(
        self,
        features: Float16[np.ndarray, "n v c"],
        shown: Bool[np.ndarray, "n v"],
        sentence: Sequence[int] = (),
    ) -> Float[np.ndarray, "n v e"]:
        """What the cross-modal encoder says of every clip of rows, float32: without text, or beside
        a sentence, piece ids with [CLS] and [SEP], and then with the mean state of its masks."""
        function: Callable[..., jax.Array] = self._functions.clip_states
        if sentence:
            ids = np.array(sentence, np.int32)
            text = ids, ids == self.tokenizer.mask_id
            whole = self._functions.clip_states_with_text
            function = lambda variables, *arrays: whole(variables, *arrays, *text)  # noqa: E731
        return self._by_rows(
            function, len(features), lambda rows: (features[rows], shown[rows].astype(np.int32))
        )

    def _by_rows(
        self,
        function: Callable[..., jax.Array],
        count: int,
        arrays_of: Callable[[np.ndarray], Sequence[np.ndarray]],
    ) -> Shaped[np.ndarray, "n ..."]:
        """What a program makes of `count` rows, given the arrays of some of them at a time."""
        parts = []
        with jax.set_mesh(self.mesh):
            for rows in self.chunks(count):
                made = function(self.variables, *self.spread(*arrays_of(rows)))
                parts.append(_rows(made)[: len(rows)])
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
            for rows, pairs in self._pairs(encodings, text_rows, video_rows, with_video=True):
                out[rows] = _rows(self._functions.matching(self.variables, *pairs))[: len(rows)]
        return out

    def text_matching_scores(
        self,
        encodings: Encodings,
        texts: Sequence[Sequence[int]],
        video_rows: Int[np.ndarray, " n"],
        *,
        with_video: bool,
    ) -> Float[np.ndarray, " n"]:
        """Logit that each text, piece ids with [CLS] and [SEP], belongs to its video, float32."""
        longest = round_up(max(map(len, texts)), 8)
        out = np.zeros(len(texts), np.float32)
        with jax.set_mesh(self.mesh):
            for group in token_states.groups((encodings.video,), len(texts)):
                video, places = token_states.held(encodings.video, video_rows[group])
                for rows in self.chunks(len(group)):
                    segments = encodings.video_segment_ids[video_rows[group[rows]]]
                    read = text_arrays([texts[row] for row in group[rows]], longest)
                    arrays = (*read, video[places[rows]], segments * np.int32(with_video))
                    logits = self._functions.judged_texts(self.variables, *self.spread(*arrays))
                    out[group[rows]] = _rows(logits)[: len(rows)]
        return out

    def answer_logits(
        self,
        encodings: Encodings,
        text_rows: Int[np.ndarray, " n"],
        video_rows: Int[np.ndarray, " n"],
        *,
        with_video: bool,
    ) -> Float[np.ndarray, "n a"]:
        """Logits over the answers of the network's head to encoded questions, float32."""
        out = np.zeros((len(text_rows), len(self.bundle.answers)), np.float32)
        with jax.set_mesh(self.mesh):
            for rows, pairs in self._pairs(encodings, text_rows, video_rows, with_video=with_video):
                logits = _rows(self._functions.answers(self.variables, *pairs))
                out[rows] = logits[: len(rows), : out.shape[1]]
        return out

    def _pairs(
        self,
        encodings: Encodings,
        text_rows: Int[np.ndarray, " n"],
        video_rows: Int[np.ndarray, " n"],
        *,
        with_video: bool,
    ) -> Iterator[tuple[np.ndarray, list[jax.Array]]]:
        """(places, encoded texts and videos with their segment ids, a pair a row)."""
        for group in token_states.groups((encodings.text, encodings.video), len(text_rows)):
            text, text_places = token_states.held(encodings.text, text_rows[group])
            video, video_places = token_states.held(encodings.video, video_rows[group])
            for rows in self.chunks(len(group)):
                segments = encodings.video_segment_ids[video_rows[group[rows]]]
                arrays = (
                    text[text_places[rows]],
                    encodings.text_segment_ids[text_rows[group[rows]]],
                    video[video_places[rows]],
                    segments * np.int32(with_video),
                )
                yield group[rows], self.spread(*arrays)

    def chunks(self, count: int) -> Iterator[np.ndarray]:
        """Places of `count` things, as many at a time as `spread` takes."""
        size = ROWS * self.blocks_per_batch
        for start in range(0, count, size):
            stopping.point()
            yield np.arange(start, min(start + size, count))

    def spread(self, *arrays: Shaped[np.ndarray, "n ..."]) -> list[jax.Array]:
        """Rows padded to whole blocks `[k, r, ...]` and laid out over the devices."""
        shape = (self.blocks_per_batch, ROWS)
        sharding = partitioning.batch_sharding(self.mesh)
        spread = []
        for array in arrays:
            padding = [(0, shape[0] * shape[1] - len(array))] + [(0, 0)] * (array.ndim - 1)
            whole = np.pad(array, padding).reshape(*shape, *array.shape[1:])
            spread.append(_from_host(whole, sharding))
        return spread


def text_arrays(
    texts: Sequence[Sequence[int]], length: int
) -> tuple[Int[np.ndarray, "n t"], Int[np.ndarray, "n t"]]:
    """(piece ids, segment ids) of texts with [CLS] and [SEP]; one without pieces has no place."""
    return _padded(texts, length), _padded([[1] * len(text) for text in texts], length)


def _padded(rows: Sequence[Sequence[int]], length: int) -> Int[np.ndarray, "n t"]:
    """Rows of numbers, int32, 0 where they end."""
    out = np.zeros((len(rows), length), np.int32)
    for row, numbers in enumerate(rows):
        out[row, : len(numbers)] = numbers
    return out


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
