"""Every clip of whole videos: features, and what the network makes of each, some videos at a time.

A clip is encoded as an example of its own, alone or with its neighbours on either side: the towers
were trained on clips of one step, which whole videos in one row are not.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float16, Int

from videobert_jax.data import clip_stream
from videobert_jax.data.index import Split
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.windows import Windows
from videobert_jax.tasks.encoding import ModelRunner
from videobert_jax.tasks.errors import EvaluationError, UnfitSplit

_CLIPS_AT_A_TIME = 16_384  # 32 MiB of 1024 dimensions
_FAR = 60.0  # seconds behind the last clip: an example that ends later is of all that there is


@dataclasses.dataclass(frozen=True)
class VideoClips:
    """Clips of some whole videos, one behind another: those of `videos[i]` are
    `starts[i]` to `starts[i + 1]`."""

    videos: Int[np.ndarray, " v"]
    starts: Int[np.ndarray, " w"]
    features: Float16[np.ndarray, "n c"]

    def runs(self, neighbours: int) -> tuple[Int[np.ndarray, "n m"], Bool[np.ndarray, "n m"]]:
        """(clips, which of them there are) of each clip's run: itself and so many neighbours on
        either side, cut where its video begins and ends."""
        counts = np.diff(self.starts)
        owners = np.repeat(np.arange(len(counts)), counts)
        clip = np.arange(len(owners))
        first = np.maximum(clip - neighbours, self.starts[owners])
        behind = np.minimum(clip + neighbours + 1, self.starts[owners + 1])
        at = first[:, None] + np.arange(2 * neighbours + 1)[None]
        shown = at < behind[:, None]
        return np.where(shown, at, 0), shown

    def means(self, neighbours: int) -> Float[np.ndarray, "n c"]:
        """Mean feature of each clip's run, float32."""
        at, shown = self.runs(neighbours)
        totals = np.zeros(self.features.shape, np.float32)
        for column in range(at.shape[1]):
            totals += self.features[at[:, column]] * shown[:, column, None]
        return totals / shown.sum(axis=1, keepdims=True)


def among(split: Split, ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " v"]:
    """Videos all of whose examples are among `ids`. Raises UnfitSplit where there is none."""
    size = len(split.videos)
    of_split, of_ids = (np.bincount(v, minlength=size) for v in (split.video, split.video[ids]))
    found = np.flatnonzero((of_split > 0) & (of_split == of_ids))
    if not len(found):
        raise UnfitSplit(
            f"no video of split {split.name!r} of {split.path} is whole among the {len(ids)} "
            "examples under evaluation; raise --limit, or name another split."
        )
    return found


def read(split: Split, videos: Sequence[int], parallel_reads: int) -> Iterator[VideoClips]:
    """Yields the clips of these videos, in order, of which each has some.

    Raises EvaluationError where a video's features are damaged (NaN), DatasetError on shards.
    """
    groups = clip_stream.whole_videos(
        split,
        np.asarray(videos, np.int64),
        clips_at_a_time=_CLIPS_AT_A_TIME,
        parallel_reads=parallel_reads,
    )
    for of in groups:
        if of.damaged.any():
            names = [split.videos[number] for number in of.videos[of.damaged].tolist()]
            raise EvaluationError(
                f"{len(names)} videos of split {split.name!r} of {split.path} have damaged clip "
                f"features (NaN), the first are {names[:5]}; prepare them anew."
            )
        yield VideoClips(of.videos, of.starts, of.features)


def embed(runner: ModelRunner, clips: VideoClips, neighbours: int) -> Float[np.ndarray, "n j"]:
    """Each clip's run in the joint space, float32, of norm 1."""
    at, shown = clips.runs(neighbours)
    return np.concatenate(
        [runner.video_embeddings(clips.features[at[rows]], shown[rows]) for rows in _parts(at)]
    )


def clip_labels(runner: ModelRunner, clips: VideoClips, *, hidden: bool) -> Int[np.ndarray, " n"]:
    """Number of the likeliest label of each clip, by the network's head, in `Windows` as long as
    the runs of training."""
    windows = Windows.of(clips.starts, runner.bundle.longest_run)
    told = np.concatenate(
        [
            runner.clip_labels(clips.features[windows.at[rows]], windows.shown[rows], hidden=hidden)
            for rows in _parts(windows.at)
        ]
    )
    return told[windows.window, windows.place]


def clip_states(
    runner: ModelRunner, clips: VideoClips, length: int, sentence: Sequence[int] = ()
) -> Float16[np.ndarray, "n e"]:
    """What the cross-modal encoder says of each clip (`ModelRunner.clip_states`), in `Windows` of
    `length` clips, float16.

    Raises EvaluationError where a state is NaN or beyond float16.
    """
    windows = Windows.of(clips.starts, length)
    out: list[np.ndarray] = []
    for rows in _parts(windows.at):
        made = runner.clip_states(clips.features[windows.at[rows]], windows.shown[rows], sentence)
        told = slice(*np.searchsorted(windows.window, [rows[0], rows[-1] + 1]))  # in order
        with np.errstate(over="ignore"):
            states = made[windows.window[told] - rows[0], windows.place[told]].astype(np.float16)
        if damaged := int((~np.isfinite(states).all(axis=1)).sum()):
            raise EvaluationError(
                f"{damaged} of {len(states)} clips have states that are NaN or beyond float16's "
                f"65,504; look for NaN in the parameters of {runner.bundle.name}."
            )
        out.append(states)
    return np.concatenate(out)


def encoded(neighbours: int) -> str:
    """How clips are encoded, in words."""
    return f"with {neighbours} neighbours on either side" if neighbours else "by itself"


def require_run(bundle: ModelBundle, neighbours: int) -> None:
    """Raises EvaluationError where a clip with so many neighbours on either side is a run longer
    than the network was trained on, or they are fewer than none."""
    longest = bundle.longest_run
    if not 0 <= neighbours <= (longest - 1) // 2:
        raise EvaluationError(
            f"{neighbours} neighbours of a clip on either side are runs of {2 * neighbours + 1}; "
            f"{bundle.name} was trained on runs of {longest} clips at most; say "
            f"--clip-neighbours=0 to {(longest - 1) // 2}."
        )


def _parts(at: Int[np.ndarray, "n m"]) -> list[Int[np.ndarray, " k"]]:
    """Rows, so many at a time that their features take little memory."""
    return np.array_split(np.arange(len(at)), -(-at.size // 4096))


def num_seconds(split: Split, video: int) -> int:
    """Seconds of a video: up to where its last clip or its last example ends, but for examples
    that begin within its clips and end far behind them: those tell of no time."""
    covered = split.contract.covered_seconds(int(split.num_clips[video]))
    first, behind = np.searchsorted(split.video, [video, video + 1])
    starts, ends = split.start[first:behind], split.end[first:behind]
    ends = np.where((starts < covered) & (ends > covered + _FAR), covered, ends)
    return math.ceil(round(max(covered, float(ends.max(initial=0.0))), 6))


def clips_of_seconds(split: Split, video: int, seconds: int) -> Int[np.ndarray, " t"]:
    """The clip of a video that is nearest to the middle of each of its seconds."""
    middles = np.arange(seconds) + 0.5
    return split.contract.clips_at(middles, int(split.num_clips[video]))
