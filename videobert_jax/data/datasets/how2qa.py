"""How2QA (Li et al. 2020, HERO, section 4.1): questions with four answers about moments of
HowTo100M's videos."""

import csv
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from videobert_jax.data import datasets, index
from videobert_jax.data.datasets import questions
from videobert_jax.data.datasets.annotated import Corpus

_NAME = re.compile(r"how2qa_(train|val|test)", re.IGNORECASE)
_TIMES = re.compile(r"\[\s*([\d.]+)\s*:\s*([\d.]+)\s*\]")
_NUM_COLUMNS = 7  # video, times, three wrong answers, question, right answer
_PART = re.compile(r"(.+)_([\d.]+)_([\d.]+)")  # YouTube's id, and the seconds that a video shows
_ANSWERS = ("a0", "a1", "a2", "a3")
_VALUE = (*_ANSWERS, "answer_idx", "q", "ts", "vid_name")
Asked = tuple[str, dict[str, Any], list[str], int]  # video, question, candidates, the right one


@datasets.published
def read(annotations: list[pathlib.Path], video_mapping: pathlib.Path | None = None) -> Corpus:
    """how2QA_train_release.csv and how2QA_val_release.csv: video, [start:end] in seconds, three
    wrong answers, the question, the right answer. Or VALUE's how2qa_train_release.jsonl and
    how2qa_val_release.jsonl (Li et al. 2021): {vid_name, ts, q, a0 to a3, answer_idx} about parts
    of videos, 60 s mostly. A file's name says its split.

    Right answers of a csv stand in the places 0 to 3 in turn, since the files say no order.
    video_mapping: VALUE's how2_vid_mapping.json, by which its parts become whole videos by
    YouTube's ids, and times those of the whole; without it, nothing tells what they share with
    other datasets. Questions that cannot be are left out and told. Raises DatasetError on other
    forms.
    """
    corpus = Corpus("how2qa", "How2QA (Li et al. 2020)", {}, {})
    parts = None if video_mapping is None else _parts(video_mapping)
    for file in annotations:
        named = _NAME.match(file.name)
        expected = "how2QA_train_release.csv and how2QA_val_release.csv, or VALUE's .jsonl"
        split = questions.new_split(corpus, file, named[1].lower() if named else "", expected)
        is_value = file.suffix == ".jsonl"
        if parts is not None and not is_value:
            raise index.DatasetError(
                f"{file}: names YouTube's videos already; leave --video-mapping out"
            )
        by_video: dict[str, list[dict]] = {}
        for number, asked in enumerate(_of_value(file) if is_value else _of_csv(file), start=1):
            try:
                name, question = _whole(*asked, parts)
            except ValueError as error:
                corpus.drop(asked[0], f"{file.name}: question {number}: {error}")
                continue
            by_video.setdefault(name, []).append(question)
        corpus.splits[split] = [
            questions.annotated(corpus, name, rows) for name, rows in by_video.items()
        ]
        if split != "train":
            corpus.protocols[split] = f"how2qa_{split}"
    return corpus


def _whole(
    name: str,
    question: dict[str, Any],
    candidates: list[str],
    correct: int,
    parts: Mapping[str, tuple[str, float]] | None,
) -> tuple[str, dict[str, Any]]:
    """A question in the form of `questions`, and its video. Raises ValueError where it has none."""
    begin = 0.0
    if parts is not None:
        if name not in parts:
            raise ValueError("the video is not in --video-mapping")
        name, begin = parts[name]
    times = {side: float(question[side]) + begin for side in ("start", "end")}
    chosen = questions.chosen(candidates, correct)
    text = question["question"]
    return name, {"kind": "multiple_choice", **times, "question": text, **chosen, "text": text}


def _parts(file: pathlib.Path) -> dict[str, tuple[str, float]]:
    """VALUE's name of a part -> YouTube's id and the second at which it begins."""
    found = {}
    for name, part in datasets.read_json(file, dict).items():
        named = _PART.fullmatch(str(part))
        if named is None:
            raise index.DatasetError(
                f"{file}: {name!r} is {str(part)[:60]!r}; expected YouTube's id, start and end, as "
                "in VALUE's how2_vid_mapping.json"
            )
        found[name] = (named[1], float(named[2]))
    return found


def _of_value(file: pathlib.Path) -> Iterator[Asked]:
    for number, row in datasets.read_jsonl(file):
        if missing := [field for field in _VALUE if field not in row]:
            raise index.DatasetError(
                f"{file}:{number}: no {', '.join(missing)}; expected {', '.join(_VALUE)} (a test "
                "whose answers are kept back cannot be evaluated here)"
            )
        start, _, end = str(row["ts"]).partition("-")
        question = {"start": start, "end": end, "question": row["q"]}
        try:
            correct = int(row["answer_idx"])
        except (TypeError, ValueError):
            correct = -1  # no candidate's
        yield str(row["vid_name"]), question, [str(row[name]) for name in _ANSWERS], correct


def _of_csv(file: pathlib.Path) -> Iterator[Asked]:
    for number, row in enumerate(_rows(file)):
        times = _TIMES.fullmatch(row[1].strip()) if len(row) == _NUM_COLUMNS else None
        if times is None:
            raise index.DatasetError(
                f"{file}: question {number + 1} is {str(row)[:80]}; expected video, [start:end], "
                "three wrong answers, the question and the right answer"
            )
        *wrong, question, right = row[2:]
        place = number % 4
        candidates = [*wrong[:place], right, *wrong[place:]]
        span = {"start": times[1], "end": times[2], "question": question}
        yield row[0], span, candidates, place


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
