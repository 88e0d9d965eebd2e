"""Supervised baselines of a dataset's splits: each fitted once, whoever asks for it."""

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Int

from videobert_jax import schema
from videobert_jax.data.block import EvaluationBuilder
from videobert_jax.data.config import DataConfig
from videobert_jax.data.index import Dataset, Split
from videobert_jax.tasks import baselines, labels, mlp, rows
from videobert_jax.tasks.metrics import classification
from videobert_jax.tasks.rows import ROWS
from videobert_jax.text.tokenizer import Tokenizer

MAX_EXAMPLES = 20_000  # more rows move 1024 x words coefficients little, and cost memory


def mean_features(
    builder: EvaluationBuilder, *, limit: int | None = None, most: int | None = None
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n c"]]:
    """(ids, mean clip features float32) of the examples with video, in the order of ids.

    `limit`: of the blocks with the first examples; `most`: of blocks all over the split with about
    so many examples.
    """
    count = builder.num_blocks if limit is None else min(builder.num_blocks, -(-limit // ROWS))
    chosen: Iterable[int] = range(count)
    if most is not None:
        spread = np.linspace(0, count - 1, min(count, most // ROWS))
        chosen = np.unique(spread.astype(int)).tolist()
    ids, features = [], []
    for k in chosen:
        block = builder.build(k).batch
        present = block.video_segment_ids != schema.NO_SEGMENT
        kept = (block.example_ids[:, 0] != schema.PADDING_EXAMPLE) & present.any(axis=1)
        totals = (block.video_features.astype(np.float32) * present[..., None]).sum(axis=1)
        ids.append(block.example_ids[kept, 0])
        features.append(totals[kept] / present[kept].sum(axis=1, keepdims=True))
    order = np.argsort(np.concatenate(ids), kind="stable")
    return np.concatenate(ids)[order], np.concatenate(features)[order]


@dataclasses.dataclass(frozen=True)
class Retrieval:
    model: baselines.RidgeRetrieval
    num_examples: int


@dataclasses.dataclass(frozen=True)
class Classifiers:
    """Of one kind of label. `majority`: how often each label occurs, [1, k]."""

    majority: np.ndarray
    ridge: baselines.Ridge
    mlp: mlp.Mlp
    num_examples: int


class Fits:
    """Baselines that see the mean clip feature of an example; None where a split allows none.

    No network is kept: tokenizer and settings of data say how long rows are. Hyperparameters are
    chosen on held-out videos of the split, drawn by `seed`.
    """

    def __init__(self, tokenizer: Tokenizer, data: DataConfig, dataset: Dataset, seed: int):
        self._tokenizer, self._data = tokenizer, data
        self._dataset, self._seed = dataset, seed
        self.features = functools.cache(self._mean_features)
        self.retrieval = functools.cache(self._fit_retrieval)
        self.classifiers = functools.cache(self._fit_classifiers)

    def _mean_features(
        self, split: Split
    ) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n c"]]:
        builder = rows.evaluation_builder(self._tokenizer, self._data, split)
        return mean_features(builder, most=MAX_EXAMPLES)

    def _fit_retrieval(self, split: Split) -> Retrieval | None:
        """From the mean feature to the words of the caption; None with captions of one video."""
        ids, features = self.features(split)
        kept = split.caption_hash[ids] != 0
        ids, features = ids[kept], features[kept]
        if len(np.unique(split.video[ids])) < 2:
            return None
        model = baselines.fit_retrieval(
            features, split.texts(ids.tolist()), split.video[ids], seed=self._seed
        )
        return Retrieval(model, len(ids))

    def _fit_classifiers(self, split: Split, kind: str) -> Classifiers | None:
        """Of the labels of a kind; None where fewer than two videos have them."""
        forms = labels.forms(self._dataset, kind)
        ids, features = self.features(split)
        known = labels.ids_of(split, kind, forms)[ids]
        ids, features, known = (values[known >= 0] for values in (ids, features, known))
        videos = split.video[ids]
        if len(np.unique(videos)) < 2:
            return None
        return Classifiers(
            majority=classification.majority_scores(known, len(forms)),
            ridge=baselines.fit_classifier(features, known, len(forms), videos, seed=self._seed),
            mlp=mlp.fit(features, known, len(forms), videos, seed=self._seed),
            num_examples=len(ids),
        )
