"""What another system said of a split, read from files and put in the order of its examples."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from videobert_jax.data.index import Dataset, Split
from videobert_jax.files import arrays, digests, storage
from videobert_jax.tasks import (
    caption_files,
    caption_results,
    example_lines,
    given_ranks,
    retrieval,
)
from videobert_jax.tasks.context import PredictionContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics.similarity import Matrix
from videobert_jax.tasks.report import TaskResult

DATASET_ORDER = "the dataset's"


@dataclasses.dataclass(frozen=True)
class Given:
    """How a file of predictions is read.

    ids_file: says which example each row is of; None: rows are in the order of the dataset.
    normalization: of similarities. direction: of ranks in a .npy, which does not say it.
    """

    ids_file: storage.Path | None
    normalization: str
    direction: str | None


def evaluate(
    task: str, file: storage.Path, given: Given, dataset: Dataset, split: Split, *, seed: int
) -> tuple[PredictionContext, TaskResult]:
    """The result of another system's predictions, and the context of its record.

    Raises EvaluationError where the task takes no predictions, and where the files do not fit the
    split.
    """
    ids_file = given.ids_file
    if task not in _TASKS:
        raise EvaluationError(
            f"--predictions with --task={task}: predictions are scored of {', '.join(_TASKS)}."
        )
    described: dict[str, Any] = {
        "file": str(file),
        "sha256": digests.sha256_file(file),
        "order": DATASET_ORDER,
    }
    if ids_file is not None:
        described["order"] = str(ids_file)
        described["order_sha256"] = digests.sha256_file(ids_file)
    context = PredictionContext(described, dataset, split, seed)
    try:
        return context, _TASKS[task](context, file, given)
    except EvaluationError as error:
        if file.name in str(error) or (ids_file is not None and ids_file.name in str(error)):
            raise
        raise EvaluationError(f"{file}: {error}") from error


def _retrieval(context: PredictionContext, file: storage.Path, given: Given) -> TaskResult:
    """By similarities of texts (rows) and videos (columns), or by ranks."""
    ids = retrieval.paired_ids(context.split, context.ids)
    if file.suffix == given_ranks.LINES:
        _require_none(ids=given.ids_file, direction=given.direction)
        return _by_ranks(context, given_ranks.read(file, context.split, ids), given)
    values = arrays.read_npy(file, mapped=True)
    if values.ndim not in (1, 2) or values.dtype.kind not in "fiu":
        raise EvaluationError(
            f"{file}: {values.dtype} of shape {values.shape}; expected numbers: similarities "
            "[texts, videos], or a rank an example."
        )
    places = None
    if given.ids_file is not None:
        stated = [one for one, _ in example_lines.read(given.ids_file, context.split)]
        places = example_lines.places(given.ids_file, stated, context.split, ids)
    if values.ndim == 2:
        _require_none(direction=given.direction)
        return retrieval.evaluate_predictions(
            context, Matrix(values), places=places, normalization=given.normalization
        )
    if given.direction is None or len(values) != len(ids):
        raise EvaluationError(
            f"{file}: {len(values)} ranks, --direction={given.direction}; expected one of each of "
            f"the {len(ids)} examples with a caption and clips, and --direction="
            f"{'|'.join(retrieval.DIRECTIONS)}."
        )
    ranks = given_ranks.checked(file, values if places is None else values[places])
    return _by_ranks(context, {given.direction: ranks}, given)


def _by_ranks(context: PredictionContext, ranks: dict[str, np.ndarray], given: Given) -> TaskResult:
    if given.normalization != retrieval.NO_NORMALIZATION:
        raise EvaluationError(
            f"--normalization={given.normalization} is of similarities, and these are ranks; leave "
            "it out."
        )
    return retrieval.evaluate_ranks(context, ranks)


def _captioning(context: PredictionContext, file: storage.Path, given: Given) -> TaskResult:
    """By a file of captions, each with the id of its example."""
    _require_none(ids=given.ids_file, direction=given.direction)
    references = caption_results.References.of(context, needs_clips=False)
    return caption_results.result(
        context,
        references,
        caption_files.read(file, context.split, references),
        truncation={},
        details={},
        wordless=False,
    )


def _require_none(**flags: object) -> None:
    """Raises EvaluationError on flags that say what the file says itself, or that are not of it."""
    if said := [f"--{name}={value}" for name, value in flags.items() if value is not None]:
        raise EvaluationError(
            f"{' '.join(said)}: ids and directions of captions, of lines and of similarities are "
            "in their file; leave it out."
        )


# A task whose predictions can be scored -> what reads them and gives its result.
_TASKS: dict[str, Callable[[PredictionContext, storage.Path, Given], TaskResult]] = {
    retrieval.NAME: _retrieval,
    caption_results.NAME: _captioning,
}
