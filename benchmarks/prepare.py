"""Writing of datasets against tfds' own builder; memory as they grow; an index of HowTo100M's size.

    python -m benchmarks.prepare [--json FILE] [--entries 136000000]

Made examples (ten a video of forty clips of 64 dimensions, a caption each) are written by
`DatasetWriter` and by a tfds `GeneratorBasedBuilder` into ArrayRecord, each in a process of its
own: `ratio` is examples a second, ours over the peer's, at the larger size. `rss_growth` is our
peak memory at ten times the examples over that at one time. The index has `--entries` examples of
1.2 M videos with features of 8 dimensions, its columns made directly, the records of all videos
shared: it is opened, and a million random positions are built into whole blocks.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import alternate
from configs import base
from videobert_jax import configuration
from videobert_jax.data import index, writer
from videobert_jax.data.block import BlockBuilder, BlockSettings
from videobert_jax.files import atomic, digests
from videobert_jax.schema import FeatureContract
from videobert_jax.text import tokenizer as tokenizers

SIZES = (20_000, 200_000)
EXAMPLES_A_VIDEO, CLIPS, DIM = 10, 40, 64
SMALL_DIM, VIDEOS, DRAWN = 8, 1_200_000, 1_000_000
_VERBS = ("cut", "stir", "pour", "peel", "fry", "mix", "fold", "roll")
_PIECE = 1 << 22  # values of a column made at a time


def contract(dim: int) -> FeatureContract:
    return FeatureContract("made", "unknown", "none", dim, 25.0, 32, 1.5, "none", False, "float16")


def features(video: int) -> np.ndarray:
    """Clip features float16 [CLIPS, DIM] of a made video."""
    return np.random.default_rng(video).standard_normal((CLIPS, DIM), np.float32).astype(np.float16)


def captions(video: int) -> list[str]:
    return [f"{_VERBS[(video + i) % 8]} the {video} things of step {i}" for i in range(10)]


def write_ours(folder: pathlib.Path, examples: int) -> None:
    out = writer.DatasetWriter(folder / "set", "made", contract(DIM))
    for video in range(examples // EXAMPLES_A_VIDEO):
        segments = [
            writer.Segment(6.0 * i, 6.0 * i + 5, text) for i, text in enumerate(captions(video))
        ]
        out.add_video("train", f"video_{video:07d}", features(video), segments)
    out.finish()


def write_peer(folder: pathlib.Path, examples: int) -> None:
    import tensorflow_datasets as tfds

    class Made(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            form = {
                "features": tfds.features.Tensor(
                    shape=(None, DIM), dtype=np.float16, encoding="bytes"
                ),
                "caption": tfds.features.Text(),
                "start": np.float32,
                "end": np.float32,
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(form))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for video in range(examples // EXAMPLES_A_VIDEO):
                clips = features(video)
                for i, text in enumerate(captions(video)):
                    times = {"start": 6.0 * i, "end": 6.0 * i + 5}
                    yield (
                        f"{video}_{i}",
                        {"features": clips[4 * i : 4 * i + 4], "caption": text, **times},
                    )

    builder = Made(data_dir=folder, file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )


def make_index(folder: pathlib.Path, entries: int) -> None:
    """A dataset in folder/set whose index has so many entries; its shard is a small one's."""
    path = folder / "set"
    out = writer.DatasetWriter(path, "made", contract(SMALL_DIM))
    values = np.random.default_rng(0).standard_normal((64, 16, SMALL_DIM)).astype(np.float16)
    for video, clips in enumerate(values):
        out.add_video("train", f"v{video}", clips, [writer.Segment(0.0, 4.0, "cut it")])
    out.finish()
    texts = [f"{verb:>4} the {noun:>5} now" for verb in _VERBS for noun in ("egg", "onion")]
    length, lines = len(texts[0]), entries // VIDEOS + 1
    hashes = np.array([index.caption_hash(text) for text in texts], np.uint32)
    columns = {
        "video": lambda i: i // lines,
        "start": lambda i: i % 5 * 4.0,
        "end": lambda i: i % 5 * 4.0 + 4,
        "first_clip": lambda i: i % 5 * 2,
        "clip_count": lambda i: 3,
        "caption_hash": lambda i: hashes[i % len(hashes)],
    }
    train = path / "index" / "train"
    for name, value in columns.items():
        _make_column(train / f"{name}.npy", index.EXAMPLE_COLUMNS[name], entries, value)
    _make_column(train / "text_offset.npy", np.int64, entries + 1, lambda i: i * length)
    table = "".join(texts).encode()
    with open(train / index.TEXT_FILE, "wb") as file:
        for start in range(0, entries, _PIECE):
            count = min(_PIECE, entries - start)
            file.write((table * (count // len(texts) + 1))[: count * length])
    np.save(train / "num_clips.npy", np.full(VIDEOS, 16, np.int32))
    np.save(train / "record_start.npy", np.arange(VIDEOS, dtype=np.int64) % 64)
    names = [f"video_{video:07d}" for video in range(VIDEOS)]
    atomic.write_json(train / index.VIDEOS_FILE, names, indent=None)
    description = index.read_description(path)
    counts = {"num_examples": entries, "num_captions": entries, "num_videos": VIDEOS}
    description["splits"]["train"] |= counts
    content = json.dumps(description).encode()
    said = {"sha256": digests.sha256_bytes(content), "bytes": len(content)}
    atomic.write_json(path / index.DIGESTS_FILE, {"files": {index.DATASET_FILE: said}})
    atomic.write_bytes(path / index.DATASET_FILE, content)


def _make_column(file: pathlib.Path, dtype, length: int, value) -> None:
    column = np.lib.format.open_memmap(file, "w+", dtype, (length,))
    for start in range(0, length, _PIECE):
        column[start : start + _PIECE] = value(np.arange(start, min(start + _PIECE, length)))
    column.flush()


def draw(path: pathlib.Path) -> dict[str, float]:
    """Seconds to open the dataset, examples a second of DRAWN random positions in whole blocks,
    and peak memory."""
    begun = time.perf_counter()
    split = index.open_dataset(path).split("train")
    opened = time.perf_counter() - begun
    config = base.get_config()
    config.data.path = str(path)
    config.data.examples_per_row = 8
    config.data.text_length = config.data.video_length = 128
    run = configuration.parse(config)
    tokenizer = tokenizers.Tokenizer(tokenizers.train(split.texts(range(1000)), 512))
    settings = BlockSettings.from_config(run.data, 0, SMALL_DIM, answered=False)
    builder = BlockBuilder([(split, "text_video", 1.0)], tokenizer, settings)
    begun = time.perf_counter()
    for block in range(DRAWN // run.data.block_size):
        builder.build(block)
    rate = DRAWN / (time.perf_counter() - begun)
    return {"open_seconds": opened, "examples_per_second": rate, "peak_rss_gib": _peak()}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _in_process(side: str, argument: str) -> dict[str, float]:
    """What a side gives in a process of its own, whose peak memory is its own."""
    command = [sys.executable, "-m", "benchmarks.prepare", "--side", side, argument]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise alternate.BenchmarkError(f"{side} {argument} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _side(side: str, argument: str) -> dict[str, float]:
    if side == "index":
        folder, _, entries = argument.rpartition(":")
        make_index(pathlib.Path(folder), int(entries))
        return {}
    if side == "draw":
        return draw(pathlib.Path(argument))
    write = {"ours": write_ours, "peer": write_peer}[side]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        write(pathlib.Path(folder), int(argument))
        rate = int(argument) / (time.perf_counter() - begun)
    return {"examples_per_second": rate, "peak_rss_gib": _peak()}


def measure(entries: int, rounds: int) -> dict[str, Any]:
    """The benchmark's record."""
    found: dict[int, list[dict[str, float]]] = {size: [] for size in SIZES}
    peers = []
    for _ in range(rounds):
        for size in SIZES:
            found[size].append(_in_process("ours", str(size)))
        peers.append(_in_process("peer", str(SIZES[-1])))
    small, large = (max(run["peak_rss_gib"] for run in found[size]) for size in SIZES)
    rates = alternate.Rates(
        ours=[run["examples_per_second"] for run in found[SIZES[-1]]],
        peers={"tfds": [run["examples_per_second"] for run in peers]},
        references={},
    )
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: a child's peak begins at its parent's, which writes 6 GB.
        _in_process("index", f"{folder}:{entries}")
        drawn = _in_process("draw", f"{folder}/set")
    figures = {
        "examples": list(SIZES),
        "peak_rss_gib": [small, large],
        "rss_growth": large / small,
        "peer_peak_rss_gib": max(run["peak_rss_gib"] for run in peers),
        "index_entries": entries,
        **{f"index_{name}": value for name, value in drawn.items()},
    }
    modules = ["tensorflow_datasets", "array_record"]
    return alternate.record("prepare", rates, "examples/s", modules, figures)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", help="file to write the record to")
    parser.add_argument("--entries", type=int, default=136_000_000, help="of the large index")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.side:
        print(json.dumps(_side(*given.side)))
        return
    alternate.write(measure(given.entries, given.rounds), given.json)


if __name__ == "__main__":
    main()
