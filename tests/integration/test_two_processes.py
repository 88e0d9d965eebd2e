"""Two processes of two devices train, evaluate, stop together at a SIGTERM of one, and resume."""

import pathlib
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.integration import runs
from videobert_jax.training import checkpoint_folder, checkpoint_verification

NUM_STEPS = 12
SETTINGS = {
    "training__num_steps": NUM_STEPS,
    "training__save_every": 5,
    "training__eval_every": 6,
    "mesh__fsdp": 2,
    # One objective over the towers is enough here, and compiles in a third of the time.
    "objectives__masked_language__weight": 0.0,
    "objectives__masked_video__weight": 0.0,
    "objectives__matching__weight": 0.0,
    "objectives__bag_of_words__weight": 0.0,
}


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen]]:
    """Processes of the test; those still running at its end are ended."""
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def start_both(
    workdir: pathlib.Path, dataset: pathlib.Path, logs: pathlib.Path, started: list
) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]
    both = [
        runs.start(
            workdir,
            [*runs.flags(dataset, **SETTINGS), *together, f"--process_id={i}"],
            devices=2,
            log=logs / f"process_{i}.txt",
        )
        for i in range(2)
    ]
    started += both
    return both


def finish(processes: list[subprocess.Popen], logs: pathlib.Path) -> str:
    """What the first process printed, once both have ended well."""
    codes = [process.wait(timeout=600) for process in processes]
    texts = [(logs / f"process_{i}.txt").read_text() for i in range(2)]
    assert codes == [0, 0], "\n".join(texts)[-4000:]
    return texts[0]


@pytest.mark.timeout(1800)  # three starts of two processes, each with its own compilation
def test_two_processes_stop_together_and_resume_bit_for_bit(
    tiny_dataset: pathlib.Path, tmp_path: pathlib.Path, started: list[subprocess.Popen]
):
    reference, stopped = tmp_path / "reference", tmp_path / "stopped"
    output = finish(start_both(reference, tiny_dataset, tmp_path, started), tmp_path)
    assert "devices: 4 x cpu (cpu), process 0 of 2" in output
    assert "gradient norm of each objective at step 0: contrastive" in output
    assert "retrieval: num_candidates" in output

    processes = start_both(stopped, tiny_dataset, tmp_path, started)
    runs.wait_for_step(stopped, 3, processes[0])
    runs.terminate(processes[1])
    output = finish(processes, tmp_path)
    assert "SIGTERM of a process: saved step" in output
    step = checkpoint_folder.manifest_steps(stopped)[-1]
    assert 3 <= step < NUM_STEPS
    output = finish(start_both(stopped, tiny_dataset, tmp_path, started), tmp_path)
    assert f"continues at step {step}" in output

    assert runs.saved_digests(stopped, NUM_STEPS) == runs.saved_digests(reference, NUM_STEPS)
    assert runs.figures(stopped) == runs.figures(reference)
    leaf = runs.saved_digests(reference, NUM_STEPS)["params/text_embedding/pieces"]
    assert len(leaf) == 2  # fsdp: each half of the table was hashed by the process that holds it
    assert (
        checkpoint_verification.verify(reference).ok and checkpoint_verification.verify(stopped).ok
    )
