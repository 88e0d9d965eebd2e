"""The folders of a workdir's checkpoints: which steps there are, and their arrays read and
compared with their manifests, by one process alone and without a mesh."""

import dataclasses
import errno
import itertools
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from videobert_jax.files import digests, json_values, storage, versions
from videobert_jax.models.config import EMA, RAW
from videobert_jax.training import checkpoint_name, manifest
from videobert_jax.training.checkpoint_errors import CheckpointError

CHECKPOINTS, MANIFESTS, SET_ASIDE = "checkpoints", "manifests", "set_aside"
BEST_FILE, BEST_FORMAT = "best.json", 1  # files without a format are older than the field
# What orbax puts last into a folder of a bucket, where nothing can be renamed.
_COMMITTED = "commit_success.txt"
_BEGUN = ".begun"  # behind the number of a step, beside its manifest
_TEMPORARY = ".orbax-checkpoint-tmp"  # in what orbax calls the folder of a step under way
_LOOK_SECONDS, _QUIET_LOOKS = 0.1, 3  # until nothing more comes of a save that failed
_REMOVAL_SECONDS = 30.0
_AVERAGE = "ema"  # the part of a state that is the moving average of its params
_READ_BYTES = 1 << 30  # read and compared at a time, so that verifying needs little memory
_SHOWN = 5  # differences that a message names
# What orbax and tensorstore raise on files that are truncated, deleted or not theirs.
_READ_ERRORS = (OSError, ValueError, KeyError, TypeError, RuntimeError)


@dataclasses.dataclass(frozen=True)
class Best:
    """The step that training.best_metric, TASK/FIGURE, chose; highest: as the highest value."""

    step: int
    metric: str
    value: float
    highest: bool


def read_best(workdir: storage.Path) -> Best | None:
    """What a run's file says; None without one, or where its step is no longer there. Raises
    CheckpointError on a file of another form."""
    path = workdir / BEST_FILE
    if not path.is_file():
        return None
    try:
        fields = json_values.parse(path.read_text())
        if remedy := versions.newer(fields.pop("format", BEST_FORMAT), BEST_FORMAT):
            raise CheckpointError(f"{path}: {remedy}.")
        best = Best(**fields)
    except CheckpointError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: not what a run writes ({_line(error)}); delete it, and the best step is "
            "chosen among those still to come."
        ) from error
    return best if best.step in manifest_steps(workdir) else None


def numbered(workdir: storage.Path, step: str) -> int:
    """The step that digits, or BEST, name. Raises CheckpointError where the run has no best."""
    if step != checkpoint_name.BEST:
        return int(step)
    best = read_best(workdir)
    if best is None:
        raise CheckpointError(
            f"{workdir}@{step}: the run has no best step: training.best_metric named no figure, "
            "none was evaluated yet, or its checkpoint is gone. Say WORKDIR or WORKDIR@STEP."
        )
    return best.step


def step_folder(workdir: storage.Path, step: int) -> storage.Path:
    """Where orbax keeps a step."""
    return workdir / CHECKPOINTS / str(step)


def manifest_path(workdir: storage.Path, step: int) -> storage.Path:
    """The file without which a step does not count."""
    return workdir / MANIFESTS / f"{step}.json"


def manifest_steps(workdir: storage.Path) -> list[int]:
    """Steps that have a manifest, ascending; whether they verify is another question."""
    return _steps_with(workdir, ".json")


def _steps_with(workdir: storage.Path, ending: str) -> list[int]:
    """Steps of which the folder of manifests has a file with this ending, ascending."""
    named = (workdir / MANIFESTS).glob(f"*{ending}")
    return sorted(int(path.stem) for path in named if path.stem.isdigit())


def checkpoint_steps(workdir: storage.Path) -> list[int]:
    """Steps that orbax finished writing, with or without a manifest, ascending."""
    return sorted(
        int(path.name)
        for path in (workdir / CHECKPOINTS).glob("*")
        if path.name.isdigit() and (not storage.is_remote(path) or (path / _COMMITTED).exists())
    )


def require_known_steps(workdir: storage.Path) -> None:
    """Raises CheckpointError where several steps lack a manifest: no killed save leaves that."""
    known = manifest_steps(workdir)
    newest = known[-1] if known else -1
    unknown = [step for step in checkpoint_steps(workdir) if step > newest]
    if len(unknown) > 1:
        raise CheckpointError(
            f"{workdir}: the checkpoints of steps {unknown} have no manifest in "
            f"{workdir / MANIFESTS}, so nothing vouches for their values. Put the manifests back, "
            "or start in a new --workdir. Nothing was changed."
        )


