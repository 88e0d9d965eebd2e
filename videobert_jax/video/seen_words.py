"""Words that clips tell: which of what is said in a video can be seen in it.

A linear map from clips to the words said over them, taught by some videos, is asked for other
videos which words are said there. Of a word that is seen (onion, stir) it knows more than chance;
of one that is said anywhere (welcome, subscribe) it does not. So lines of a transcript that say
nothing of the picture are told from those that do, with no label and no list of words; that many
say nothing of it, and that they do harm, is in Han et al. 2022 (Temporal Alignment Networks).
"""

import collections
import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

FOLDS = 5  # of videos
PENALTY = 0.3  # of the map's weights, in multiples of the mean eigenvalue of the clips' covariance
FEWEST = 5  # lines that say a word of which anything can be known
SURE = 3.0  # standard deviations that the area lies above chance at least


@dataclasses.dataclass(frozen=True)
class SeenWord:
    """In how many of the lines it is said; area: under the ROC curve of telling, of other videos,
    whether a line says it; sureness: by how many standard deviations that is more than 0.5."""

    lines: int
    area: float
    sureness: float

    def is_seen(self, least_area: float) -> bool:
        return self.area >= least_area and self.sureness >= SURE


def measure(
    clips: Float[np.ndarray, "n c"],
    said: Sequence[Collection[str]],
    videos: Int[np.ndarray, " n"],
) -> dict[str, SeenWord]:
    """What is known of each word that FEWEST of n lines say or more, and not all of them.

    clips: the mean, over what a line is said of. said: its words. videos: number of its video.
    Raises ValueError with fewer than FOLDS videos.
    """
    count = len(np.unique(videos))
    if count < FOLDS:
        raise ValueError(f"lines of {count} videos; {FOLDS} or more tell which words are seen")
    often = collections.Counter(word for words in said for word in set(words))
    words = sorted(word for word, lines in often.items() if FEWEST <= lines < len(said))
    number = {word: i for i, word in enumerate(words)}
    says = np.zeros((len(said), len(words)), np.bool_)
    for line, of_line in enumerate(said):
        says[line, [number[word] for word in set(of_line) if word in number]] = True
    fold = np.unique(videos, return_inverse=True)[1] % FOLDS
    told = _told(clips, says, fold)
    return {word: _seen(told[:, i], says[:, i]) for i, word in enumerate(words)}


def _told(
    clips: Float[np.ndarray, "n c"], says: Bool[np.ndarray, "n w"], fold: Int[np.ndarray, " n"]
) -> Float64[np.ndarray, "n w"]:
    """How much more than usual each word is expected of each line, by the lines of other folds."""
    inputs = (clips - clips.mean(0)) / (clips.std(0) + 1e-6)
    inputs = inputs.astype(np.float64)
    told = np.zeros(says.shape)
    for number in range(FOLDS):
        own, other = fold == number, fold != number
        mean, usual = inputs[other].mean(0), says[other].mean(0)
        centred = inputs[other] - mean
        covariance = centred.T @ centred
        covariance += PENALTY * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        weights = np.linalg.solve(covariance, centred.T @ (says[other] - usual))
        told[own] = (inputs[own] - mean) @ weights
    return told


def _seen(told: Float64[np.ndarray, " n"], says: Bool[np.ndarray, " n"]) -> SeenWord:
    """The area by the ranks of the lines that say it (Mann and Whitney 1947), ties by halves."""
    values, place, counts = np.unique(told, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    yes, no = int(says.sum()), int((~says).sum())
    area = (ranks[says].sum() - yes * (yes + 1) / 2) / (yes * no)
    deviation = np.sqrt((yes + no + 1) / (12 * yes * no))
    return SeenWord(yes, float(area), float((area - 0.5) / deviation))
