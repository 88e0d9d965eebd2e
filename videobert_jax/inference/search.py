"""MIL-NCE's S3D-G as a zero-shot search model (Miech et al. 2020, arXiv:1912.06430).

Clips and sentences share a space of 512 dimensions. Vectors are compared by dot product and are
not normalised, as in the original: their length is part of the score.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from videobert_jax.inference import inputs
from videobert_jax.inference.inputs import InputError
from videobert_jax.models import word_tower
from videobert_jax.text import word_list
from videobert_jax.video import clips, decode, extract
from videobert_jax.video.backbones import s3d as s3d_network
from videobert_jax.weights import backbones, s3d

_TEXT_ROWS = 256  # sentences a call
_SEGMENT_MARGIN = 0.4  # seconds that the published evaluation leaves behind the last window

Seconds = float | int
Video = np.ndarray | str | os.PathLike  # a clip, or the path of a file


class Found(NamedTuple):
    """The best videos of each query, best first: `videos`, their numbers, and `scores`, dot
    products, both [q, k]."""

    videos: Int[np.ndarray, "q k"]
    scores: Float[np.ndarray, "q k"]


class SearchModel:
    """Encoders of clips and of sentences, and search by them.

    `settings` says how video files are cut (16 frames a second, 32 a clip), `side` the pixels of
    their squares. A text is one sentence or a list of them; every method that takes one raises
    InputError on a sentence without a word that the vocabulary has.
    """

    settings = backbones.S3D_HOWTO100M_CLIPS

    def __init__(self, backbone: extract.Backbone, text_variables: dict, words: word_list.WordList):
        self.words = words
        self._extractor = extract.ClipExtractor(backbone, self.settings)
        self._text_variables = jax.tree.map(jax.numpy.asarray, text_variables)
        self._encode_text = jax.jit(word_tower.WordTower().apply)

    @property
    def weights_sha256(self) -> str:
        """Digest of the weights' file."""
        return self._extractor.backbone.weights_sha256

    @property
    def side(self) -> int:
        """Pixels of the squares that video files are cropped to."""
        return self._extractor.backbone.side

    def encode_video(self, video: Video | Sequence[Video]) -> Float[np.ndarray, "b 512"]:
        """A vector a video, not normalised.

        A video is a clip, uint8 [s, y, x, 3] with even sizes (32 frames of 224 x 224 are what the
        network knows best), or the path of a file, whose vector is the mean over its clips, one
        behind another. Several are a list or one array [b, s, y, x, 3].
        Raises InputError on anything else, VideoError where a file cannot be read.
        """
        single = isinstance(video, str | os.PathLike) or getattr(video, "ndim", 0) == 4
        videos: list[Any] = [video] if single else list(video)  # pyright: ignore[reportArgumentType]
        if not videos:
            raise InputError("an empty list; expected one video or more.")
        videos = [
            item if isinstance(item, str | os.PathLike) else _clip(number, item)
            for number, item in enumerate(videos)
        ]
        parts = []
        for shape, group in itertools.groupby(videos, lambda item: getattr(item, "shape", None)):
            if shape is None:
                parts += [self._encode_file(path)[None] for path in group]
            else:
                parts += [vectors for _, vectors in self._extractor.outputs(group)]
        return np.concatenate(parts)

    def encode_segments(
        self,
        path: str | os.PathLike,
        segments: Sequence[tuple[Seconds, Seconds]],
        windows: int = 10,
    ) -> Float[np.ndarray, "n 512"]:
        """A vector a segment, for segments (start, end) in seconds of the video file at a path,
        which is read once.

        Each is the mean over `windows` clips spread evenly over the segment, as the published
        evaluation of MIL-NCE takes them; what lies behind the file's end is its last frame.
        Raises InputError on a segment of no length, VideoError where the file cannot be read or
        ends before a segment starts.
        """
        for start, end in segments:
            if not 0 <= start < end or windows < 1:
                raise InputError(
                    f"segment {start} to {end} s in {windows} windows; expected 0 <= start < end "
                    "and 1 window or more."
                )
        starts = [frame for segment in segments for frame in self._starts(*segment, windows)]
        count, order = 0, []

        def counted() -> Iterator[np.ndarray]:
            nonlocal count
            frames = decode.read_frames(path, self.settings.fps, self.side)
            for count, frame in enumerate(frames, start=1):  # noqa: B007
                yield frame

        def stream() -> Iterator[np.ndarray]:
            for number, clip in clips.cut_at(counted(), starts, self.settings.frames_per_clip):
                order.append(number)
                yield clip

        parts = [vectors for _, vectors in self._extractor.outputs(stream())]
        late = [start for start, _ in segments if start * self.settings.fps >= count]
        if late:
            raise decode.VideoError(
                f"{path} has {count / self.settings.fps:.1f} s of pictures, but segments start at "
                f"{late[:3]} s; give the video that the segments were annotated in."
            )
        vectors = np.empty((len(starts), s3d_network.JOINT_DIM), np.float32)
        vectors[order] = np.concatenate(parts)
        return vectors.reshape(len(segments), windows, -1).mean(axis=1)

    def encode_text(self, text: str | Sequence[str]) -> Float[np.ndarray, "b 512"]:
        """A vector a sentence, not normalised, from its first 16 words that the vocabulary has.

        Raises InputError on a sentence without such a word, and on what is no text.
        """
        sentences = inputs.sentences(text)
        if not sentences:
            raise InputError("an empty list; expected one sentence or more.")
        ids = self.words.encode(sentences, word_tower.MAXIMUM_WORDS)
        for sentence, row in zip(sentences, ids, strict=True):
            if (row == word_tower.PADDING_ID).all():
                raise InputError(
                    f"{sentence!r} has no word of the vocabulary; expected English words."
                )
        parts = []
        for first in range(0, len(ids), _TEXT_ROWS):
            part = ids[first : first + _TEXT_ROWS]
            rows = 1 << (len(part) - 1).bit_length()  # few shapes, so few compilations
            padded = np.pad(part, ((0, rows - len(part)), (0, 0)))
            vectors = self._encode_text(self._text_variables, jax.numpy.asarray(padded))
            parts.append(np.asarray(vectors)[: len(part)])
        return np.concatenate(parts)

    def similarity(
        self, video: Video | Sequence[Video], text: str | Sequence[str]
    ) -> Float[np.ndarray, "v t"]:
        """Dot product of every video (rows) with every sentence of the text (columns). Raises what
        `encode_video` does, too."""
        return self.encode_video(video) @ self.encode_text(text).T

    def search(
        self, text: str | Sequence[str], videos: Float[np.ndarray, "v 512"], count: int = 10
    ) -> Found:
        """The `count` best of the videos, given by vectors of `encode_video`, for each sentence."""
        scores = self.encode_text(text) @ videos.T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return Found(best, np.take_along_axis(scores, best, axis=1))

    def _encode_file(self, path: str | os.PathLike) -> Float[np.ndarray, " 512"]:
        frames = decode.read_frames(path, self.settings.fps, self.side)
        stream = clips.cut(frames, self.settings)
        parts = [vectors for _, vectors in self._extractor.outputs(stream)]
        if not parts:
            raise decode.VideoError(f"{path} has no frames; check that the file is whole")
        return np.concatenate(parts).mean(axis=0)

    def _starts(self, start: Seconds, end: Seconds, windows: int) -> list[int]:
        """First frames of windows spread over a segment."""
        seconds = self.settings.frames_per_clip / self.settings.fps
        last = max(start, end - seconds - _SEGMENT_MARGIN)
        return [round(second * self.settings.fps) for second in np.linspace(start, last, windows)]


def _clip(number: int, video: Any) -> np.ndarray:
    """The clip. Raises InputError where the network cannot take it."""
    clip = np.asarray(video)
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[3] != 3:
        raise InputError(
            f"video {number} is {clip.dtype} of shape {list(clip.shape)}; expected a clip, uint8 "
            "[frames, rows, columns, 3], or a path."
        )
    if 0 in clip.shape or any(size % 2 for size in clip.shape[:3]):
        raise InputError(
            f"video {number} has the shape {list(clip.shape)}; the network halves frames, rows and "
            "columns: give even numbers of them, such as 32 of 224 x 224."
        )
    return clip


def load(weights: str | os.PathLike, vocabulary: str | os.PathLike) -> SearchModel:
    """The search model of `s3d_howto100m.pth` and `s3d_dict.npy`.

    Raises WeightsError and WordListError where a file holds something else.
    """
    words = word_list.read(vocabulary, word_tower.NUM_VECTORS)
    backbone, text_variables = s3d.load_search(weights)
    return SearchModel(backbone, text_variables, words)
