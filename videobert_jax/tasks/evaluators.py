"""Evaluations small enough to run during training; handed to the loop, which knows no task."""

import functools
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from videobert_jax.data import index, local_copy
from videobert_jax.data.config import DataConfig
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.tasks import retrieval, trained_heads
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.fits import Fits
from videobert_jax.tasks.metrics import ranking
from videobert_jax.tasks.report import TaskResult

Measure = Callable[[EvaluationContext, str], TaskResult]

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


class Contexts:
    """A context for each network of a run, of the first examples of the validation split.

    The dataset is opened once, and baselines, which depend on no network, are fitted once.
    """

    def __init__(self, open_dataset: Callable[[], index.Dataset], seed: int):
        self._dataset = functools.cache(open_dataset)
        self._seed = seed
        self._fitted: Fits | None = None

    def of(self, bundle: ModelBundle) -> EvaluationContext:
        dataset = self._dataset()
        split = dataset.split(SPLIT)
        context = EvaluationContext(
            bundle, dataset, split, self._seed, limit=MAX_EXAMPLES, fitted=self._fitted
        )
        self._fitted = context.fits
        return context


class PeriodicRetrieval:
    """Retrieval by the towers among the first examples of the validation split."""

    name = "retrieval"

    def __init__(self, contexts: Contexts):
        self._contexts = contexts

    def __call__(self, bundle: ModelBundle) -> dict[str, float]:
        context = self._contexts.of(bundle)
        if not trained_heads.may_ask(context, trained_heads.JOINT):
            return {}  # the towers were never compared
        ids = retrieval.paired_ids(context.split, context.ids)
        rows = context.expect(ids, "both a caption and clips")
        figures: dict[str, float] = {"num_candidates": float(len(ids))}
        for name, values in retrieval.tower_ranks(context, rows).items():
            figures |= ranking.summary(values, name)
        return figures


class PeriodicTask:
    """Figures of a task, as eval.py measures it, of the first examples of the validation split."""

    def __init__(self, name: str, contexts: Contexts, measure: Measure):
        self.name, self._contexts, self._measure = name, contexts, measure

    def __call__(self, bundle: ModelBundle) -> dict[str, float]:
        return self._measure(self._contexts.of(bundle), self.name).metrics


def require_known(names: Sequence[str], known: Sequence[str]) -> None:
    """Raises EvaluationError on tasks of training.eval_tasks that there are not."""
    unknown = sorted(set(names) - set(known))
    if unknown or len(set(names)) < len(names):
        raise EvaluationError(
            f"training.eval_tasks has {', '.join(names)}; expected some of {', '.join(known)}, "
            "each once."
        )


def periodic(run: Run, names: Sequence[str], measure: Measure) -> list[Evaluator]:
    """Evaluators of the tasks of a run, on the validation split of its first source's dataset.

    Retrieval is by the towers alone, and left out where there are no pairs. measure: of any other
    task, by eval.py's defaults. Raises EvaluationError where one is named and there is no
    validation split.
    """
    path = local_copy.dataset_path(run.data, run.data.sources[0])
    dataset = index.open_dataset(path, check_shards=False)
    others = [name for name in names if name != retrieval.NAME]
    if SPLIT not in dataset.splits:
        if others:
            raise EvaluationError(
                f"training.eval_tasks={','.join(names)}: {path} has no split {SPLIT!r} to measure "
                "on; prepare one, or name no task and evaluate the run by eval.py --follow."
            )
        return []
    contexts = Contexts(functools.partial(index.open_dataset, path), run.seed)
    found: list[Evaluator] = []
    split = dataset.splits[SPLIT]
    pairs = retrieval.paired_ids(split, np.arange(min(len(split), MAX_EXAMPLES)))
    if retrieval.NAME in names and len(pairs):
        found.append(PeriodicRetrieval(contexts))
    found += [PeriodicTask(name, contexts, measure) for name in others]
    return found
