"""How2QA in the form of the VALUE benchmark, and what both its forms leave out."""

import json
import pathlib

import pytest

from tests.data.datasets.preparing import prepare
from videobert_jax.data import index
from videobert_jax.data.datasets import how2qa

ANSWERS = {f"a{place}": text for place, text in enumerate(("red", "blue", "green", "white"))}
ROW = {**ANSWERS, "answer_idx": 2, "q": "What colour?", "qid": 7, "ts": "2.5-6", "vid_name": "41"}


def value(folder: pathlib.Path, *rows, name="how2qa_val_release.jsonl") -> pathlib.Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def mapping(folder: pathlib.Path, **parts: str) -> pathlib.Path:
    path = folder / "how2_vid_mapping.json"
    path.write_text(json.dumps({"41": "8e_jI7_rLB4_60_120", **parts}))
    return path


def test_values_questions_are_about_its_parts_of_videos(tmp_path):
    file = value(
        tmp_path, ROW, {**ROW, "ts": "nan-nan"}, {**ROW, "vid_name": "42", "answer_idx": 0}
    )
    dataset = prepare(tmp_path, "how2qa", ["41", "42"], f"--annotations={file}")
    split = dataset.split("validation")
    assert split.videos == ["41", "42"] and split.texts([0]) == ["What colour?"]
    assert split.start.tolist() == [2.5, 2.5] and split.end.tolist() == [6.0, 6.0]
    first, second = (video["questions"] for video in dataset.annotations("validation"))
    assert first == [
        {
            "kind": "multiple_choice",
            "start": 2.5,
            "end": 6.0,
            "question": "What colour?",
            "answer": "green",
            "candidates": ["red", "blue", "green", "white"],
            "correct": 2,
        }
    ]
    assert second[0]["answer"] == "red"
    assert "from nan to nan" in (tmp_path / "set" / "failures.jsonl").read_text()


def test_a_mapping_makes_them_whole_videos(tmp_path):
    file = value(tmp_path, ROW, {**ROW, "vid_name": "99"})
    options = (f"--annotations={file}", f"--video-mapping={mapping(tmp_path)}")
    dataset = prepare(tmp_path, "how2qa", ["8e_jI7_rLB4"], *options)
    split = dataset.split("validation")
    assert split.videos == ["8e_jI7_rLB4"]
    assert split.start.tolist() == [62.5] and split.end.tolist() == [66.0]
    told = (tmp_path / "set" / "failures.jsonl").read_text()
    assert "question 2: the video is not in --video-mapping" in told


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ({"a1": "  "}, "candidate 2 of"),
        ({"answer_idx": 4}, "candidate 4 of"),
        ({"answer_idx": None}, "candidate -1 of"),
        ({"ts": "2.5"}, "could not convert string to float"),
    ],
)
def test_questions_that_cannot_be_are_left_out_and_told(tmp_path, damage, reason):
    corpus = how2qa.read([value(tmp_path, {**ROW, **damage}, ROW)])
    assert len(corpus.splits["validation"][0].segments) == 1
    (told,) = corpus.failures
    assert told["video"] == "41" and reason in told["reason"]


def test_of_a_csv_too(tmp_path):
    path = tmp_path / "how2QA_val_release.csv"
    path.write_text("abcdefghijk,[1:2],one,,two,How many?,none\nabcdefghijk,[1:2],a,b,c,Who?,d\n")
    corpus = how2qa.read([path])
    assert [s.text for s in corpus.splits["validation"][0].segments] == ["Who?"]
    assert "question 1: candidate 0 of" in corpus.failures[0]["reason"]


def test_other_files_are_refused(tmp_path):
    kept_back = {key: text for key, text in ROW.items() if key != "answer_idx"}
    with pytest.raises(index.DatasetError, match="jsonl:2: no answer_idx; expected a0"):
        how2qa.read([value(tmp_path, ROW, kept_back)])
    path = value(tmp_path)
    for content, message in (("", "empty"), ("[1]\n", ":1: no JSON object"), ("{\n", ":1: no")):
        path.write_text(content)
        with pytest.raises(index.DatasetError, match=message):
            how2qa.read([path])
    with pytest.raises(index.DatasetError, match="'42' is 'elsewhere'; expected YouTube's id"):
        how2qa.read([value(tmp_path, ROW)], mapping(tmp_path, **{"42": "elsewhere"}))
    released = tmp_path / "how2QA_val_release.csv"
    released.write_text("abcdefghijk,[1:2],a,b,c,Who?,d\n")
    with pytest.raises(index.DatasetError, match="leave --video-mapping out"):
        how2qa.read([released], mapping(tmp_path))
