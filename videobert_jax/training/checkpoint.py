"""Checkpoints that count only once a manifest vouches for them; orbax's one door.

    WORKDIR/checkpoints/STEP/   orbax: item "state" (arrays by name), item "data" (data position)
    WORKDIR/manifests/STEP.json written when the save has finished; without it the step is nothing
    WORKDIR/manifests/STEP.begun written before the save; what has neither is not deleted
    WORKDIR/best.json           the step that training.best_metric chose, which stays (`evaluation`)
    WORKDIR/set_aside/          what a start found damaged, unfinished or not of this run; never
                                read again

orbax does not notice flipped bits, casts dtypes in silence, and after a failed asynchronous save
names the step that failed as its latest. So the newest step is the newest whose values have the
digests of its manifest. `checkpoint_folder` reads, `checkpoint_verification` compares, this module
saves and restores.
"""

import concurrent.futures
import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Collection
from typing import Any

import jax
import orbax.checkpoint as ocp

from videobert_jax.files import atomic, digests, storage
from videobert_jax.training import (
    checkpoint_folder,
    lease,
    manifest,
    orbax_saving,
    processes,
    restoring,
    run_record,
    save_failures,
)
from videobert_jax.training.checkpoint_errors import CheckpointError

_PARTS_SECONDS = 300.0  # within which all processes must have hashed what they hold
_MEETINGS = itertools.count()  # of all processes; each takes the same numbers


@dataclasses.dataclass
class _Pending:
    """A save under way."""

    step: int
    data_sha256: str
    structs: dict[str, tuple[tuple[int, ...], str]]
    hashing: concurrent.futures.Future[dict[str, list[manifest.Piece]]]
    written: str | None = None  # why this process could not write its part, once that has ended
    concluded: str | None = None  # why there is no manifest, once that is known


