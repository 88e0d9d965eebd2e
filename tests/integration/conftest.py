"""Runs of the loop in tests start without what only takes time."""

from collections.abc import Iterator
from typing import Any

import jax
import pytest

from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import steps


@pytest.fixture(scope="package", autouse=True)
def quick_start() -> Iterator[None]:
    """Leaves out the gradient norms of step 0: tracing them takes longer than all the rest.
    The runs in processes of their own show them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "objective_gradient_norms", lambda *_, **__: {"all": 1.0})
        yield


@pytest.fixture(scope="module")
def on_one_device() -> Iterator[None]:
    """Meshes of the first device, for runs that are not about several: a step for one compiles in
    half the time of a step that is split over eight."""
    create = meshes.create_mesh

    def on_one(config: meshes.MeshConfig, devices: Any = None) -> jax.sharding.Mesh:
        return create(config, devices or jax.devices()[:1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meshes, "create_mesh", on_one)
        yield
