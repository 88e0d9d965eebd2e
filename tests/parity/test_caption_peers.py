"""BLEU and ROUGE-L beside sacrebleu and rouge-score, on drawn captions: equal where the definitions
meet, and where they do not, by how they differ. Top-k and ridge regression beside scikit-learn.

* sacrebleu takes words as they are with tokenize="none", and smooths nothing with "none". By its
  own settings it makes other words (13a: it keeps case and punctuation), smooths counts of 0, and
  is told times 100. A corpus without a match of some length has 0 there, and 1e-15 to a power here,
  as pycocoevalcap has it.
* rouge-score tells the F measure of equal weights (beta 1) and, of several references, the one that
  has most of it. Ours, as pycocoevalcap's, has beta 1.2, and takes the best precision and the best
  recall whichever reference they are of.
"""

import numpy as np
import pytest

from videobert_jax.tasks import baselines
from videobert_jax.tasks.metrics import caption_pairs, caption_scores, classification

sacrebleu = pytest.importorskip("sacrebleu.metrics")
rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
sklearn_metrics = pytest.importorskip("sklearn.metrics")
linear_model = pytest.importorskip("sklearn.linear_model")

WORDS = "cut the onion and stir it in a hot pan with some oil until soft".split()


def drawn(count: int, seed: int, most: int) -> tuple[list[str], list[list[str]]]:
    """Captions, each with 1 to `most` references that share words with it."""
    random = np.random.default_rng(seed)

    def near(words: list[str]) -> list[str]:
        kept = [word for word in words if random.random() > 0.25]
        return kept + random.choice(WORDS, random.integers(1, 5)).tolist()

    captions = [random.choice(WORDS, random.integers(4, 14)).tolist() for _ in range(count)]
    references = [[near(of) for _ in range(random.integers(1, most + 1))] for of in captions]
    return [" ".join(of) for of in captions], [[" ".join(one) for one in of] for of in references]


def scored(captions: list[str], references: list[list[str]]) -> caption_scores.CaptionScores:
    return caption_scores.score(caption_pairs.pair(enumerate(captions), enumerate(references)))


def by_sacrebleu(
    captions: list[str], references: list[list[str]], order: int, **settings: str
) -> float:
    """BLEU up to runs of `order` words, as a share; sacrebleu wants the i-th reference of all."""
    most = max(map(len, references))
    columns = [[of[i] if i < len(of) else None for of in references] for i in range(most)]
    peer = sacrebleu.BLEU(max_ngram_order=order, **settings)
    return peer.corpus_score(captions, columns).score / 100


@pytest.mark.parametrize("most", [1, 4])
def test_bleu_of_a_corpus_is_sacrebleus(most):
    captions, references = drawn(200, most, most)
    ours = scored(captions, references).summary()
    plain = {"tokenize": "none", "smooth_method": "none"}
    for order in range(1, 5):
        theirs = by_sacrebleu(captions, references, order, **plain)
        assert ours[f"BLEU_{order}"] == pytest.approx(theirs, abs=1e-8)
        assert 0.01 < theirs < 0.95
    lengths = np.array([[len(text.split()) for text in captions]])
    assert lengths.sum() != sum(len(of[0].split()) for of in references)  # the brevity counts


def test_sacrebleus_own_settings_are_another_figure():
    captions = ["Cut the onion, and stir.", "Stir it in a hot pan"]
    references = [["cut the onion and stir"], ["stir it in a hot pan"]]
    ours = scored(captions, references).summary()["BLEU_4"]
    assert ours == pytest.approx(1.0)  # words in small letters, without punctuation
    assert by_sacrebleu(captions, references, 4, tokenize="13a") < 0.7
    # nothing in common but single words: smoothed there, next to nothing here
    captions, references = ["pan onion the stir"], [["stir the pan onion slowly"]]
    ours = scored(captions, references).summary()["BLEU_4"]
    assert ours < 1e-3
    assert by_sacrebleu(captions, references, 4, tokenize="none", smooth_method="none") == 0.0
    assert by_sacrebleu(captions, references, 4, tokenize="none", smooth_method="exp") > 0.1


def test_rouge_l_has_rouge_scores_precision_and_recall():
    captions, references = drawn(100, 7, 1)
    ours = scored(captions, references).examples["ROUGE_L"]
    peer = rouge_scorer.RougeScorer(["rougeL"])
    squared = 1.2**2
    for caption, (reference,), value in zip(captions, references, ours, strict=True):
        found = peer.score(reference, caption)["rougeL"]
        p, r = found.precision, found.recall
        f = (1 + squared) * p * r / (r + squared * p) if p and r else 0.0
        assert value == pytest.approx(f, abs=1e-12)
    means = [peer.score(of[0], c)["rougeL"].fmeasure for c, of in zip(captions, references)]  # noqa: B905
    assert abs(np.mean(means) - ours.mean()) > 1e-3  # beta 1 there


def test_of_several_references_rouge_l_takes_the_best_of_each():
    captions, references = drawn(100, 8, 4)
    ours = scored(captions, references).examples["ROUGE_L"]
    peer = rouge_scorer.RougeScorer(["rougeL"])
    squared, more = 1.2**2, 0
    for caption, of, value in zip(captions, references, ours, strict=True):
        pairs = [peer.score(one, caption)["rougeL"] for one in of]
        p, r = max(one.precision for one in pairs), max(one.recall for one in pairs)
        assert value == pytest.approx((1 + squared) * p * r / (r + squared * p), abs=1e-12)
        more += value > max(
            (1 + squared) * one.precision * one.recall / (one.recall + squared * one.precision)
            for one in pairs
            if one.recall
        )
    assert more > 0  # a precision of one reference and a recall of another


def test_top_k_is_scikit_learns():
    random = np.random.default_rng(0)
    scores, labels = random.normal(size=(300, 20)), random.integers(0, 20, 300)
    ours = classification.summary(scores, labels, "verb")
    for top in (1, 5):
        theirs = sklearn_metrics.top_k_accuracy_score(labels, scores, k=top, labels=range(20))
        assert ours[f"verb_top{top}"] == pytest.approx(theirs)
    # all scores equal: the middle place here, where there the order of the labels decides
    assert classification.summary(np.zeros((300, 20)), labels, "verb")["verb_top5"] == 0.0
    equal = sklearn_metrics.top_k_accuracy_score(labels, np.zeros((300, 20)), k=5, labels=range(20))
    assert equal > 0.1


def test_ridge_regression_is_scikit_learns():
    random = np.random.default_rng(1)
    features = random.normal(size=(120, 6)) @ random.normal(size=(6, 6)) + 3.0
    labels, videos = random.integers(0, 4, 120), np.arange(120) // 5
    ours = baselines.fit_classifier(features.astype(np.float32), labels, 4, videos, seed=0)
    # ours is a share of the mean eigenvalue, which of standardised features is the rows' number
    theirs = linear_model.Ridge(alpha=ours.penalty * len(features))
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    theirs.fit(standard, np.eye(4)[labels])
    np.testing.assert_allclose(
        ours.predict(features.astype(np.float32)), theirs.predict(standard), atol=1e-4
    )
