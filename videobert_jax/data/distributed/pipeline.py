"""The Beam pipeline: one element a part, no data between the stages.

A part is written to a local folder, then copied; its `.done` comes last. An element whose part is
done is skipped, so that engines may run it again, and a start after a kill goes on where it was.
"""

import functools
import logging
import multiprocessing
import pathlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence

import apache_beam as beam  # pyright: ignore[reportMissingImports] (an extra)
from apache_beam.options.pipeline_options import PipelineOptions  # pyright: ignore[reportMissingImports] (an extra)
from apache_beam.utils.shared import Shared  # pyright: ignore[reportMissingImports] (an extra)

from videobert_jax.data import index, part
from videobert_jax.data.distributed.storage import Storage
from videobert_jax.data.distributed.task import Task
from videobert_jax.data.importers import FeatureSource
from videobert_jax.data.writing_plan import PARTIAL
from videobert_jax.schema import FeatureContract

_PROGRESS_SECONDS = 5.0


def options(given: Sequence[str], workers: int | None) -> list[str]:
    """Beam's options: those given, or else the direct runner with a process a core."""
    if any(option.startswith("--runner") for option in given):
        return list(given)
    count = workers or multiprocessing.cpu_count()
    # Not "DirectRunner": that tries Prism first, which it would download.
    direct = ["--runner=FnApiRunner", "--direct_running_mode=multi_processing"]
    return [*direct, f"--direct_num_workers={count}", *given]


class _Source:
    """A source that the threads of a process share; readers of one file take turns."""

    def __init__(self, source: FeatureSource):
        self._source, self._lock = source, threading.Lock()

    def features(self, name: str):
        with self._lock:
            return self._source.features(name)


class WritePart(beam.DoFn):
    """Writes the part of a key, if it is not done. Errors of the input go to KEY.error."""

    def __init__(
        self, root: str, contract: FeatureContract, open_source: Callable[[], FeatureSource]
    ):
        self._root, self._contract, self._open_source = root, contract, open_source
        self._shared = Shared()

    def process(self, element: str):
        storage = Storage(self._root)
        if f"{element}.done" in storage.sizes(PARTIAL):
            return
        source = self._shared.acquire(lambda: _Source(self._open_source()))
        task = Task.from_bytes(storage.read(f"{PARTIAL}/{element}.task"))
        with tempfile.TemporaryDirectory() as folder:
            files = pathlib.Path(folder) / element
            try:
                finished = self._write(task, files, source)
            except index.DatasetError as error:
                storage.write(f"{PARTIAL}/{element}.error", str(error).encode("utf-8"))
                return
            if finished.num_records:
                storage.upload(finished.shard, f"{PARTIAL}/{finished.shard.name}")
            storage.upload(files.with_name(f"{element}.npz"), f"{PARTIAL}/{element}.npz")
            done = files.with_name(f"{element}.done").read_bytes()
            storage.write(f"{PARTIAL}/{element}.done", done)
        yield element

    def _write(self, task: Task, files: pathlib.Path, source: _Source) -> part.FinishedPart:
        opened = part.OpenPart(files, self._contract, task.first_video)
        for video in task.videos:
            read = functools.partial(source.features, video.name)
            features = read if video.has_features else None
            with part.errors_of(task.split, video.name):
                opened.add(video.name, features, video.segments, video.annotation, video.damaged)
        return opened.finish()


def run(
    storage: Storage,
    contract: FeatureContract,
    keys: Sequence[str],
    open_source: Callable[[], FeatureSource],
    beam_options: Sequence[str],
) -> None:
    """Writes the parts of these keys by any engine. Raises DatasetError where some could not be."""
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(storage, len(keys), stop), daemon=True)
    watcher.start()
    try:
        pipeline = beam.Pipeline(options=PipelineOptions(list(beam_options)))
        do = WritePart(storage.root, contract, open_source)
        _ = pipeline | beam.Create(list(keys), reshuffle=True) | beam.ParDo(do)
        pipeline.run().wait_until_finish()
    finally:
        stop.set()
        watcher.join()
    found = storage.sizes(PARTIAL)
    if failed := [key for key in keys if f"{key}.done" not in found and f"{key}.error" in found]:
        first = storage.read(f"{PARTIAL}/{failed[0]}.error").decode("utf-8")
        raise index.DatasetError(
            f"{storage.root}: {len(failed)} of {len(keys)} parts could not be written, the first: "
            f"{first}. Finished parts are kept: the same command goes on from there"
        )
    if absent := [key for key in keys if f"{key}.done" not in found]:
        raise index.DatasetError(
            f"{storage.root}: the engine ended, but {len(absent)} of {len(keys)} parts are not "
            f"there (the first: {absent[0]}); do its workers see this folder? The same command "
            "goes on from there"
        )


def _watch(storage: Storage, total: int, stop: threading.Event) -> None:
    """A line on standard error every few seconds: parts done, and time left."""
    begun, before = time.monotonic(), None
    while not stop.wait(_PROGRESS_SECONDS):
        done = sum(name.endswith(".done") for name in storage.sizes(PARTIAL))
        before = done if before is None else before
        rate = (done - before) / (time.monotonic() - begun)
        left = f", {(total - (done - before)) / rate:,.0f} s left" if rate > 0 else ""
        print(f"{done:,} parts done{left}", file=sys.stderr, flush=True)
