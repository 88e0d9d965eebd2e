"""BLEU, ROUGE-L, CIDEr and CIDEr-D of captions, equal to those of pycocoevalcap.

BLEU (Papineni et al. 2002) is told of the corpus, as published, and of each example. ROUGE-L is
that of Lin 2004 with the F measure's beta 1.2. What the field calls CIDEr, and pycocoevalcap too,
is CIDEr-D (Vedantam et al. 2015, section 5), which clips repeated words and punishes another
length; CIDEr is equation 2 of that paper, the mean cosine. Both are times 10, and of words as they
are, not their stems. What a word is, `caption_tokens` says.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from videobert_jax.tasks.metrics import bleu, caption_ngrams, caption_pairs
from videobert_jax.tasks.metrics.caption_pairs import CaptionPairs
from videobert_jax.tasks.metrics.statistic import Statistic

BLEU, BLEU_COUNTS = bleu.NAMES, "bleu_counts"
ROUGE_L, CIDER, CIDER_D = "ROUGE_L", "CIDEr", "CIDEr_D"
AVERAGING = (
    "micro: BLEU_n is of the corpus, every run of words counts once; macro: BLEU_n_macro, ROUGE_L, "
    "CIDEr and CIDEr_D are means over examples; METEOR is its program's figure of all captions, "
    "METEOR_macro the mean over examples"
)
PROTOCOL = (
    "PTB words in lower case without punctuation; BLEU with the closest reference length, ROUGE-L "
    "with beta 1.2, CIDEr and CIDEr-D times 10, document frequencies of the evaluated references; "
    "CIDEr_D is what pycocoevalcap calls CIDEr"
)
_BETA_SQUARED = 1.2**2
_SIGMA = 6.0  # words, of the length penalty


@dataclasses.dataclass(frozen=True)
class CaptionScores:
    """examples: name -> float64 [n]. counts: what BLEU of them all is told of, [n, k]."""

    examples: dict[str, np.ndarray]
    counts: Int[np.ndarray, "n k"]

    def summary(self) -> dict[str, float]:
        """BLEU_1 to BLEU_4 of the corpus, and means over examples."""
        means = {_mean_name(name): float(of.mean()) for name, of in self.examples.items()}
        of_all = bleu.of_sums(self.counts.sum(axis=0, keepdims=True, dtype=np.float64))[0]
        return {**dict(zip(BLEU, of_all.tolist(), strict=True)), **means}

    def line(self, row: int) -> dict[str, object]:
        """What the line of an example has, for `statistics`."""
        figures = {name: float(of[row]) for name, of in self.examples.items()}
        return {**figures, BLEU_COUNTS: self.counts[row].tolist()}


def statistics() -> dict[str, Statistic]:
    """How figures are read off lines."""
    means = {_mean_name(name): Statistic.mean(name) for name in (*BLEU, ROUGE_L, CIDER, CIDER_D)}
    return {**{name: Statistic.of_sums(name, BLEU_COUNTS) for name in BLEU}, **means}


def _mean_name(name: str) -> str:
    return f"{name}_macro" if name in BLEU else name


def score(pairs: CaptionPairs) -> CaptionScores:
    """All figures of candidates beside their references."""
    sentences = [words.split() for words in (*pairs.candidates, *pairs.flat_references)]
    lengths = np.array([len(sentence) for sentence in sentences])
    counts = list(caption_ngrams.count(sentences))
    size, groups = len(pairs.candidates), pairs.groups
    sides = [(of.where(0, size), of.where(size, len(sentences))) for of in counts]
    of_bleu = _bleu_counts(sides, lengths[:size], lengths[size:], groups)
    cider, cider_d = _cider(sides, lengths[:size], lengths[size:], groups)
    return CaptionScores(
        {
            **dict(zip(BLEU, bleu.of_sums(of_bleu.astype(np.float64)).T, strict=True)),
            ROUGE_L: _rouge_l(pairs),
            CIDER: cider,
            CIDER_D: cider_d,
        },
        of_bleu,
    )


def among(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Lines of captions, each with its `references`, with CIDEr and CIDEr-D as of these examples
    alone: what is rare among their references is not what was among those of more examples."""
    pairs = caption_pairs.pair(
        enumerate(line["caption"] for line in lines),
        enumerate(line["references"] for line in lines),
        wordless_candidates=True,
    )
    examples = score(pairs).examples
    return [
        {**line, **{name: float(examples[name][row]) for name in (CIDER, CIDER_D)}}
        for row, line in enumerate(lines)
    ]


_Sides = Sequence[tuple[caption_ngrams.Counts, caption_ngrams.Counts]]


