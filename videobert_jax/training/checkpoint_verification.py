"""All that the checkpoints of a workdir hold, compared with their manifests, array by array."""

import dataclasses
from collections.abc import Sequence

from videobert_jax.files import storage
from videobert_jax.training import checkpoint_folder, manifest, run_record
from videobert_jax.training.checkpoint_errors import CheckpointError


@dataclasses.dataclass(frozen=True)
class Report:
    """What `verify` found: a line a step, and whether all is as saved."""

    lines: tuple[str, ...]
    ok: bool

    def __str__(self) -> str:
        return "\n".join(self.lines)


def verify(workdir: storage.Path, step: int | None = None) -> Report:
    """Every array of every checkpoint of a workdir, or of one step, compared with its manifest.

    Raises CheckpointError where it has no such step.
    """
    workdir = storage.absolute(workdir)
    steps = checkpoint_folder.manifest_steps(workdir)
    if step is not None and step not in steps:
        raise CheckpointError(f"{workdir} has no step {step}; it has: {steps}.")
    checked = verify_steps(workdir, steps if step is None else [step])
    problems = [
        f"step {step}: DAMAGED: {checkpoint_folder.shortened(found)}"
        for step, found in checked.items()
        if found
    ]
    notes = [
        f"step {step}: all arrays are as saved" for step, found in checked.items() if not found
    ]
    for n in sorted(set(checkpoint_folder.checkpoint_steps(workdir)) - set(steps)):
        notes.append(f"step {n}: unfinished, has no manifest; it is ignored")
    if not checked:
        problems.append(f"{workdir}: no checkpoint with a manifest")
    try:
        run_record.read(workdir)
    except run_record.RunRecordError as error:
        problems.append(str(error))
    return Report((*notes, *problems), not problems)


def verify_steps(workdir: storage.Path, steps: Sequence[int] | None = None) -> dict[int, list[str]]:
    """What is wrong with each step, or with those named, in words; empty where nothing is."""
    if steps is None:
        steps = checkpoint_folder.manifest_steps(workdir)
    return {step: problems_of_step(workdir, step) for step in steps}


def problems_of_step(workdir: storage.Path, step: int) -> list[str]:
    """What is wrong with a step that has a manifest, in words; empty where nothing is."""
    workdir = storage.absolute(workdir)
    try:
        saved = manifest.read(checkpoint_folder.manifest_path(workdir, step))
    except manifest.ManifestError as error:
        return [str(error)]
    return [
        *checkpoint_folder.differing_leaves(workdir, saved, list(saved.leaves)),
        *checkpoint_folder.data_problems(workdir, saved),
    ]


def newest_verified(workdir: storage.Path) -> int | None:
    """The newest step whose values are those of its manifest; None where there is none."""
    steps = reversed(checkpoint_folder.manifest_steps(workdir))
    return next((step for step in steps if not problems_of_step(workdir, step)), None)
