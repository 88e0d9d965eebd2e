"""Transfers to the host that a guard would see on an accelerator.

On CPU the host sees a device's memory, so that jax lets values through whatever the guard.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
from jax._src import array
from jax._src.lib import guard_lib


@contextlib.contextmanager
def guarded() -> Iterator[list[tuple[int, ...]]]:
    """Shapes of arrays brought to the host explicitly where a guard forbids to do it otherwise;
    what is brought there otherwise raises RuntimeError, as it does on an accelerator."""
    unguarded: Any = array.ArrayImpl._value
    explicit: list[tuple[int, ...]] = []

    def value(self: jax.Array) -> np.ndarray:
        state = guard_lib.thread_local_state()
        if state.device_to_host == guard_lib.TransferGuardLevel.DISALLOW:
            if not state.explicit_device_get:
                raise RuntimeError("Disallowed device-to-host transfer")
            explicit.append(self.shape)
        return unguarded.fget(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array.ArrayImpl, "_value", property(value))
        yield explicit
