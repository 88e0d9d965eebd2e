"""Reads a step of a run's checkpoints back onto its devices, once its values are those saved.
All processes call it alike."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from videobert_jax.files import storage
from videobert_jax.training import checkpoint_folder, manifest
from videobert_jax.training.checkpoint_folder import CheckpointError


@dataclasses.dataclass(frozen=True)
class Restored:
    """A state on its devices, and what was saved beside it."""

    step: int
    state: Any
    data_state: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Restorer:
    """Of the checkpoints of a workdir, saved by a run with the binding settings of this digest."""

    workdir: storage.Path
    config_sha256: str

    def newest(
        self,
        steps: Sequence[int],
        structs_of: Callable[[int], Any],
        found: Callable[[int], None] = lambda step: None,
    ) -> Restored | None:
        """The last of the ascending `steps` that verifies, laid out as `structs_of` it say; None
        where there are no steps.

        found: called with it before it is read. Damaged steps are said. Raises CheckpointError
        where one is of another model, and where none verifies.
        """
        damaged: list[str] = []
        for step in reversed(steps):
            structs = structs_of(step)
            try:
                saved = manifest.read(checkpoint_folder.manifest_path(self.workdir, step))
            except manifest.ManifestError as error:
                problems = [str(error)]
            else:
                if "window" not in saved.leaves:  # saved before training states had one
                    structs = dataclasses.replace(structs, window=None)
                problems = self._problems(saved, structs)
            if not problems:
                found(step)
                return self._restore(step, structs)
            damaged.append(f"step {step}: {checkpoint_folder.shortened(problems)}")
            checkpoint_folder.say(f"checkpoint of step {step} does not verify: {problems[0]}")
        if damaged:
            raise CheckpointError(
                f"{self.workdir}: none of its checkpoints verifies ({'; '.join(damaged)}). "
                "Restore the folder from a copy, or start in a new --workdir."
            )
        return None

    def _problems(self, saved: manifest.Manifest, structs: Any) -> list[str]:
        """Why a step cannot be resumed from. Raises CheckpointError on another model."""
        differing = manifest.differing_structs(saved.leaves, structs)
        if differing:
            raise CheckpointError(
                f"{self.workdir}: its checkpoint of step {saved.step} is of another model: "
                f"{checkpoint_folder.shortened(differing)}. Use the model settings of "
                f"{self.workdir}/config.json, or a new --workdir. Nothing was changed."
            )
        if saved.config_sha256 != self.config_sha256:
            raise CheckpointError(
                f"{self.workdir}: its checkpoint of step {saved.step} was made with other settings "
                "than its config.json says; put the old config.json back, or use a new --workdir."
            )
        mine = list(saved.leaves)[jax.process_index() :: jax.process_count()]
        found = list(checkpoint_folder.differing_leaves(self.workdir, saved, mine))
        found += checkpoint_folder.data_problems(self.workdir, saved)
        if jax.process_count() > 1:
            counts = multihost_utils.process_allgather(np.array(len(found)))
            if counts.any() and not found:
                found = ["another process found values that are not those saved"]
        return found

    def _restore(self, step: int, structs: Any) -> Restored:
        named = manifest.named_leaves(structs)
        with ocp.CheckpointManager(
            self.workdir / checkpoint_folder.CHECKPOINTS,
            options=ocp.CheckpointManagerOptions(create=False),
        ) as manager:
            restored = manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(manifest.nested(named)),
                    data=ocp.args.JsonRestore(),
                ),
            )
        leaves = manifest.named_leaves(restored["state"])
        state = jax.tree.unflatten(jax.tree.structure(structs), [leaves[name] for name in named])
        return Restored(step, state, restored["data"])
