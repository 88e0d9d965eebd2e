"""MSR-VTT multiple choice (Yu et al. 2018, JSFusion, section 4): 2,990 clips, each with five
captions of which one is its own."""

import pathlib
from collections.abc import Iterator
from typing import Any

from videobert_jax.data import datasets, index
from videobert_jax.data.datasets import questions
from videobert_jax.data.datasets.annotated import Corpus
from videobert_jax.data.datasets.msrvtt import WHOLE_CLIP, clip_name

_CANDIDATES = ("a1", "a2", "a3", "a4", "a5")
_NUM_QUESTIONS = 2990


@datasets.published
def read(annotations: pathlib.Path) -> Corpus:
    """MSR_MC_test.csv, separated by tabs: vid_key, a1 to a5, answer (0 to 4, the right one's). Or
    what others made of it: ClipBERT's .jsonl (Lei et al. 2021) of {clip_name, options, answer}, and
    Singularity's .json (Lei et al. 2022), a list of {video, caption, answer}.

    All of it is the split `test`. An example's caption is the right one. Raises DatasetError on
    other forms.
    """
    corpus = Corpus("msrvtt_multiple_choice", "MSR-VTT multiple choice (Yu et al. 2018)", {}, {})
    by_video: dict[str, list[dict]] = {}
    number = 0
    for number, (clip, candidates, answer) in enumerate(_rows(annotations), start=1):
        try:
            name = clip_name(clip)
            if not isinstance(candidates, list) or len(candidates) != len(_CANDIDATES):
                raise ValueError(f"candidates {str(candidates)[:60]!r}, expected five captions")
            asked = questions.chosen([str(text) for text in candidates], int(answer))
        except (TypeError, ValueError) as error:
            raise index.DatasetError(f"{annotations}: row {number}: {error}") from error
        place = {"kind": "multiple_choice", "start": 0.0, "end": WHOLE_CLIP, "question": ""}
        by_video.setdefault(name, []).append({**place, **asked, "text": asked["answer"]})
    corpus.splits["test"] = [
        questions.annotated(corpus, name, of_video) for name, of_video in by_video.items()
    ]
    is_whole = number == _NUM_QUESTIONS
    corpus.protocols["test"] = "msrvtt_multiple_choice" + ("" if is_whole else f"_{number}")
    return corpus


def _rows(file: pathlib.Path) -> Iterator[tuple[Any, Any, Any]]:
    """(clip, candidates, place of the right one), as the file has them."""
    if file.suffix not in (".json", ".jsonl"):
        for row in datasets.each_csv_row(file, ("vid_key", *_CANDIDATES, "answer"), "\t"):
            yield row["vid_key"], [row[column] for column in _CANDIDATES], row["answer"]
        return
    if file.suffix == ".jsonl":
        fields, entries = ("clip_name", "options", "answer"), datasets.read_jsonl(file)
    else:
        fields = ("video", "caption", "answer")
        entries = enumerate(datasets.read_json(file, list), start=1)
    for number, entry in entries:
        if not isinstance(entry, dict) or not set(fields) <= set(entry):
            raise index.DatasetError(
                f"{file}: row {number} is {str(entry)[:80]!r}; expected {', '.join(fields)}"
            )
        yield entry[fields[0]], entry[fields[1]], entry[fields[2]]
