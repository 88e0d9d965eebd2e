"""Files of a prepared dataset are damaged, before it is opened and while it is read: every example
that weighs something must be the one that was written, down to its bytes.

    python -m tests.drills.data_damage [--seed N] [--shard I/N] [--cases 2000] [--without-guard]

A case flips, cuts, zeroes, deletes, swaps, appends to or doubles a part of a shard, a column of the
index, the captions, a description, or the order of near videos; or puts one record, with its
checksum, in the place of another. It is read as training reads it: opened, ordered, built into
blocks. It passes where an error of this package says what is wrong, or where every example is as it
was, or weighs nothing and is counted. Shards are damaged also behind the opening, and half of the
cases open as a dataset is opened that is too large for its shards' digests to be compared. With
--without-guard neither digests nor what a record says of itself are compared: then cases must fail,
which shows that the drill bites. Cases are lines of the results file, 250 in each; what is there of
this commit and seed is not run again.
"""

import contextlib
import pathlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np

from tests import fakes
from tests.data import blocks
from tests.drills import campaign
from videobert_jax.cli import failures
from videobert_jax.data import block, index, intact, neighbours, part, record, shard_file, writer
from videobert_jax.data.config import AS_WRITTEN

KINDS = ("flip", "truncate", "zero", "delete", "swap", "append", "double", "record")
_BATCH, _SECONDS = 250, 20
_NEAR = "near.safetensors"
_CHUNK_HEAD = 44  # bytes before a record in a shard: its checksums, and how it is compressed
_CLIPS = (17, 40, 5, 33, 16, 24, 20, 11)


def write_dataset(folder: pathlib.Path) -> pathlib.Path:
    """Eight videos in three shards and two of another split, with labels and a near order."""
    size = part.PartSize(videos=3)
    out = writer.DatasetWriter(folder, "drill", fakes.CONTRACT, part_size=size)
    generator = np.random.default_rng(0)
    for split, lengths in (("train", _CLIPS), ("test", (17, 30))):
        for number, clips in enumerate(lengths):
            features = generator.normal(size=(clips, fakes.FEATURE_DIM)).astype(np.float16)
            segments = [
                writer.Segment(
                    float(first), first + 5.0, f"{split} {number} at {first}", {"verb": "cut"}
                )
                for first in range(0, clips - 4, 5)
            ]
            out.add_video(split, f"{split}{number}", features, segments)
    split = out.finish().split("train")
    order = generator.permutation(len(split.videos))
    neighbours.write(folder / _NEAR, split, order, {"checkpoint": "none"})
    return folder


def with_chunk(content: bytes, place: int, other: int, size: int) -> bytes:
    """A shard whose record at byte `place` is the one at `other`, with its checksums."""
    changed, length = bytearray(content), _CHUNK_HEAD + size
    changed[place - _CHUNK_HEAD : place + size] = content[other - _CHUNK_HEAD :][:length]
    return bytes(changed)


