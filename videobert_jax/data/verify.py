"""Reads a whole dataset and says what is wrong with it."""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable

import numpy as np

from videobert_jax.data import index, record, shard_file
from videobert_jax.files import digests, storage
from videobert_jax.schema import NO_LABEL, ContractMismatch

_CHUNK = 256  # records, or captions x 16, read at a time


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the file, what was found, what was expected, what to do."""

    file: str
    found: str
    expected: str
    remedy: str = index.REMEDY

    def __str__(self) -> str:
        return f"{self.file}: found {self.found}, expected {self.expected}; {self.remedy}"


@dataclasses.dataclass(frozen=True)
class SplitCounts:
    """What a split holds. damaged_clips: real clips with a NaN or infinite value."""

    name: str
    examples: int
    captions: int
    videos: int
    clips: int
    records: int
    damaged_clips: int


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found in a dataset. Damaged clips are counted, but are no problem of the files."""

    path: str
    name: str
    digest: str
    num_files: int
    splits: list[SplitCounts]
    problems: list[Problem]

    @property
    def ok(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.name}, {self.num_files} files, digest {self.digest}"]
        lines += _table(self.splits) if self.splits else []
        lines += [f"WRONG  {problem}" for problem in self.problems]
        count = len(self.problems)
        if count:
            lines.append(f"{count} thing{'s' * (count > 1)} wrong")
        else:
            lines.append("every file is as it was written")
        return "\n".join(lines)


def _table(splits: list[SplitCounts]) -> list[str]:
    names = [field.name for field in dataclasses.fields(SplitCounts)]
    rows = [[name.replace("_", " ") for name in names]]
    rows[0][0] = "split"
    for split in splits:
        rows.append([split.name, *(f"{getattr(split, name):,}" for name in names[1:])])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  " + "  ".join([first.ljust(widths[0]), *cells]))
    return lines


def verify_dataset(
    path: str | os.PathLike, *, progress: Callable[[int, int], None] | None = None
) -> Report:
    """Report on every file of a dataset: digests, records, index, captions, contract.

    `progress` is called with bytes done and bytes in all. Raises DatasetError only where the
    directory is no dataset or its description cannot be read.
    """
    path = pathlib.Path(path)
    description = index.read_description(path)
    problems, num_files = _verify_digests(path, progress or (lambda done, total: None))
    splits: list[SplitCounts] = []
    try:
        dataset = index.open_dataset(path, check_shards=False)
    except (index.DatasetError, ContractMismatch, KeyError) as error:
        if not problems:  # else the digests have named the file already
            problems.append(Problem(str(path), str(error), "a dataset that opens"))
    else:
        damaged_files = {problem.file for problem in problems}
        for split in dataset.splits.values():
            folder = split.path / "index" / split.name
            if any(pathlib.Path(file).parent == folder for file in damaged_files):
                continue  # whatever else it says would be a consequence
            problems += _verify_index(split)
            damaged, found = _verify_records(split)
            problems += [problem for problem in found if problem.file not in damaged_files]
            splits.append(
                SplitCounts(
                    name=split.name,
                    examples=len(split),
                    captions=int(np.count_nonzero(split.caption_hash)),
                    videos=len(split.videos),
                    clips=int(split.num_clips.sum()),
                    records=sum(split.shard_records),
                    damaged_clips=damaged,
                )
            )
    return Report(
        path=str(path),
        name=str(description.get("name")),
        digest=str(description.get("digest")),
        num_files=num_files,
        splits=splits,
        problems=problems,
    )


def _verify_digests(
    path: pathlib.Path, progress: Callable[[int, int], None]
) -> tuple[list[Problem], int]:
    written = index.read_digests(path)
    total = sum(fields["bytes"] for fields in written.values())
    problems, done, folder = [], 0, index.original(path)
    for name, fields in written.items():
        problem = _verify_file(folder / name, fields["bytes"], fields["sha256"])
        problems += [problem] if problem else []
        done += fields["bytes"]
        progress(done, total)
    return problems, len(written) + 1


def _verify_file(file: storage.Path, size: int, sha256: str) -> Problem | None:
    if not file.is_file():
        return Problem(str(file), "no such file", f"{size:,} bytes")
    if (found := storage.size(file)) != size:
        return Problem(str(file), f"{found:,} bytes", f"{size:,} bytes")
    if (found_digest := digests.sha256_file(file)) != sha256:
        return Problem(str(file), f"sha256 {found_digest[:16]}… (flipped bits)", sha256[:16] + "…")
    return None


