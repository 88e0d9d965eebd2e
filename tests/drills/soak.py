"""Many blocks are read and many checkpoints saved by one process, whose memory, open files and
threads must stay what they were after the first tenth.

    python -m tests.drills.soak [--blocks N] [--saves N] [--seed N] [--shard I/N] [--results FILE]
                                [--without-release]

Blocks come through the run's own input pipeline to the device, from two sources in shards of a few
videos each, with packed rows and near videos; saves are made in the background by the run's own
checkpointer, which deletes old ones, 500 of them before those that are counted. Resident memory may
end 1 % above what it was after the first tenth; open files not one above, threads by two, for
TensorStore's pool has one more or less from time to time. Each half is a case, a line of the
results file at once, and one that passed with this code is not run again. With --without-release
what was read and opened is held: then cases must fail.
"""

import dataclasses
import gc
import os
import pathlib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from tests.drills import campaign, everything, kill_and_resume
from tests.training.test_checkpoint import DATA_STATE, state_on
from videobert_jax import configuration
from videobert_jax.cli import failures
from videobert_jax.data import device_feed
from videobert_jax.sharding import mesh as meshes
from videobert_jax.text import tokenizer as tokenizers
from videobert_jax.training import checkpoint, inputs

MOST_GROWTH = 0.01
_BREATHING = 2  # threads
_PARTS = 10  # the first of which is not looked at
_BLOCKS_A_BATCH = 16
_LOOKS, _LOOK_SECONDS = 20, 0.01
_HELD_BYTES = 1 << 24  # a part
# Saves before the ones that are looked at: by then Python's table of names, which each part of a
# path goes through, has doubled, 3 MB at once and never again.
_SAVES_BEFORE = 500
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a process has at a moment."""

    rss_bytes: int
    descriptors: int
    threads: int

    @classmethod
    def now(cls) -> "Sample":
        gc.collect()
        resident = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        tasks = []
        for _ in range(_LOOKS):  # some threads copy one array and are gone
            tasks.append(len(os.listdir("/proc/self/task")))
            time.sleep(_LOOK_SECONDS)
        return cls(resident * _PAGE, len(os.listdir("/proc/self/fd")), min(tasks))


class Held:
    """What is never let go where the drill is to bite."""

    def __init__(self, holds: bool) -> None:
        self._holds, self._kept, self._descriptors = holds, list[Any](), list[int]()
        self._released = threading.Event()

    def see(self, thing: Any) -> None:
        if self._holds:
            self._kept.append(thing)

    def see_part(self) -> None:
        if self._holds:
            self._kept.append(bytearray(os.urandom(_HELD_BYTES)))
            self._descriptors.append(os.open(os.devnull, os.O_RDONLY))
            threading.Thread(target=self._released.wait, daemon=True).start()

    def release(self) -> None:
        self._released.set()
        self._kept.clear()
        while self._descriptors:
            os.close(self._descriptors.pop())


def measured(ends_of_parts: Iterator[None], held: Held) -> dict[str, Any]:
    """What the process has at the end of each part, and what grew from the first to the last."""
    begun, samples = time.monotonic(), list[Sample]()
    for _ in ends_of_parts:
        held.see_part()
        samples.append(Sample.now())
    grown, too_much = {}, []
    for field in dataclasses.fields(Sample):
        first, last = (getattr(sample, field.name) for sample in (samples[0], samples[-1]))
        grown[field.name] = round(last / first - 1, 4)
        more = _BREATHING if field.name == "threads" else 0
        if last - more > first * (1 + MOST_GROWTH):
            too_much.append(field.name)
    return {
        "passed": not too_much,
        "grew": too_much,
        "growth": grown,
        "samples": [dataclasses.astuple(sample) for sample in samples],
        "seconds": round(time.monotonic() - begun, 1),
    }


def read(folder: pathlib.Path, blocks: int, seed: int, held: Held) -> Iterator[None]:
    """Reads so many blocks; comes back at the end of each part, the pipeline open."""
    batches = blocks // _BLOCKS_A_BATCH
    mesh = meshes.create_mesh(meshes.MeshConfig(-1, 1, 1), jax.devices()[:1])
    with device_feed.DeviceFeed(
        _builder(folder, seed),
        mesh,
        _BLOCKS_A_BATCH,
        [range(batches + 2 * _PARTS)],  # so that the threads have work to the end
        "threads",
        workers=2,
        prefetch=4,
    ) as feed:
        for step in range(batches):
            batch, _ = next(feed)
            held.see(batch)
            if (step + 1) % (batches // _PARTS) == 0:
                yield


def _builder(folder: pathlib.Path, seed: int) -> device_feed.TrainingBuilder:
    config: Any = everything.get_config()
    config.stages, config.seed = [], seed
    config.data.parallel_reads = 4  # so that all threads are there after a tenth
    dataset = campaign.write_dataset(folder / "dataset", {"train": 64}, part_videos=4)
    kill_and_resume.write_near(dataset)
    config.data.path = str(dataset)
    config.data.sources.main.neighbours = str(dataset / kill_and_resume.NEAR)
    run = configuration.parse(config)
    texts = [" ".join(campaign.WORDS[i:] + campaign.WORDS[:i]) for i in range(len(campaign.WORDS))]
    tokenizer = tokenizers.Tokenizer(tokenizers.train(texts, run.data.vocabulary_size))
    return inputs.block_builder(run, inputs.open_sources(run), tokenizer)


def save(
    folder: pathlib.Path, saves: int, seed: int, held: Held, before: int = _SAVES_BEFORE
) -> Iterator[None]:
    """Saves so often, and before that as well; comes back at the end of each part of those that
    are looked at, once its last save has its manifest."""
    mesh = jax.make_mesh((1, 1), ("data", "fsdp"), devices=jax.devices()[:1])
    state = state_on(mesh, seed)
    checkpointer = checkpoint.Checkpointer(folder / "run", keep=2, config_sha256="c")
    for step in range(1, before + saves + 1):
        checkpointer.save(step, state, {**DATA_STATE, "step": step})
        if step > before and (step - before) % (saves // _PARTS) == 0:
            checkpointer.wait()
            if checkpointer.newest != step:
                raise RuntimeError(f"step {step} is not saved: {checkpointer.failure}")
            yield
    checkpointer.close()


def main() -> int:
    """0 where nothing grew, 1 where something did."""
    parser = campaign.parser(
        __doc__,
        "soak.jsonl",
        seed_of="data and state",
        guard="release",
        without="what was read and opened is held; then cases must fail",
    )
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--saves", type=int, default=500)
    given = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 1)
    released = not given.without_release
    counts = {"blocks": given.blocks, "saves": given.saves}
    halves: dict[str, Callable[..., Iterator[None]]] = {"blocks": read, "saves": save}
    results = campaign.Results(given.results, {"seed": given.seed, "released": released, **counts})
    done, failed = results.passed() if released else {}, []
    for case in list(halves)[given.shard]:
        found = done.get(case)
        if found is None:
            held = Held(not released)
            with tempfile.TemporaryDirectory(prefix="soak_") as name:
                parts = halves[case](pathlib.Path(name), counts[case], given.seed, held)
                found = results.note(case=case, **measured(parts, held))
        failed += [] if found["passed"] else [case]
        print(f"{counts[case]} {case}: {found['growth']} ({found['seconds']} s)", flush=True)
    print(f"grew: {', '.join(failed)}" if failed else "nothing grew")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(failures.exit_code(main))
