"""Where a run goes back to, and the file that says so."""

import json
import pathlib
from unittest import mock

import pytest

from videobert_jax.data.left_out import LeftOut
from videobert_jax.files import storage
from videobert_jax.training import checkpoint_folder, rollback


@pytest.fixture
def workdir(tmp_path: pathlib.Path) -> pathlib.Path:
    """With checkpoints of the steps 10, 20, 30 and 40, of which only the names matter."""
    for step in (10, 20, 30, 40):
        checkpoint_folder.step_folder(tmp_path, step).mkdir(parents=True)
        path = checkpoint_folder.manifest_path(tmp_path, step)
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    return tmp_path


def go_back(workdir: pathlib.Path, first_step: int, step: int, maximum: int = 9):
    error = rollback.DivergenceError("bad numbers.", first_step, step)
    part = (LeftOut(first_step, step - first_step), {"train": [first_step * 4, step * 4]})
    return rollback.roll_back(workdir, error, [part], maximum)


def test_it_goes_to_the_newest_step_from_before_the_first_bad_one(workdir: pathlib.Path):
    made = go_back(workdir, 30, 45)
    assert made.to_step == 30 and made.deleted_steps == (40,)
    assert checkpoint_folder.manifest_steps(workdir) == [10, 20, 30]
    assert checkpoint_folder.checkpoint_steps(workdir) == [10, 20, 30]
    assert rollback.read(workdir) == (made,)
    assert rollback.left_out(rollback.read(workdir)) == (LeftOut(30, 15),)
    assert "step 30 and leaves out the 15 batches" in str(made)
    assert "train 120 to 180" in str(made)


def test_it_goes_further_back_where_it_came_no_further(workdir: pathlib.Path):
    assert go_back(workdir, 35, 45).to_step == 30
    assert go_back(workdir, 36, 46).to_step == 20  # step 36 is before 45, where it was already
    assert go_back(workdir, 47, 57).to_step == 20  # beyond: whatever is newest
    assert go_back(workdir, 20, 30).to_step == 10
    with pytest.raises(rollback.DivergenceError, match="bad numbers. There is no checkpoint from"):
        go_back(workdir, 11, 21)
    assert len(rollback.read(workdir)) == 4
    assert checkpoint_folder.manifest_steps(workdir) == [10]


def test_it_goes_back_no_more_often_than_it_may(workdir: pathlib.Path):
    go_back(workdir, 35, 45, maximum=1)
    with pytest.raises(rollback.DivergenceError, match="back 1 times already .training.max_roll"):
        go_back(workdir, 50, 60, maximum=1)


def test_what_was_not_finished_is_finished_by_the_next_start(workdir: pathlib.Path):
    with (
        mock.patch.object(storage, "remove", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        go_back(workdir, 25, 35)
    assert checkpoint_folder.manifest_steps(workdir) == [10, 20]  # manifests go first
    assert checkpoint_folder.checkpoint_steps(workdir) == [10, 20, 30, 40]
    (found,) = rollback.read(workdir)
    assert found.finished and found.deleted_steps == (30, 40)
    assert checkpoint_folder.checkpoint_steps(workdir) == [10, 20]


def test_what_no_save_of_the_run_made_is_not_deleted(workdir: pathlib.Path):
    mine = checkpoint_folder.step_folder(workdir, 35) / "mine"
    mine.parent.mkdir()
    mine.write_text("somebody's")
    assert go_back(workdir, 25, 45).deleted_steps == (30, 40)
    assert checkpoint_folder.checkpoint_steps(workdir) == [10, 20, 35]
    assert mine.read_text() == "somebody's"


@pytest.mark.parametrize("text", ["", "[]", '{"rollbacks": [{"to_step": 3}]}', '{"rollbacks": 1}'])
def test_a_file_of_another_form_is_refused(text: str, tmp_path: pathlib.Path):
    (tmp_path / "rollbacks.json").write_text(text)
    with pytest.raises(rollback.RollbackError, match="put the run's own file back"):
        rollback.read(tmp_path)


def test_a_run_that_never_went_back_has_no_file(tmp_path: pathlib.Path):
    assert rollback.read(tmp_path) == ()
    assert json.dumps(list(tmp_path.iterdir())) == "[]"
