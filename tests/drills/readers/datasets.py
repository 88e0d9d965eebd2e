"""Prepared datasets and what lies beside them, search indexes, predictions and results."""

import json
import pathlib
import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from tests import fakes
from tests.drills.readers import Reader
from tests.search_index import made
from videobert_jax.data import alignment, index, local_copy, neighbours, part, reader, writer
from videobert_jax.data.distributed.task import Task
from videobert_jax.files import digests
from videobert_jax.files.errors import ArrayFileError
from videobert_jax.schema import ContractMismatch
from videobert_jax.search_index import manifest as index_manifest
from videobert_jax.search_index import shards, vectors
from videobert_jax.search_index.errors import SearchIndexError
from videobert_jax.tasks import caption_files, predictions, report
from videobert_jax.tasks.caption_results import References
from videobert_jax.tasks.context import PredictionContext
from videobert_jax.tasks.errors import EvaluationError

_OPENED = (index.DatasetError, ContractMismatch)
_SPLITS: dict[str, index.Split] = {}  # opened once; in a folder that no case damages


def dataset(folder: pathlib.Path) -> pathlib.Path:
    """A dataset of three videos in two splits, with labels and annotations."""
    out = writer.DatasetWriter(folder, "seed", fakes.CONTRACT, metadata={"notes": "made"})
    generator = np.random.default_rng(0)
    for number, split in enumerate(("train", "train", "test")):
        features = generator.normal(size=(18 + number, fakes.FEATURE_DIM)).astype(np.float16)
        segments = [
            writer.Segment(float(first), first + 4.0, f"cut {number} é {first}", {"verb": "cut"})
            for first in range(0, 16, 4)
        ]
        out.add_video(split, f"v{number}", features, segments, annotation={"steps": [number]})
    out.finish()
    return folder


def read_dataset(folder: pathlib.Path) -> None:
    """Opens a dataset and reads every example of it."""
    opened = index.open_dataset(folder)
    for split in opened.splits.values():
        split.texts(range(len(split)))
        opened.annotations(split.name)
        counts = split.clip_count.astype(np.int64)
        out = np.zeros((int(counts.sum()), split.contract.dim), np.float16)
        into = np.cumsum(counts) - counts
        videos, firsts = split.video.astype(np.int64), split.first_clip.astype(np.int64)
        reader.ClipReader(split, 1).read_into(out, into, videos, firsts, counts)


def _sign_dataset(folder: pathlib.Path, draw: random.Random) -> None:
    file = folder / index.DIGESTS_FILE
    fields = json.loads(file.read_text())
    for name, said in fields["files"].items():
        content = (folder / name).read_bytes()
        said |= {"sha256": digests.sha256_bytes(content), "bytes": len(content)}
    file.write_text(json.dumps(fields))


def _part(folder: pathlib.Path) -> None:
    opened = part.OpenPart(folder / "train-00000", fakes.CONTRACT, 0)
    features = np.ones((5, fakes.FEATURE_DIM), np.float16)
    opened.add("a", features, [writer.Segment(0, 3, "cut", {"verb": "cut"})], {"steps": []})
    opened.finish()


def _read_part(folder: pathlib.Path) -> None:
    finished = part.read_finished(folder / "train-00000")
    if finished is not None:
        finished.columns()


def _task(folder: pathlib.Path) -> None:
    from videobert_jax.data.distributed.task import TaskVideo

    segments = [writer.Segment(0, 3, "cut", {"verb": "cut"}, (0, 2))]
    made_task = Task("train-00000", 0, [TaskVideo("a", True, segments, {"steps": []}, "keep")])
    (folder / "train-00000.task").write_bytes(made_task.to_bytes())


def _neighbours(folder: pathlib.Path) -> None:
    split = index.open_dataset(dataset(folder / "set")).split("train")
    neighbours.write(folder / "near.safetensors", split, np.array([1, 0]), {"checkpoint": "none"})


def _alignment(folder: pathlib.Path) -> None:
    split = index.open_dataset(dataset(folder / "set")).split("train")
    runs = np.array(split.first_clip), np.array(split.clip_count)
    alignment.write(folder / "align.safetensors", split, np.array([1]), *runs, {"dataset": "set"})


def _search_index(folder: pathlib.Path) -> None:
    made.index(folder, [made.vectors(6, 8, 0), made.vectors(4, 8, 1)], "exact")


def _read_search_index(folder: pathlib.Path) -> None:
    found = index_manifest.read(folder)
    for file in found.files:
        shards.read(folder, file.key, found.about)
    if found.vectors is not None:
        opened = vectors.read(folder / found.vectors.file, found.vectors)
        opened.search(np.zeros((1, found.maker.dim), np.float32), 2)


def _sign_manifest(folder: pathlib.Path, draw: random.Random) -> None:
    file = folder / index_manifest.FILE
    fields = json.loads(file.read_text())
    fields.pop("sha256", None)
    file.write_text(json.dumps({**fields, "sha256": digests.sha256_json(fields)}))


def _split(folder: pathlib.Path) -> tuple[PredictionContext, index.Split]:
    """The test split of a dataset beside the folder of the case."""
    place = folder.parent / "kept"
    if str(place) not in _SPLITS:
        _SPLITS[str(place)] = index.open_dataset(dataset(place)).split("test")
    split = _SPLITS[str(place)]
    about: Mapping[str, Any] = {"file": "x"}
    opened = index.open_dataset(place, check_shards=False)
    return PredictionContext(dict(about), opened, split, 0), split


