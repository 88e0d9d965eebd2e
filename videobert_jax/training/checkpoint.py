"""Checkpoints that count only once a manifest vouches for them; orbax's one door.

    WORKDIR/checkpoints/STEP/   orbax: item "state" (arrays by name), item "data" (data position)
    WORKDIR/manifests/STEP.json written when the save has finished; without it the step is nothing
    WORKDIR/best.json           the step that training.best_metric chose, which stays (`evaluation`)
    WORKDIR/set_aside/          what a start found damaged or unfinished; never read again

orbax does not notice flipped bits, casts dtypes in silence, and after a failed asynchronous save
names the step that failed as its latest. So the newest step is the newest whose values have the
digests of its manifest. `checkpoint_folder` reads, `checkpoint_verification` compares, this module
saves and restores.
"""

import concurrent.futures
import dataclasses
import json
import time
from collections.abc import Callable, Collection
from typing import Any

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from videobert_jax.files import atomic, digests, storage
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.training import (
    checkpoint_folder,
    checkpoint_name,
    manifest,
    restoring,
    run_record,
)
from videobert_jax.training.checkpoint_folder import CheckpointError

_PARTS_SECONDS = 300.0  # within which all processes must have hashed what they hold
# Bytes of a leaf that its replicas share the writing of. To cut a leaf is a program compiled for
# every shape and replica, seconds of the first save, so small ones are written by one.
_SMALLEST_SLICE = 2**22
_COMMIT_FILE = ocp.path.atomicity.CommitFileTemporaryPath


@dataclasses.dataclass
class _Pending:
    """A save under way."""

    step: int
    data_sha256: str
    structs: dict[str, tuple[tuple[int, ...], str]]
    hashing: concurrent.futures.Future[dict[str, list[manifest.Piece]]]


