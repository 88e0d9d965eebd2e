"""Blocks on their way to the devices: each process builds those that its own devices hold."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from videobert_jax import schema
from videobert_jax.data import pipeline
from videobert_jax.data.block import BlockSettings
from videobert_jax.data.fill import HostBlock
from videobert_jax.files import stopping
from videobert_jax.sharding import partitioning

_AHEAD = 2  # batches on the device before they are asked for
_FEWEST_EXAMPLES = 1000  # over which the fraction of damaged ones is judged
_EVALUATION_WORKERS = 2


class DamagedDataError(ValueError):
    """More examples are damaged than the run allows."""


class DamageBudget:
    """Counts damaged examples against the fraction that is allowed.

    allowed: the fraction. batch_size: examples of a batch, of all processes.
    """

    def __init__(self, allowed: float, batch_size: int):
        self._allowed, self._batch_size = allowed, batch_size
        self._seen = self._damaged = 0

    def spend(self, damaged: int) -> DamagedDataError | None:
        """Counts a batch with so many, of all processes; the error, once it is one too many."""
        self._damaged += damaged
        self._seen += self._batch_size
        if self._damaged <= self._allowed * max(self._seen, _FEWEST_EXAMPLES):
            return None
        return DamagedDataError(
            f"{self._damaged} of {self._seen} examples have NaN or infinite clip features, or "
            f"ones that cannot be read: more than data.max_damaged_fraction={self._allowed} "
            "allows; find them with `videobert verify DATASET`, and extract those features anew "
            "or raise the setting."
        )


@dataclasses.dataclass(frozen=True)
class FeedReport:
    """What became of the blocks of one batch.

    damaged: `[k]`, examples of each block with features that are NaN, infinite or unreadable, which
    count for nothing; laid out as the batch, so that each process says its own. budget: what their
    sum is to be spent of. cut_pieces, cut_clips, cut_targets: of the blocks that this process
    built, left out because they did not fit. waited_seconds: how long the caller waited.
    """

    damaged: jax.Array
    budget: DamageBudget
    cut_pieces: int
    cut_clips: int
    cut_targets: int
    waited_seconds: float


@runtime_checkable
class TrainingBuilder(pipeline.Builder, Protocol):
    """A builder without an end, such as `block.BlockBuilder`."""

    settings: BlockSettings


@runtime_checkable
class EvaluationBuilder(pipeline.Builder, Protocol):
    """A builder with an end, such as `block.EvaluationBuilder`."""

    @property
    def num_blocks(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class _BlockNumbers(Sequence):
    """Numbers of the blocks that a process builds, batch after batch; `local` ones of each."""

    batches: tuple[range, ...]
    blocks_per_batch: int
    local: tuple[int, ...]

    def __len__(self) -> int:
        return sum(map(len, self.batches)) * len(self.local)

    def __getitem__(self, i: int) -> int:
        batch, place = divmod(i, len(self.local))
        for stretch in self.batches:
            if 0 <= batch < len(stretch):
                return stretch[batch] * self.blocks_per_batch + self.local[place]
            batch -= len(stretch)
        raise IndexError(i)


class DeviceFeed:
    """Iterator of (Batch of global arrays `[k, r, ...]`, FeedReport) of `batches`, numbers in
    stretches without a gap; batch b is blocks b k to (b + 1) k.

    Two batches are on the device ahead of the caller. Use it as a context manager, or close it.
    """

    def __init__(
        self,
        builder: TrainingBuilder,
        mesh: Mesh,
        blocks_per_batch: int,
        batches: Sequence[range],
        executor: str,
        workers: int,
        prefetch: int,
    ):
        settings = builder.settings
        batch_size = blocks_per_batch * settings.block_size
        self._budget = DamageBudget(settings.max_damaged_fraction, batch_size)
        self._layout = _Layout(mesh, blocks_per_batch)
        numbers = _BlockNumbers(tuple(batches), blocks_per_batch, self._layout.local)
        self._blocks = pipeline.iterate(
            builder, numbers, executor=executor, workers=workers, prefetch=prefetch
        )
        self._left = sum(map(len, batches))
        # One thread, so that batches come in order; it touches no device but to copy to it.
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="device-feed")
        self._pending: collections.deque[concurrent.futures.Future] = collections.deque()

    def __iter__(self) -> "DeviceFeed":
        return self

    def __next__(self) -> tuple[schema.Batch, FeedReport]:
        while self._left and len(self._pending) < _AHEAD + 1:
            self._pending.append(self._thread.submit(self._next_batch))
            self._left -= 1
        if not self._pending:
            self.close()
            raise StopIteration
        begin = time.perf_counter()
        batch, report = self._pending.popleft().result()
        waited = time.perf_counter() - begin
        return batch, dataclasses.replace(report, waited_seconds=waited)

    def __enter__(self) -> "DeviceFeed":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the threads; batches not yet taken are dropped."""
        self._left = 0
        self._pending.clear()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._blocks.close()

    def _next_batch(self) -> tuple[schema.Batch, FeedReport]:
        blocks = [next(self._blocks) for _ in self._layout.local]
        return self._layout.place([block.batch for block in blocks]), FeedReport(
            damaged=self._layout.place([np.array(block.damaged, np.int32) for block in blocks]),
            budget=self._budget,
            cut_pieces=sum(block.cut_pieces for block in blocks),
            cut_clips=sum(block.cut_clips for block in blocks),
            cut_targets=sum(block.cut_targets for block in blocks),
            waited_seconds=0.0,
        )


