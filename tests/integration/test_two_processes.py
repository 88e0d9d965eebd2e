"""Two processes of two devices train, evaluate, stop together at a SIGTERM of one, and resume."""

import hashlib
import json
import pathlib
import shutil
import subprocess

import pytest

from tests.integration import pairs, runs, test_bad_numbers
from tests.integration.pairs import started
from videobert_jax.cli import failures
from videobert_jax.files import stopping
from videobert_jax.training import checkpoint_folder, checkpoint_verification

NUM_STEPS = 12
SETTINGS = {
    "training__num_steps": NUM_STEPS,
    "training__save_every": 5,
    "training__eval_every": 6,
    "mesh__fsdp": 2,
    **pairs.ONE_OBJECTIVE,
}


__all__ = ["started"]  # a fixture


@pytest.mark.timeout(1800)  # three starts of two processes, each with its own compilation
def test_two_processes_stop_together_and_resume_bit_for_bit(
    tiny_dataset: pathlib.Path, tmp_path: pathlib.Path, started: list[subprocess.Popen]
):
    reference, stopped = tmp_path / "reference", tmp_path / "stopped"
    processes = pairs.start_both(reference, tiny_dataset, tmp_path, started, **SETTINGS)
    output = pairs.finish(processes, tmp_path)
    assert "devices: 4 x cpu (cpu), process 0 of 2" in output
    assert "gradient norm of each objective at step 0: contrastive" in output
    assert "retrieval: num_candidates" in output

    processes = pairs.start_both(stopped, tiny_dataset, tmp_path, started, **SETTINGS)
    runs.wait_for_step(stopped, 3, processes[0])
    runs.terminate(processes[1])
    output = pairs.finish(processes, tmp_path, stopping.STOPPED)
    assert "SIGTERM of a process: saved step" in output
    step = checkpoint_folder.manifest_steps(stopped)[-1]
    assert 3 <= step < NUM_STEPS
    processes = pairs.start_both(stopped, tiny_dataset, tmp_path, started, **SETTINGS)
    output = pairs.finish(processes, tmp_path)
    assert f"continues at step {step}" in output

    assert runs.saved_digests(stopped, NUM_STEPS) == runs.saved_digests(reference, NUM_STEPS)
    assert runs.figures(stopped) == runs.figures(reference)
    leaf = runs.saved_digests(reference, NUM_STEPS)["params/text_embedding/pieces"]
    assert len(leaf) == 2  # fsdp: each half of the table was hashed by the process that holds it
    assert (
        checkpoint_verification.verify(reference).ok and checkpoint_verification.verify(stopped).ok
    )


@pytest.mark.timeout(1800)
def test_two_processes_go_back_together_where_one_of_them_has_bad_numbers(
    tiny_dataset: pathlib.Path, tmp_path: pathlib.Path, started: list[subprocess.Popen]
):
    gone, reference = tmp_path / "gone_back", tmp_path / "reference"
    settings = {**SETTINGS, **test_bad_numbers.SETTINGS}
    batches, size = (7, 8, 9), test_bad_numbers.BATCH
    bad = ",".join(str(batch * size + size - 1) for batch in batches)  # the second process reads it
    for workdir, fault in (
        (gone, f"spoilt={bad}"),
        (reference, f"left_out={batches[0] * size},{len(batches) * size}"),
    ):
        arguments = (workdir, tiny_dataset, tmp_path, started)
        pairs.finish(pairs.start_both(*arguments, faults=[fault], **settings), tmp_path)
    (record,) = json.loads((gone / "rollbacks.json").read_text())["rollbacks"]
    assert (record["first_step"], record["from_step"], record["to_step"]) == (7, 10, 6)
    assert record["finished"] and record["deleted_steps"] == [9]
    assert not (reference / "rollbacks.json").exists()
    num_steps = settings["training__num_steps"]
    assert runs.saved_digests(gone, num_steps) == runs.saved_digests(reference, num_steps)
    assert runs.figures(gone) == runs.figures(reference)


@pytest.mark.timeout(1800)
def test_two_processes_save_one_step_and_end_where_too_much_of_one_is_damaged(
    tiny_dataset: pathlib.Path, tmp_path: pathlib.Path, started: list[subprocess.Popen]
):
    """Blocks of 4 examples; of 8 a batch the second process builds the last four."""
    workdir, settings = tmp_path / "run", {**SETTINGS, "training__save_every": 100}
    of_batches = {1: [8 + 7], 3: [24 + 4, 24 + 5], 4: [32 + 6, 32 + 7]}  # 4, 8 and 8 examples
    blocks = ",".join(str(block) for found in of_batches.values() for block in found)
    processes = pairs.start_both(
        workdir,
        tiny_dataset,
        tmp_path,
        started,
        faults=[f"damaged={blocks}"],
        **{**settings, "data__max_damaged_fraction": 0.019},
    )
    output = pairs.finish(processes, tmp_path, failures.BAD_INPUT)
    assert "the data cannot go on: saved step 6" in output
    for i in range(2):
        said = (tmp_path / f"process_{i}.txt").read_text()
        assert "error: 20 of 160 examples have NaN or infinite clip features" in said
        assert "Traceback" not in said and "data.max_damaged_fraction=0.019" in said
    counted = [line["damaged_examples"] for line in runs.figures(workdir) if "loss" in line]
    assert counted == [0, 4, 4, 12, 20, 20]
    assert checkpoint_folder.manifest_steps(workdir) == [6]
    assert checkpoint_verification.verify(workdir).ok
    leaf = runs.saved_digests(workdir, 6)["params/text_embedding/pieces"]
    assert len(leaf) == 2  # each process saved its half


def test_processes_that_differ_say_in_what_and_take_no_step(
    tiny_dataset: pathlib.Path, tmp_path: pathlib.Path, started: list[subprocess.Popen]
):
    workdir = tmp_path / "run"
    changed = "--config.optimizer.learning_rate=0.5"
    both = pairs.start_both(workdir, tiny_dataset, tmp_path, started, changed)
    assert [process.wait(timeout=300) for process in both] == [2, 2]
    for i in range(2):
        said = (tmp_path / f"process_{i}.txt").read_text()
        assert "error: the processes of this run differ in settings" in said
        assert "optimizer.learning_rate: 0.001 in process 0; 0.5 in process 1" in said
    assert not workdir.exists()

    other = with_another_digest(tiny_dataset, tmp_path / "other")
    both = pairs.start_both(workdir, tiny_dataset, tmp_path, started, f"--config.data.path={other}")
    assert [process.wait(timeout=300) for process in both] == [2, 2]
    for i in range(2):
        said = (tmp_path / f"process_{i}.txt").read_text()
        assert "error: the processes of this run differ in the data: sources.0.digest" in said
        assert f'"{"1" * 64}" in process 1' in said
    assert not (workdir / "checkpoints").exists() and not (workdir / "metrics.jsonl").exists()


def with_another_digest(dataset: pathlib.Path, copy: pathlib.Path) -> pathlib.Path:
    """A copy that says that its training split is another."""
    shutil.copytree(dataset, copy)
    described = (copy / "dataset.json").read_text()
    digest = json.loads(described)["splits"]["train"]["digest"]
    described = described.replace(digest, "1" * 64)
    (copy / "dataset.json").write_text(described)
    listed = json.loads((copy / "digests.json").read_text())
    entry = listed["files"]["dataset.json"]
    entry["sha256"] = hashlib.sha256(described.encode()).hexdigest()
    (copy / "digests.json").write_text(json.dumps(listed))
    return copy
