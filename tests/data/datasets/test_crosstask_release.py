"""CrossTask as it was released, on a made folder of the official form."""

import pytest

from tests.data.datasets.preparing import crosstask_release, prepare
from videobert_jax.data import index
from videobert_jax.data.datasets import crosstask


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
    (told,) = (tmp_path / "set" / "failures.jsonl").read_text().splitlines()
    assert "lost-video-" in told and "without steps in time" in told


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