class Checkpointer:
    """Saves in the background and restores what verifies. All processes call it alike.

    A save that fails ends no run: it is said, with the cause and the remedy, what it left is
    removed, and it counts as failed in every process.
    """

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
        manifest by which it counts; a LeaseError of it ends the run. earlier_sha256: of settings
        that the run had before, whose checkpoints it goes on from. casts: arrays of other dtypes.
        """
        if keep < 1:
            raise CheckpointError(f"training.keep_checkpoints={keep} is less than 1.")
        self._workdir = storage.absolute(workdir)
        self._before_writing = before_writing
        self._keep, self._config_sha256 = keep, config_sha256
        known = frozenset({config_sha256, *earlier_sha256})
        self._restorer = restoring.Restorer(self._workdir, known, casts)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "manifest")
        self._manager: ocp.CheckpointManager | None = None
        self._pending: _Pending | None = None
        self._steps: list[int] = []  # saved, under way or restored, ascending
        self._unsaved: set[int] = set()  # begun, and without a manifest; the first process knows
        self._besides: int | None = None  # stays whatever its age
        self.failed_saves = 0
        self.failure = ""  # of the last save; empty where it did not fail

    @property
    def newest(self) -> int | None:
        """The newest step that is restored, saved, or under way; the same in every process."""
        return self._steps[-1] if self._steps else None

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

        Where it fails, here or later, `newest` is not this step. Raises LeaseError.
        """
        self.wait()
        if not self._agreed(step, _attempt(lambda: self._prepare(step, state))):
            return
        if jax.process_count() > 1 and not self._agreed(step, _attempt(self._probe)):
            return
        if self._agreed(step, _attempt(lambda: self._begin(step, state, data_state))):
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
        if jax.process_count() == 1:
            self.wait()
        elif jax.process_index() == 0:  # the others hear of it when all meet
            parts = checkpoint_folder.manifest_parts(self._workdir, pending.step)
            if len(parts) >= jax.process_count() - 1 and not self._written(pending):
                self._concluded(pending)

    def wait(self) -> None:
        """Returns once the save under way, if any, has its manifest or has failed."""
        pending, self._pending = self._pending, None
        if pending is None or not self._agreed(pending.step, self._written(pending)):
            return
        if self._agreed(pending.step, self._concluded(pending)):
            self._unsaved.discard(pending.step)
            self.failure = ""

    def close(self) -> None:
        """Waits, deletes what is no longer kept, and lets go of orbax."""
        self.wait()
        self._unsaved -= self._tidied()
        self._close_manager()
        self._thread.shutdown()

    def abandon(self) -> None:
        """After an error elsewhere: lets a save under way finish where no other process matters."""
        if jax.process_count() == 1:
            try:
                self.wait()
            except CheckpointError as error:
                checkpoint_folder.say(str(error))

    def _prepare(self, step: int, state: Any) -> None:
        """Makes room and folders. Raises what says why orbax had better not begin."""
        if jax.process_index() > 0:
            return
        self._before_writing()
        self._unsaved -= self._tidied()
        for folder in (checkpoint_folder.CHECKPOINTS, checkpoint_folder.MANIFESTS):
            storage.make_folder(self._workdir / folder)
        if self._manager is None:
            for part in checkpoint_folder.manifest_parts(self._workdir):
                part.unlink()  # of a save that was killed
        there = checkpoint_folder.manifest_path(self._workdir, step), self._folder(step)
        if any(path.exists() for path in there):
            raise save_failures.SaveError(
                f"{there[0]} or {there[1]} is there already, and not of this save; move it away"
            )
        save_failures.require_space(self._workdir, save_failures.needed_bytes(state))
        self._unsaved.add(step)
        begun = checkpoint_folder.begun_path(self._workdir, step)
        atomic.write_text(begun, "a save of this step was begun\n")

    def _probe(self) -> None:
        """Writes a file: one process that cannot would keep the others waiting in orbax."""
        folder = self._workdir / checkpoint_folder.MANIFESTS
        path = folder / f".probe-{jax.process_index()}"
        atomic.write_bytes(path, b"may this process write here?\n")
        path.unlink()

    def _begin(self, step: int, state: Any, data_state: dict[str, Any]) -> None:
        manager = self._opened_manager()
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
        if not manager.save(step, args=arguments):
            raise save_failures.SaveError("orbax has this step or a later one already")

    def _agreed(self, step: int, cause: str) -> bool:
        """Whether no process says why the save failed; else it has, in all of them."""
        self._meet()
        causes = [text.decode() for text in processes.texts_of_all(cause.encode())]
        if any(causes):
            self._fail(step, save_failures.together(causes))
        return not any(causes)

    def _fail(self, step: int, cause: str) -> None:
        self._pending = None
        self._close_manager()
        self._thread.submit(lambda: None).result()  # behind the hashing
        self._meet()  # nobody writes any more
        self._steps = [saved for saved in self._steps if saved != step]
        self.failed_saves += 1
        self.failure = cause
        newest = "nothing is saved yet" if self.newest is None else f"step {self.newest} is saved"
        checkpoint_folder.say(
            f"SAVE FAILED: step {step} is not saved to {self._folder(step)}: {cause}. Training "
            f"goes on, and the next save is tried when it is due; {newest}."
        )
        self._tidied()  # and once more before the next save: writes may be under way yet

    def _tidied(self) -> set[int]:
        """Removes what failed saves left and what is no longer kept; what cannot go now is tried
        again, and keeps no save from being made. The failed ones of which nothing is left."""
        if jax.process_index() > 0:
            return set()
        remove = checkpoint_folder.remove_unsaved
        gone = {step for step in sorted(self._unsaved) if self._removed(step, remove)}
        for step in [step for step in self._steps if step != self._besides][: -self._keep]:
            if self._removed(step, checkpoint_folder.delete_step):
                self._steps.remove(step)
        return gone

    def _removed(self, step: int, remove: Callable[[storage.Path, int], None]) -> bool:
        if cause := _attempt(lambda: remove(self._workdir, step)):
            checkpoint_folder.say(f"{self._folder(step)} could not be removed: {cause}")
        return not cause

    def _opened_manager(self) -> ocp.CheckpointManager:
        if self._manager is None:
            folder = self._workdir / checkpoint_folder.CHECKPOINTS
            self._manager = orbax_saving.open_manager(folder, next(_MEETINGS))
        return self._manager

    def _close_manager(self) -> None:
        manager, self._manager = self._manager, None
        if manager is not None and _attempt(manager.close):
            # what it says is of a save that is known to have failed; having said it, it has closed
            # nothing, and a thread of its own would be left
            _attempt(manager.close)

    def _meet(self) -> None:
        processes.wait_for_all(f"saving {next(_MEETINGS)}")

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

    def _written(self, pending: _Pending) -> str:
        """Once this process has written and hashed its part: why it could not, or ""."""
        if pending.written is None:
            manager = self._opened_manager()
            pending.written = _attempt(manager.wait_until_finished) or _attempt(
                pending.hashing.result
            )
        return pending.written

    def _concluded(self, pending: _Pending) -> str:
        """Once all have, and the first process has written the manifest: why not, or ""."""
        if pending.concluded is None:
            first = jax.process_index() == 0
            pending.concluded = _attempt(lambda: self._write_manifest(pending)) if first else ""
        return pending.concluded

    def _write_manifest(self, pending: _Pending) -> None:
        pieces, count = pending.hashing.result(), jax.process_count()
        deadline = time.monotonic() + _PARTS_SECONDS
        while True:
            parts = checkpoint_folder.manifest_parts(self._workdir, pending.step)
            if len(parts) >= count - 1:
                break
            if time.monotonic() > deadline:
                raise save_failures.SaveError(f"only {len(parts) + 1} of {count} processes hashed")
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
            raise lease.LeaseError(
                f"{error.filename or self._folder(pending.step)}: step {pending.step} has a "
                "manifest already, so another run writes to this workdir; give each its own."
            ) from error
        for part in parts:
            part.unlink()

    def _set_aside_after(self, step: int) -> None:
        if jax.process_index() == 0:
            checkpoint_folder.set_aside_after(self._workdir, step)
        self._meet()


def _attempt(action: Callable[[], Any]) -> str:
    """Why an action failed, in a line; "" where it did not. Raises LeaseError."""
    try:
        action()
    except lease.LeaseError:
        raise
    except Exception as error:  # orbax, tensorstore and each store have errors of their own
        return save_failures.explained(error)
    return ""
