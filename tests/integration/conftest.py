"""Runs of the loop in tests start without what only takes time."""

from collections.abc import Iterator

import pytest

from videobert_jax.training import steps


@pytest.fixture(scope="package", autouse=True)
def quick_start() -> Iterator[None]:
    """Leaves out the gradient norms of step 0: tracing them takes longer than all the rest.
    The runs in processes of their own show them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "objective_gradient_norms", lambda *_, **__: {"all": 1.0})
        yield