def _predictions(folder: pathlib.Path) -> None:
    np.save(folder / "scores.npy", np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32))
    (folder / "ids.jsonl").write_text("".join(f'{{"example_id": {n}}}\n' for n in (2, 0, 3, 1)))


def _read_predictions(folder: pathlib.Path) -> None:
    context, split = _split(folder)
    given = predictions.Given(folder / "ids.jsonl", "none", None)
    predictions.evaluate("retrieval", folder / "scores.npy", given, context.dataset, split, seed=0)


def _ranks(folder: pathlib.Path) -> None:
    told = [{"example_id": n, "text_to_video_rank": n + 1, "video": "v2"} for n in range(4)]
    (folder / "ranks.jsonl").write_text("".join(json.dumps(one) + "\n" for one in told))
    np.save(folder / "ranks.npy", np.array([1.0, 2.5, 2.5, 4.0]))


def _read_ranks(folder: pathlib.Path) -> None:
    context, split = _split(folder)
    for name, direction in (("ranks.jsonl", None), ("ranks.npy", "video_to_text")):
        given = predictions.Given(None, "none", direction)
        predictions.evaluate("retrieval", folder / name, given, context.dataset, split, seed=0)


def _captions(folder: pathlib.Path) -> None:
    told = [{"image_id": number, "caption": "stir it", "video": "v2"} for number in range(4)]
    (folder / "captions.json").write_text(json.dumps(told))
    (folder / "lines.jsonl").write_text("".join(json.dumps(one) + "\n" for one in told))


def _read_captions(folder: pathlib.Path) -> None:
    context, split = _split(folder)
    references = References.of(context, needs_clips=False)
    for name in ("captions.json", "lines.jsonl"):
        caption_files.read(folder / name, split, references)


def _results(folder: pathlib.Path) -> None:
    record = {"format": report.FORMAT, "metrics": {"R@1": 0.5}, "baselines": {}}
    (folder / "retrieval.json").write_text(json.dumps(record))
    (folder / "retrieval.examples.jsonl").write_text('{"example_id": 0, "video": "a"}\n' * 2)


def _read_results(folder: pathlib.Path) -> None:
    report.read(folder / "retrieval.json")
    report.read_examples(folder / "retrieval.json")


READERS = [
    Reader(
        "dataset",
        ("data.index", "data.index_files", "data.reader", "data.shards", "data.shard_file"),
        lambda folder: dataset(folder / "set"),
        lambda folder: read_dataset(folder / "set"),
        _OPENED,
    ),
    Reader(
        "dataset_signed",
        ("data.index", "data.index_files", "data.reader", "data.shards", "data.shard_file"),
        lambda folder: dataset(folder / "set"),
        lambda folder: read_dataset(folder / "set"),
        _OPENED,
        kept=("digests.json",),
        sign=lambda folder, draw: _sign_dataset(folder / "set", draw),
    ),
    Reader(
        "dataset_copied",
        ("data.local_copy",),
        lambda folder: dataset(folder / "set"),
        lambda folder: local_copy.copy(str(folder / "set"), folder.parent / "written"),
        _OPENED,
        writes=True,
    ),
    Reader("unfinished_part", ("data.part",), _part, _read_part, _OPENED, kept=(".array_record",)),
    Reader(
        "task_of_a_part",
        ("data.distributed.task",),
        _task,
        lambda folder: Task.from_bytes((folder / "train-00000.task").read_bytes()),
        _OPENED,
        named=("the task of a part",),
    ),
    Reader(
        "neighbours",
        ("data.neighbours", "data.split_tables"),
        _neighbours,
        lambda folder: neighbours.load(folder / "near.safetensors"),
        (neighbours.NeighboursError,),
        kept=("set",),
    ),
    Reader(
        "alignment",
        ("data.alignment", "data.split_tables"),
        _alignment,
        lambda folder: alignment.load(folder / "align.safetensors"),
        (alignment.AlignmentError,),
        kept=("set",),
    ),
    Reader(
        "search_index",
        ("search_index.manifest", "search_index.shards", "search_index.vectors"),
        _search_index,
        _read_search_index,
        (SearchIndexError, ContractMismatch),
        packages=("faiss",),
    ),
    Reader(
        "search_index_signed",
        ("search_index.manifest",),
        _search_index,
        _read_search_index,
        (SearchIndexError, ContractMismatch),
        kept=(".faiss", ".safetensors"),
        sign=_sign_manifest,
        packages=("faiss",),
    ),
    Reader(
        "predictions",
        ("tasks.predictions",),
        _predictions,
        _read_predictions,
        (EvaluationError, ArrayFileError),
    ),
    Reader(
        "ranks",
        ("tasks.given_ranks", "tasks.example_lines"),
        _ranks,
        _read_ranks,
        (EvaluationError, ArrayFileError),
    ),
    Reader("captions", ("tasks.caption_files",), _captions, _read_captions, (EvaluationError,)),
    Reader("results", ("tasks.report",), _results, _read_results, (EvaluationError,)),
]
