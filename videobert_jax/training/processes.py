"""Several processes as one run: how they find each other, and that they are of one mind."""

import hashlib
import json
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

import videobert_jax
from videobert_jax import configuration
from videobert_jax.files import digests
from videobert_jax.training import rendezvous, run_record
from videobert_jax.training.rendezvous import ProcessError

JOIN_SECONDS = 120.0  # within which all processes must have come; hosts of a pod boot unevenly
# Without a heartbeat of one process, after which jax aborts all. One comes every half of it, so who
# falls silent is missed after 120 s at the earliest: after the watchdog, which says who it is.
HEARTBEAT_SECONDS = 240
_START_SECONDS = 60  # within which jax's own coordinator serves processes that have met
_LONGEST_WAIT_SECONDS = 3600  # for the slowest compiler of a pod
_SHOWN = 10  # differences that a message names


def join(coordinator: str, num_processes: int, process_id: int, seconds: float) -> None:
    """Makes this process one of `num_processes`, of which process 0 serves at HOST:PORT.

    Waits for the others for at most `seconds`. Raises ProcessError where the address is none, the
    coordinator out of reach, or a process missing: jax by itself ends the process in C++.
    """
    host, port = _address(coordinator)
    if not 0 <= process_id < num_processes:
        raise ProcessError(
            f"--process_id={process_id} with --num_processes={num_processes}: expected 0 to "
            f"{num_processes - 1}."
        )
    deadline = time.monotonic() + seconds
    if process_id == 0:
        rendezvous.receive(port, num_processes, deadline)
    else:
        rendezvous.announce(host, port, process_id, num_processes, deadline)
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes=num_processes,
            process_id=process_id,
            initialization_timeout=_START_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=60,
        )
    except RuntimeError as error:
        raise ProcessError(
            f"process {process_id} of {num_processes} lost the others at {coordinator} "
            f"({_line(error)}). Start all of them again."
        ) from error


def require_agreement(what: str, mine: Mapping[str, Any]) -> None:
    """Raises ProcessError, in every process, where processes differ in the values of some keys.

    Values are JSON's. Call it in every process, before what would go wrong otherwise.
    """
    if jax.process_count() == 1:
        return
    text = json.dumps(mine, sort_keys=True).encode()
    digest = np.frombuffer(hashlib.sha256(text).digest(), np.uint8)
    gathered = multihost_utils.process_allgather(digest)
    if (gathered == gathered[:1]).all():
        return
    differing = differences([json.loads(one) for one in texts_of_all(text)])
    more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
    raise ProcessError(
        f"the processes of this run differ in {what}: {'; '.join(differing[:_SHOWN])}{more}. No "
        "step was taken. Start all of them with the same command, code and data."
    )


def wait_for_all(what: str) -> None:
    """Returns once every process has called it; no two calls have one name.

    It belongs before a program that all run together: while one process still compiles, a
    collective of the others gives up (gloo after 30 s).
    """
    if jax.process_count() > 1:
        from orbax.checkpoint import multihost  # slow to import, and one process needs none

        multihost.get_barrier_sync_fn()(key=what, timeout_ms=1000 * _LONGEST_WAIT_SECONDS)


def texts_of_all(mine: bytes) -> list[bytes]:
    """The texts of all processes, in their order."""
    if jax.process_count() == 1:
        return [mine]
    lengths = multihost_utils.process_allgather(np.array(len(mine), np.int32))
    if not lengths.any():
        return [b""] * len(lengths)
    padded = np.zeros(int(lengths.max()), np.uint8)
    padded[: len(mine)] = np.frombuffer(mine, np.uint8)
    gathered = multihost_utils.process_allgather(padded)
    return [one[:length].tobytes() for one, length in zip(gathered, lengths, strict=True)]


def differences(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """ "KEY: 2 in processes 0, 3; 5 in process 1" of every key in which processes differ; `values`
    are theirs in their order."""
    found = []
    for key in sorted({key for one in values for key in one}):
        holders: dict[str, list[str]] = {}
        for process, one in enumerate(values):
            shown = json.dumps(one[key], sort_keys=True) if key in one else "nothing"
            holders.setdefault(shown, []).append(str(process))
        if len(holders) > 1:
            said = [
                f"{shown} in process{'es' if len(numbers) > 1 else ''} {', '.join(numbers)}"
                for shown, numbers in holders.items()
            ]
            found.append(f"{key}: {'; '.join(said)}")
    return found


def require_same_start(config: dict[str, Any], newest_checkpoint: Sequence[int]) -> None:
    """Raises ProcessError, in every process, where they differ in settings, packages, code, or in
    the newest checkpoint of the workdir, which some may see and some may not."""
    if jax.process_count() == 1:
        return
    mine = {
        **shared_settings(config),
        **run_record.versions(),
        **code(),
        "newest checkpoint": list(newest_checkpoint),
    }
    require_agreement("settings, code or workdir", mine)


def shared_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The settings, by dotted name, that all processes must share."""
    return configuration.settings_but(config, run_record.OWN_SETTINGS)


def code() -> dict[str, str]:
    """What this process runs: a digest of the package's own files."""
    root = pathlib.Path(videobert_jax.__file__).parent
    files = sorted(root.rglob("*.py"))
    named = {str(file.relative_to(root)): digests.sha256_file(file) for file in files}
    return {
        "videobert_jax": videobert_jax.__version__,
        "sha256 of videobert_jax's code": digests.sha256_json(named)[:12],
    }


def _address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ProcessError(
            f"--coordinator={coordinator}: expected HOST:PORT of process 0, such as 10.0.0.2:8476."
        )
    return host.strip("[]"), int(port)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
