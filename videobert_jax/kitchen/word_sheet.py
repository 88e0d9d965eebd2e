"""A sheet of what visual words stand for: the clips nearest to the most used ones."""

import io
import pathlib

import numpy as np
from jaxtyping import Int64, UInt8

from videobert_jax.data import clip_stream
from videobert_jax.data.index import Split
from videobert_jax.files import atomic, extras
from videobert_jax.kitchen import corpus, rendering
from videobert_jax.schema import FeatureContract
from videobert_jax.video.visual_words import VisualWords

WORDS, CLIPS = 12, 8  # rows and columns
_INCHES = 1.35  # a frame's side


def draw(
    words: VisualWords, split: Split, videos: Int64[np.ndarray, " v"], path: pathlib.Path
) -> None:
    """Writes a PNG, a row a word, its nearest clips of different videos from the left.

    A clip is shown by its middle frame, drawn anew. Raises MissingExtra without matplotlib.
    """
    owners = np.repeat(videos, split.num_clips[videos])
    numbers = np.concatenate([np.arange(count) for count in split.num_clips[videos]])
    assigned = [words.descend(part) for part in clip_stream.clip_features(split, videos)]
    of_clips = np.concatenate([word for word, _ in assigned])
    distances = np.concatenate([distance for _, distance in assigned])
    used, counts = np.unique(of_clips, return_counts=True)
    rows = used[np.argsort(-counts, kind="stable")][:WORDS]
    figure = extras.require("matplotlib.figure", "plots").Figure(
        figsize=((CLIPS + 1) * _INCHES, (len(rows) + 0.6) * _INCHES), facecolor="white"
    )
    grid = figure.subplots(len(rows), CLIPS + 1, squeeze=False)
    for row, word in enumerate(rows.tolist()):
        members = np.flatnonzero(of_clips == word)
        nearest = members[np.argsort(distances[members], kind="stable")]
        _, first = np.unique(owners[nearest], return_index=True)
        chosen = nearest[np.sort(first)[:CLIPS]]
        for axes in grid[row]:
            axes.set_axis_off()
        text = f"word {word}\n{len(members)} clips\n{len(first)} videos"
        grid[row][0].text(0, 0.5, text, fontsize=9, va="center")
        for axes, clip in zip(grid[row][1:], chosen.tolist(), strict=False):
            axes.imshow(
                middle_frame(split.videos[owners[clip]], int(numbers[clip]), split.contract)
            )
    figure.suptitle("Clips nearest to the most used visual words (videos drawn by one renderer)")
    figure.subplots_adjust(0.01, 0.01, 0.99, 1 - 0.5 / (len(rows) + 0.6), 0.04, 0.04)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    atomic.write_bytes(path, buffer.getvalue())


def middle_frame(video: str, clip: int, contract: FeatureContract) -> UInt8[np.ndarray, "y x 3"]:
    """The middle of a clip of a video of the corpus, drawn anew."""
    index = int(corpus.VIDEO_NAME.fullmatch(video)[1])  # type: ignore[index]
    moment = (clip + 0.5) * contract.stride_seconds
    return rendering.render_moments(corpus.plan_videos(index + 1)[index], [moment])[0]
