"""Examples a second from disk to device, against a PyTorch DataLoader on the same content.

    python -m benchmarks.input_pipeline --against torch_dataloader [--json FILE]
    python -m benchmarks.input_pipeline --processes 4 --read-latency-ms 20 [--json FILE]

Blocks of 256 examples of 30 x 1024 float16 clip features and captions of 30 pieces. Both sides
read (from the page cache), tokenise, pad, mask and put on the device. The dataset is made here.
Also: the rate of reading the same records' bytes and nothing else, and how long a real training
step waits for its data.

With --processes the dataset stands in many shards, as a large one does, and each of several
processes builds the blocks that its device of the pod holds, while every read is answered late, as
by an object store: with calls for records one after another, and with data.parallel_reads at a
time.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import itertools
import pathlib
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from benchmarks import alternate, remote_input
from videobert_jax import configuration
from videobert_jax.cli import failures
from videobert_jax.data import block, device_feed, index, order, part, pipeline, shard_file
from videobert_jax.data.writer import DatasetWriter, Segment
from videobert_jax.files import extras
from videobert_jax.models.videobert import VideoBert
from videobert_jax.schema import FeatureContract
from videobert_jax.sharding import mesh as meshes
from videobert_jax.text import tokenizer as tokenizers
from videobert_jax.training import optimizer as optimizers
from videobert_jax.training import state as states
from videobert_jax.training import steps

VIDEOS, CLIPS, DIM, WORDS = 2048, 30, 1024, 30
BLOCK, WORKERS, PREFETCH = 256, 2, 2
TEXT_LENGTH, VIDEO_LENGTH = 32, 30
BLOCKS_A_RUN, PEER_BATCHES_A_RUN, TRAINING_STEPS = 26, 8, 12
LATE_VIDEOS, LATE_VIDEOS_A_SHARD = 1024, 2  # a block's examples stand in about 224 shards
FEWEST_BATCHES = 3  # where calls come one after another
_SKIPPED = 2  # batches at the start of a run, while pipelines fill
_CONFIG = pathlib.Path(__file__).resolve().parent.parent / "configs" / "tiny.py"
RUN = configuration.parse(configuration.load_file(str(_CONFIG)))
MASKING = RUN.data.masking


@dataclasses.dataclass(frozen=True)
class Content:
    """The same examples in both forms."""

    split: index.Split
    folder: pathlib.Path  # one .npy a video
    captions: list[str]
    tokenizer: tokenizers.Tokenizer


def make_captions(videos: int) -> list[str]:
    """Captions of frequent words, about one piece each."""
    draw = random.Random(0)
    syllables = [a + b for a, b in itertools.product("bdfgklmnprstv", "aeiou")]
    vocabulary = ["".join(draw.choices(syllables, k=2)) for _ in range(400)]
    return [" ".join(draw.choices(vocabulary, k=WORDS)) for _ in range(videos)]


def make_dataset(
    folder: pathlib.Path,
    captions: Sequence[str],
    size: part.PartSize,
    arrays: pathlib.Path | None = None,
) -> index.Dataset:
    """A video of one segment and of random clip features a caption; with `arrays` also a .npy."""
    contract = FeatureContract(
        "synthetic", "unknown", "unknown", DIM, None, None, 1.0, "unknown", False, "float16"
    )
    writer = DatasetWriter(folder, "synthetic", contract, part_size=size)
    generator = np.random.default_rng(0)
    for video, caption in enumerate(captions):
        features = generator.random((CLIPS, DIM), np.float32).astype(np.float16)
        if arrays is not None:
            np.save(arrays / f"{video}.npy", features)
        segment = Segment(0.0, float(CLIPS), caption, clips=(0, CLIPS))
        writer.add_video("train", str(video), features, [segment])
    return writer.finish()


def make_tokenizer(captions: Sequence[str]) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer(tokenizers.train(captions[:1000], 2048))


def make_content(folder: pathlib.Path, videos: int) -> Content:
    captions, arrays = make_captions(videos), folder / "npy"
    arrays.mkdir()
    split = make_dataset(folder / "dataset", captions, part.PartSize(), arrays).split("train")
    return Content(split, arrays, captions, make_tokenizer(captions))


def make_builder(content: Content) -> block.BlockBuilder:
    config = dataclasses.replace(
        RUN.data,
        path="",
        sources=(),
        block_size=BLOCK,
        blocks_per_batch=1,
        examples_per_row=1,
        text_length=TEXT_LENGTH,
        video_length=VIDEO_LENGTH,
        target_length=0,
        masking=MASKING,
        workers=WORKERS,
        prefetch=PREFETCH,
    )
    settings = block.BlockSettings.from_config(config, 0, DIM, answered=False)
    return block.BlockBuilder([(content.split, "text_video", 1.0)], content.tokenizer, settings)


class Ours:
    """A run of BLOCKS_A_RUN blocks through the DeviceFeed; the next run goes on behind it."""

    def __init__(self, builder: block.BlockBuilder, mesh: jax.sharding.Mesh, executor: str):
        self._builder, self._mesh, self._executor = builder, mesh, executor
        self._step = 0

    def __call__(self) -> float:
        first, last = self._step, self._step + BLOCKS_A_RUN
        self._step = last
        with device_feed.DeviceFeed(
            self._builder, self._mesh, 1, [range(first, last)], self._executor, WORKERS, PREFETCH
        ) as feed:
            return _rate((batch for batch, _ in feed), BLOCKS_A_RUN)


class Peer:
    """A run of PEER_BATCHES_A_RUN batches of a DataLoader, put on the device."""

    def __init__(self, content: Content, workers: int):
        from benchmarks import torch_loader

        dataset = torch_loader.ClipDataset(
            content.folder,
            content.captions,
            content.tokenizer.model,
            TEXT_LENGTH,
            VIDEO_LENGTH,
            MASKING.text_rate,
            MASKING.video_rate,
            MASKING.video_mean_span,
        )
        self._loader = torch_loader.loader(dataset, BLOCK, PEER_BATCHES_A_RUN, workers)

    def __call__(self) -> float:
        on_device = (jax.device_put([tensor.numpy() for tensor in batch]) for batch in self._loader)
        return _rate(on_device, PEER_BATCHES_A_RUN)


def _rate(batches: Iterator, expected: int) -> float:
    """Examples a second of all batches but the first ones, each ready on the device."""
    begin, count = 0.0, 0
    for number, batch in enumerate(batches):
        jax.block_until_ready(batch)
        if number < _SKIPPED:
            begin = time.perf_counter()
        else:
            count += BLOCK
    if count != (expected - _SKIPPED) * BLOCK:
        raise RuntimeError(f"a run gave {count} examples, expected {expected - _SKIPPED} blocks")
    return count / (time.perf_counter() - begin)


def raw_read_rate(split: index.Split, threads: int) -> float:
    """Examples a second of which the records' bytes are read, in the order of our blocks."""
    shards = zip(split.shard_paths, split.shard_records, strict=True)
    readers = [shard_file.open_shard(path, count) for path, count in shards]
    records_each = -(-CLIPS // 16)

    def read(k: int) -> None:
        positions = np.arange(k * BLOCK, (k + 1) * BLOCK)
        videos = order.example_ids(0, len(split), 1, positions)
        starts = split.record_start[videos]
        records = np.sort((starts[:, None] + np.arange(records_each)).reshape(-1))
        borders = np.searchsorted(records, split.shard_starts)
        for shard, reader in enumerate(readers):
            here = records[borders[shard] : borders[shard + 1]] - split.shard_starts[shard]
            if len(here):
                reader.read(here.tolist())

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, range(_SKIPPED)))
        begin = time.perf_counter()
        list(pool.map(read, range(BLOCKS_A_RUN)))
        return BLOCKS_A_RUN * BLOCK / (time.perf_counter() - begin)