class Drill:
    """A dataset, what its examples are, and cases of damage to it."""

    def __init__(self, folder: pathlib.Path, seed: int, guarded: bool = True):
        self.seed, self.guarded = seed, guarded
        self.path = write_dataset(folder / "set")
        self._whole = {
            path: path.read_bytes() for path in sorted(self.path.rglob("*")) if path.is_file()
        }
        self._shards = [path for path in self._whole if index.is_shard(path.name)]
        opened = index.open_dataset(self.path)
        self._tokenizer = blocks.make_tokenizer(opened)
        self._size = record.RecordFormat(fakes.FEATURE_DIM).num_bytes
        self._records = {path: self._places(opened, path) for path in self._shards}
        self._examples = self._build(self._builder(opened), 4)[0]

    def case(self, number: int) -> tuple[str, str]:
        """(what became of it: "equal", "lost", "refused" or "wrong"; what was done and found)."""
        draw = random.Random(f"{self.seed} {number}")
        while_read, large = draw.random() < 0.4, draw.random() < 0.5
        guard = contextlib.ExitStack()
        if large:
            guard.enter_context(mock.patch.object(intact, "SMALL", -1))
        if not self.guarded:
            guard.enter_context(mock.patch.object(intact, "check", lambda *_: None))
            guard.enter_context(mock.patch.object(record.RecordFormat, "holds", _any_record))
        said = f"case {number}"
        with guard:
            try:
                if while_read:
                    builder = self._builder(index.open_dataset(self.path))
                    said = self._damage(draw, self._shards, across=False)
                else:
                    said = self._damage(draw, list(self._whole), across=not large)
                    builder = self._builder(index.open_dataset(self.path))
                found, lost = self._build(builder, 4)
            except ValueError as error:
                if type(error).__module__.partition(".")[0] != "videobert_jax":
                    return "wrong", f"{said}: {type(error).__name__}: {error}"
                return "refused", said
            except Exception as error:
                return "wrong", f"{said}: {type(error).__name__}: {error}"
            finally:
                self._restore()
        wrong = [
            example for example, values in found.items() if not self._is_right(example, values)
        ]
        if wrong:
            return "wrong", f"{said}: examples {wrong[:5]} are others than were written"
        gone = sum(values["lost"] for values in found.values())
        if gone != lost:
            return "wrong", f"{said}: {gone} examples weigh nothing, {lost} were counted"
        return ("lost" if lost else "equal"), said

    def _damage(self, draw: random.Random, files: list[pathlib.Path], across: bool) -> str:
        """Damages a file; what was done. across: also by files of another split, which only the
        digest of the whole shard tells apart."""
        path = draw.choice(files if draw.random() < 0.5 else self._shards)
        content, kind = self._whole[path], draw.choice(KINDS)
        start, stop = sorted(draw.randrange(len(content) + 1) for _ in range(2))
        if path in self._shards and draw.random() < 0.7:  # where its records are, not its padding
            records = self._records[path]
            start = draw.choice(records) + draw.randrange(self._size)
            stop = min(start + draw.randint(1, 2000), len(content))
        changed = bytearray(content)
        if kind == "flip":
            changed[min(start, len(content) - 1)] ^= 1 << draw.randrange(8)
        elif kind == "truncate":
            del changed[start:]
        elif kind == "zero":
            changed[start:stop] = bytes(stop - start)
        elif kind == "append":
            changed += draw.randbytes(draw.randint(1, 300))
        elif kind == "double":
            changed[stop:stop] = content[start:stop]
        elif kind == "record" and path in self._shards:
            place, other = draw.sample(self._records[path], 2)
            changed = bytearray(with_chunk(content, place, other, self._size))
        else:  # another file of its kind
            alike = [
                other
                for other in self._whole
                if other.suffix == path.suffix
                and other != path
                and (across or self._like(other, path))
            ]
            changed = bytearray(self._whole[draw.choice(alike)] if alike else b"")
        if kind == "delete":
            path.unlink()
        else:
            path.write_bytes(changed)
        return f"{kind} of {path.relative_to(self.path)} from byte {start}"

    def _like(self, one: pathlib.Path, other: pathlib.Path) -> bool:
        return one not in self._shards or ("train" in one.name) == ("train" in other.name)

    def _places(self, opened: index.Dataset, path: pathlib.Path) -> list[int]:
        """First bytes of the records of a shard."""
        split = next(split for split in opened.splits.values() if path in split.shard_paths)
        count = split.shard_records[split.shard_paths.index(path)]
        content, found = self._whole[path], []
        for one in shard_file.open_shard(path, count).read(list(range(count))):
            found.append(content.index(one))
        return found

    def _builder(self, opened: index.Dataset) -> block.BlockBuilder:
        order = neighbours.load(self.path / _NEAR)
        split = opened.split("train")
        settings = blocks.settings(
            block_size=8,
            text_length=64,
            video_length=48,
            drawing=AS_WRITTEN,
            masking=blocks.NO_MASKING,
        )
        return block.BlockBuilder([(split, "text_video", 1.0, order, 3)], self._tokenizer, settings)

    def _build(self, builder: block.BlockBuilder, count: int) -> tuple[dict[int, Any], int]:
        """(examples of the first blocks, how many of them were counted as damaged)."""
        found: dict[int, Any] = {}
        lost = 0
        for number in range(count):
            built = builder.build(number)
            lost += built.damaged
            examples = blocks.examples_of(built)
            for example, values in examples.items():
                lost -= example in found and found[example]["lost"]
                found[example] = {**values, "lost": values["pair"] == 0}
        return found, lost

    def _is_right(self, example: int, found: dict[str, Any]) -> bool:
        """Whether an example is as it was written, or without its clips, and weighs nothing."""
        expected = self._examples.get(example)
        if expected is None:
            return False
        same = all(found[name] == expected[name] for name in ("ids", "video", "clip", "caption"))
        if found["lost"]:
            return same and not len(found["features"])
        return same and found["features"].tobytes() == expected["features"].tobytes()

    def _restore(self) -> None:
        for path, content in self._whole.items():
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)


def _any_record(form: record.RecordFormat, content: bytes, *_: int) -> bool:
    return len(content) == form.num_bytes


def batches(
    drill: Drill, cases: range, results: campaign.Results
) -> Iterator[tuple[range, list[str]]]:
    """(cases, what went wrong in them), 250 at a time; each is a line of the results, and those of
    this commit and seed that are there are taken from them."""
    done = {(line["first"], line["behind"]): line["wrong"] for line in results.lines()}
    for first in cases[::_BATCH]:
        numbers = range(first, min(first + _BATCH, cases.stop))
        if (numbers.start, numbers.stop) in done:
            yield numbers, done[numbers.start, numbers.stop]
            continue
        begun, counts, wrong = (
            time.monotonic(),
            dict.fromkeys(("equal", "lost", "refused", "wrong"), 0),
            [],
        )
        for number in numbers:
            signal.setitimer(signal.ITIMER_REAL, _SECONDS)  # ends the process where it hangs
            outcome, said = drill.case(number)
            signal.setitimer(signal.ITIMER_REAL, 0)
            counts[outcome] += 1
            wrong += [f"case {number}: {said}"] if outcome == "wrong" else []
        line = results.note(
            first=numbers.start,
            behind=numbers.stop,
            seconds=round(time.monotonic() - begun, 2),
            **counts | {"wrong": wrong, "num_wrong": counts["wrong"]},
        )
        print(f"{numbers.start} to {numbers.stop}: {counts}, {line['seconds']} s", flush=True)
        yield numbers, wrong


def main() -> int:
    """0 where no example was wrong, 1 where one was."""
    parser = campaign.parser(
        __doc__, "data_damage.jsonl", seed_of="the damage", without="nothing is compared"
    )
    parser.add_argument("--cases", type=int, default=2000)
    arguments = parser.parse_args()
    shard, guarded = arguments.shard, not arguments.without_guard
    share = -(-arguments.cases // shard.step)
    cases = range(shard.start * share, min((shard.start + 1) * share, arguments.cases))
    about = {"seed": arguments.seed, "guarded": guarded}
    results = campaign.Results(arguments.results, about)
    wrong: list[str] = []
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with tempfile.TemporaryDirectory(prefix="data_damage_") as name:
        drill = Drill(pathlib.Path(name), arguments.seed, guarded)
        for _, found in batches(drill, cases, results):
            wrong += found
    print("\n".join(wrong) if wrong else "no example was another than was written")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(failures.exit_code(main))
