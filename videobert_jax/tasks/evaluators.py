"""Evaluations small enough to run during training; handed to the loop, which knows no task."""

import functools
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np

from videobert_jax.data import index, local_copy
from videobert_jax.data.config import DataConfig
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.tasks import retrieval
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.metrics import ranking

SPLIT = "validation"
MAX_EXAMPLES = 256  # enough to see a trend; a record is made with all of them


@runtime_checkable
class Run(Protocol):
    """What is read of a run's settings."""

    @property
    def seed(self) -> int: ...

    @property
    def data(self) -> DataConfig: ...


@runtime_checkable
class Evaluator(Protocol):
    name: str

    def __call__(self, bundle: ModelBundle) -> dict[str, float]: ...


class PeriodicRetrieval:
    """Retrieval by the towers among the first examples of the validation split."""

    name = "retrieval"

    def __init__(self, open_dataset: Callable[[], index.Dataset], seed: int):
        self._dataset = functools.cache(open_dataset)
        self._seed = seed

    def __call__(self, bundle: ModelBundle) -> dict[str, float]:
        dataset = self._dataset()
        context = EvaluationContext(
            bundle, dataset, dataset.split(SPLIT), self._seed, limit=MAX_EXAMPLES
        )
        ids = retrieval.paired_ids(context.split, context.ids)
        rows = context.expect(ids, "both a caption and clips")
        figures: dict[str, float] = {"num_candidates": float(len(ids))}
        for name, values in retrieval.tower_ranks(context, rows).items():
            figures |= ranking.summary(values, name)
        return figures


def periodic(run: Run) -> list[Evaluator]:
    """Evaluators of a run: retrieval where the first source's dataset has validation pairs."""
    path = local_copy.dataset_path(run.data, run.data.sources[0])
    dataset = index.open_dataset(path, check_shards=False)
    if SPLIT not in dataset.splits:
        return []
    split = dataset.splits[SPLIT]
    if not len(retrieval.paired_ids(split, np.arange(min(len(split), MAX_EXAMPLES)))):
        return []
    return [PeriodicRetrieval(functools.partial(index.open_dataset, path), run.seed)]
