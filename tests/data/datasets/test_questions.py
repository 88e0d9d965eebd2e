"""Questions, on made files of the official form."""

import csv
import json
import pathlib

import pytest

from tests.data.datasets.preparing import crosstask_release, prepare
from videobert_jax.data import index
from videobert_jax.data.datasets import (
    evaluated_ids,
    how2qa,
    msrvtt_multiple_choice,
    msrvtt_qa,
)

CHOICES = ["a dog runs", "a cat sleeps", "two men talk", "rain falls", "a car stops"]


def open_questions(folder: pathlib.Path) -> list[pathlib.Path]:
    files = []
    for part, first in (("train", 0), ("val", 2), ("test", 3)):
        rows = [
            {
                "id": number,
                "video_id": first + number // 2,  # the release numbers the clips
                "question": f"what is done {number}?",
                "answer": ("run", "talk")[number % 2],
                "category_id": 3,
            }
            for number in range(4 if part == "train" else 2)
        ]
        files.append(folder / f"{part}_qa.json")
        files[-1].write_text(json.dumps(rows))
    return files


def test_open_questions_are_examples_with_their_answers(tmp_path, capsys):
    names = [f"video{number}" for number in range(4)]
    files = open_questions(tmp_path)
    dataset = prepare(tmp_path, "msrvtt_qa", names, "--annotations", *files)
    assert "test: 2 examples, 1 videos, 12 clip features, msrvtt_qa" in capsys.readouterr().out
    train = dataset.split("train")
    assert train.videos == names[:2] and train.clip_count.tolist() == [12] * 4
    asked = [q for video in dataset.annotations("train") for q in video["questions"]]
    assert train.texts(range(4)) == [q["question"] for q in asked]
    answers = train.labels["answer"]
    assert [answers.names[i] for i in answers.ids] == [q["answer"] for q in asked]
    assert set(asked[0]) == {"kind", "start", "end", "question", "answer"}  # the kitchen's form


def test_open_questions_of_another_form_are_refused(tmp_path):
    file = tmp_path / "train_qa.json"
    good = {"video_id": 0, "question": "what?", "answer": "dog"}
    for damage in ({"answer": 3}, {"video_id": "a film"}, {"video_id": None}):
        file.write_text(json.dumps([good, good | damage]))
        with pytest.raises(index.DatasetError, match="entry 1 is .*a clip of MSR-VTT, and"):
            msrvtt_qa.read([file])
    file.write_text(json.dumps([7]))
    with pytest.raises(index.DatasetError, match="entry 0 is '7'"):
        msrvtt_qa.read([file])
    with pytest.raises(index.DatasetError, match="does not say which split"):
        msrvtt_qa.read([file.rename(tmp_path / "questions.json")])


def choices(folder: pathlib.Path, answer="2") -> pathlib.Path:
    path = folder / "MSR_MC_test.csv"
    with open(path, "w", newline="") as file:
        out = csv.writer(file, delimiter="\t")
        out.writerow(["key", "vid_key", "a1", "a2", "a3", "a4", "a5", "answer"])
        out.writerow(["ret0", "msr7010", *CHOICES, answer])
        out.writerow(["ret1", "msr7011", *CHOICES[::-1], "0"])
    return path


def test_captions_to_choose_from(tmp_path):
    videos = ["video7010", "video7011"]
    dataset = prepare(
        tmp_path, "msrvtt_multiple_choice", videos, f"--annotations={choices(tmp_path)}"
    )
    assert dataset.metadata["protocols"] == {"test": "msrvtt_multiple_choice_2"}
    first, second = (video["questions"][0] for video in dataset.annotations("test"))
    assert first["candidates"] == CHOICES and first["correct"] == 2
    assert first["answer"] == "two men talk" and second["answer"] == "a car stops"
    with pytest.raises(index.DatasetError, match="row 1: candidate 5 of"):
        msrvtt_multiple_choice.read(choices(tmp_path, "5"))
    with pytest.raises(index.DatasetError, match="row 1: invalid literal"):
        msrvtt_multiple_choice.read(choices(tmp_path, "two"))