class _Layout:
    """Which blocks of a batch this process holds, and their place on its devices."""

    def __init__(self, mesh: Mesh, blocks_per_batch: int):
        self.sharding: NamedSharding = partitioning.batch_sharding(mesh)
        self.blocks_per_batch = blocks_per_batch
        # Not "a contiguous slice a process": a mesh may order the devices as it likes.
        indices = self.sharding.addressable_devices_indices_map((blocks_per_batch,)).values()
        ranges = {index[0].indices(blocks_per_batch) for index in indices if index is not None}
        self.local = tuple(sorted({k for start, stop, _ in ranges for k in range(start, stop)}))
        self._place = {k: i for i, k in enumerate(self.local)}

    def place(self, blocks: Sequence[Any]) -> Any:
        """Global arrays `[k, ...]` of what the local blocks have, trees of arrays `[...]` in the
        order of `local`; copies are under way."""

        def global_array(*parts: np.ndarray) -> jax.Array:
            def shard(index: Any) -> np.ndarray:
                start, stop, _ = index[0].indices(self.blocks_per_batch)
                mine = [parts[self._place[k]] for k in range(start, stop)]
                return mine[0][None] if len(mine) == 1 else np.stack(mine)

            shape = (self.blocks_per_batch, *parts[0].shape)
            return jax.make_array_from_callback(shape, self.sharding, shard)

        return jax.tree.map(global_array, *blocks)


def evaluation_batches(
    builder: EvaluationBuilder, mesh: Mesh | None, blocks_per_batch: int
) -> Iterator[schema.Batch]:
    """All blocks once, `blocks_per_batch` at a time; the last batch is filled up with padding.

    Global arrays over the mesh, of which each process builds its own part, or, where mesh is
    None, NumPy arrays.
    """
    layout = None if mesh is None else _Layout(mesh, blocks_per_batch)
    local = tuple(range(blocks_per_batch)) if layout is None else layout.local
    padded = _PaddedBuilder(builder)
    num_batches = -(-builder.num_blocks // blocks_per_batch)
    numbers = _BlockNumbers((range(num_batches),), blocks_per_batch, local)
    blocks = pipeline.iterate(
        padded, numbers, executor="threads", workers=_EVALUATION_WORKERS, prefetch=len(local)
    )
    with contextlib.closing(blocks):
        for _ in range(num_batches):
            stopping.point()
            parts = [next(blocks).batch for _ in local]
            if layout is None:
                yield jax.tree.map(lambda *arrays: np.stack(arrays), *parts)
            else:
                yield layout.place(parts)


@dataclasses.dataclass(frozen=True)
class _PaddedBuilder:
    """A builder whose blocks behind the last one hold padding alone."""

    builder: EvaluationBuilder

    def build(self, k: int) -> HostBlock:
        if k < self.builder.num_blocks:
            return self.builder.build(k)
        like = self.builder.build(self.builder.num_blocks - 1).batch
        empty = jax.tree.map(np.zeros_like, like)
        empty.example_ids[:] = schema.PADDING_EXAMPLE
        return HostBlock(empty, damaged=0, cut_pieces=0, cut_clips=0, cut_targets=0)
