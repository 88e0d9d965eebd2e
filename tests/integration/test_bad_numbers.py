"""Numbers that go bad in a run of the real loop: parameters stay finite, and the run goes back.

Features are spoilt behind every check that the input has, in blocks chosen by number, as a device
that computes wrong would. 32 examples a step are 8 blocks of 4.
"""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from tests.integration import runs
from videobert_jax.cli import main
from videobert_jax.data.block import BlockBuilder
from videobert_jax.training import (
    checkpoint_bundle,
    checkpoint_folder,
    lease,
    rollback,
    run_under_way,
)

BATCH = runs.SETTINGS["data.blocks_per_batch"]
SETTINGS = {
    "training__num_steps": 16,
    "training__save_every": 3,
    "training__max_skipped_updates": 3,
    "training__keep_checkpoints": 9,
}
build = BlockBuilder.build


def spoil(monkeypatch: pytest.MonkeyPatch, *batches: int, by: float = np.inf) -> None:
    """One clip feature of a block of each of these batches becomes `by`."""

    def spoilt(self: BlockBuilder, k: int):
        made = build(self, k)
        if k // BATCH in batches and k % BATCH == 5:
            features = made.batch.video_features.copy()
            features[0, 0, 0] = by
            made = dataclasses.replace(
                made, batch=dataclasses.replace(made.batch, video_features=features)
            )
        return made

    monkeypatch.setattr(BlockBuilder, "build", spoilt)


@pytest.fixture(scope="module")
def gone(tiny_dataset: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Workdir of a run whose batches 7 to 9 are bad."""
    workdir = tmp_path_factory.mktemp("runs") / "gone_back"
    with pytest.MonkeyPatch.context() as patch:
        spoil(patch, 7, 8, 9)
        assert runs.train(workdir, tiny_dataset, **SETTINGS).finished
    return workdir


def test_a_run_goes_back_and_ends_as_if_the_bad_batches_had_never_been(
    gone: pathlib.Path,
    tiny_dataset: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
):
    (record,) = json.loads((gone / "rollbacks.json").read_text())["rollbacks"]
    assert (record["first_step"], record["from_step"], record["to_step"]) == (7, 10, 6)
    assert record["left_out"] == [[7, 3]] and record["deleted_steps"] == [9]
    assert record["positions"] == [{"train": [7 * 32, 10 * 32]}]
    assert [line["step"] for line in runs.figures(gone)] == list(range(1, 17))
    assert not any(line["update_skipped"] for line in runs.figures(gone))
    assert [path.name for path in (gone / "leases").iterdir()] == ["1.json"]  # it is one start

    def without(self: BlockBuilder, k: int):
        return build(self, k if k < 7 * BATCH else k + 3 * BATCH)

    monkeypatch.setattr(BlockBuilder, "build", without)
    assert runs.train(tmp_path, tiny_dataset, **SETTINGS).finished
    assert runs.saved_digests(gone, 16) == runs.saved_digests(tmp_path, 16)
    assert runs.figures(gone) == runs.figures(tmp_path)


def test_what_was_left_out_stays_so_when_the_run_is_killed_and_goes_on(
    gone: pathlib.Path,
    tiny_dataset: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
):
    spoil(monkeypatch, 7, 8, 9)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # before anything is deleted
        patch.setattr(checkpoint_folder, "delete_steps", killed)
        with pytest.raises(KeyboardInterrupt):
            runs.train(tmp_path, tiny_dataset, **SETTINGS)
    assert checkpoint_folder.manifest_steps(tmp_path) == [3, 6, 9]
    assert runs.train(tmp_path, tiny_dataset, **SETTINGS).finished
    assert runs.saved_digests(tmp_path, 16) == runs.saved_digests(gone, 16)
    assert runs.figures(tmp_path) == runs.figures(gone)
    (record,) = json.loads((tmp_path / "rollbacks.json").read_text())["rollbacks"]
    assert record["finished"] and record["deleted_steps"] == [9]


def test_a_start_that_was_followed_deletes_nothing_of_the_later_one(
    tiny_dataset: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    spoil(monkeypatch, 7, 8, 9)
    leave = run_under_way.RunUnderWay.leave

    def followed(training: run_under_way.RunUnderWay) -> None:
        training.checkpointer.wait()
        lease.take(tmp_path)
        leave(training)

    monkeypatch.setattr(run_under_way.RunUnderWay, "leave", followed)
    with pytest.raises(lease.LeaseError, match="was started again while this process"):
        runs.train(tmp_path, tiny_dataset, **SETTINGS)
    assert checkpoint_folder.manifest_steps(tmp_path) == [3, 6, 9]
    assert not (tmp_path / rollback.ROLLBACKS_FILE).exists()


def test_a_run_that_stays_bad_goes_back_as_often_as_it_may_and_ends_with_finite_parameters(
    tiny_dataset: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    spoil(monkeypatch, *range(7, 100))
    with pytest.raises(rollback.DivergenceError, match="training.max_rollbacks=1"):
        runs.train(tmp_path, tiny_dataset, **SETTINGS | {"training__max_rollbacks": 1})
    (record,) = json.loads((tmp_path / "rollbacks.json").read_text())["rollbacks"]
    assert record["to_step"] == 6
    assert checkpoint_folder.manifest_steps(tmp_path) == [3, 6, 9]  # saved while all was skipped
    for step in (6, 9):
        params = checkpoint_bundle.load(f"{tmp_path}@{step}").variables["params"]
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))


def test_a_step_is_replayed_bit_for_bit(
    gone: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Behind what was left out: from the checkpoint of step 12, the batch of 17."""
    before = {path: path.stat().st_mtime_ns for path in gone.rglob("*")}
    position = 16 * 32 + 3  # of the batch behind that of step 13
    assert main.main(["replay", f"--workdir={gone}", f"--data_position={position}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (line,) = [line for line in runs.figures(gone) if line["step"] == 14]
    assert (found["step"], found["began_at"], found["differing"]) == (14, 12, [])
    assert found["logged"]["loss"] == line["loss"]
    assert found["figures"]["gradient_norm"] == line["gradient_norm"]
    assert len(found["examples"]) == BATCH and len(found["examples"][0]["texts"]) == 4
    assert {path: path.stat().st_mtime_ns for path in gone.rglob("*")} == before
    assert main.main(["replay", f"--workdir={gone}", "--step=17"]) == 2
    assert "is a run of 16 steps" in capsys.readouterr().err
    # Of the batch that it would be if nothing had been left out it says that it is another.
    monkeypatch.setattr(rollback, "recorded", lambda _: ())
    assert main.main(["replay", f"--workdir={gone}", "--step=14"]) == 1
    assert "not as logged: contrastive" in capsys.readouterr().out
