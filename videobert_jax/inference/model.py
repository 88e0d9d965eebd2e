"""A trained model for applications: no mesh, no TensorFlow, no dataset.

Calls of any number and length of inputs run at few fixed shapes, rows padded to a power of two and
lengths likewise, so that a program is compiled once and for all after the first calls.
"""

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Shaped

from videobert_jax.export import safetensors
from videobert_jax.inference import programs
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.generation import SearchSettings
from videobert_jax.models.videobert import VideoBert
from videobert_jax.schema import FeatureContract
from videobert_jax.text.tokenizer import Tokenizer

_MAXIMUM_ROWS = 32  # a call
_MINIMUM_LENGTH = 8  # pieces or clips a row

Videos = np.ndarray | jax.Array | Sequence[np.ndarray | jax.Array]
Texts = str | Sequence[str]


class InputError(ValueError):
    """An input that the model cannot take."""


class PairEncoding(NamedTuple):
    """Outputs of the cross-modal encoder for b pairs, float32; 0 beyond a pair's own length.

    fused_video [b, v, d] a vector a clip; fused_text [b, t, d] a vector a piece, as `tokenize`
    gives them; pooled [b, d] a vector a pair.
    """

    fused_video: np.ndarray
    fused_text: np.ndarray
    pooled: np.ndarray


