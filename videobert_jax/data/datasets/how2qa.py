"""How2QA (Li et al. 2020, HERO, section 4.1): questions with four answers about moments of
HowTo100M's videos."""

import csv
import pathlib
import re

from videobert_jax.data import index
from videobert_jax.data.datasets import questions
from videobert_jax.data.datasets.annotated import Corpus

_NAME = re.compile(r"how2qa_(train|val|test)", re.IGNORECASE)
_TIMES = re.compile(r"\[\s*([\d.]+)\s*:\s*([\d.]+)\s*\]")
_NUM_COLUMNS = 7  # video, times, three wrong answers, question, right answer


def read(annotations: list[pathlib.Path]) -> Corpus:
    """how2QA_train_release.csv and how2QA_val_release.csv: video, [start:end] in seconds, three
    wrong answers, the question, the right answer; a file's name says its split.

    Right answers stand in the places 0 to 3 in turn, since the files say no order. Raises
    DatasetError on other forms.
    """
    corpus = Corpus("how2qa", "How2QA (Li et al. 2020)", {}, {})
    for file in annotations:
        named = _NAME.match(file.name)
        expected = "how2QA_train_release.csv and how2QA_val_release.csv"
        split = questions.new_split(corpus, file, named[1].lower() if named else "", expected)
        by_video: dict[str, list[dict]] = {}
        for number, row in enumerate(_rows(file)):
            by_video.setdefault(row[0], []).append(_question(file, number, row))
        corpus.splits[split] = [
            questions.annotated(corpus, name, rows) for name, rows in by_video.items()
        ]
        if split != "train":
            corpus.protocols[split] = f"how2qa_{split}"
    return corpus


def _rows(file: pathlib.Path) -> list[list[str]]:
    try:
        with open(file, newline="", encoding="utf-8") as opened:
            rows = [row for row in csv.reader(opened, strict=True) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise index.DatasetError(f"{file}: no csv file ({error}); fetch it anew") from error
    if rows and len(rows[0]) == _NUM_COLUMNS and not _TIMES.fullmatch(rows[0][1].strip()):
        rows = rows[1:]  # names of the columns
    if not rows:
        raise index.DatasetError(f"{file}: no questions; fetch it anew")
    return rows


def _question(file: pathlib.Path, number: int, row: list[str]) -> dict:
    times = _TIMES.fullmatch(row[1].strip()) if len(row) == _NUM_COLUMNS else None
    if times is None:
        raise index.DatasetError(
            f"{file}: question {number + 1} is {str(row)[:80]}; expected video, [start:end], three "
            "wrong answers, the question and the right answer"
        )
    *wrong, question, right = row[2:]
    place = number % 4
    candidates = [*wrong[:place], right, *wrong[place:]]
    try:
        asked = questions.chosen(candidates, place)
    except ValueError as error:
        raise index.DatasetError(f"{file}: question {number + 1}: {error}") from error
    span = {"kind": "multiple_choice", "start": times[1], "end": times[2]}
    return {**span, "question": question, **asked, "text": question}
