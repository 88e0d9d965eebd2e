"""The network of a workdir's checkpoint, to use, to export or to begin with."""

from videobert_jax.files import storage
from videobert_jax.models.bundle import ModelBundle, without_extra_heads
from videobert_jax.training import checkpoint_folder, checkpoint_name, manifest, run_record
from videobert_jax.training.checkpoint_errors import CheckpointError


def load(name: str, weights: str | None = None, *, extra_heads: bool = False) -> ModelBundle:
    """Parameters of "WORKDIR" (its newest verified step), "WORKDIR@STEP" or "WORKDIR@best", as
    NumPy arrays.

    weights: RAW, or EMA, their moving average, which None takes where the run keeps one.
    extra_heads: with those of other packages, to train on; else without. Needs no mesh. Raises
    CheckpointError where there is none or where it does not verify.
    """
    folder, wanted = checkpoint_name.split(name)
    workdir = storage.absolute(storage.path(folder))
    storage.require_readable(workdir)
    steps = checkpoint_folder.manifest_steps(workdir)
    step = None if wanted is None else checkpoint_folder.numbered(workdir, wanted)
    if not steps or (step is not None and step not in steps):
        have = ", ".join(map(str, steps)) or "none"
        raise CheckpointError(
            f"{name}: no such checkpoint; {workdir} has the steps: {have}. Say WORKDIR or "
            "WORKDIR@STEP of a run of train.py."
        )
    record = run_record.read(workdir)
    problems: list[str] = []
    candidates = list(reversed(steps)) if step is None else [step]
    for step in candidates:
        try:
            variables, found = checkpoint_folder.read_variables(workdir, step, weights)
        except manifest.NewerManifestError:
            raise
        except (manifest.ManifestError, CheckpointError) as error:
            problems.append(f"step {step}: {error}")
            checkpoint_folder.say(f"checkpoint of step {step} does not verify: {error}")
            continue
        config = record.model
        if not extra_heads:
            config, variables = without_extra_heads(config, variables)
        return ModelBundle(
            config=config,
            data=record.data,
            variables=variables,
            tokenizer_model=record.tokenizer_model,
            contract=record.contract,
            trained_on=record.trained_on,
            answers=record.answers,
            clip_labels=record.clip_labels,
            step=step,
            digest=manifest.tree_digest(variables),
            weights=found,
            name=record.name,
            captioning_inputs=record.captioning_inputs,
        )
    raise CheckpointError(
        f"{name}: no checkpoint verifies ({'; '.join(problems)}). Say another step, or restore "
        "the folder from a copy."
    )
