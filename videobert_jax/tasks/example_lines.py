"""Lines of files that say which example each is of, compared with the split that they are for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from videobert_jax.data.index import Split
from videobert_jax.files import errors, json_values, storage
from videobert_jax.tasks.errors import EvaluationError

ID = "example_id"
_TOLD = ("video", "text")  # of a line; compared with the dataset's


def places(
    file: storage.Path, stated: Sequence[int], split: Split, ids: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Line of the file at which each of the examples `ids` stands; stated: that of every line.

    Raises EvaluationError where one stands twice or nowhere, or another is there.
    """
    place = {one: line for line, one in enumerate(stated)}
    if len(place) < len(stated):
        twice = next(one for line, one in enumerate(stated) if place[one] != line)
        raise EvaluationError(f"{file}: example {twice} is named twice; name each once.")
    expected = set(ids.tolist())
    missing, unknown = sorted(expected - place.keys()), sorted(place.keys() - expected)
    if missing or unknown:
        raise EvaluationError(
            f"{file}: {len(missing)} of the {len(ids)} examples with a caption and clips of split "
            f"{split.name!r} are not there (the first are {missing[:3]}), {len(unknown)} "
            f"are none of them (the first are {unknown[:3]})."
        )
    return np.array([place[one] for one in ids.tolist()])


def read(file: storage.Path, split: Split) -> list[tuple[int, Mapping[str, Any]]]:
    """(example id, what else is said) of every line: the id alone, or an object with an example_id,
    such as the lines beside a result; what those say of video and text is compared with the
    dataset.

    Raises EvaluationError where a line is something else, or of another dataset.
    """
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
        told = value if isinstance(value, dict) else {ID: value}
        one = told.get(ID)
        if type(one) is not int or not 0 <= one < len(split):
            raise EvaluationError(
                f"{where}: {ID} {one!r}; expected a number from 0 to {len(split) - 1}."
            )
        has = {"video": split.videos[int(split.video[one])], "text": split.texts([one])[0]}
        for key in _TOLD:
            if key in told and told[key] != has[key]:
                raise EvaluationError(
                    f"{where}: {key} of example {one} is {told[key]!r}, in the dataset "
                    f"{has[key]!r}; the file is of another dataset or split."
                )
        found.append((one, told))
    return found
