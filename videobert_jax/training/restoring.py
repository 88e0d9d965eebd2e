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
from videobert_jax.training.checkpoint_errors import CheckpointError


@dataclasses.dataclass(frozen=True)
class Restored:
    """A state on its devices, and what was saved beside it."""

    step: int
    state: Any
    data_state: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Restorer:
    """Of the checkpoints of a workdir, saved by a run with binding settings of these digests.

    casts: whether arrays of another dtype are cast to the one that is wanted.
    """

    workdir: storage.Path
    config_sha256: frozenset[str]
    casts: bool = False

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
            except manifest.NewerManifestError as error:  # not damaged, so not set aside
                raise CheckpointError(f"{error} Nothing was changed.") from error
            except manifest.ManifestError as error:
                problems = [str(error)]
            else:
                if "window" not in saved.leaves:  # saved before training states had one
                    structs = dataclasses.replace(structs, window=None)
                problems = self._problems(saved, structs)
            if not problems:
                found(step)
                return self._restore(step, structs, _with_dtypes(structs, saved))
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
        as_cast = manifest.differing_structs(saved.leaves, _with_dtypes(structs, saved))
        differing = as_cast if self.casts else manifest.differing_structs(saved.leaves, structs)
        if differing:
            remedy = (
                f"Use the model settings of {self.workdir}/config.json, or a new --workdir."
                if as_cast
                else "Only dtypes differ: --allow-change=parameter_dtypes casts the arrays."
            )
            raise CheckpointError(
                f"{self.workdir}: its checkpoint of step {saved.step} is of another model: "
                f"{checkpoint_folder.shortened(differing)}. {remedy} Nothing was changed."
            )
        if saved.config_sha256 not in self.config_sha256:
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

    def _restore(self, step: int, structs: Any, as_saved: Any) -> Restored:
        wanted, named = manifest.named_leaves(structs), manifest.named_leaves(as_saved)
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
        cast = [
            leaves[name]
            if leaf.dtype == wanted[name].dtype
            else leaves[name].astype(wanted[name].dtype)
            for name, leaf in named.items()
        ]
        state = jax.tree.unflatten(jax.tree.structure(structs), cast)
        return Restored(step, state, restored["data"])


def _with_dtypes(structs: Any, saved: manifest.Manifest) -> Any:
    """The structs with the dtypes that were saved, so that orbax casts nothing in silence."""

    def as_saved(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name not in saved.leaves or leaf.dtype.name == saved.leaves[name].dtype:
            return leaf
        dtype = np.dtype(saved.leaves[name].dtype)
        return jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=leaf.sharding)

    return jax.tree_util.tree_map_with_path(as_saved, structs)