class CrossAttention(NamedTuple):
    """Attention weights of the cross-modal encoder for b pairs, float32, l layers of n heads.

    text_reads_video [b, l, n, t, v]: of a piece (of `tokenize`) over the clips; video_reads_text
    [b, l, n, v, t]: of a clip over the pieces. A row sums to 1; 0 beyond a pair's own lengths.
    """

    text_reads_video: np.ndarray
    video_reads_text: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Side:
    """Inputs of one kind, each of its own length. Raises InputError where there is none."""

    inputs: list[np.ndarray]
    maximum_length: int

    def __post_init__(self) -> None:
        if not self.inputs:
            raise InputError("an empty list; expected one video or text, or more.")

    @property
    def longest(self) -> int:
        return max(map(len, self.inputs))

    def batch(self, chosen: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        return _padded([self.inputs[i] for i in chosen], self.maximum_length)


class PretrainedModel:
    """Encoders of video and text. A video is an array [n, c] of its clip features in order, made
    as `contract` says; several are a list of such arrays or one array [b, n, c]."""

    def __init__(self, bundle: ModelBundle):
        self.bundle = bundle
        self.tokenizer = Tokenizer(bundle.tokenizer_model)
        self._variables = jax.tree.map(jnp.asarray, bundle.variables)
        # Rows are short here, and dense attention alone tells its probabilities.
        model = VideoBert(dataclasses.replace(bundle.config, remat="none", attention="dense"))
        self._video_embeddings = jax.jit(functools.partial(programs.video_embeddings, model))
        self._text_embeddings = jax.jit(functools.partial(programs.text_embeddings, model))
        self._pairs = jax.jit(functools.partial(programs.pairs, model))
        self._cross_attention = jax.jit(functools.partial(programs.cross_attention, model))
        self._captions = jax.jit(functools.partial(programs.captions, model), static_argnums=(0, 1))

    @property
    def contract(self) -> FeatureContract:
        """How the clip features have to be made."""
        return self.bundle.contract

    @property
    def maximum_clips(self) -> int:
        """Clips of the longest video: later positions were never trained."""
        return min(self.bundle.data.video_length, self.bundle.config.video.max_length)

    @property
    def maximum_pieces(self) -> int:
        """Pieces of the longest text, [CLS] and [SEP] counted."""
        return min(self.bundle.data.text_length, self.bundle.config.text.max_length)

    def encode_video(self, video: Videos) -> Float[np.ndarray, "b j"]:
        """A vector of norm 1 a video, comparable with those of `encode_text` by dot product.

        Raises InputError on features of another dimension, NaN, no or too many clips.
        """
        return self._in_batches(self._video_embeddings, self._videos(video))[0]

    def encode_text(self, text: Texts, *, truncate: bool = False) -> Float[np.ndarray, "b j"]:
        """A vector of norm 1 a text, comparable with those of `encode_video` by dot product.

        Raises InputError on an empty text and, unless `truncate` cuts it, on a too long one.
        """
        return self._in_batches(self._text_embeddings, self._texts(text, truncate))[0]

    def encode_pair(self, video: Videos, text: Texts, *, truncate: bool = False) -> PairEncoding:
        """Each video fused with the text of the same place.

        Raises InputError as `encode_video` and `encode_text` do, and on unequal numbers.
        """
        videos, texts = self._paired(video, text, truncate)
        fused_video, fused_text, pooled = self._in_batches(self._pairs, videos, texts)
        return PairEncoding(
            fused_video[:, : videos.longest], fused_text[:, : texts.longest], pooled
        )

    def cross_attention(
        self, video: Videos, text: Texts, *, truncate: bool = False
    ) -> CrossAttention:
        """What each piece of a text and each clip of the video of the same place attend to.

        Raises InputError as `encode_pair` does, and where the network has no cross layer.
        """
        if not self.bundle.config.cross.num_layers:
            raise InputError("the network has no cross layer (model.cross.num_layers=0).")
        videos, texts = self._paired(video, text, truncate)
        by_text, by_video = self._in_batches(self._cross_attention, videos, texts)
        t, v = texts.longest, videos.longest
        return CrossAttention(by_text[..., :t, :v], by_video[..., :v, :t])

    def caption(
        self,
        video: Videos | None = None,
        text: Texts | None = None,
        *,
        beams: int = 4,
        length_penalty: float = 1.0,
        no_repeat_ngram: int = 0,
        truncate: bool = False,
    ) -> list[str]:
        """What the decoder writes of each video, of what is said in it, or of both together.

        Give what objectives.captioning.inputs gave it in training. beams: 1 is greedy.
        length_penalty: 0 compares captions by probability alone, more favours longer ones.
        no_repeat_ngram: so many pieces in a row come once in a caption; 0, any number of times.
        Raises InputError as `encode_pair` does, without any input, and where the network has no
        decoder.
        """
        if not self.bundle.config.decoder.num_layers:
            raise InputError(
                "the network has no decoder (model.decoder.num_layers=0); use a model that was "
                "trained with objectives.captioning."
            )
        sides: dict[str, _Side] = {}
        if video is not None and text is not None:
            sides["video"], sides["text"] = self._paired(video, text, truncate)
        elif video is not None:
            sides["video"] = self._videos(video)
        elif text is not None:
            sides["text"] = self._texts(text, truncate)
        else:
            raise InputError("neither video nor text; expected one of them, or both.")
        most = min(self.bundle.data.target_length, self.bundle.config.text.max_length)
        try:
            settings = SearchSettings(
                beams, most, self.tokenizer.size, length_penalty, no_repeat_ngram
            )
        except ValueError as error:
            raise InputError(str(error)) from error
        function = functools.partial(self._captions, frozenset(sides), settings)
        (written,) = self._in_batches(function, *sides.values())
        return [self.tokenizer.decode(ids) for ids in written]

    def similarity(
        self, video: Videos, text: Texts, *, truncate: bool = False
    ) -> Float[np.ndarray, "v t"]:
        """Cosine of every video (rows) with every text (columns), -1 to 1, by the towers alone."""
        return self.encode_video(video) @ self.encode_text(text, truncate=truncate).T

    def tokenize(self, text: Texts, *, truncate: bool = False) -> list[list[int]]:
        """Piece ids of each text as the model reads them, [CLS] first and [SEP] last.

        Raises InputError as `encode_text` does.
        """
        return [ids.tolist() for ids in self._texts(text, truncate).inputs]

    def _paired(self, video: Videos, text: Texts, truncate: bool) -> tuple[_Side, _Side]:
        videos, texts = self._videos(video), self._texts(text, truncate)
        if len(videos.inputs) != len(texts.inputs):
            raise InputError(
                f"{len(videos.inputs)} videos and {len(texts.inputs)} texts; a pair is one of each."
            )
        return videos, texts

    def _videos(self, video: Videos) -> _Side:
        dim = self.contract.dim
        if isinstance(video, np.ndarray | jax.Array):
            if video.ndim not in (2, 3):
                raise InputError(
                    f"video of shape {list(video.shape)}; expected [n, {dim}], n clips, or "
                    f"[b, n, {dim}]."
                )
            video = [video] if video.ndim == 2 else list(video)
        videos = [np.asarray(features, np.float32) for features in video]
        for number, features in enumerate(videos):
            if features.ndim != 2 or features.shape[1] != dim:
                raise InputError(
                    f"video {number} has the shape {list(features.shape)}; expected [n, {dim}]: "
                    f"clip features of {self.contract.backbone}, layer {self.contract.layer}."
                )
            if not 1 <= len(features) <= self.maximum_clips:
                raise InputError(
                    f"video {number} has {len(features)} clips; expected 1 to "
                    f"{self.maximum_clips}, as many as in training: cut it into segments."
                )
            if not np.isfinite(features).all():
                raise InputError(f"video {number} has NaN or infinite features; extract it anew.")
        return _Side(videos, self.maximum_clips)

    def _texts(self, text: Texts, truncate: bool) -> _Side:
        texts = [text] if isinstance(text, str) else list(text)
        room = self.maximum_pieces - 2
        tokenized = []
        for number, pieces in enumerate(self.tokenizer.encode(texts)):
            if not pieces:
                raise InputError(f"text {number} is {texts[number]!r}; expected words.")
            if len(pieces) > room and not truncate:
                raise InputError(
                    f"text {number} has {len(pieces)} pieces; expected {room} at most, as many as "
                    "in training: shorten it, or cut it with truncate=True."
                )
            ids = [self.tokenizer.cls_id, *pieces[:room], self.tokenizer.sep_id]
            tokenized.append(np.array(ids, np.int32))
        return _Side(tokenized, self.maximum_pieces)

    def _in_batches(
        self, function: Callable[..., tuple[jax.Array, ...]], *sides: _Side
    ) -> list[np.ndarray]:
        """Outputs of `function` for all inputs, in their order.

        Inputs go by length, so that short ones are not padded to the longest of all.
        """
        count = len(sides[0].inputs)
        order = sorted(range(count), key=lambda i: [len(side.inputs[i]) for side in sides])
        parts = []
        for start in range(0, count, _MAXIMUM_ROWS):
            chosen = order[start : start + _MAXIMUM_ROWS]
            arrays = [side.batch(chosen) for side in sides]
            outputs = function(self._variables, *itertools.chain.from_iterable(arrays))
            parts.append((chosen, [np.asarray(values)[: len(chosen)] for values in outputs]))
        return _in_order(parts)


def load(path: str | os.PathLike) -> PretrainedModel:
    """The model of an export's folder. Raises ExportError where it is none or is damaged."""
    return PretrainedModel(safetensors.load_bundle(path))


def _padded(
    inputs: Sequence[np.ndarray], maximum_length: int
) -> tuple[Shaped[np.ndarray, "b n *c"], Int[np.ndarray, " b"]]:
    """(inputs in one array, their lengths); rows and length padded to powers of two."""
    lengths = np.array([len(values) for values in inputs], np.int32)
    rows = _power_of_two(len(inputs))
    length = min(max(_power_of_two(int(lengths.max())), _MINIMUM_LENGTH), maximum_length)
    array = np.zeros((rows, length, *inputs[0].shape[1:]), inputs[0].dtype)
    for row, values in enumerate(inputs):
        array[row, : len(values)] = values
    return array, np.pad(lengths, (0, rows - len(inputs)))


def _power_of_two(number: int) -> int:
    """The smallest power of two that is not less than `number`."""
    return 1 << (number - 1).bit_length()


def _in_order(parts: list[tuple[list[int], list[np.ndarray]]]) -> list[np.ndarray]:
    """Outputs of batches of chosen inputs, joined in the inputs' order, 0 where one is shorter."""
    count = sum(len(chosen) for chosen, _ in parts)
    joined = []
    for outputs in zip(*(arrays for _, arrays in parts), strict=True):
        sizes = np.max([values.shape[1:] for values in outputs], axis=0)
        joined.append(np.zeros((count, *sizes), outputs[0].dtype))
        for (chosen, _), values in zip(parts, outputs, strict=True):
            places = (chosen, *(slice(size) for size in values.shape[1:]))
            joined[-1][places] = values
    return joined
