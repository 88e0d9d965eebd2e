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
from videobert_jax.models import generation
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.videobert import VideoBert
from videobert_jax.objectives.config import BOTH, TRANSCRIPT, VIDEO
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

    def batch(self, chosen: Sequence[int]) -> tuple[np.ndarray, ...]:
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
        self._visual_words = jax.jit(functools.partial(programs.visual_words, model))
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
        return self.bundle.maximum_pieces

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

    def visual_words(
        self, video: Videos, text: Texts | None = None, *, truncate: bool = False
    ) -> Float[np.ndarray, "b v w"]:
        """Cosine of each clip with every visual word, as the masked video head tells it from the
        text of the same place and from the clips that are shown; clips to be told are all NaN.

        Raises InputError as `encode_pair` does, and where the network tells no visual words.
        """
        if self.bundle.config.masked_video_head != "visual_words":
            raise InputError(
                f"the network's masked video head is {self.bundle.config.masked_video_head!r}; use "
                'one that was trained with model.masked_video_head="visual_words".'
            )
        given = self._clips(video)
        hidden = [np.isnan(clips).all(axis=1, keepdims=True) for clips in given]
        shown = [np.where(of, 0.0, clips) for of, clips in zip(hidden, given, strict=True)]
        checked = self._videos(shown)
        inputs = [
            np.where(of, np.float32(np.nan), clips)
            for of, clips in zip(hidden, checked.inputs, strict=True)
        ]
        texts = _Side([np.zeros(0, np.int32)] * len(inputs), self.maximum_pieces)
        if text is not None:
            _, texts = self._paired(shown, text, truncate)
        (told,) = self._in_batches(self._visual_words, _Side(inputs, self.maximum_clips), texts)
        return told[:, : checked.longest]

    def caption(
        self,
        video: Videos | None = None,
        text: Texts | None = None,
        *,
        inputs: str | None = None,
        beams: int | None = None,
        length_penalty: float | None = None,
        top_p: float | None = None,
        temperature: float | None = None,
        seed: int = 0,
        no_repeat_ngram: int = 0,
        repetition_penalty: float = 1.0,
        truncate: bool = False,
    ) -> list[str]:
        """What the decoder writes of each video, of what is said in it, or of both together.

        By beam search: beams (1 is greedy; None, 4), length_penalty (0 compares captions by
        probability alone, more favours longer ones; None, 1). With top_p drawn, by seed and place
        among the inputs: each piece from the likeliest ones that have this probability together, at
        a temperature (None, 1). no_repeat_ngram: so many pieces in a row come once in a caption; 0,
        any number of times. repetition_penalty: what the logits of pieces that are there already
        are divided by (CTRL); 1, none. Raises InputError as `encode_pair` does, without any input,
        where the network has no decoder, and where it learnt to write from other inputs than are
        given, unless `inputs` says "video", "transcript" or "both" of them.
        """
        if not self.bundle.config.decoder.num_layers:
            raise InputError(
                "the network has no decoder (model.decoder.num_layers=0); use a model that was "
                "trained with objectives.captioning."
            )
        sides = self._caption_sides(video, text, inputs, truncate)
        try:
            settings = generation.settings(
                beams=beams,
                length_penalty=length_penalty,
                top_p=top_p,
                temperature=temperature,
                max_pieces=self.bundle.maximum_target_pieces,
                num_pieces=self.tokenizer.size,
                no_repeat_ngram=no_repeat_ngram,
                repetition_penalty=repetition_penalty,
            )
        except ValueError as error:
            raise InputError(str(error)) from error
        by = functools.partial(self._captions, frozenset(sides), settings, np.uint32(seed))
        (written,) = self._in_batches(by, *sides.values(), numbered=True)
        return [self.tokenizer.decode(ids) for ids in written]

    def _caption_sides(
        self, video: Videos | None, text: Texts | None, inputs: str | None, truncate: bool
    ) -> dict[str, _Side]:
        """The sides that captions are told from, which are those that are given."""
        if video is None and text is None:
            raise InputError("neither video nor text; expected one of them, or both.")
        given = (
            BOTH
            if video is not None and text is not None
            else VIDEO
            if text is None
            else TRANSCRIPT
        )
        wanted = inputs or self.bundle.captions_read or given
        if wanted != given:
            raise InputError(
                f"{given} given, but captions are told from {wanted}"
                f"{'' if inputs else ', as in training'}; give that, or say inputs={given!r}."
            )
        if video is not None and text is not None:
            return dict(zip(("video", "text"), self._paired(video, text, truncate), strict=True))
        if video is not None:
            return {"video": self._videos(video)}
        return {"text": self._texts(text or "", truncate)}

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
        videos = self._clips(video)
        for number, features in enumerate(videos):
            if not np.isfinite(features).all():
                raise InputError(f"video {number} has NaN or infinite features; extract it anew.")
        return _Side(videos, self.maximum_clips)

    def _clips(self, video: Videos) -> list[Float[np.ndarray, "n c"]]:
        """Features of each video, float32. Raises InputError on another shape."""
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
        return videos

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
        self,
        function: Callable[..., tuple[jax.Array, ...]],
        *sides: _Side,
        numbered: bool = False,
    ) -> list[np.ndarray]:
        """Outputs of `function` for all inputs, in their order; numbered: it takes their places
        among all before them.

        Inputs go by length, so that short ones are not padded to the longest of all.
        """
        count = len(sides[0].inputs)
        order = sorted(range(count), key=lambda i: [len(side.inputs[i]) for side in sides])
        parts = []
        for start in range(0, count, _MAXIMUM_ROWS):
            chosen = order[start : start + _MAXIMUM_ROWS]
            arrays = [side.batch(chosen) for side in sides]
            if numbered:
                rows = _power_of_two(len(chosen))
                arrays.insert(0, (np.pad(np.array(chosen, np.int32), (0, rows - len(chosen))),))
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
