"""MSR-VTT multiple choice (Yu et al. 2018, JSFusion, section 4): 2,990 clips, each with five
captions of which one is its own."""

import pathlib

from videobert_jax.data import datasets, index
from videobert_jax.data.datasets import questions
from videobert_jax.data.datasets.annotated import Corpus
from videobert_jax.data.datasets.msrvtt import WHOLE_CLIP, clip_name

_CANDIDATES = ("a1", "a2", "a3", "a4", "a5")


def read(annotations: pathlib.Path) -> Corpus:
    """MSR_MC_test.csv, separated by tabs: vid_key, a1 to a5, answer (0 to 4, the right one's).

    All of it is the split `test`. An example's caption is the right one. Raises DatasetError on
    other forms.
    """
    corpus = Corpus("msrvtt_multiple_choice", "MSR-VTT multiple choice (Yu et al. 2018)", {}, {})
    rows = datasets.csv_rows(annotations, ("vid_key", *_CANDIDATES, "answer"), delimiter="\t")
    by_video: dict[str, list[dict]] = {}
    for number, row in enumerate(rows):
        try:
            name = clip_name(row["vid_key"])
            asked = questions.chosen([row[column] for column in _CANDIDATES], int(row["answer"]))
        except ValueError as error:
            raise index.DatasetError(f"{annotations}: row {number + 1}: {error}") from error
        place = {"kind": "multiple_choice", "start": 0.0, "end": WHOLE_CLIP, "question": ""}
        by_video.setdefault(name, []).append({**place, **asked, "text": asked["answer"]})
    corpus.splits["test"] = [
        questions.annotated(corpus, name, of_video) for name, of_video in by_video.items()
    ]
    is_whole = len(rows) == 2990
    corpus.protocols["test"] = "msrvtt_multiple_choice" + ("" if is_whole else f"_{len(rows)}")
    return corpus