class Checkpointer:
    """Saves in the background and restores what verifies. All processes call it alike."""

    def __init__(
        self,
        workdir: storage.Path,
        *,
        keep: int,
        config_sha256: str,
        before_writing: Callable[[], None] = lambda: None,
        earlier_sha256: Collection[str] = (),
        casts: bool = False,
    ) -> None:
        """keep: number of newest verified steps that stay; older ones are deleted.

        before_writing: called by the first process before a save, and once more before the
        manifest by which it counts; what it raises ends the run. earlier_sha256: of settings that
        the run had before, whose checkpoints it goes on from. casts: whether arrays of another
        dtype are.
        """
        if keep < 1:
            raise CheckpointError(f"training.keep_checkpoints={keep} is less than 1.")
        self._workdir = storage.absolute(workdir)
        self._before_writing = before_writing
        self._keep = keep
        self._config_sha256 = config_sha256
        known = frozenset({config_sha256, *earlier_sha256})
        self._restorer = restoring.Restorer(self._workdir, known, casts)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "manifest")
        self._manager: ocp.CheckpointManager | None = None
        self._pending: _Pending | None = None
        self._steps: list[int] = []  # saved or restored, ascending; the same in every process
        self._besides: int | None = None  # stays whatever its age

    def restore_latest(self, structs_of: Callable[[int], Any]) -> restoring.Restored | None:
        """The newest verified step laid out as `structs_of` it say; None in a fresh workdir.

        Damaged and unfinished newer steps are said and set aside. Raises CheckpointError where the
        checkpoint is of another model, and where there are checkpoints but none verifies.
        """
        checkpoint_folder.require_known_steps(self._workdir)
        steps = checkpoint_folder.manifest_steps(self._workdir)
        restored = self._restorer.newest(steps, structs_of, self._set_aside_after)
        if restored is not None:
            self._steps = checkpoint_folder.manifest_steps(self._workdir)
            return restored
        self._set_aside_after(-1)
        return None

    def save(self, step: int, state: Any, data_state: dict[str, Any]) -> None:
        """Begins to save; returns once the values are copied, so that `state` may be donated.

        Raises CheckpointError where the save before it failed.
        """
        self.wait()
        if jax.process_index() == 0:
            self._before_writing()
        self._delete_old()
        try:  # before any hashing: it makes and tidies the folder that hashes are left in
            manager = self._opened_manager()
        except Exception as error:
            raise self._failed(step, error) from error
        pieces = manifest.host_pieces(state)
        leaves = manifest.named_leaves(state)
        self._pending = _Pending(
            step=step,
            data_sha256=digests.sha256_json(data_state),
            structs={name: (leaf.shape, leaf.dtype.name) for name, leaf in leaves.items()},
            hashing=self._thread.submit(self._hash, step, pieces),
        )
        arguments = ocp.args.Composite(
            state=ocp.args.PyTreeSave(manifest.nested(leaves)),
            data=ocp.args.JsonSave(data_state),
        )
        try:
            started = manager.save(step, args=arguments)
        except Exception as error:
            raise self._failed(step, error) from error
        if not started:
            raise self._failed(step, "orbax has this step or a later one already")
        self._steps.append(step)

    def keep_besides(self, step: int) -> None:
        """From now on this step stays beside the newest ones, and an earlier such step does not."""
        self._besides = step

    def poll(self) -> None:
        """Writes the manifest of a save that has finished meanwhile; never waits."""
        pending = self._pending
        if pending is None or self._opened_manager().is_saving_in_progress():
            return
        if not pending.hashing.done():
            return
        # The first process alone writes the manifest, from all parts.
        others = jax.process_count() - 1 if jax.process_index() == 0 else 0
        if not others or len(self._parts(pending.step)) >= others:
            self.wait()

    def wait(self) -> None:
        """Returns once the save under way, if any, has finished and has its manifest.

        Raises CheckpointError where it failed.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            self._opened_manager().wait_until_finished()
            pieces = pending.hashing.result()
        except Exception as error:
            raise self._failed(pending.step, error) from error
        if jax.process_index() == 0:
            self._write_manifest(pending, pieces)

    def close(self) -> None:
        """Waits, deletes what is no longer kept, and lets go of orbax."""
        self.wait()
        self._delete_old()
        if self._manager is not None:
            self._manager.close()
        self._thread.shutdown()

    def abandon(self) -> None:
        """After an error elsewhere: lets a save under way finish where no other process matters."""
        if jax.process_count() == 1:
            try:
                self.wait()
            except CheckpointError as error:
                checkpoint_folder.say(str(error))

    def _opened_manager(self) -> ocp.CheckpointManager:
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=None,  # orbax would delete a verified step before the next one verifies
                # of killed saves; they keep a full disk full. In a bucket they are gone already
                cleanup_tmp_directories=not storage.is_remote(self._workdir),
                enable_async_checkpointing=True,
                # in a bucket a file says that a step is whole, as no folder can be renamed there
                temporary_path_class=_COMMIT_FILE if storage.is_remote(self._workdir) else None,
            )
            arrays = ocp.type_handlers.ArrayHandler(
                min_slice_bytes_for_replica_parallel=_SMALLEST_SLICE
            )
            types = ocp.type_handlers.create_type_handler_registry((jax.Array, arrays))
            self._manager = ocp.CheckpointManager(
                self._workdir / checkpoint_folder.CHECKPOINTS,
                options=options,
                item_handlers={
                    "state": ocp.PyTreeCheckpointHandler(type_handler_registry=types),
                    "data": ocp.JsonCheckpointHandler(),
                },
            )
            if jax.process_index() == 0:
                storage.make_folder(self._workdir / checkpoint_folder.MANIFESTS)
                for part in (self._workdir / checkpoint_folder.MANIFESTS).glob("*.part-*.json"):
                    part.unlink()  # of a save that was killed
            _synchronize("manifests are tidy")
        return self._manager

    def _failed(self, step: int, error: object) -> CheckpointError:
        kept = [saved for saved in checkpoint_folder.manifest_steps(self._workdir) if saved != step]
        newest = f"step {kept[-1]}" if kept else "no step"
        return CheckpointError(
            f"saving step {step} to {self._folder(step)} failed: {error}. The newest step that "
            f"was saved is {newest}; mend the cause (a full disk?) and start again to continue."
        )

    def _folder(self, step: int) -> storage.Path:
        return checkpoint_folder.step_folder(self._workdir, step)

    def _hash(self, step: int, pieces: Any) -> dict[str, list[manifest.Piece]]:
        digested = manifest.digest_pieces(pieces)
        process = jax.process_index()
        if process > 0:  # through the shared folder: a collective here would race with the step's
            fields = {
                name: [dataclasses.asdict(piece) for piece in boxes]
                for name, boxes in digested.items()
            }
            path = self._workdir / checkpoint_folder.MANIFESTS / f"{step}.part-{process}.json"
            atomic.write_json(path, fields)
        return digested

    def _parts(self, step: int) -> list[storage.Path]:
        return sorted((self._workdir / checkpoint_folder.MANIFESTS).glob(f"{step}.part-*.json"))

    def _write_manifest(self, pending: _Pending, pieces: dict[str, list[manifest.Piece]]) -> None:
        deadline = time.monotonic() + _PARTS_SECONDS
        while len(parts := self._parts(pending.step)) < jax.process_count() - 1:
            if time.monotonic() > deadline:
                raise self._failed(
                    pending.step, f"only {len(parts) + 1} of {jax.process_count()} processes hashed"
                )
            time.sleep(0.05)
        for part in parts:
            for name, boxes in json.loads(part.read_text()).items():
                pieces[name] += [
                    manifest.Piece(tuple(box["start"]), tuple(box["shape"]), box["sha256"])
                    for box in boxes
                ]
        written = manifest.Manifest(
            step=pending.step,
            leaves={
                name: manifest.Leaf(shape, dtype, tuple(pieces[name]))
                for name, (shape, dtype) in pending.structs.items()
            },
            data_sha256=pending.data_sha256,
            config_sha256=self._config_sha256,
            versions=run_record.versions(),
        )
        self._before_writing()
        try:
            manifest.write(checkpoint_folder.manifest_path(self._workdir, pending.step), written)
        except FileExistsError as error:
            raise self._failed(
                pending.step, "it has a manifest already, so another run writes to this workdir"
            ) from error
        for part in parts:
            part.unlink()

    def _delete_old(self) -> None:
        of_age = [step for step in self._steps if step != self._besides]
        for step in of_age[: -self._keep]:
            self._steps.remove(step)
            if jax.process_index() == 0:  # first, so that half a folder never counts
                checkpoint_folder.manifest_path(self._workdir, step).unlink(missing_ok=True)
            self._opened_manager().delete(step)

    def _set_aside_after(self, step: int) -> None:
        if jax.process_index() == 0:
            checkpoint_folder.set_aside_after(self._workdir, step)
        _synchronize("damaged checkpoints are set aside")


def _synchronize(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def load_bundle(name: str, weights: str | None = None) -> ModelBundle:
    """Parameters of "WORKDIR" (its newest verified step), "WORKDIR@STEP" or "WORKDIR@best", as
    NumPy arrays.

    weights: RAW, or EMA, their moving average, which None takes where the run keeps one. Needs no
    mesh. Raises CheckpointError where there is none or where it does not verify.
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
        return ModelBundle(
            config=record.model,
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