def _verify_index(split: index.Split) -> list[Problem]:
    folder = split.path / "index" / split.name
    problems = []

    def expect(good: np.ndarray, file: str, found: str, expected: str) -> None:
        if not np.all(good):
            first = int(np.argmin(good))
            text = f"{int(np.sum(~good))} {found}, the first at row {first}"
            problems.append(Problem(str(folder / file), text, expected))

    num_videos, num_records = len(split.videos), sum(split.shard_records)
    in_range = (split.video >= 0) & (split.video < num_videos)
    expect(in_range, "video.npy", "videos out of range", f"0 to {num_videos - 1}")
    clips = -(-split.num_clips.astype(np.int64) // record.CLIPS_PER_RECORD)
    inside = split.record_start + clips <= num_records
    found, expected = "videos beyond the last record", f"at most {num_records} records"
    expect(inside, "record_start.npy", found, expected)
    lengths = np.diff(split.text_offset)
    expect(lengths >= 0, "text_offset.npy", "captions of negative length", "growing offsets")
    expect(split.start <= split.end, "end.npy", "ends before their start", "start <= end")
    if problems:
        return problems
    last = split.first_clip.astype(np.int64) + split.clip_count
    fits = (split.first_clip >= 0) & (last <= split.num_clips[split.video])
    expect(fits, "clip_count.npy", "examples beyond their video's clips", "clips of the video")
    for kind, labels in split.labels.items():
        fits = (labels.ids >= NO_LABEL) & (labels.ids < len(labels.names))
        expect(fits, f"label_{kind}.npy", "labels out of range", f"-1 to {len(labels.names) - 1}")
    problems += _verify_captions(split, folder)
    return problems


def _verify_captions(split: index.Split, folder: pathlib.Path) -> list[Problem]:
    for start in range(0, len(split), 16 * _CHUNK):
        ids = range(start, min(len(split), start + 16 * _CHUNK))
        try:
            hashes = [index.caption_hash(text) for text in split.texts(ids)]
        except UnicodeDecodeError as error:
            return [Problem(str(folder / index.TEXT_FILE), str(error), "UTF-8")]
        differing = np.flatnonzero(split.caption_hash[start : ids.stop] != hashes)
        if differing.size:
            row = start + int(differing[0])
            found = f"a caption at row {row} that caption_hash.npy does not know"
            return [Problem(str(folder / index.TEXT_FILE), found, "the captions as written")]
    return []


def _verify_records(split: index.Split) -> tuple[int, list[Problem]]:
    """(real clips that are not finite, problems); a shard is left at its first bad record."""
    expected = _expected_integers(split)
    damaged, problems = 0, []
    for shard, count in zip(split.shard_paths, split.shard_records, strict=True):
        wanted = list(itertools.islice(expected, count))
        try:
            reader = shard_file.open_shard(shard, count)
            for start in range(0, count, _CHUNK):
                numbers = range(start, min(count, start + _CHUNK))
                records = reader.read(list(numbers))
                damaged += _damaged_clips(split, records, wanted[start : numbers.stop])
        except (index.DatasetError, record.RecordError, RuntimeError, IndexError) as error:
            reason = str(error).removeprefix(f"{shard}: ").splitlines()[0][:160]
            problems.append(Problem(str(shard), f"({reason})", f"{count} readable records"))
    return damaged, problems


def _expected_integers(split: index.Split) -> Iterable[tuple[int, int, int]]:
    """(video, first clip, number of real clips) of every record in order."""
    for video, num_clips in enumerate(split.num_clips.tolist()):
        for first in range(0, num_clips, record.CLIPS_PER_RECORD):
            yield video, first, min(record.CLIPS_PER_RECORD, num_clips - first)


def _damaged_clips(split: index.Split, records, wanted) -> int:
    features = split.record_format.features(records)
    damaged = 0
    for number, (content, expected) in enumerate(zip(records, wanted, strict=True)):
        found = tuple(split.record_format.integers(content).tolist())
        if found != expected:
            raise record.RecordError(
                f"a record of (video, first clip, clips) {found}, the index says {expected}"
            )
        damaged += int((~np.isfinite(features[number, : expected[2]]).all(-1)).sum())
    return damaged
