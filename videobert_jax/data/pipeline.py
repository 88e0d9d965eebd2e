"""Builds blocks ahead of their use, in order: by tf.data, or by plain threads.

The executor decides nothing: a block is one call of one pure function, so both give the same
bytes. TensorFlow is imported here alone (and by assembly), and only where it executes.
"""

import collections
import concurrent.futures
import dataclasses
import importlib.util
import os
from collections.abc import Generator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from videobert_jax import schema
from videobert_jax.data.config import EXECUTORS
from videobert_jax.data.fill import HostBlock
from videobert_jax.files import extras

_FIELDS = tuple(field.name for field in dataclasses.fields(schema.Batch))
_COUNTS = tuple(field.name for field in dataclasses.fields(HostBlock) if field.name != "batch")


@runtime_checkable
class Builder(Protocol):
    """Whatever builds a block from its number."""

    def build(self, k: int) -> HostBlock: ...


def iterate(
    builder: Builder, blocks: Sequence[int], *, executor: str, workers: int, prefetch: int
) -> Generator[HostBlock, None, None]:
    """The blocks of these numbers, in order, `workers` built at a time and `prefetch` ahead.

    executor: "tf", "threads", or "auto": tf.data where TensorFlow is installed. Errors of a
    block are raised at its turn, as they are. Closing the iterator ends the work.
    """
    if executor not in EXECUTORS:
        raise ValueError(f"data.executor={executor!r} is none of {', '.join(EXECUTORS)}.")
    if workers < 1 or prefetch < 0:
        raise ValueError(
            f"data.workers={workers}, data.prefetch={prefetch}; expected 1 and 0 or more."
        )
    if resolve(executor) == "tf":
        return _with_tf(builder, blocks, workers, prefetch)
    return _with_threads(builder, blocks, workers, prefetch)


def resolve(executor: str) -> str:
    """The executor that "auto" stands for on this machine; nothing is imported to find out."""
    if executor != "auto":
        return executor
    return "tf" if importlib.util.find_spec("tensorflow") is not None else "threads"


def _with_threads(
    builder: Builder, blocks: Sequence[int], workers: int, prefetch: int
) -> Generator[HostBlock, None, None]:
    pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="block")
    pending: collections.deque[concurrent.futures.Future] = collections.deque()
    try:
        for k in blocks:
            pending.append(pool.submit(builder.build, k))
            if len(pending) >= workers + prefetch:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _with_tf(
    builder: Builder, blocks: Sequence[int], workers: int, prefetch: int
) -> Generator[HostBlock, None, None]:
    tf = _import_tensorflow()
    failures: dict[int, Exception] = {}

    def build(i: np.int64) -> list[np.ndarray]:
        try:
            return _to_arrays(builder.build(blocks[int(i)]))
        except Exception as error:  # TensorFlow would make a string of it; raised below
            failures[int(i)] = error
            raise

    types = [_TYPES[name] for name in _FIELDS] + [np.int64] * len(_COUNTS)
    dataset = tf.data.Dataset.range(len(blocks)).map(
        lambda i: tf.numpy_function(build, [i], types, stateful=False),
        num_parallel_calls=workers,
        deterministic=True,
    )
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = workers
    iterator = dataset.prefetch(prefetch).with_options(options).as_numpy_iterator()
    for i in range(len(blocks)):
        try:
            arrays = next(iterator)
        except tf.errors.OpError as error:
            if i in failures:
                raise failures[i] from None
            raise RuntimeError(f"tf.data could not build block {blocks[i]}: {error}") from error
        yield _from_arrays(arrays)


_TYPES = {
    name: dtype for name, (_, dtype) in schema.batch_fields(schema.RowShape(*(1,) * 10)).items()
}


def _to_arrays(block: HostBlock) -> list[np.ndarray]:
    counts = [np.asarray(getattr(block, name), np.int64) for name in _COUNTS]
    return [getattr(block.batch, name) for name in _FIELDS] + counts


def _from_arrays(arrays: Sequence[Any]) -> HostBlock:
    fields, counts = arrays[: len(_FIELDS)], arrays[len(_FIELDS) :]
    batch = schema.Batch(**dict(zip(_FIELDS, fields, strict=True)))
    return HostBlock(batch, **{n: int(v) for n, v in zip(_COUNTS, counts, strict=True)})


def _import_tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its greeting
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        raise extras.MissingExtra(
            "data.executor='tf' needs TensorFlow, which is not installed; use 'threads' (the same "
            "blocks), or install it with: pip install tensorflow"
        ) from error
    tf.config.set_visible_devices([], "GPU")  # jax needs the memory
    return tf
