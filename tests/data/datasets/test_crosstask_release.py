"""CrossTask as it was released, on a made folder of the official form."""

import json

import numpy as np
import pytest

from tests.data.datasets.preparing import crosstask_release, prepare
from videobert_jax.data import index
from videobert_jax.data.datasets import crosstask
from videobert_jax.tasks import procedures


def test_crosstasks_release_is_read_as_its_json_is(tmp_path):
    folder = crosstask_release(tmp_path / "crosstask_release")
    videos = ["abcdefghijk", "a_cdefghij-"]
    dataset = prepare(tmp_path, "crosstask", videos, f"--annotations={folder}")
    split = dataset.split("primary")
    assert split.videos == sorted(videos)
    assert split.texts(range(3)) == ["pour jello", "season steak", "put steak on grill"]
    labels = split.labels["step"]
    assert [labels.names[i] for i in labels.ids] == ["23521_1", "16815_1", "16815_2"]
    assert split.end.tolist() == [3.0, 4.0, 9.25]
    assert dataset.metadata["protocols"] == {"primary": "crosstask_primary_18"}
    assert dataset.metadata["task_steps"] == {"16815": ["16815_1", "16815_2"], "23521": ["23521_1"]}
    forms = dataset.metadata["label_surface_forms"]
    assert forms["step"]["16815_2"] == ["put steak on grill"]
    assert forms["task"] == {"16815": ["Grill Steak"], "23521": ["Make Jello Shots"]}
    first, second = procedures.of_videos(dataset, split, np.arange(2))
    assert (first.task, first.texts, first.num_shown) == ("23521", ("pour jello",), 1)
    assert second.texts == ("season steak", "put steak on grill")
    assert second.segments == ((0, 2.5, 4.0), (1, 5.0, 9.25))
    (told,) = (tmp_path / "set" / "failures.jsonl").read_text().splitlines()
    assert "lost-video-" in told and "without steps in time" in told


def test_a_fold_trains_on_thirty_videos_of_each_task(tmp_path):
    step = [{"step_id": "1", "step_s": "1", "step_e": "2"}]
    tasks = {
        task: {"task_full_name": task, "crosstask_annotations": dict.fromkeys(names, step)}
        for task, names in {
            "1": [f"first_{n:05d}" for n in range(50)],
            "2": [f"other_{n:05d}" for n in range(31)],
        }.items()
    }
    tasks["1"]["crosstask_annotations"]["empty_00000"] = []
    file = tmp_path / "crosstask_segments.json"
    file.write_text(json.dumps(tasks))
    folds = [crosstask.read(file, fold) for fold in (0, 1, 0)]
    trained = [fold.ids("train") for fold in folds]
    for fold, train in zip(folds, trained, strict=True):
        assert len(train) == 60 and sum(name.startswith("first") for name in train) == 30
        assert not train & fold.ids("test") and len(fold.ids("test")) == 21
    assert trained[0] == trained[2] and 10 < len(trained[0] & trained[1]) < 60
    assert folds[1].protocols == {"test": "crosstask_primary_18_fold_1"}
    assert [failure["video"] for failure in folds[0].failures] == ["empty_00000"]
    del tasks["2"]["crosstask_annotations"]["other_00000"]
    file.write_text(json.dumps(tasks))
    with pytest.raises(index.DatasetError, match="task 2 has 30 videos"):
        crosstask.read(file, 0)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("annotations/16815_abcdefghijk.csv", "3,1,2\n", "step 3, its task has 2"),
        ("annotations/16815_abcdefghijk.csv", "1,one,2\n", "expected a step's number, start"),
        ("tasks_primary.txt", "16815\nGrill\nurl\n3\na,b\n", "begins '16815' with 2 steps"),
        ("videos_val.csv", "23521,a_cdefghij-\n", "expected a video's task, id and address"),
        ("tasks_primary.txt", None, "expected the folder crosstask_release"),
    ],
)
def test_a_damaged_release_is_named(tmp_path, file, content, message):
    folder = crosstask_release(tmp_path / "crosstask_release")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(index.DatasetError, match=message):
        crosstask.read(folder)
