"""Datasets by name: each module has HELP and `prepare(source, output) -> Dataset`."""

import csv
import functools
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

from videobert_jax.data import index
from videobert_jax.files import errors, json_values

P = ParamSpec("P")
Result = TypeVar("Result")


def published(read: Callable[P, Result]) -> Callable[P, Result]:
    """A reader of published files that raises DatasetError, naming them, where they have another
    form than the published one."""

    @functools.wraps(read)
    def checked(*arguments: P.args, **settings: P.kwargs) -> Result:
        given = [*arguments, *settings.values()]
        files = [one for each in given for one in (each if isinstance(each, list) else [each])]
        names = ", ".join(str(file) for file in files if isinstance(file, pathlib.Path))
        with errors.of_form(names, index.DatasetError):
            return read(*arguments, **settings)

    return checked


def source_files(source: pathlib.Path | None, names: Sequence[str]) -> list[pathlib.Path]:
    """Paths of the files of a source folder; raises DatasetError naming all that are missing."""
    if source is None:
        raise index.DatasetError(
            f"no source was given; expected --source DIR, a folder with {', '.join(names)}"
        )
    files = [pathlib.Path(source) / name for name in names]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        state = "these are missing there" if files[0].parent.is_dir() else "no such folder; missing"
        raise index.DatasetError(
            f"{source}: {state}: {', '.join(missing)}; expected a folder with {', '.join(names)}: "
            "check --source, or fetch the files"
        )
    return files


def read_json(file: pathlib.Path, kind: type[list] | type[dict]) -> Any:
    """Content of a JSON source file: a list or an object with something in it, else DatasetError.

    An empty caption file is found here, before anything is written.
    """
    try:
        content = json_values.parse(file.read_text(encoding="utf-8"))
    except ValueError as error:
        size = file.stat().st_size
        found = "the file is empty" if size == 0 else f"{size:,} bytes that are no JSON ({error})"
        raise index.DatasetError(f"{file}: {found}; fetch it anew") from error
    if not isinstance(content, kind) or not content:
        found = f"an empty {kind.__name__}" if not content else f"a {type(content).__name__}"
        raise index.DatasetError(
            f"{file}: {found}, expected a JSON {kind.__name__} with at least one entry; fetch it "
            "anew"
        )
    return content


def read_jsonl(file: pathlib.Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line's number, object) of a file with a JSON object a line, one in memory at a time.

    Raises DatasetError where a line is none, and where there are none.
    """
    number = 0
    try:
        with open(file, encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not isinstance(entry := json_values.parse(line), dict):
                    raise ValueError(f"a {type(entry).__name__}")
                yield number, entry
    except ValueError as error:
        raise index.DatasetError(
            f"{file}:{number}: no JSON object ({error}); expected one a line, fetch the file anew"
        ) from error
    if number == 0:
        raise index.DatasetError(f"{file}: the file is empty; fetch it anew")


def csv_rows(
    path: pathlib.Path, columns: tuple[str, ...], delimiter: str = ","
) -> list[dict[str, str]]:
    """Rows of a csv file with these columns. Raises DatasetError where it has others, or none."""
    return list(each_csv_row(path, columns, delimiter))


def each_csv_row(
    path: pathlib.Path, columns: tuple[str, ...], delimiter: str = ","
) -> Iterator[dict[str, str]]:
    """What `csv_rows` gives, one row in memory at a time."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True, delimiter=delimiter)
            row = None
            for row in reader:
                if not set(columns) <= set(row):
                    raise index.DatasetError(
                        f"{path}: {', '.join(map(str, row))}; expected a csv with the columns "
                        f"{', '.join(columns)}"
                    )
                if any(row[column] is None for column in columns):
                    raise index.DatasetError(
                        f"{path}:{reader.line_num}: a row is cut off; fetch the file anew"
                    )
                yield row
    except (csv.Error, UnicodeDecodeError) as error:
        raise index.DatasetError(f"{path}: no csv file ({error}); fetch it anew") from error
    if row is None:
        raise index.DatasetError(
            f"{path}: no rows; expected a csv with the columns {', '.join(columns)}"
        )
