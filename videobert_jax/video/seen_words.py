"""Words that clips tell: which of what is said in a video can be seen in it.

A linear map from clips to the words said over them, taught by some videos, is asked for other
videos which words are said there. Of a word that is seen (onion, stir) it knows more than chance;
of one that is said anywhere (welcome, subscribe) it does not. So lines of a transcript that say
nothing of the picture are told from those that do, with no label and no list of words; that many
say nothing of it, and that they do harm, is in Han et al. 2022 (Temporal Alignment Networks).
"""

import collections
import dataclasses
import itertools
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

FOLDS = 5  # of videos
PENALTY = 0.3  # of the map's weights, in multiples of the mean eigenvalue of the clips' covariance
FEWEST = 5  # lines that say a word of which anything can be known
_WORDS = 256  # asked for at a time
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
    known = sorted(word for word, lines in often.items() if FEWEST <= lines < len(said))
    number = {word: i for i, word in enumerate(known)}
    numbers = [[number[word] for word in set(words) if word in number] for words in said]
    line = np.repeat(np.arange(len(said)), [*map(len, numbers)])
    word = np.fromiter(itertools.chain(*numbers), np.int64)
    fold = np.unique(videos, return_inverse=True)[1] % FOLDS
    maps = _Maps.fitted(clips, fold)
    found: dict[str, SeenWord] = {}
    for start in range(0, len(known), _WORDS):
        of_words = known[start : start + _WORDS]
        says = np.zeros((len(said), len(of_words)), np.bool_)
        here = (start <= word) & (word < start + _WORDS)
        says[line[here], word[here] - start] = True
        told = maps.told(says)
        found |= {name: _seen(told[:, i], says[:, i]) for i, name in enumerate(of_words)}
    return found


@dataclasses.dataclass(frozen=True)
class _Maps:
    """Of each fold the map that the lines of the others teach, but for the words.

    inverses: of their clips' penalised covariance.
    """

    inputs: Float32[np.ndarray, "n c"]
    fold: Int[np.ndarray, " n"]
    inverses: list[np.ndarray]

    @classmethod
    def fitted(cls, clips: Float[np.ndarray, "n c"], fold: Int[np.ndarray, " n"]) -> "_Maps":
        inputs = ((clips - clips.mean(0)) / (clips.std(0) + 1e-6)).astype(np.float32)
        inverses = []
        for number in range(FOLDS):
            centred = inputs[fold != number] - inputs[fold != number].mean(0)
            covariance = (centred.T @ centred).astype(np.float64)
            penalty = PENALTY * np.trace(covariance) / len(covariance)
            inverses.append(np.linalg.inv(covariance + penalty * np.eye(len(covariance))))
        return cls(inputs, fold, inverses)

    def told(self, says: Bool[np.ndarray, "n w"]) -> Float64[np.ndarray, "n w"]:
        """How much more than usual each word is expected of each line, by lines of other folds."""
        told = np.zeros(says.shape)
        for number, inverse in enumerate(self.inverses):
            own, other = self.fold == number, self.fold != number
            mean, usual = self.inputs[other].mean(0), says[other].mean(0)
            weights = inverse @ ((self.inputs[other] - mean).T @ (says[other] - usual))
            told[own] = (self.inputs[own] - mean) @ weights
        return told


def _seen(told: Float64[np.ndarray, " n"], says: Bool[np.ndarray, " n"]) -> SeenWord:
    """The area by the ranks of the lines that say it (Mann and Whitney 1947), ties by halves."""
    values, place, counts = np.unique(told, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    yes, no = int(says.sum()), int((~says).sum())
    area = (ranks[says].sum() - yes * (yes + 1) / 2) / (yes * no)
    deviation = np.sqrt((yes + no + 1) / (12 * yes * no))
    return SeenWord(yes, float(area), float((area - 0.5) / deviation))
