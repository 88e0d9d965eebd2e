"""What the processes of a run tell each other beside their collectives: words by topic, in the
store of jax's coordination service, which answers while a program hangs."""

import itertools
from typing import Any, Protocol, runtime_checkable

import jax

_numbers = itertools.count()  # every process opens its groups in one order


@runtime_checkable
class Group(Protocol):
    """The processes of a run, as one of them knows them."""

    @property
    def process(self) -> int: ...

    @property
    def count(self) -> int: ...

    def tell(self, topic: str, text: str) -> None:
        """Says `text`, which is not empty, in place of what this process said of it before."""
        ...

    def told(self, topic: str) -> dict[int, str]:
        """What processes have said, by their numbers."""
        ...


class StoredGroup:
    """A group by the coordination service, which process 0 serves. Its calls raise RuntimeError
    where the service is gone, and wait where it is stopped."""

    def __init__(self) -> None:
        from orbax.checkpoint import multihost  # slow to import, and one process needs none

        self.process, self.count = jax.process_index(), jax.process_count()
        self._client: Any = multihost.get_jax_distributed_client()
        self._prefix = f"videobert_jax/peers/{next(_numbers)}"

    def tell(self, topic: str, text: str) -> None:
        key = f"{self._prefix}/{topic}/{self.process}"
        self._client.key_value_set(key, text, allow_overwrite=True)

    def told(self, topic: str) -> dict[int, str]:
        found = self._client.key_value_dir_get(f"{self._prefix}/{topic}/")
        return {int(key.rpartition("/")[2]): text for key, text in found}


def open_group() -> Group | None:
    """The processes of this run; None where this is the only one. Call it in all of them, in one
    order."""
    return StoredGroup() if jax.process_count() > 1 else None
