"""Joins finished parts into a dataset: index, annotations, statistics, digests, description."""

import pathlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from videobert_jax.data import columns, index, record, statistics
from videobert_jax.data.part import FinishedPart
from videobert_jax.data.writing_plan import WritingPlan, json_bytes
from videobert_jax.files import arrays, atomic, digests

FAILURES_FILE = "failures.jsonl"
Parts = Mapping[str, Sequence[FinishedPart]]  # split -> its parts in order
# Puts a part's shard under its final name, given as (stem, number, file): DIR/stem-00000-of-* are
# the places where an interrupted joining may have put it.
PlaceShard = Callable[[FinishedPart, str, str], None]


def assemble(
    folder: pathlib.Path,
    output: str,
    plan: WritingPlan,
    parts: Parts,
    failures: Iterable[Mapping[str, Any]],
    place: PlaceShard,
) -> None:
    """Writes all files of a dataset but its shards into `folder`, dataset.json last.

    output: how errors call the dataset. failures: what was left out of it before features were
    read, each with "video" and "reason"; parts add theirs, and failures.jsonl holds all.
    Raises DatasetError where there is no example, or only some videos of a split are annotated.
    """
    if not any(part.num_segments for of_split in parts.values() for part in of_split):
        raise index.DatasetError(
            f"{output}: no examples were given, expected at least one; check that the source's "
            "caption file is not empty"
        )
    files: dict[str, dict[str, Any]] = {}
    splits = {
        name: _write_split(folder, plan.name, name, of_split, files, place)
        for name, of_split in parts.items()
    }
    for name, of_split in parts.items():
        _write_annotations(folder, output, name, of_split, files)
    _write_failures(folder, output, parts, failures, files)
    has_statistics = _write_statistics(folder, plan.contract.dim, parts, files)
    _write_tfds_metadata(folder, output, plan, splits, files)
    content = json_bytes(_describe(plan, splits, has_statistics, files))
    files[index.DATASET_FILE] = {"sha256": digests.sha256_bytes(content), "bytes": len(content)}
    atomic.write_json(folder / index.DIGESTS_FILE, {"files": files})
    atomic.write_bytes(folder / index.DATASET_FILE, content)


def _describe(plan: WritingPlan, splits, has_statistics: bool, files) -> dict[str, Any]:
    record_format = record.RecordFormat(plan.contract.dim)
    metadata = dict(plan.metadata)
    identity = {
        "contract": plan.contract.to_json(),
        # how it was asked for makes no other dataset
        "metadata": {key: value for key, value in metadata.items() if key != index.ASKED},
        "splits": {name: fields["digest"] for name, fields in splits.items()},
        "statistics": [files[f]["sha256"] for f in sorted(files) if f.startswith("statistics")],
    }
    annotations = [index.annotations_file(split) for split in sorted(splits)]
    if found := [files[file]["sha256"] for file in annotations if file in files]:
        identity["annotations"] = found
    return {
        "format": index.FORMAT,
        "version": index.FORMAT_VERSION,
        "name": plan.name,
        "digest": digests.sha256_json(identity),
        "contract": plan.contract.to_json(),
        "record": {
            "clips": record.CLIPS_PER_RECORD,
            "features_offset": record_format.features_offset,
            "num_bytes": record_format.num_bytes,
        },
        "statistics": has_statistics,
        "splits": splits,
        "metadata": metadata,
    }


def _write_split(
    output: pathlib.Path,
    dataset: str,
    name: str,
    parts: Sequence[FinishedPart],
    files: dict[str, dict[str, Any]],
    place: PlaceShard,
) -> dict[str, Any]:
    folder = output / "index" / name
    folder.mkdir(parents=True, exist_ok=True)
    label_names = columns.join(folder, parts)
    videos = [row[0] for finished in parts for row in finished.videos]
    atomic.write_json(folder / index.VIDEOS_FILE, videos, indent=None)
    own = {
        file.relative_to(output).as_posix(): _describe_file(file)
        for file in sorted(folder.iterdir())
    }
    shards = []
    with_records = [finished for finished in parts if finished.num_records]
    for number, finished in enumerate(with_records):
        stem = f"{dataset}-{name}.array_record-{number:05d}-of-"
        file = f"{stem}{len(with_records):05d}"
        place(finished, stem, file)
        own[file] = {"sha256": finished.shard_sha256, "bytes": finished.shard_bytes}
        shards.append({"file": file, "records": finished.num_records})
    files.update(own)
    hashes = folder / "caption_hash.npy"
    return {
        "digest": digests.sha256_json({file: own[file]["sha256"] for file in own}),
        "num_examples": sum(finished.num_segments for finished in parts),
        "num_videos": len(videos),
        "num_captions": int(np.count_nonzero(arrays.read_npy(hashes, mapped=True))),
        "labels": label_names,
        "shards": shards,
    }


