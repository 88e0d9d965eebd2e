"""A trained model for applications: no mesh, no TensorFlow, no dataset.

Calls of any number and length of inputs run at few fixed shapes, rows padded to a power of two and
lengths likewise, so that a program is compiled once and for all after the first calls.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

import videobert_jax
from videobert_jax.export import safetensors
from videobert_jax.inference import answers, attention_maps, captions, localization
from videobert_jax.inference.answers import Answer, Told
from videobert_jax.inference.attention_maps import WordAttention
from videobert_jax.inference.captions import Seconds, TimedCaption
from videobert_jax.inference.inputs import InputError, Side, Texts, Video, Videos
from videobert_jax.inference.localization import Localization
from videobert_jax.inference.network import Network, require_paired

__all__ = ["AttentionRollout", "CrossAttention", "InputError", "PairEncoding", "PretrainedModel"]


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


class AttentionRollout(NamedTuple):
    """Attention rolled out for b pairs, float32: of which pieces and clips outputs consist.

    text_from_text [b, t, t], text_from_video [b, t, v], video_from_text [b, v, t] and
    video_from_video [b, v, v]. A row of a side sums to 1 over both of its blocks, half in each; 0
    beyond a pair's own lengths.
    """

    text_from_text: np.ndarray
    text_from_video: np.ndarray
    video_from_text: np.ndarray
    video_from_video: np.ndarray


class PretrainedModel(Network):
    """Encoders of video and text, and what the heads over them tell.

    A video is one of: the path of a video file (extracted here by the backbone that `contract`
    names; needs the extra `video`, and `kitchen` for I3D); `Frames(pixels, fps)`; an array [n, c]
    of clip features in order, made as `contract` says; `ClipFeatures(features, contract)`, which is
    compared with it; the path of a .npy or .npz of clip features with its contract.json beside it.
    Several are a list, or one array [b, n, c]. `features` reads once what is asked several times.

    Videos may have any length. One of more than `maximum_clips` clips, which is as many as in
    training, is read in windows of that many, each half overlapping the next, the last ending with
    the video; every method says what it makes of several windows. What comes back has a leading
    dimension, or is a list, of inputs, also for a single one.

    Every method that takes video raises InputError on what is no video, on features of another
    dimension, NaN or without clips, and what `features` does; every method that takes text raises
    InputError on an empty one and, unless `truncate` cuts it, on a longer one than in training
    (`maximum_pieces`), and warns where most of its pieces are bytes or unknown.
    """

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike, **options: Any) -> "PretrainedModel":
        """As `videobert_jax.load(name, **options)`, and raises what it does."""
        return videobert_jax.load(name, **options)

    def save_pretrained(self, folder: str | os.PathLike, *, force: bool = False) -> None:
        """Writes an export (docs/export.md) that `videobert_jax.load` reads.

        Raises ExportError where the folder holds something else; another export is replaced with
        `force`, any other folder never.
        """
        safetensors.save_bundle(self.bundle, folder, force=force)

    @property
    def trained_on(self) -> dict[str, Any]:
        """{"datasets": [{"name", "path", "digest", "split", ...}], "video_names": [...]}."""
        return self.bundle.trained_on

    def encode_video(self, video: Videos) -> Float[np.ndarray, "b j"]:
        """A vector of norm 1 a video, comparable with those of `encode_text` by dot product.

        Of several windows: the mean of their vectors of norm 1, brought to norm 1 again.
        """
        cut = self.cut(video)
        return cut.unit_means(self.vectors("video_vectors", cut.windows))

    def encode_text(self, text: Texts, *, truncate: bool = False) -> Float[np.ndarray, "b j"]:
        """A vector of norm 1 a text, comparable with those of `encode_video` by dot product."""
        return self.vectors("text_vectors", self.texts(text, truncate=truncate))

    def similarity(
        self, video: Videos, text: Texts, *, truncate: bool = False
    ) -> Float[np.ndarray, "v t"]:
        """Cosine of every video (rows) with every text (columns), -1 to 1, by the towers alone."""
        return self.encode_video(video) @ self.encode_text(text, truncate=truncate).T

    def encode_pair(
        self, video: Videos | None, text: Texts | None, *, truncate: bool = False
    ) -> PairEncoding:
        """Each video fused with the text of the same place; None: that side is missing, and has
        no vectors, as in training on text alone or on video alone.

        Of several windows: fused_video of each clip from the window in whose middle it lies,
        fused_text and pooled the means over windows. Raises InputError on unequal numbers,
        and where both sides are None.
        """
        cut, texts = self.either(video, text, truncate=truncate)
        fused_video, fused_text, pooled = self.run("pairs", cut.windows, texts)
        return PairEncoding(
            cut.clips(fused_video), cut.means(fused_text[:, : texts.longest]), cut.means(pooled)
        )

    def match(
        self, video: Videos, text: Texts, *, truncate: bool = False
    ) -> Float[np.ndarray, " b"]:
        """Probability, by the matching head, that each video and the text of its place belong
        together; of several windows the mean. Raises InputError on unequal numbers."""
        return answers.match(self, video, text, truncate)

    def caption(
        self,
        video: Videos | None = None,
        transcript: Texts | None = None,
        *,
        inputs: str | None = None,
        num_beams: int | None = None,
        length_penalty: float | None = None,
        top_p: float | None = None,
        temperature: float | None = None,
        seed: int = 0,
        no_repeat_ngram: int = 0,
        repetition_penalty: float = 1.0,
        truncate: bool = False,
    ) -> list[str]:
        """What the decoder writes of each video, of what is said in it, or of both together.

        A video of more than `maximum_clips` clips is cut into as few equal parts as that allows,
        without overlap, and the captions of its parts (each beside the whole transcript), equal
        ones said once, are joined by "; ". `caption_segments` gives them times.

        By beam search: num_beams (1 is greedy; None, 4), length_penalty (0 compares captions by
        probability alone, more favours longer ones; None, 1). With top_p drawn, by seed and place
        among the inputs: each piece from the likeliest ones that have this probability together, at
        a temperature (None, 1). no_repeat_ngram: so many pieces in a row come once in a caption; 0,
        any number of times. repetition_penalty: what the logits of pieces that are there already
        are divided by (CTRL); 1, none. Raises InputError on unequal numbers, without any input,
        where the network has no decoder, and where it learnt to write from other inputs than are
        given, unless `inputs` says "video", "transcript" or "both" of them.
        """
        options = {
            "beams": num_beams,
            "length_penalty": length_penalty,
            "top_p": top_p,
            "temperature": temperature,
            "no_repeat_ngram": no_repeat_ngram,
            "repetition_penalty": repetition_penalty,
        }
        return captions.caption(self, video, transcript, inputs, truncate, seed, options)

    def caption_segments(
        self,
        video: Video,
        segments: Sequence[tuple[Seconds, Seconds]] | None = None,
        *,
        seconds: Seconds = 10,
        transcripts: Sequence[str] | None = None,
        **options: Any,
    ) -> list[TimedCaption]:
        """Captions of the segments (start, end), in seconds, of one video; without `segments`, of
        spans of so many `seconds` one behind another, the last as long as is left.

        A segment has the clips whose centres lie in it, or the nearest one. transcripts: what is
        said in each segment. options: as `caption` takes them, which also says what becomes of a
        segment of more than `maximum_clips` clips. Raises InputError on segments without length or
        outside the video.
        """
        (features,) = self.features([video])
        times, clips = captions.spans(self, features, segments, seconds)
        written = self.caption(clips, transcripts, **options)
        return [TimedCaption(*of, text) for of, text in zip(times, written, strict=True)]

    def answer(
        self,
        video: Videos,
        question: Texts,
        choices: Sequence[str] | Sequence[Sequence[str]] | None = None,
        *,
        truncate: bool = False,
    ) -> list[Answer]:
        """The answer to each question about the video of the same place.

        Of `choices` (a list for all questions, or one for each): each is read behind the question,
        and the matching head says how well that fits the video; probabilities are the softmax of
        its logits, of several windows of their means. Without choices: by the answer head over the
        answers that the network learnt (`bundle.answers`); of several windows the mean probability.
        Raises InputError on unequal numbers, where choices are equal as they are read, and without
        choices where the network has no answer head.
        """
        return answers.answer(self, video, question, choices, truncate)

    def localize(
        self, video: Videos, steps: Sequence[str], *, ordered: bool = True, truncate: bool = False
    ) -> list[Localization]:
        """Where in each video the steps are, in seconds from its begin, as CrossTask's protocol has
        it: every second has the cosines of the clip nearest to its middle, encoded alone, with all
        steps; each step is put once, in order, at the seconds that score most together.

        Not `ordered`: each step at its own best second. When clips are is told by the contract's
        stride. No windows are needed. Raises InputError on more ordered steps than seconds.
        """
        return localization.localize(self, video, steps, ordered, truncate)

    def fill_mask(
        self, text: Texts, video: Videos | None = None, *, top_k: int = 5
    ) -> list[list[list[Told]]]:
        """Of each text, for each [MASK] in it, the `top_k` likeliest words and their probabilities,
        told from the text and, where given, the video of the same place.

        A [MASK] is one piece, so words of several pieces are not told, and the first piece of a
        longer word may be; the probabilities of all pieces of the vocabulary sum to 1, of several
        windows they are means. All masks of a text are told at once. Raises InputError on a text
        without [MASK], on one that is too long, and on unequal numbers.
        """
        return answers.fill_mask(self, text, video, top_k)

    def attention(
        self,
        video: Video,
        text: str,
        *,
        layer: int | None = None,
        head: int | None = None,
        rollout: bool = False,
        truncate: bool = False,
    ) -> WordAttention:
        """How the words of a text and the clips of one video attend to each other in a layer of the
        cross-modal encoder (from 1; None: the last) by a head (from 1; None: the mean of all).

        With `rollout` attention is rolled out instead, over the layers of both towers and of the
        cross-modal encoder, each the mean of its heads: of which clips a word's output consists,
        and a clip's of which words. Raises InputError where there is no such layer or head, where
        one is named beside `rollout`, and on more than `maximum_clips` clips: attention does not go
        beyond a window.
        """
        (features,) = self.features([video])
        return attention_maps.attend(
            self, features, text, layer=layer, head=head, rollout=rollout, truncate=truncate
        )

    def cross_attention(
        self, video: Videos, text: Texts, *, truncate: bool = False
    ) -> CrossAttention:
        """What each piece of a text and each clip of the video of the same place attend to.

        Raises InputError on unequal numbers, on more than `maximum_clips` clips, and where the
        network has no cross layer.
        """
        texts, videos = self._attending(video, text, truncate)
        by_text, by_video = self.run("cross_attention", videos, texts)
        t, v = texts.longest, videos.longest
        return CrossAttention(by_text[..., :t, :v], by_video[..., :v, :t])

    def attention_rollout(
        self, video: Videos, text: Texts, *, truncate: bool = False
    ) -> AttentionRollout:
        """Of which pieces and clips each fused piece and clip of a pair consists, by attention
        rolled out over all layers. Raises InputError as `cross_attention` does."""
        texts, videos = self._attending(video, text, truncate)
        t, v = texts.longest, videos.longest
        blocks = self.run("rollout", videos, texts)
        sides = ((t, t), (t, v), (v, t), (v, v))
        return AttentionRollout(
            *(block[:, :q, :k] for block, (q, k) in zip(blocks, sides, strict=True))
        )

    def _attending(self, video: Videos, text: Texts, truncate: bool) -> tuple[Side, Side]:
        """(texts, videos) that meet in the cross-modal encoder."""
        if not self.bundle.config.cross.num_layers:
            raise InputError("the network has no cross layer (model.cross.num_layers=0).")
        texts, videos = self.texts(text, truncate=truncate), self.short(self.features(video))
        require_paired(len(videos.inputs), len(texts.inputs))
        return texts, videos

    def visual_words(
        self, video: Videos, text: Texts | None = None, *, truncate: bool = False
    ) -> Float[np.ndarray, "b v w"]:
        """Cosine of each clip with every visual word, as the masked video head tells it from the
        text of the same place and from the clips that are shown; clips to be told are all NaN.

        Raises InputError on unequal numbers, on more than `maximum_clips` clips, and where the
        network tells no visual words.
        """
        if self.bundle.config.masked_video_head != "visual_words":
            raise InputError(
                f"the network's masked video head is {self.bundle.config.masked_video_head!r}; use "
                'one that was trained with model.masked_video_head="visual_words".'
            )
        given = self.read(video)
        hidden = [np.isnan(clips).all(axis=1, keepdims=True) for clips in given]
        self.features([np.where(of, 0.0, clips) for of, clips in zip(hidden, given, strict=True)])
        videos = self.short(given)
        texts = self.no_texts(len(given))
        if text is not None:
            texts = self.texts(text, truncate=truncate)
            require_paired(len(given), len(texts.inputs))
        (told,) = self.run("visual_words", videos, texts)
        return told[:, : videos.longest]

    def tokenize(self, text: Texts, *, truncate: bool = False) -> list[list[int]]:
        """Piece ids of each text as the model reads them, [CLS] first and [SEP] last."""
        return [ids.tolist() for ids in self.texts(text, truncate=truncate).inputs]
