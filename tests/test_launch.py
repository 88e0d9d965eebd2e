"""What starts runs on pods: the scripts are run with stand-ins of the programs that they call, and
what they would start is read by train.py's own parser and settings."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

import train
from videobert_jax import configuration

ROOT = pathlib.Path(__file__).resolve().parent.parent
GIVEN = {
    "PROJECT": "project",
    "ZONE": "us-east5-a",
    "BUCKET": "bucket",
    "IMAGE": "registry/image:1",
}
# A program in the place of others: writes its name and arguments, each ended by a zero byte.
STAND_IN = """#!/bin/bash
{ printf '%s\\0' "$(basename "$0")" "$@"; printf '\\n'; } >> "$CALLS"
[[ " $* " == *" describe "* ]] && echo ACTIVE
exit 0
"""


def calls(script: str, arguments: list[str], folder: pathlib.Path) -> list[list[str]]:
    """Programs that the script called, with their arguments."""
    for name in ("gcloud", "xpk", "docker", "git", "srun", "sleep"):
        (folder / name).write_text(STAND_IN)
        (folder / name).chmod(0o755)
    written = folder / "calls"
    environment = {
        **GIVEN,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "CALLS": str(written),
        "TMPDIR": str(folder),
    }
    subprocess.run(["bash", str(ROOT / script), *arguments], check=True, env=environment, cwd=ROOT)
    return [line.split("\0") for line in written.read_text().split("\0\n") if line]


def training_command(called: list[list[str]]) -> list[str]:
    """Arguments of train.py in what was called, wherever they stand."""
    words = [word for call in called for argument in call for word in _words(argument)]
    begin = words.index("train.py") + 1
    end = next((i for i in range(begin, len(words)) if not words[i].startswith("--")), len(words))
    return words[begin:end]


def _words(argument: str) -> list[str]:
    flag, equals, command = argument.partition("=")
    return shlex.split(command) if equals and flag == "--command" else [argument]


@pytest.mark.parametrize(
    ("script", "arguments", "workdir"),
    [
        ("launch/tpu_vm.sh", ["start"], "gs://bucket/runs/large"),
        ("launch/xpk.sh", ["start"], "gs://bucket/runs/large"),
        ("launch/gpus.sbatch", [], "runs/large"),
    ],
)
def test_what_is_started_is_a_training_that_parses(
    script, arguments, workdir, tmp_path, monkeypatch
):
    words = training_command(calls(script, arguments, tmp_path))
    started = {}

    def run(parsed, settings, began):
        started.update(vars(parsed), settings=settings)
        return 0

    monkeypatch.setattr(train, "run", run)
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    assert train.main() == 0 and started["workdir"] == workdir
    config = configuration.load_file(str(ROOT / started["config"]))
    for key, text in started["settings"]:
        configuration.apply_override(config, key, text)
    assert configuration.parse(config).data.path


def test_every_verb_of_the_tpu_script_calls_gcloud_for_all_machines(tmp_path):
    verbs = re.findall(r"launch/tpu_vm\.sh (\w+)", (ROOT / "launch" / "tpu_vm.sh").read_text())
    assert len(verbs) >= 6
    for verb in verbs:
        folder = tmp_path / verb
        folder.mkdir()
        called = [call for call in calls("launch/tpu_vm.sh", [verb], folder) if call[0] == "gcloud"]
        assert called and all("--project=project" in call for call in called)
        if verb in ("setup", "start", "stop"):
            assert all("--worker=all" in call for call in called)
    folder = tmp_path / "refused"
    folder.mkdir()
    with pytest.raises(subprocess.CalledProcessError):
        calls("launch/tpu_vm.sh", ["something"], folder)


def test_the_image_is_made_of_what_is_there():
    text = (ROOT / "Dockerfile").read_text()
    accelerators = re.search(r"ACCELERATOR=([\w|]+)", text)
    makefile = re.search(r"^ACCELERATORS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert accelerators is not None and makefile is not None
    assert accelerators[1].split("|") == makefile[1].split()
    for name in accelerators[1].split("|")[1:]:
        assert (ROOT / f"requirements-{name}.txt").is_file()
    for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE):
        assert all(source == "." or list(ROOT.glob(source)) for source in line.split()[:-1])
    for file in re.findall(r"-[rc] ([\w-]+\.txt)", text):
        assert (ROOT / file).is_file()


def test_slurm_tells_processes_of_each_other():
    program = (
        "from videobert_jax.training import hardware\n"
        "print(hardware.start('cpu'))\n"
        "import jax; jax.distributed.shutdown()\n"
    )
    environment = {
        **os.environ,
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_NTASKS": "2",
        "JAX_NUM_CPU_DEVICES": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**environment, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)},
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for i in range(2)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    assert [text.strip() for text in outputs] == [
        f"devices: 2 x cpu (cpu), process {i} of 2" for i in range(2)
    ]
