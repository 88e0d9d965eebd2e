"""Training runs on the embedded corpus and what their records say: for benchmarks of learning.

A run is a workdir: trained and evaluated, most often on three tests, the harder two first, and on
clips frozen at their middle frame. What is finished is not run again. Intervals are of 95 %, by a
paired bootstrap that draws whole test videos, since steps of one video share cook, light and
worktop; each of its examples counts with its mean over the seeds.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import alternate
from videobert_jax.tasks.metrics import bootstrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATASET = ROOT / "runs/data/kitchen"
TESTS = ("test_unseen_pairs", "test_unseen_backgrounds", "test")
FROZEN = "test_frozen"
TASKS = ("zero_shot_classification", "retrieval", "fill_mask")
BRANCHING = 32  # visual words; docs/results.md says how they agree with the verbs
# Setting that names a file made of the corpus -> the file's ending, and the command that makes it.
FILES = {
    "data.content_words": (".content_words.json", ("content-words",)),
    "data.visual_words": (
        ".visual_words.safetensors",
        ("fit-visual-words", f"--branching={BRANCHING}", "--depth=1", "--platform=cpu"),
    ),
}

Line = Mapping[str, Any]
Score = Callable[[Line], float | None]  # of an example; None where it has no such figure


def prepare(dataset: pathlib.Path, name: str = "kitchen", *flags: str) -> None:
    """Writes the embedded corpus, or the dataset that `prepare NAME FLAGS` makes, where it is not
    yet."""
    if not (dataset / "dataset.json").is_file():
        run_command("-m", "videobert_jax", "prepare", name, *flags, f"--output={dataset}")


def file_of(dataset: pathlib.Path, setting: str) -> pathlib.Path:
    """The file that `setting` names, beside the corpus; made where it is not yet."""
    ending, command = FILES[setting]
    file = dataset.with_name(dataset.name + ending)
    if not file.is_file():
        run_command("-m", "videobert_jax", *command, f"--dataset={dataset}", f"--output={file}")
    return file


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Tasks that one call of eval.py measures on `splits`.

    flags: of it. scoring: of zero-shot labels, rank_by: of retrieval, "" where there are none.
    """

    tasks: tuple[str, ...]
    splits: tuple[str, ...] = TESTS
    flags: tuple[str, ...] = ()
    scoring: str = ""
    rank_by: str = ""

    def arguments(self) -> list[str]:
        """Of eval.py, but which run."""
        chosen = {"scoring": self.scoring, "rank-by": self.rank_by}
        ways = [f"--{name}={value}" for name, value in chosen.items() if value]
        tasks, splits = ",".join(self.tasks), ",".join(self.splits)
        return [*ways, *self.flags, f"--task={tasks}", f"--split={splits}"]

    def records(self, run: pathlib.Path) -> list[pathlib.Path]:
        return [record_file(run, task, split) for task in self.tasks for split in self.splits]

    def is_done(self, run: pathlib.Path) -> bool:
        """Whether its records are there, told by `scoring` and `rank_by`."""
        return all(self._has_measured(record) for record in self.records(run))

    def _has_measured(self, record: pathlib.Path) -> bool:
        if not record.is_file():
            return False
        found = json.loads(record.read_text(encoding="utf-8"))
        told = {
            "zero_shot_classification": found.get("scoring") == self.scoring,
            "retrieval": found.get("rank_by", "towers") == (self.rank_by or "towers"),
        }
        return told.get(found["task"], True)


def learning(scoring: str = "", rank_by: str = "") -> tuple[Evaluation, ...]:
    """What tells how well a run has learnt, also one that an objective is left out of."""
    flags = ("--untrained-heads",)
    return (
        Evaluation(TASKS[:1], (FROZEN,), flags, scoring),
        Evaluation(TASKS, TESTS, flags, scoring, rank_by),
    )


