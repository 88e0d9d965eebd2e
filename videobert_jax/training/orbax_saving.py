"""orbax's manager as this package saves with it."""

import jax
import orbax.checkpoint as ocp

from videobert_jax.files import storage

# Within which all processes must have written what they hold, once it is copied: so long do the
# others wait where one fails alone.
WRITE_SECONDS = 600
# Bytes of a leaf that its replicas share the writing of. To cut a leaf is a program compiled for
# every shape and replica, seconds of the first save, so small ones are written by one.
_SMALLEST_SLICE = 2**22
_COMMIT_FILE = ocp.path.atomicity.CommitFileTemporaryPath


class _Manager(ocp.CheckpointManager):
    """orbax's manager, which has no part in whether the run is asked to stop."""

    def reached_preemption(self, step: int) -> bool:
        return False  # jax's own service, which orbax would ask, is off (`preemption`)


def open_manager(folder: storage.Path, number: int) -> ocp.CheckpointManager:
    """A manager that saves items "state" and "data" into a folder that is there.

    number: the same in all processes, and another one for each manager: a failure leaves barriers
    that some have passed and some have not, so each manager gives its barriers names of its own.
    """
    several = jax.process_count() > 1
    remote = storage.is_remote(folder)
    options = ocp.CheckpointManagerOptions(
        create=False,
        max_to_keep=None,  # orbax would delete a verified step before the next one verifies
        # of killed saves; they keep a full disk full. In a bucket they are gone already
        cleanup_tmp_directories=not remote,
        enable_async_checkpointing=True,
        async_options=ocp.AsyncOptions(
            timeout_secs=WRITE_SECONDS,
            # else threads that wait for a folder outlive by minutes a save that could not make it
            create_directories_asynchronously=False,
        ),
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            # who is said to be there waits at barriers that end after a time; others for ever
            active_processes=set(range(jax.process_count())) if several else None,
            barrier_sync_key_prefix=f"saves{number}" if several else None,
        ),
        # in a bucket a file says that a step is whole, as no folder can be renamed there
        temporary_path_class=_COMMIT_FILE if remote else None,
    )
    arrays = ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=_SMALLEST_SLICE)
    types = ocp.type_handlers.create_type_handler_registry((jax.Array, arrays))
    return _Manager(
        folder,
        options=options,
        item_handlers={
            "state": ocp.PyTreeCheckpointHandler(type_handler_registry=types),
            "data": ocp.JsonCheckpointHandler(),
        },
    )