def moments(folder: pathlib.Path, header: bool) -> pathlib.Path:
    path = folder / "how2QA_val_release.csv"
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        if header:
            out.writerow(["vid_id", "timesteps", "a2", "a3", "a4", "question", "a1"])
        out.writerow(["8e_jI7rLB04", "[2.5:6]", "red", "blue", "green", "What colour?", "white"])
        out.writerow(["8e_jI7rLB04", "[7:9]", "one", "two", "three", "How many?", "none"])
        out.writerow(["8e_jI7rLB04", "[9:7]", "one", "two", "three", "How?", "none"])
    return path


@pytest.mark.parametrize("header", [True, False])
def test_questions_about_moments(tmp_path, header):
    file = moments(tmp_path, header)
    dataset = prepare(tmp_path, "how2qa", ["8e_jI7rLB04"], f"--annotations={file}")
    split = dataset.split("validation")
    assert split.texts([0, 1]) == ["What colour?", "How many?"] and len(split) == 2
    assert split.start.tolist() == [2.5, 7.0] and split.end.tolist() == [6.0, 9.0]
    (video,) = dataset.annotations("validation")
    asked = video["questions"]
    assert [q["candidates"][q["correct"]] for q in asked] == ["white", "none"]
    assert [q["correct"] for q in asked] == [0, 1]  # not all in one place
    assert sorted(asked[1]["candidates"]) == ["none", "one", "three", "two"]
    assert "from 9.0 to 7.0" in (tmp_path / "set" / "failures.jsonl").read_text()


def test_moments_of_another_form_are_refused(tmp_path):
    file = moments(tmp_path, False)
    file.write_text(file.read_text().replace("[7:9]", "7-9"))
    with pytest.raises(index.DatasetError, match="question 2 is"):
        how2qa.read([file])
    file.write_text("")
    with pytest.raises(index.DatasetError, match="no questions"):
        how2qa.read([file])


def test_captions_to_choose_from_are_the_same_in_every_form(tmp_path):
    expected = msrvtt_multiple_choice.read(choices(tmp_path))
    rows = [("video7010", CHOICES, 2), ("video7011", CHOICES[::-1], 0)]
    lines = tmp_path / "msrvtt_mc_test.jsonl"
    entries = [
        {"qid": place, "clip_name": name, "options": texts, "answer": correct}
        for place, (name, texts, correct) in enumerate(rows)
    ]
    lines.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    whole = tmp_path / "msrvtt_mc_test.json"
    entries = [
        {"video": f"{name}.mp4", "caption": texts, "answer": correct}
        for name, texts, correct in rows
    ]
    whole.write_text(json.dumps(entries))
    assert msrvtt_multiple_choice.read(lines) == expected == msrvtt_multiple_choice.read(whole)
    assert evaluated_ids.read([lines]) == {"video7010", "video7011"} == evaluated_ids.read([whole])
    for damage, message in (
        ({"caption": CHOICES[:4]}, "row 2: candidates .*expected five captions"),
        ({"answer": None}, "row 2: int"),
        ({"video": "a film"}, "row 2: 'a film' is no clip of MSR-VTT"),
    ):
        whole.write_text(json.dumps([entries[0], {**entries[1], **damage}]))
        with pytest.raises(index.DatasetError, match=message):
            msrvtt_multiple_choice.read(whole)
    whole.write_text(json.dumps([{"video": "video1", "caption": "a"}]))
    with pytest.raises(index.DatasetError, match="row 1 is .*; expected video, caption, answer"):
        msrvtt_multiple_choice.read(whole)


def test_files_of_questions_tell_what_is_evaluated(tmp_path):
    test_file = open_questions(tmp_path)[-1]
    assert evaluated_ids.read([test_file]) == {"video3"}
    lines = tmp_path / "questions.jsonl"
    lines.write_text('{"vid_name": "8e_jI7rLB04", "q": "what?"}\n\n"abcdefghijk"\n')
    assert evaluated_ids.read([lines]) == {"8e_jI7rLB04", "abcdefghijk"}
    assert evaluated_ids.read([crosstask_release(tmp_path / "crosstask_release")]) == {
        "abcdefghijk",
        "a_cdefghij-",
    }
    for content in ('[{"question": "what?"}]', "[null]", "3"):
        test_file.write_text(content)
        with pytest.raises(index.DatasetError, match="names no video|JSON of type int"):
            evaluated_ids.read([test_file])