def training_wait(builder: block.BlockBuilder, mesh: jax.sharding.Mesh, executor: str) -> dict:
    """Seconds a step of the network of configs/tiny.py, and the part spent waiting for data."""
    config = configuration.resolve_model(
        RUN, vocabulary_size=builder.tokenizer.size, feature_dim=DIM
    )
    model = VideoBert(config)
    rule = optimizers.create_rule(RUN.optimizer, RUN.training.num_steps, model)
    state = states.create_state(model, rule, mesh, 0, None)
    step = jax.jit(
        functools.partial(
            steps.train_step,
            model=model,
            rule=rule,
            objectives=RUN.objectives,
            seed=0,
            accumulation_steps=1,
            num_shards=meshes.block_shards(mesh),
        ),
        donate_argnames="state",
    )
    waited, begin = 0.0, 0.0
    with (
        jax.set_mesh(mesh),
        device_feed.DeviceFeed(
            builder, mesh, 1, [range(TRAINING_STEPS)], executor, WORKERS, PREFETCH
        ) as feed,
    ):
        for number, (batch, report) in enumerate(feed):
            if number == _SKIPPED:
                begin = time.perf_counter()
            if number >= _SKIPPED:
                waited += report.waited_seconds
            state, metrics = step(state, batch)
            jax.block_until_ready(metrics["loss"])
    seconds = time.perf_counter() - begin
    return {
        "train_step_seconds": seconds / (TRAINING_STEPS - _SKIPPED),
        "train_step_waits_for_data": waited / seconds,
    }


