"""`videobert verify PATH`: every file of a dataset, a run's checkpoints or an export, read and
compared."""

import argparse
import pathlib
import sys
import time

from videobert_jax.data import index, local_copy
from videobert_jax.data import verify as dataset_verification
from videobert_jax.files import storage
from videobert_jax.training import checkpoint_name

HELP = "read a whole dataset, the checkpoints of a run or an export and say what is wrong"
_PROGRESS_SECONDS = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        help="a prepared dataset, WORKDIR, WORKDIR@STEP, WORKDIR@best or an export; gs:// too",
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when everything is as written, 1 when something is wrong.

    Raises DatasetError where the folder is neither a dataset, a workdir nor an export, ExportError
    where it is an export that this version does not read.
    """
    path, step = storage.path(arguments.path), None
    storage.require_readable(path)
    folder, named = checkpoint_name.split(arguments.path)
    if named is not None and not path.exists():
        path, step = storage.path(folder), named
    if (path / "model.safetensors").exists():
        return _verify_export(path)
    if (path / "checkpoints").is_dir():
        # they import orbax
        from videobert_jax.training import checkpoint_folder, checkpoint_verification, hardware

        hardware.keep_to_host()
        number = None if step is None else checkpoint_folder.numbered(path, step)
        report = checkpoint_verification.verify(path, number)
    else:
        try:
            path = pathlib.Path(local_copy.opened_path(arguments.path))
            report = dataset_verification.verify_dataset(path, progress=_progress())
        except index.DatasetError as error:  # its description itself is damaged
            if not (path / index.DATASET_FILE).is_file():
                raise
            print(f"WRONG  {error}")
            return 1
    print(report)
    return 0 if report.ok else 1


def _verify_export(path: storage.Path) -> int:
    from videobert_jax.export import safetensors  # it imports jax

    wrong = safetensors.verify(path)
    for line in wrong:
        print(f"WRONG  {line}")
    if not wrong:
        print(f"{path}: every file is as the export wrote it")
    return 1 if wrong else 0


def _progress():
    """A callback that prints bytes done, speed and time left on standard error now and then."""
    begun = shown = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < _PROGRESS_SECONDS:
            return
        shown = now
        rate = done / (now - begun)
        left = (total - done) / rate if rate else 0.0
        print(
            f"{done / 1e9:.1f} of {total / 1e9:.1f} GB, {rate / 1e6:.0f} MB/s, {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )

    return show
