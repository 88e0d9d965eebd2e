"""What another system said of a split, read from files and put in the order of its examples."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int

from videobert_jax.data.index import Dataset, Split
from videobert_jax.files import arrays, digests, errors, json_values, storage
from videobert_jax.tasks import caption_files, caption_results, retrieval
from videobert_jax.tasks.context import PredictionContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics.similarity import Matrix
from videobert_jax.tasks.report import TaskResult

DATASET_ORDER = "the dataset's"
_TOLD = ("video", "text")  # of a line of the ids file; compared with the dataset's


def evaluate(
    task: str,
    file: storage.Path,
    ids_file: storage.Path | None,
    dataset: Dataset,
    split: Split,
    *,
    seed: int,
    normalization: str,
) -> tuple[PredictionContext, TaskResult]:
    """The result of another system's predictions, and the context of its record.

    ids_file: says which example each row is of; None: rows are in the order of the dataset. Raises
    EvaluationError where the task takes no predictions, and where the files do not fit the split.
    """
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
        return context, _TASKS[task](context, file, ids_file, normalization)
    except EvaluationError as error:
        if file.name in str(error) or (ids_file is not None and ids_file.name in str(error)):
            raise
        raise EvaluationError(f"{file}: {error}") from error


def _retrieval(
    context: PredictionContext,
    file: storage.Path,
    ids_file: storage.Path | None,
    normalization: str,
) -> TaskResult:
    """By a .npy of similarities of texts (rows) and videos (columns)."""
    scores = arrays.read_npy(file, mapped=True)
    if scores.ndim != 2 or scores.dtype.kind not in "fiu":
        raise EvaluationError(
            f"{file}: {scores.dtype} of shape {scores.shape}; expected numbers [texts, videos]."
        )
    places = None
    if ids_file is not None:
        places = _places(ids_file, context, retrieval.paired_ids(context.split, context.ids))
    return retrieval.evaluate_predictions(
        context, Matrix(scores), places=places, normalization=normalization
    )


def _captioning(
    context: PredictionContext,
    file: storage.Path,
    ids_file: storage.Path | None,
    normalization: str,
) -> TaskResult:
    """By a file of captions, each with the id of its example."""
    if ids_file is not None:
        raise EvaluationError(
            f"--ids={ids_file}: captions have their ids beside them; leave --ids out."
        )
    references = caption_results.References.of(context, needs_clips=False)
    return caption_results.result(
        context,
        references,
        caption_files.read(file, context.split, references),
        truncation={},
        details={},
        wordless=False,
    )


# A task whose predictions can be scored -> what reads them and gives its result.
_TASKS: dict[
    str, Callable[[PredictionContext, storage.Path, storage.Path | None, str], TaskResult]
] = {retrieval.NAME: _retrieval, caption_results.NAME: _captioning}


def _places(
    file: storage.Path, context: PredictionContext, ids: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Line of the ids file at which each of the examples stands."""
    stated = _read_ids(file, context.split)
    place = {one: line for line, one in enumerate(stated)}
    if len(place) < len(stated):
        twice = next(one for line, one in enumerate(stated) if place[one] != line)
        raise EvaluationError(f"{file}: example {twice} is named twice; name each once.")
    expected = set(ids.tolist())
    missing, unknown = sorted(expected - place.keys()), sorted(place.keys() - expected)
    if missing or unknown:
        raise EvaluationError(
            f"{file}: {len(missing)} of the {len(ids)} examples with a caption and clips of split "
            f"{context.split.name!r} are not there (the first are {missing[:3]}), {len(unknown)} "
            f"are none of them (the first are {unknown[:3]})."
        )
    return np.array([place[one] for one in ids.tolist()])


def _read_ids(file: storage.Path, split: Split) -> list[int]:
    """Example ids of a file with a line each: the id, or an object with an example_id, such as the
    lines beside a result; what those say of video and text is compared with the dataset."""
    found = []
    # By "\n" alone: texts may hold other separators of lines, such as U+2028.
    with errors.of_form(file, EvaluationError, "save it as UTF-8"):
        text = file.read_text(encoding="utf-8").removesuffix("\n")
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{file}, line {number}"
        try:
            value = json_values.parse(line)
        except ValueError as error:
            raise EvaluationError(f"{where}: {line[:40]!r} is not JSON ({error}).") from error
        told = value if isinstance(value, dict) else {"example_id": value}
        one = told.get("example_id")
        if type(one) is not int or not 0 <= one < len(split):
            raise EvaluationError(
                f"{where}: example_id {one!r}; expected a number from 0 to {len(split) - 1}."
            )
        has = {"video": split.videos[int(split.video[one])], "text": split.texts([one])[0]}
        for key in _TOLD:
            if key in told and told[key] != has[key]:
                raise EvaluationError(
                    f"{where}: {key} of example {one} is {told[key]!r}, in the dataset "
                    f"{has[key]!r}; the ids are of another dataset or split."
                )
        found.append(one)
    return found