def measure(rounds: int, videos: int) -> dict:
    """The record of the benchmark."""
    mesh = meshes.create_mesh(meshes.MeshConfig(1, 1, 1), jax.devices()[:1])
    with tempfile.TemporaryDirectory() as folder:
        print(f"writing {videos} videos of {CLIPS} clip features, twice", flush=True)
        content = make_content(pathlib.Path(folder), videos)
        builder = make_builder(content)
        executor = pipeline.resolve("auto")
        peers = {f"{n} workers": Peer(content, n) for n in (1, 2)}
        references: dict[str, alternate.Measure] = {
            f"raw read, {n} threads": functools.partial(raw_read_rate, content.split, n)
            for n in (1, 2)
        }
        references["ours, plain threads"] = Ours(builder, mesh, "threads")
        rates = alternate.run(
            Ours(builder, mesh, executor), peers, references=references, rounds=rounds
        )
        medians = {name: statistics.median(values) for name, values in rates.references.items()}
        raw = max(rate for name, rate in medians.items() if name.startswith("raw"))
        pieces = content.tokenizer.encode(content.captions)
        figures = {
            "of_raw_read_rate": rates.ours_median / raw,
            "raw_read_rate": raw,
            "executor": executor,
            "plain_threads": medians["ours, plain threads"],
            "reference_runs": rates.references,
            "pieces_an_example": float(np.mean([len(encoded) for encoded in pieces])),
            "bytes_read_by_bytes_used": -(-CLIPS // 16) * 16 / CLIPS,
            **training_wait(builder, mesh, executor),
        }
    modules = ["array_record", "sentencepiece", "torch"]
    if executor == "tf":
        modules.append("tensorflow")
    return alternate.record("input_pipeline", rates, "examples a second", modules, figures)


def measure_late(arguments: argparse.Namespace) -> dict:
    """The record of `--processes`: by data.parallel_reads of 1 and of its default, and by the
    default where nothing is late."""
    default = RUN.data.parallel_reads
    late = arguments.read_latency_ms / 1000
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        print(f"writing {LATE_VIDEOS} videos of {CLIPS} clip features", flush=True)
        captions = make_captions(LATE_VIDEOS)
        dataset = make_dataset(folder / "dataset", captions, part.PartSize(LATE_VIDEOS_A_SHARD))
        tokenizer = make_tokenizer(captions)
        (folder / remote_input.TOKENIZER_FILE).write_bytes(tokenizer.model)
        for parallel_reads, seconds in [
            (default, 0.0),
            *((calls, late) for calls in sorted({1, default, *arguments.parallel_reads})),
        ]:
            task = remote_input.Task(
                dataset=str(dataset.path),
                latency_seconds=seconds,
                batches=arguments.batches if parallel_reads > 1 else FEWEST_BATCHES,
                parallel_reads=parallel_reads,
                text_length=TEXT_LENGTH,
                video_length=VIDEO_LENGTH,
            )
            rates = remote_input.figures(remote_input.together(task, arguments.processes))
            found[parallel_reads, seconds] = rates
            one = remote_input.Rates(**rates["a_process"])
            print(
                f"{1000 * seconds:g} ms late, data.parallel_reads={parallel_reads}: a process gets "
                f"{one.examples:,.0f} examples, {one.reads:,.0f} reads, {one.megabytes:,.0f} MB/s",
                flush=True,
            )
    together = {which: rates["together"]["examples"] for which, rates in found.items()}
    of_one = remote_input.Rates(**found[default, late]["a_process"])
    plans = [] if arguments.plans is None else remote_input.against_plans(arguments.plans, of_one)
    for plan in plans:
        print(f"{plan['plan']}: {plan['of_reads']:.2f} of the reads that a process needs")
    return {
        "benchmark": "input_pipeline_late",
        "ratio": together[default, late] / together[1, late],
        "figures": {
            "unit": "examples a second of a process",
            "ours": found[default, late]["a_process"]["examples"],
            "of_what_is_not_late": together[default, late] / together[default, 0.0],
            "by_need_of_plans": plans,
            "processes": arguments.processes,
            "read_latency_ms": arguments.read_latency_ms,
            "shards": LATE_VIDEOS // LATE_VIDEOS_A_SHARD,
            "block_size": BLOCK,
            "clips_an_example": CLIPS,
            "runs": [
                {"parallel_reads": calls, "seconds_late": seconds, **rates}
                for (calls, seconds), rates in found.items()
            ],
        },
        **alternate.circumstances(["array_record", "sentencepiece"]),
    }


def main() -> int:
    """0, or 2 after one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.input_pipeline", description=__doc__
    )
    parser.add_argument("--against", choices=["torch_dataloader"], default="torch_dataloader")
    parser.add_argument(
        "--processes", type=int, help="late reads instead, in this many processes at once"
    )
    parser.add_argument("--read-latency-ms", type=float, default=20.0, help="default 20")
    parser.add_argument(
        "--parallel-reads", type=int, nargs="*", default=[], help="other values to measure beside"
    )
    parser.add_argument(
        "--plans", type=pathlib.Path, help="of `videobert plan --json`: what is got by their need"
    )
    parser.add_argument("--batches", type=int, default=16, help="of each process, default 16")
    parser.add_argument("--json", metavar="FILE", help="also write the record there")
    parser.add_argument("--rounds", type=int, default=5, help="alternating runs (default 5)")
    parser.add_argument("--videos", type=int, default=VIDEOS, help=f"default {VIDEOS}")
    arguments = parser.parse_args()
    return failures.exit_code(lambda: run(arguments))


def run(arguments: argparse.Namespace) -> int:
    if arguments.processes is not None:
        jax.config.update("jax_platforms", "cpu")
        alternate.write(measure_late(arguments), arguments.json)
        return 0
    extras.require("torch", "parity")  # before anything is made
    alternate.write(measure(arguments.rounds, arguments.videos), arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