def train_and_evaluate(
    run: pathlib.Path,
    config: str,
    overrides: Mapping[str, Any],
    evaluations: Sequence[Evaluation],
) -> None:
    """Trains a run and evaluates it; what is there already is kept.

    overrides: of config fields. Raises BenchmarkError where a command fails.
    """
    missing = [evaluation for evaluation in evaluations if not evaluation.is_done(run)]
    if not missing:
        return
    given = [f"--config.{field}={value}" for field, value in overrides.items()]
    run_command("train.py", f"--config={config}", f"--workdir={run}", *given)
    for evaluation in missing:
        run_command("eval.py", f"--workdir={run}", *evaluation.arguments())


def run_command(*arguments: str) -> None:
    """Runs python with these arguments at the root. Raises BenchmarkError where it fails."""
    print("python", *arguments, flush=True)
    code = subprocess.run([sys.executable, *arguments], cwd=ROOT).returncode
    if code:
        raise alternate.BenchmarkError(
            f"python {' '.join(arguments)} ended with {code}, see above; the same command goes on "
            "from there."
        )


def measured_checkpoint(
    run: pathlib.Path, evaluations: Sequence[Evaluation] = learning()
) -> dict[str, Any]:
    """Step and digest of the parameters that the records of a run are of.

    Raises BenchmarkError where they are of several.
    """
    records = _records(run, evaluations)
    found = [json.loads(record.read_text(encoding="utf-8"))["checkpoint"] for record in records]
    if any(checkpoint != found[0] for checkpoint in found):
        raise alternate.BenchmarkError(
            f"the records in {records[0].parent} are of different checkpoints; remove them and "
            "run the same command again."
        )
    return found[0]


def _records(
    run: pathlib.Path, evaluations: Sequence[Evaluation] = learning()
) -> list[pathlib.Path]:
    """All records of a run that are compared."""
    return [record for evaluation in evaluations for record in evaluation.records(run)]


def record_file(run: pathlib.Path, task: str, split: str) -> pathlib.Path:
    """Of a task on a split, as eval.py names it."""
    ending = split.removeprefix("test") if split.startswith("test") else f"_{split}"
    return run / "eval" / f"{task}{ending}.json"


def record(run: pathlib.Path, task: str, split: str) -> dict[str, Any]:
    """The record of a task on a split."""
    return json.loads(record_file(run, task, split).read_text(encoding="utf-8"))


def lines(run: pathlib.Path, task: str, split: str) -> list[Line]:
    """What a record's examples have, a line each."""
    file = record_file(run, task, split).with_suffix(".examples.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def mean_scores(
    score: Score, task: str, split: str, runs: Iterable[pathlib.Path]
) -> tuple[np.ndarray, np.ndarray]:
    """(mean score over the runs of every example that has one, its video)."""
    rows = []
    videos: list[str] = []
    for run in runs:
        scored = [
            (line["example_id"], score(line), line["video"]) for line in lines(run, task, split)
        ]
        kept = sorted((one, value, video) for one, value, video in scored if value is not None)
        rows.append([value for _, value, _ in kept])
        videos = [video for *_, video in kept]
    return np.mean(rows, axis=0), np.array(videos)


def contrast(
    ours: np.ndarray,
    peer: np.ndarray,
    videos: np.ndarray,
    *,
    as_points: bool,
    weights: np.ndarray | None = None,
) -> tuple[float, float, float]:
    """(ratio or difference of the means, lower and upper end of its 95 % interval).

    Paired: a drawn video brings its examples of both sides. weights: what each example counts in
    the means, None where all count alike.
    """
    weights = np.ones(len(ours)) if weights is None else weights

    def of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return first - second if as_points else first / np.maximum(second, 1e-9)

    samples = [
        of(*(bootstrap.means(values, drawn * weights) for values in (ours, peer)))
        for drawn in bootstrap.weights(videos, seed=0)
    ]
    value = float(of(*(np.average(values, weights=weights) for values in (ours, peer))))
    return value, *bootstrap.interval(np.concatenate(samples))
