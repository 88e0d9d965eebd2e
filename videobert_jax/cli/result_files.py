"""Where commands write results: of eval.py a file each, beside what they are of."""

import itertools
import pathlib
from typing import Any

from videobert_jax.files import atomic, storage
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.training import checkpoint_name


def outputs(
    output: storage.Path | None, name: str, tasks: dict[str, list[str]], default: str | None
) -> dict[tuple[str, str], storage.Path]:
    """(split, task) -> FILE.json, of the tasks of each split: TASK.json of the default split,
    TASK_SPLIT.json of another, so that one never takes the place of the other.

    Raises EvaluationError where one file would hold several results.
    """
    results = [(split, task) for split, of_split in tasks.items() for task in of_split]
    if output is not None and output.suffix == ".json":
        if len(results) > 1:
            listed = ", ".join(f"{task} on {split}" for split, task in results)
            raise EvaluationError(
                f"--output={output} is one file for {len(results)} results ({listed}); name a "
                "folder, or say one --task and one --split."
            )
        return {results[0]: output}
    if output is None:
        folder = storage.path(checkpoint_name.split(name)[0])
        # An export is replaced as a whole: what is measured of it stands beside it.
        is_export = any(folder.glob("*.safetensors"))
        whole = folder.resolve() if isinstance(folder, pathlib.Path) else folder
        output = whole.with_name(f"{whole.name}_eval") if is_export else folder / "eval"
    endings = {split: "" if split == default else _ending(split) for split in tasks}
    for split, other in itertools.combinations(tasks, 2):
        if endings[split] == endings[other]:
            raise EvaluationError(
                f"the results of the splits {split} and {other} would both be in files that end in "
                f"{endings[other]}.json; evaluate one of them by itself, with --output=FOLDER."
            )
    return {(split, task): output / f"{task}{endings[split]}.json" for split, task in results}


def _ending(split: str) -> str:
    """Of the names of another split's files: "_unseen_pairs" of "test_unseen_pairs"."""
    return split.removeprefix("test") if split.startswith("test_") else f"_{split}"


def write_json(name: str, found: Any) -> None:
    """Writes what a command found to a file, and says so."""
    output = storage.path(name)
    storage.make_folder(output.parent)
    atomic.write_json(output, found)
    print(f"-> {output}")
