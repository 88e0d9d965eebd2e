"""Videos cut into windows of the length of training, and what is told of those, of whole videos."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.inference.inputs import Side
from videobert_jax.models.windows import Windows


@dataclasses.dataclass(frozen=True)
class Cut:
    """Windows of b videos, one after another.

    windows: clip features of each of k. owners: int [k], its video. told_in: of each video, (the
    window of each clip, the clip's place in it): the one in whose middle it lies.
    """

    windows: Side
    owners: Int[np.ndarray, " k"]
    told_in: list[tuple[np.ndarray, np.ndarray]]

    @classmethod
    def of(cls, videos: Sequence[Float[np.ndarray, "_ c"]], length: int) -> "Cut":
        """A video of up to `length` clips is one window; a longer one has windows of `length`, each
        half overlapping the next, the last one ending with the video."""
        windows, owners, told_in = [], [], []
        for number, clips in enumerate(videos):
            of = Windows.of(np.array([0, len(clips)]), length, share=2)
            told_in.append((len(windows) + of.window, of.place))
            for at, shown in zip(of.at, of.shown, strict=True):
                windows.append(clips[at[shown]])
                owners.append(number)
        return cls(Side(windows, length), np.array(owners, np.int64), told_in)

    @classmethod
    def without_video(cls, count: int, dim: int) -> "Cut":
        """So many videos of one window without a clip: a side that is not given has no length, as
        in training."""
        windows = Side([np.zeros((0, dim), np.float32)] * count, maximum_length=1)
        none = np.zeros(0, np.int64)
        return cls(windows, np.arange(count), [(none, none)] * count)

    def means(self, values: Float[np.ndarray, "k ..."]) -> Float[np.ndarray, "b ..."]:
        """Of each video the mean over its windows."""
        out = np.zeros((len(self.told_in), *values.shape[1:]), values.dtype)
        np.add.at(out, self.owners, values)
        counts = np.bincount(self.owners).astype(values.dtype)
        return out / counts.reshape(-1, *[1] * (values.ndim - 1))

    def unit_means(self, vectors: Float[np.ndarray, "k j"]) -> Float[np.ndarray, "b j"]:
        """Of each video the mean of its windows' vectors of norm 1, brought to norm 1 again."""
        means = self.means(vectors)
        several = np.bincount(self.owners) > 1
        means[several] /= np.linalg.norm(means[several], axis=1, keepdims=True)
        return means

    def clips(self, values: Float[np.ndarray, "k v d"]) -> Float[np.ndarray, "b n d"]:
        """What is told of each clip of a video in its own window; 0 behind a shorter video's."""
        longest = max(len(window) for window, _ in self.told_in)
        out = np.zeros((len(self.told_in), longest, *values.shape[2:]), values.dtype)
        for number, (window, place) in enumerate(self.told_in):
            out[number, : len(window)] = values[window, place]
        return out
