"""Supervised linear baselines on the same clip features: ridge regression, in closed form.

What a network learns from pairs is worth stating only beside what a linear map learns from them.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from videobert_jax.tasks import words
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import classification, ranking, similarity

# Multiples of the mean eigenvalue of the features' covariance: the same grid serves all features.
PENALTIES = tuple(float(10.0**exponent) for exponent in np.arange(-3.0, 2.01, 0.5))
HELD_OUT_FRACTION = 0.2
_ROWS = 1024  # whose words are held at a time


@dataclasses.dataclass(frozen=True)
class Ridge:
    """Linear map of standardised features: `predict(x) = (x - mean) / scale @ weights + bias`."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    penalty: float

    def predict(self, features: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n k"]:
        return (features - self.mean) / self.scale @ self.weights + self.bias


def fit_ridge(
    features: Float[np.ndarray, "n c"],
    targets: Float[np.ndarray, "n k"],
    *,
    train: Shaped[np.ndarray, " p"],
    validation: Shaped[np.ndarray, " u"],
    quality: Callable[[np.ndarray], float],
) -> Ridge:
    """Ridge regression whose penalty is the best on `validation`, then fitted to all rows.

    `train` and `validation` are row numbers; `quality(predictions of the validation rows)` is
    larger for better. One eigendecomposition serves every penalty.
    """
    best = max(
        (quality(model.predict(features[validation])), -model.penalty)
        for model in _path(features[train], targets[train], PENALTIES)
    )
    return next(_path(features, targets, (-best[1],)))


def _path(features, targets, penalties: Sequence[float]):
    """Yields the fitted model of each penalty."""
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    inputs = ((features - mean) / scale).astype(np.float64)
    bias = targets.mean(axis=0)
    eigenvalues, vectors = np.linalg.eigh(inputs.T @ inputs)
    projected = vectors.T @ (inputs.T @ (targets - bias))
    unit = max(float(eigenvalues.mean()), 1e-12)
    for penalty in penalties:
        # rounding leaves tiny negative eigenvalues
        shrunk = projected / (np.maximum(eigenvalues, 0.0) + penalty * unit)[:, None]
        yield Ridge(mean, scale, vectors @ shrunk, bias, penalty)


def held_out_rows(groups: Int[np.ndarray, " n"], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (train, held out); a fifth of the groups (videos), drawn by seed, is held out.

    Raises EvaluationError with fewer than two groups.
    """
    names = np.unique(groups)
    if len(names) < 2:
        raise EvaluationError(f"a baseline is chosen on held-out videos; found {len(names)} video.")
    count = min(max(1, round(HELD_OUT_FRACTION * len(names))), len(names) - 1)
    chosen = np.random.default_rng(seed).permutation(names)[:count]
    held_out = np.isin(groups, chosen)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


@dataclasses.dataclass(frozen=True)
class WordVectors:
    """Texts as idf-weighted bags of words, of unit length."""

    index: dict[str, int]
    idf: np.ndarray

    @classmethod
    def fit(cls, texts: Sequence[str], *, min_count: int = 2) -> "WordVectors":
        """Words in `min_count` texts or more. Raises EvaluationError where there are none."""
        counts: dict[str, int] = {}
        for text in texts:
            for word in set(words.words_of(text)) - words.STOP_WORDS:
                counts[word] = counts.get(word, 0) + 1
        kept = sorted(word for word, count in counts.items() if count >= min_count)
        if not kept:
            raise EvaluationError(f"no word occurs in {min_count} of {len(texts)} texts or more.")
        idf = np.log(len(texts) / np.array([counts[word] for word in kept]))
        return cls({word: i for i, word in enumerate(kept)}, np.maximum(idf, 1e-3))

    def transform(self, texts: Sequence[str]) -> Float[np.ndarray, "n k"]:
        """Vectors, float32; the zero vector for a text without a known word."""
        out = np.zeros((len(texts), len(self.index)), np.float32)
        for row, text in enumerate(texts):
            for word in set(words.words_of(text)):
                if word in self.index:
                    out[row, self.index[word]] = self.idf[self.index[word]]
        return unit_rows(out)


def unit_rows(values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Rows divided by their length; zero rows stay zero."""
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


@dataclasses.dataclass(frozen=True)
class RidgeRetrieval:
    """Ridge regression from the mean clip feature of an example to the words of its caption."""

    vectors: WordVectors
    ridge: Ridge

    def similarity(
        self, texts: Sequence[str], features: Float[np.ndarray, "n c"]
    ) -> similarity.Products:
        """Cosine between each text's words and the words predicted from each example's clips.

        Said in the dimensions of the features and one more, for there may be many more words: a
        text's words times the map are as long as an example's clips.
        """
        map_and_bias = np.vstack([self.ridge.weights, self.ridge.bias])
        sides: list[list[np.ndarray]] = [[], []]
        for first in range(0, len(texts), _ROWS):
            words_of_texts = self.vectors.transform(texts[first : first + _ROWS])
            sides[0].append((words_of_texts @ map_and_bias.T).astype(np.float32))
        for first in range(0, len(features), _ROWS):
            inputs = (features[first : first + _ROWS] - self.ridge.mean) / self.ridge.scale
            inputs = np.pad(inputs, ((0, 0), (0, 1)), constant_values=1.0)
            lengths = np.linalg.norm(inputs @ map_and_bias, axis=1, keepdims=True)
            sides[1].append((inputs / np.maximum(lengths, 1e-12)).astype(np.float32))
        return similarity.Products(*map(np.concatenate, sides))


def fit_retrieval(
    features: Float[np.ndarray, "n c"],
    texts: Sequence[str],
    videos: Int[np.ndarray, " n"],
    *,
    seed: int,
) -> RidgeRetrieval:
    """Baseline of text-video retrieval; the penalty has the best median rank on held-out videos."""
    vectors = WordVectors.fit(texts)
    targets = vectors.transform(texts)
    train, held_out = held_out_rows(videos, seed)

    def quality(predictions: np.ndarray) -> float:
        scores = targets[held_out] @ unit_rows(predictions).T
        return -float(np.median(ranking.ranks(scores, np.arange(len(held_out)))))

    ridge = fit_ridge(features, targets, train=train, validation=held_out, quality=quality)
    return RidgeRetrieval(vectors, ridge)


def fit_classifier(
    features: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, " n"],
    num_labels: int,
    videos: Int[np.ndarray, " n"],
    *,
    seed: int,
) -> Ridge:
    """Baseline of classification: one-hot regression; best top-1 on held-out videos."""
    targets = np.eye(num_labels)[labels]
    train, held_out = held_out_rows(videos, seed)

    def quality(predictions: np.ndarray) -> float:
        return classification.summary(predictions, labels[held_out], "x")["x_top1"]

    return fit_ridge(features, targets, train=train, validation=held_out, quality=quality)
