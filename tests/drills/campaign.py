"""What drills share: their command line, and their results, a line at once, by which one goes on
where it was stopped."""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import time
from typing import Any

import numpy as np

from benchmarks import alternate
from tests import fakes
from videobert_jax.data import part, segments
from videobert_jax.data.writer import DatasetWriter

WORDS = "cut stir pour the onion carrot egg pan bowl slowly now into with salt".split()


_RUN_BY_DRILLS = (
    "videobert_jax",
    "configs",
    "train.py",
    "tests/drills",
    "tests/integration/runs.py",
    "tests/fakes.py",
)


def code() -> str:
    """Tells the code that drills run from any other; "unknown" outside of a repository. A commit of
    documents, among which the results may be, changes nothing of it."""
    asked = [("diff", "HEAD", "--", *_RUN_BY_DRILLS)]
    asked += [("rev-parse", f"HEAD:{path}") for path in _RUN_BY_DRILLS]
    if (answers := alternate.of_git(*asked)) is None:
        return "unknown"
    return hashlib.sha256(b"\n".join(answers)).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Results:
    """Lines of a file, each with the commit, its code and with what the drill is `about`."""

    path: pathlib.Path
    about: dict[str, Any]
    commit: str = dataclasses.field(default_factory=alternate.commit)
    code: str = dataclasses.field(default_factory=code)

    def note(self, **fields: Any) -> dict[str, Any]:
        """Appends a line; what it says."""
        now = time.strftime("%FT%TZ", time.gmtime())
        line = {"time": now, "commit": self.commit, "code": self.code, **self.about, **fields}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return line

    def lines(self) -> list[dict[str, Any]]:
        """What is there of this code and about the same."""
        if not self.path.exists():
            return []
        wanted = {"code": self.code, **self.about}
        found = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
        return [line for line in found if wanted.items() <= line.items()]

    def passed(self) -> dict[Any, dict[str, Any]]:
        """Lines of the cases that passed, by case."""
        return {line["case"]: line for line in self.lines() if line["passed"]}


def parser(
    description: str | None,
    results: str,
    *,
    seed_of: str,
    shard_of: str = "cases",
    guard: str = "guard",
    without: str = "then cases must fail",
) -> argparse.ArgumentParser:
    """Of a drill whose module's docstring is `description`, with --seed, --shard, --results and a
    switch --without-GUARD; results: the file's name. Where `guard` is "" there is no switch."""
    made = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    path = pathlib.Path("build/drills") / results
    made.add_argument("--seed", type=int, default=0, help=f"of {seed_of}")
    alternate.add_shard(made, shard_of)
    made.add_argument("--results", type=pathlib.Path, default=path, help="appended to")
    if guard:
        made.add_argument(f"--without-{guard}", action="store_true", help=without)
    return made


def write_dataset(
    output: pathlib.Path,
    splits: dict[str, int],
    *,
    name: str = "drill",
    clips: int = 12,
    part_videos: int = 512,
) -> pathlib.Path:
    """A prepared dataset: in each split so many videos of drawn clip features, a sentence of five
    drawn words to every two clips but the last. part_videos: of a shard."""
    generator = np.random.default_rng(0)
    writer = DatasetWriter(output, name, fakes.CONTRACT, part_size=part.PartSize(part_videos))
    for split, count in splits.items():
        for video in range(count):
            features = generator.normal(size=(clips, fakes.FEATURE_DIM)).astype(np.float16)
            sentences = [
                segments.Segment(
                    start=float(first),
                    end=float(first + 2),
                    text=" ".join(generator.choice(WORDS, 5)),
                )
                for first in range(0, clips - 2, 2)
            ]
            writer.add_video(split, f"{split}_{video}", features, sentences)
    writer.finish()
    return output