def read_leaves(workdir: storage.Path, step: int, leaves: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of a step by name, as NumPy's, with the dtypes on disk. Raises what orbax raises."""
    wanted = {name: jax.ShapeDtypeStruct((), np.float32) for name in leaves}
    arguments = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in leaves}
    state = ocp.args.PyTreeRestore(
        item=manifest.nested(wanted),
        restore_args=manifest.nested(arguments),
        partial_restore=True,
    )
    return manifest.named_leaves(_read(workdir, step, state=state)["state"])


def _read(workdir: storage.Path, step: int, **arguments: Any) -> Any:
    process = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(  # no barrier with processes that read other leaves
        primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"read{process}"
    )
    options = ocp.CheckpointManagerOptions(create=False, multiprocessing_options=alone)
    with ocp.CheckpointManager(workdir / CHECKPOINTS, options=options) as manager:
        return manager.restore(step, args=ocp.args.Composite(**arguments))


def differing_leaves(
    workdir: storage.Path, saved: manifest.Manifest, names: Sequence[str]
) -> Iterator[str]:
    """What is wrong with the arrays of a step, in words; nothing where they are as saved."""
    for group in _groups(saved, names):
        try:
            read = read_leaves(workdir, saved.step, group)
        except _READ_ERRORS as error:
            yield f"{group[0]} and others cannot be read ({type(error).__name__}: {_line(error)})"
            continue
        yield from _differences(saved, read)


def _differences(saved: manifest.Manifest, read: dict[str, np.ndarray]) -> Iterator[str]:
    for name, values in read.items():
        if not saved.leaves[name].is_whole:
            yield f"{name}: the manifest does not cover it"
        for problem in manifest.differing_pieces(saved.leaves[name], values):
            yield f"{name}: {problem}"


def _groups(saved: manifest.Manifest, names: Sequence[str]) -> Iterator[list[str]]:
    group, size = [], 0
    for name in names:
        leaf = saved.leaves[name]
        num_bytes = (
            math.prod(leaf.shape) * np.dtype(jax.dtypes.canonicalize_dtype(leaf.dtype)).itemsize
        )
        if group and size + num_bytes > _READ_BYTES:
            yield group
            group, size = [], 0
        group.append(name)
        size += num_bytes
    if group:
        yield group


def data_problems(workdir: storage.Path, saved: manifest.Manifest) -> list[str]:
    """What is wrong with the data position of a step, in words."""
    try:
        read = _read(workdir, saved.step, data=ocp.args.JsonRestore())["data"]
    except _READ_ERRORS as error:
        return [f"the data position cannot be read ({type(error).__name__}: {_line(error)})"]
    if digests.sha256_json(read) != saved.data_sha256:
        return ["the data position is not the one saved"]
    return []


def read_variables(
    workdir: storage.Path, step: int, weights: str | None = None
) -> tuple[dict[str, Any], str]:
    """({"params": ..., "constants": ...} of a step as NumPy arrays, compared with the manifest;
    which weights they are).

    weights: RAW, EMA, or None for the latter where the step has it. Raises CheckpointError where it
    has none or they are not as saved, ManifestError.
    """
    saved = manifest.read(manifest_path(workdir, step))
    parts = {name.split("/")[0] for name in saved.leaves}
    if weights is None:
        weights = EMA if _AVERAGE in parts else RAW
    part = _AVERAGE if weights == EMA else "params"
    if part not in parts:
        raise CheckpointError(
            f"step {step} has no moving average of the weights (optimizer.ema_decay was 0 when it "
            "was saved); take those as they are: --weights=raw"
        )
    names = [name for name in saved.leaves if name.split("/")[0] in (part, "constants")]
    try:
        read = read_leaves(workdir, step, names)
    except _READ_ERRORS as error:
        raise CheckpointError(f"cannot be read ({type(error).__name__}: {_line(error)})") from error
    problems = list(_differences(saved, read))
    if problems:
        raise CheckpointError(shortened(problems))
    variables = manifest.nested(read)
    return {"params": variables[part], "constants": variables["constants"]}, weights


def begun_path(workdir: storage.Path, step: int) -> storage.Path:
    """The file that says that the folder of a step is a run's own: there from before its save
    until the folder is gone."""
    return workdir / MANIFESTS / f"{step}{_BEGUN}"


