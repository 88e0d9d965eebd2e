"""METEOR 1.5 of counts (Denkowski and Lavie 2014): of a caption, or of many by the sums of theirs.

The counts are the program's (`caption_meteor`): what it aligns, by stems, synonyms and paraphrases,
is all of its work. Of many captions it adds them up, in one rule of its own: a caption that is its
reference, in one run, adds no run.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

NAME = "METEOR"
# What the program says of a caption: words of it and of its reference, function words of both; by
# each stage (exact, stem, synonym, paraphrase) matched content words of both and matched function
# words of both; runs that the matched words are in, and matched words of both.
NUM_COUNTS = 23
_RUNS, _MATCHED = 20, slice(21, 23)
# Its parameters for English (section 3, task "rank", which pycocoevalcap takes)
_RECALL, _RUNS_POWER, _RUNS_SHARE, _CONTENT = 0.85, 0.2, 0.6, 0.75  # alpha, beta, gamma, delta
_STAGES = np.array([1.0, 0.6, 0.8, 0.6])


def counts(lines: Sequence[str]) -> Int[np.ndarray, "n k"]:
    """What METEOR is told of, of the program's lines of captions.

    Raises ValueError on a line that is none.
    """
    found = [[float(number) for number in line.split()] for line in lines]
    wrong = [line for line, of in zip(lines, found, strict=True) if len(of) != NUM_COUNTS]
    if wrong:
        raise ValueError(f"{wrong[0]!r}; expected {NUM_COUNTS} counts of METEOR 1.5")
    of_lines = np.array(found).reshape(-1, NUM_COUNTS).astype(np.int64)
    is_reference = (of_lines[:, _MATCHED] == of_lines[:, :2]).all(axis=1)
    of_lines[is_reference & (of_lines[:, _RUNS] == 1), _RUNS] = 0
    return of_lines


def of_sums(sums: Float[np.ndarray, "d k"]) -> Float[np.ndarray, " d"]:
    """METEOR of sums of `counts`: the weighted harmonic mean of precision and recall, less what
    matched words in many runs cost; 0 where nothing is matched."""
    words, function = sums[:, :2], sums[:, 2:4]
    matches = np.einsum("dsw,s->dw", sums[:, 4:_RUNS].reshape(-1, len(_STAGES), 4), _STAGES)
    matched = _CONTENT * matches[:, :2] + (1 - _CONTENT) * matches[:, 2:]
    shown = _CONTENT * (words - function) + (1 - _CONTENT) * function
    precision, recall = _ratio(matched, shown).T
    mean = _ratio(precision * recall, _RECALL * precision + (1 - _RECALL) * recall)
    runs = _ratio(sums[:, _RUNS], sums[:, _MATCHED].mean(axis=1))
    return mean * (1 - _RUNS_SHARE * runs**_RUNS_POWER)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, 0 where there is nothing."""
    return part / np.where(whole > 0, whole, 1)