def _write_annotations(
    folder: pathlib.Path,
    output: str,
    split: str,
    parts: Sequence[FinishedPart],
    files: dict[str, dict[str, Any]],
) -> None:
    found = sum(part.num_annotations for part in parts)
    num_videos = sum(len(part.videos) for part in parts)
    if not found:
        return
    if found != num_videos:
        raise index.DatasetError(
            f"{output}: split {split} has {num_videos} videos and annotations of {found}; "
            "annotate every one or none"
        )
    name = index.annotations_file(split)
    (folder / name).parent.mkdir(exist_ok=True)
    with open(folder / name, "wb") as file:
        for part in parts:
            file.write(part.columns()["annotations"].tobytes())
    files[name] = _describe_file(folder / name)


def _write_failures(folder: pathlib.Path, output: str, parts: Parts, failures, files) -> None:
    told = [dict(failure) for failure in failures]
    for split, of_split in parts.items():
        for part in of_split:
            told += [{"video": v, "reason": f"{split}: {reason}"} for v, reason in part.failures]
    if not told:
        return
    atomic.write_json_lines(folder / FAILURES_FILE, told)
    files[FAILURES_FILE] = _describe_file(folder / FAILURES_FILE)
    text = f"{len(told):,} things were left out: {output}/{FAILURES_FILE} says why"
    print(text, file=sys.stderr, flush=True)


def _write_statistics(folder: pathlib.Path, dim: int, parts: Parts, files) -> bool:
    training = (part for name in parts if name.startswith("train") for part in parts[name])
    stats = statistics.combine((_moments(part) for part in training), dim).statistics()
    if stats is None:
        return False
    (folder / "statistics").mkdir(exist_ok=True)
    for name in ("mean", "scale"):
        file = f"statistics/{name}.npy"
        np.save(folder / file, getattr(stats, name))
        files[file] = _describe_file(folder / file)
    return True


def _write_tfds_metadata(
    folder: pathlib.Path, output: str, plan: WritingPlan, splits: dict[str, Any], files
) -> None:
    with_records = {name: fields for name, fields in splits.items() if fields["shards"]}
    if not with_records:
        return
    try:
        import tensorflow_datasets as tfds
        from etils import epath
    except ImportError as error:
        raise index.DatasetError(
            f"{output}: tensorflow_datasets cannot be imported ({error}), which writes the "
            "dataset's tfds metadata; pip install tensorflow-datasets and run the same command "
            "again: what was written is kept"
        ) from error
    length = record.RecordFormat(plan.contract.dim).num_bytes
    shape = (record.CLIPS_PER_RECORD, plan.contract.dim)
    features = {
        record.FEATURES: tfds.features.Tensor(shape=shape, dtype=np.float16, encoding="bytes")
    }
    for key in (record.VIDEO, record.FIRST_CLIP, record.NUM_CLIPS):
        features[key] = tfds.features.Tensor(shape=(), dtype=np.int64, encoding="bytes")
    infos = []
    for name, fields in with_records.items():
        lengths = [shard["records"] for shard in fields["shards"]]
        template = tfds.core.ShardedFileTemplate(
            data_dir=epath.Path(folder),
            dataset_name=plan.name,
            split=name,
            filetype_suffix="array_record",
        )
        infos.append(
            tfds.core.SplitInfo(
                name=name,
                shard_lengths=lengths,
                num_bytes=sum(lengths) * length,
                filename_template=template,
            )
        )
    tfds.folder_dataset.write_metadata(
        data_dir=folder,
        features=tfds.features.FeaturesDict(features),
        split_infos=infos,
        description=str(plan.metadata.get("notes", plan.name)),
        check_data=False,
    )
    for file in ("dataset_info.json", "features.json"):
        files[file] = _describe_file(folder / file)


def _describe_file(path: pathlib.Path) -> dict[str, Any]:
    return {"sha256": digests.sha256_file(path), "bytes": path.stat().st_size}


def _moments(finished: FinishedPart) -> statistics.Moments:
    columns = finished.columns()
    return statistics.Moments(
        columns["moments_count"], columns["moments_total"], columns["moments_squares"]
    )
