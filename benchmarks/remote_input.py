"""The input pipeline of several processes whose every read is answered late: what
`python -m benchmarks.input_pipeline --processes N --read-latency-ms M` measures.

Each process is one of a pod: it joins the others, and builds the blocks of a global batch that its
own device holds. Records come from the page cache, each as late as an object store would send it.
"""

import dataclasses
import heapq
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from unittest import mock

import jax

from benchmarks import alternate
from configs import base
from videobert_jax import configuration
from videobert_jax.data import shard_file
from videobert_jax.data.device_feed import DeviceFeed
from videobert_jax.sharding import mesh as meshes
from videobert_jax.text import tokenizer as tokenizers
from videobert_jax.training import hardware, inputs

TOKENIZER_FILE = "tokenizer.model"  # beside the dataset
_SKIPPED = 4  # batches at the start, in which shards are opened and pipelines fill
_READS_TO_OPEN = 2  # of a shard: its size, and its end with the places of records (by strace)
_THREADS_OF_A_CALL = 64  # array_record's, for the records of a call, shared by all calls (likewise)
_ROOT = pathlib.Path(__file__).resolve().parent.parent
_LONGEST = 300.0  # seconds of a process


class Latency:
    """When reads that a process asks for are answered.

    A call's records are read by threads of array_record, of which a process has 64, and by the one
    that calls: so in the library, where every read of a shard was delayed by a preloaded pread.
    """

    def __init__(self, seconds: float):
        self._seconds, self._lock = seconds, threading.Lock()
        self._free = [0.0] * _THREADS_OF_A_CALL  # when each of the library's threads is free
        self.reads = self.bytes = 0

    def open_shard(self, path: pathlib.Path, expected: int) -> "_LateReader":
        reader = _OPEN_SHARD(path, expected)
        time.sleep(_READS_TO_OPEN * self._seconds)
        return _LateReader(reader, self)

    def wait(self, num_reads: int) -> None:
        with self._lock:
            begin = time.monotonic()
            own = answered = begin + self._seconds
            for _ in range(num_reads - 1):
                if own <= self._free[0]:
                    own += self._seconds
                    answered = max(answered, own)
                else:
                    end = max(begin, self._free[0]) + self._seconds
                    heapq.heapreplace(self._free, end)
                    answered = max(answered, end)
            self.reads += num_reads
        time.sleep(answered - begin)

    def count(self, records: Sequence[bytes]) -> None:
        with self._lock:
            self.bytes += sum(map(len, records))


class _LateReader:
    """A shard's reader, behind a latency."""

    def __init__(self, reader: Any, latency: Latency):
        self._reader, self._latency = reader, latency

    def read(self, numbers: Sequence[int]) -> Sequence[bytes]:
        self._latency.wait(len(numbers))
        records = self._reader.read(numbers)
        self._latency.count(records)
        return records


_OPEN_SHARD = shard_file.open_shard


@dataclasses.dataclass(frozen=True)
class Task:
    """What each process is told. dataset: a folder that has its tokenizer beside it."""

    dataset: str
    latency_seconds: float
    batches: int
    parallel_reads: int
    text_length: int
    video_length: int

    def run_config(self, num_processes: int) -> configuration.RunConfig:
        config = base.get_config()
        config.data.path = self.dataset
        config.data.blocks_per_batch = num_processes
        config.data.text_length, config.data.video_length = self.text_length, self.video_length
        config.data.parallel_reads = self.parallel_reads
        config.data.executor = "threads"
        return configuration.parse(config)


class Rates(NamedTuple):
    """Of one process, a second."""

    examples: float
    reads: float
    megabytes: float


def one_process(task: Task) -> Rates:
    """What this process of several got, from its first blocks' arrival on."""
    run = task.run_config(jax.process_count())
    latency = Latency(task.latency_seconds)
    tokenizer = tokenizers.Tokenizer.from_file(pathlib.Path(task.dataset).parent / TOKENIZER_FILE)
    builder = inputs.block_builder(run, inputs.open_sources(run), tokenizer)
    feed = DeviceFeed(
        builder,
        meshes.create_mesh(run.mesh),
        run.data.blocks_per_batch,
        [range(_SKIPPED + task.batches)],
        run.data.executor,
        run.data.workers,
        run.data.prefetch,
    )
    examples, begin, before = 0, 0.0, (0, 0)
    with mock.patch.object(shard_file, "open_shard", latency.open_shard), feed:
        for number, (batch, _) in enumerate(feed):
            jax.block_until_ready(batch)
            if number == _SKIPPED - 1:
                begin, before = time.perf_counter(), (latency.reads, latency.bytes)
            elif number >= _SKIPPED:
                examples += sum(part.data.size for part in batch.example_ids.addressable_shards)
        seconds = time.perf_counter() - begin
    return Rates(
        examples / seconds,
        (latency.reads - before[0]) / seconds,
        (latency.bytes - before[1]) / seconds / 1e6,
    )


def together(task: Task, num_processes: int) -> list[Rates]:
    """Of processes that run at once. Raises BenchmarkError where one fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": str(num_processes),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.remote_input", json.dumps(vars(task))],
            cwd=_ROOT,
            env={**environment, "JAX_PROCESS_ID": str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(num_processes)
    ]
    try:
        printed = [process.communicate(timeout=_LONGEST)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    failed = [number for number, process in enumerate(processes) if process.returncode]
    if failed:
        raise alternate.BenchmarkError(f"processes {failed} of {num_processes} failed; see above.")
    return [Rates(*json.loads(text.splitlines()[-1])) for text in printed]


def figures(rates: Sequence[Rates]) -> dict[str, Any]:
    """A second: the median process, and all together."""
    return {
        "processes": [rate._asdict() for rate in rates],
        "a_process": Rates(*map(statistics.median, zip(*rates, strict=True)))._asdict(),
        "together": Rates(*map(sum, zip(*rates, strict=True)))._asdict(),
    }


def against_plans(plans: pathlib.Path, rates: Rates) -> list[dict[str, Any]]:
    """What each line of `videobert plan --json` says that a process reads, by what one got here.
    Raises BenchmarkError where the file holds no such lines."""
    try:
        made = [json.loads(line) for line in plans.read_text().splitlines() if line.strip()]
        needed = {f"{plan['config']} on {plan['target']}": plan["input"] for plan in made}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise alternate.BenchmarkError(
            f"{plans}: {error!r}; expected lines of `videobert plan --json`"
        ) from error
    return [
        {
            "plan": name,
            "of_examples": rates.examples / need["examples"],
            "of_reads": rates.reads / need["reads"],
            "of_megabytes": rates.megabytes / (need["bytes"] / 1e6),
        }
        for name, need in needed.items()
        if need is not None
    ]


def main() -> None:
    task = Task(**json.loads(sys.argv[1]))
    hardware.start("cpu")  # joins the other processes
    print(json.dumps(one_process(task)))


if __name__ == "__main__":
    main()