def set_aside_after(workdir: storage.Path, step: int) -> None:
    """Moves away steps newer than `step` and clears leftovers of deletions.

    A step with a manifest is damaged and is kept under its number; of unfinished saves only the
    last one is kept, so that kills do not fill the disk. What no save began is nobody's to delete,
    whatever its number: it is kept under a name that nothing takes again.
    """
    known, begun = manifest_steps(workdir), _steps_with(workdir, _BEGUN)
    _clear_uncommitted(workdir, begun)
    for other in checkpoint_steps(workdir):
        if other in known:
            if other > step:
                _move_aside(workdir, other, "damaged", f"damaged-{other}")
        elif other not in begun:
            _keep_unknown(workdir, other)
        elif other > step:
            _move_aside(workdir, other, "unfinished", "unfinished")
        else:
            storage.remove(step_folder(workdir, other))
    for other in known:
        if other > step:
            target = workdir / SET_ASIDE / f"damaged-{other}.manifest.json"
            storage.move(manifest_path(workdir, other), target)
        elif not step_folder(workdir, other).is_dir():
            manifest_path(workdir, other).unlink()
    for other in begun:
        if not step_folder(workdir, other).exists():
            begun_path(workdir, other).unlink()


def delete_steps(workdir: storage.Path, steps: Sequence[int]) -> None:
    """Deletes steps, all manifests first, so that half a folder never counts."""
    for step in steps:
        manifest_path(workdir, step).unlink(missing_ok=True)
    for step in steps:
        delete_step(workdir, step)


def delete_step(workdir: storage.Path, step: int) -> None:
    """Deletes a step, its manifest first, so that half a folder never counts."""
    manifest_path(workdir, step).unlink(missing_ok=True)
    if step_folder(workdir, step).exists():
        storage.remove(step_folder(workdir, step))
    begun_path(workdir, step).unlink(missing_ok=True)


def remove_unsaved(workdir: storage.Path, step: int) -> None:
    """Deletes what a save of a step, which failed, has left; nothing else.

    orbax tells of the first write that failed while others are under way, and those make their
    folders again: so this looks until nothing has come for a moment. Raises OSError.
    """
    deadline, quiet = time.monotonic() + _REMOVAL_SECONDS, 0
    while quiet < _QUIET_LOOKS:
        if time.monotonic() > deadline:
            raise OSError(errno.EBUSY, "still being written", str(step_folder(workdir, step)))
        try:
            quiet = 0 if _removed_unsaved(workdir, step) else quiet + 1
        except OSError as error:
            if not isinstance(error, FileNotFoundError) and error.errno != errno.ENOTEMPTY:
                raise
            quiet = 0
        time.sleep(_LOOK_SECONDS)


def _removed_unsaved(workdir: storage.Path, step: int) -> bool:
    """Whether there was anything to delete."""
    half_written = (workdir / MANIFESTS).glob(f".{step}.*.tmp")  # of `atomic`
    manifests = [manifest_path(workdir, step), *manifest_parts(workdir, step), *half_written]
    folders = [
        step_folder(workdir, step),
        *(workdir / CHECKPOINTS).glob(f"{step}{_TEMPORARY}*"),
    ]
    begun = begun_path(workdir, step)  # goes last: until then the rest is known to be a run's own
    left = [path for path in (*manifests, *folders, begun) if path.exists()]
    for path in left:
        storage.remove(path)
    return bool(left)


def manifest_parts(workdir: storage.Path, step: int | None = None) -> list[storage.Path]:
    """What the other processes hashed, of a step or of all, for the first one to put together."""
    name = "*" if step is None else str(step)
    return sorted((workdir / MANIFESTS).glob(f"{name}.part-*.json"))


def _clear_uncommitted(workdir: storage.Path, begun: Sequence[int]) -> None:
    """Clears what saves that were cut off left in a bucket under the names of steps. orbax would
    delete it while it lists the steps, and what is not a run's own too."""
    if not storage.is_remote(workdir):
        return
    for folder in (workdir / CHECKPOINTS).glob("*"):
        if folder.name.isdigit() and not (folder / _COMMITTED).exists():
            if int(folder.name) in begun:
                storage.remove(folder)
            else:
                _keep_unknown(workdir, int(folder.name))


def _keep_unknown(workdir: storage.Path, step: int) -> None:
    name, copies = f"unknown-{step}", itertools.count(2)
    while (workdir / SET_ASIDE / name).exists():
        name = f"unknown-{step}-{next(copies)}"
    _move_aside(workdir, step, "of no save of this run", name)


def _move_aside(workdir: storage.Path, step: int, why: str, name: str) -> None:
    target = workdir / SET_ASIDE / name
    say(f"{step_folder(workdir, step)} is {why}: moved to {target}")
    storage.move(step_folder(workdir, step), target)


def shortened(problems: Sequence[str]) -> str:
    """The first few of many problems, and how many there are."""
    more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def say(text: str) -> None:
    """A notice on standard error, from the first process."""
    if jax.process_index() == 0:
        print(text, file=sys.stderr, flush=True)
