"""The commands of the documents about datasets, run as they stand there, on made files of the
published forms under the names that they give."""

import json
import pathlib
import shlex

import numpy as np
import pytest

from tests import test_documentation
from tests.data.datasets import (
    test_coin_taxonomy,
    test_how2qa,
    test_howto100m,
    test_questions,
)
from tests.data.importers import published
from videobert_jax.cli import main, prepare
from videobert_jax.data import index

NAMES = ("aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc", "ddddddddddd")
OF_A_FOLD = tuple(f"tea{number:08d}" for number in range(32))
DIMS = {"crosstask": 3200, "univl_pickle": 1024, "howto100m_npy": 1024, "mmpt": 512}
DOCUMENTS = ("datasets.md", "features.md", "scale.md", "transcripts.md")
# Cloud services, and what needs an extra and has tests of its own that run it
ELSEWHERE = ("gs://", "--transcribe", "--input films")


def commands() -> list[str]:
    """Commands of the documents, in their order."""
    folder = test_documentation.ROOT / "docs"
    found = test_documentation.commands(folder / name for name in DOCUMENTS)
    own = [line for line in found if line.startswith("videobert ")]
    return [line for line in own if not any(part in line for part in ELSEWHERE)]


def crosstask_release(folder: pathlib.Path) -> None:
    """One task of so many videos that a fold can be drawn."""
    (folder / "annotations").mkdir(parents=True)
    task = "7\nMake Tea\nhttps://example.org/tea\n1\nboil water\n"
    (folder / "tasks_primary.txt").write_text(task)
    listed = [f"7,{name},https://example.org/{name}\n" for name in OF_A_FOLD]
    (folder / "videos.csv").write_text("".join(listed[1:]))
    (folder / "videos_val.csv").write_text(listed[0])
    for name in OF_A_FOLD:
        (folder / "annotations" / f"7_{name}.csv").write_text("1,1,5\n")


def write_annotations(folder: pathlib.Path) -> None:
    """Every file of annotations that the commands name, about two videos of each split."""
    first, second, third, fourth = NAMES

    def write(name: str, content: object) -> None:
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))

    cooking = {
        name: {
            "duration": 12.0,
            "subset": subset,
            "recipe_type": "1",
            "annotations": [{"id": 0, "segment": [1, 5], "sentence": "cut it"}],
        }
        for name, subset in zip(NAMES, ("training",) * 3 + ("validation",), strict=True)
    }
    write("youcookii_annotations_trainval.json", {"database": cooking})
    write("validation_youcook.csv", f"end,start,task,text,video_id\n5,1,1,cut it,{fourth}\n")
    said = "".join(f"{n},{name},0:0{n}.5,we stir the soup now\n" for name in NAMES for n in (1, 4))
    write("timed_asr.csv", "No,VideoUrl,TimeStamp,Sentence\n" + said)
    sentences = {"duration": 12.0, "timestamps": [[0, 6]], "sentences": ["he runs"]}
    write("train.json", {f"v_{first}": sentences, f"v_{third}": sentences})
    write("val_1.json", {f"v_{second}": sentences})
    step = {"step_id": 1, "step_s": 1, "step_e": 5}
    tasks = {"1": {"task_full_name": "Make Tea", "crosstask_annotations": {first: [step]}}}
    write("crosstask_segments.json", tasks)
    crosstask_release(folder / "crosstask_release")
    test_coin_taxonomy.annotations(folder)
    test_coin_taxonomy.taxonomy(folder)
    for name, video in (("train", first), ("val", second)):
        steps = [{"heading": "boil", "absolute_bounds": [1, 5]}]
        about = {"relevant": True, "clip": True, "v_duration": 12, "bounds": [0, 9], "steps": steps}
        write(f"all_data_{name}.json", {"make tea": {f"{video}.mp4": about}})
    videos = [{"video_id": f"video{n}", "split": "train"} for n in (0, 1)]
    videos.append({"video_id": "video2", "split": "test"})
    spoken = [{"video_id": f"video{n}", "caption": f"a {n}"} for n in (0, 1, 2)]
    write("MSRVTT_data.json", {"videos": videos, "sentences": spoken})
    write("MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence\nret0,msr2,video2,a clip\n")
    test_questions.open_questions(folder)
    test_questions.choices(folder)
    moments = test_questions.moments(folder, True)
    moments.with_name("how2QA_train_release.csv").write_text(
        moments.read_text().replace("8e_jI7rLB04", first)
    )
    test_howto100m.captions(folder, NAMES[:3])  # the features of one are absent
    rows = "".join(f"{name},Food,Recipes,1,41\n" for name in NAMES)
    write("HowTo100M_v1.csv", "video_id,category_1,category_2,rank,task_id\n" + rows)
    test_how2qa.value(folder, test_how2qa.ROW)
    test_how2qa.value(
        folder, {**test_how2qa.ROW, "vid_name": "42"}, name="how2qa_train_release.jsonl"
    )
    test_how2qa.mapping(folder, **{"42": f"{first}_0_60"})
    write("howto100m_captions.json", {first: {"start": [0], "end": [4], "text": ["now stir it"]}})


def write_features(words: list[str], folder: pathlib.Path) -> None:
    """Features of all videos in the layout, and under the name, that the command says."""
    layout, path = (words[words.index(f"--{name}") + 1] for name in ("layout", "features"))
    names = [*NAMES, "8e_jI7rLB04", "8e_jI7_rLB4", *(f"video{n}" for n in (0, 1, 2, 3, 7010, 7011))]
    if "howto100m" in words[2]:
        names.remove(NAMES[1])
    if "--fold" in words:
        names = [*OF_A_FOLD]
    generator = np.random.default_rng(0)
    shape = (65, DIMS.get(layout, 16))  # 65 seconds or more
    features = {name: generator.normal(size=shape).astype(np.float32) for name in names}
    if layout == "mmpt" or "true" in words:
        features = {n: v / np.linalg.norm(v, axis=1, keepdims=True) for n, v in features.items()}
    published.write(layout, folder / path, features)


@pytest.mark.parametrize(
    "command",
    [pytest.param(of, marks=[pytest.mark.long] * ("--workers" in of)) for of in commands()],
)
def test_a_command_of_the_documents_does_what_it_says(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    if "--workers" in words:
        pytest.importorskip("apache_beam", reason="the extra beam is not installed")
    write_annotations(tmp_path)
    if "--features" in words:
        write_features(words, tmp_path)
    assert main.main(words[1:]) == 0, capsys.readouterr().err
    output = tmp_path / words[words.index("--output") + 1]
    if words[1] != "prepare":
        assert any(output.iterdir())
        return
    dataset = index.open_dataset(output)
    assert dataset.name == words[2] and all(map(len, dataset.splits.values()))
    assert main.main(["verify", str(output)]) == 0
    if "--transcripts" in words:
        (said,) = dataset.split("train_narration").texts([0])
        assert said.startswith("we stir the soup now")
    if "--evaluation-ids" in words:
        assert dataset.metadata["overlap_removed"] == {"train": list(NAMES[:2])}
    if "--allow-missing" in words:
        assert dataset.split("train").videos == [NAMES[0], NAMES[2]]


def test_the_documents_show_every_dataset_that_is_annotated():
    shown = {shlex.split(command)[2] for command in commands() if " prepare " in command}
    assert shown == set(prepare.ANNOTATED)