def _bleu_counts(
    sides: _Sides,
    lengths: Int[np.ndarray, " n"],
    of_references: Int[np.ndarray, " r"],
    groups: Int[np.ndarray, " r"],
) -> Int[np.ndarray, "n k"]:
    """Counts of every example."""
    matches = np.stack([_clipped_matches(*side, groups, len(lengths)) for side in sides])
    runs = np.stack([np.maximum(lengths - order + 1, 0) for order in bleu.ORDERS])
    return bleu.counts(matches, runs, lengths, _closest_lengths(lengths, of_references, groups))


def _clipped_matches(
    candidates: caption_ngrams.Counts,
    references: caption_ngrams.Counts,
    groups: Int[np.ndarray, " r"],
    num_examples: int,
) -> Int[np.ndarray, " n"]:
    """Runs of a candidate that a reference has too, each as often as the one that has most."""
    keys = references.keys(groups)
    order = np.argsort(keys, kind="stable")
    distinct, first = np.unique(keys[order], return_index=True)
    most = np.maximum.reduceat(references.count[order], first) if len(first) else distinct
    matched = np.minimum(
        candidates.count, caption_ngrams.look_up(distinct, most, candidates.keys())
    )
    return np.bincount(candidates.sentence, matched, num_examples).astype(np.int64)


def _closest_lengths(
    lengths: Int[np.ndarray, " n"],
    of_references: Int[np.ndarray, " r"],
    groups: Int[np.ndarray, " r"],
) -> Int[np.ndarray, " n"]:
    """The reference length nearest to each candidate's, the shorter of two."""
    order = np.lexsort((of_references, np.abs(of_references - lengths[groups]), groups))
    return of_references[order][np.unique(groups[order], return_index=True)[1]]


def _rouge_l(pairs: CaptionPairs) -> Float[np.ndarray, " n"]:
    """F measure of the best precision and the best recall over an example's references."""
    out = np.zeros(len(pairs.candidates))
    references = [words.split(" ") for words in pairs.flat_references]
    of_pairs = np.array(
        [
            (common / len(candidate), common / len(reference))
            for group, reference in zip(pairs.groups.tolist(), references, strict=True)
            for candidate in [pairs.candidates[group].split(" ")]
            for common in [_longest_common(candidate, reference)]
        ]
    )
    best = np.maximum.reduceat(of_pairs, np.unique(pairs.groups, return_index=True)[1])
    found = (best > 0).all(axis=1)
    precision, recall = best[found].T
    out[found] = (1 + _BETA_SQUARED) * precision * recall / (recall + _BETA_SQUARED * precision)
    return out


def _longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of its table in one integer (Hyyro 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(first)) - 1
    unmatched = full
    for word in second:
        met = unmatched & places.get(word, 0)
        unmatched = (unmatched + met | unmatched - met) & full
    return len(first) - unmatched.bit_count()


def _cider(
    sides: _Sides,
    lengths: Int[np.ndarray, " n"],
    of_references: Int[np.ndarray, " r"],
    groups: Int[np.ndarray, " r"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """(CIDEr, CIDEr-D) of every example."""
    of_pairs = np.sum([_similarities(*side, groups, len(lengths)) for side in sides], axis=0)
    gap = lengths[groups] - of_references
    of_pairs[1] *= np.exp(-(gap**2) / (2 * _SIGMA**2))
    per_example = np.bincount(groups, minlength=len(lengths))
    cider, cider_d = (
        10 * np.bincount(groups, of, len(lengths)) / (per_example * len(sides)) for of in of_pairs
    )
    return cider, cider_d


def _similarities(
    candidates: caption_ngrams.Counts,
    references: caption_ngrams.Counts,
    groups: Int[np.ndarray, " r"],
    num_examples: int,
) -> Float[np.ndarray, "2 r"]:
    """Cosine of every reference with its candidate over runs of one length weighted by tf-idf, as
    it is, and with a candidate's weight at most the reference's."""
    documents = np.unique(references.keys(groups))
    frequency = np.bincount(documents % max(references.num_grams, 1), minlength=1)
    frequency = np.pad(frequency, (0, max(references.num_grams - len(frequency), 0)))
    rarity = np.log(num_examples) - np.log(np.maximum(frequency, 1))
    weights, of_references = (of.count * rarity[of.gram] for of in (candidates, references))
    met = caption_ngrams.look_up(candidates.keys(), weights, references.keys(groups))
    norms = np.sqrt(np.bincount(candidates.sentence, weights**2, num_examples))[groups]
    norms *= np.sqrt(np.bincount(references.sentence, of_references**2, len(groups)))
    products = np.stack([met, np.minimum(met, of_references)]) * of_references
    totals = np.stack([np.bincount(references.sentence, of, len(groups)) for of in products])
    return totals / np.where(norms > 0, norms, 1)
