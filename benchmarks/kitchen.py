"""What the network learns from the embedded corpus, over seeds, beside the baselines.

    python -m benchmarks.kitchen --seeds 3 [--recipes short,long] [--json FILE]

A seed is a training run and its evaluation on three tests, the harder two first. All is kept in
--workdir: a stopped benchmark goes on where it was, what is finished is not run again. Intervals
are of 95 %, by a paired bootstrap that draws whole test videos, since steps of one video share
cook, light and worktop; each of its examples counts with its mean over the seeds. `ratio` is the
smallest ratio of all.

The corpus is drawn in 2D by one renderer: nothing here says anything about real cooking video.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import alternate
from videobert_jax.cli import failures
from videobert_jax.kitchen import palette
from videobert_jax.tasks import report

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECIPES = {"short": "configs/kitchen.py", "long": "configs/kitchen_long.py"}
TESTS = ("test_unseen_pairs", "test_unseen_backgrounds", "test")
FROZEN = "test_frozen"
TASKS = ("zero_shot_classification", "retrieval", "fill_mask")
# Of zero-shot labels, as chosen on splits of the training videos; the records have all figures.
SCORINGS = {"short": "both", "long": "towers"}
DRAWS = 2000
MOTION_VERBS = frozenset(verb for group in palette.MOTION_GROUPS for verb in group)

Line = Mapping[str, Any]
Score = Callable[[Line], float | None]  # of an example; None where it has no such figure


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A figure of ours beside a peer's on the same examples of a test.

    `peer_split` and `peer` where the peer's scores are; `targets` a recipe: for ours by the peer's,
    or for the difference where `as_points`.
    """

    name: str
    task: str
    ours: Score
    peer: Score
    targets: Mapping[str, float]
    as_points: bool = False
    splits: tuple[str, ...] = TESTS
    peer_split: str | None = None


def _label(slot: str, *, at: int = 1) -> Score:
    return lambda line: float(line[slot]["rank"] <= at) if slot in line else None


def _of_baseline(name: str, rank: str, *, at: int = 1) -> Score:
    return lambda line: float(line["baselines"][name][rank] <= at)


def _masked(slot: str, condition: str) -> Score:
    return lambda line: float(line[slot][condition]["rank"] <= 1) if slot in line else None


def _of_motion(score: Score) -> Score:
    return lambda line: score(line) if line["verb"]["label"] in MOTION_VERBS else None


def comparisons() -> list[Comparison]:
    """Everything that is compared, with the targets."""
    found = [
        Comparison(
            f"{slot}_top1 by supervised_ridge's",
            "zero_shot_classification",
            _label(slot),
            _of_baseline("supervised_ridge", f"{slot}_rank"),
            {"short": short, "long": 1.0},
        )
        for slot, short in (("verb", 0.85), ("object", 0.75))
    ]
    found += [
        Comparison(
            f"text_to_video_R5 by {peer}'s",
            "retrieval",
            lambda line: float(line["text_to_video_rank"] <= 5),
            _of_baseline(peer, "text_to_video_rank", at=5),
            targets,
        )
        for peer, targets in (
            ("narration_ridge", {"short": 1.0, "long": 1.2}),
            ("supervised_ridge", {}),
        )
    ]
    found += [
        Comparison(
            f"masked {slot}: with less without the video",
            "fill_mask",
            _masked(slot, "with_video"),
            _masked(slot, "without_video"),
            {"short": 0.2, "long": 0.2},
            as_points=True,
        )
        for slot in ("verb", "object")
    ]
    motion = _of_motion(_label("verb"))
    found.append(
        Comparison(
            "verbs told apart by motion: moving less frozen clips",
            "zero_shot_classification",
            motion,
            motion,
            {},
            as_points=True,
            splits=("test",),
            peer_split=FROZEN,
        )
    )
    return found


def run_seed(recipe: str, seed: int, dataset: pathlib.Path, workdir: pathlib.Path) -> pathlib.Path:
    """Workdir of a seed, trained and evaluated; what is there already is kept."""
    if not (dataset / "dataset.json").is_file():
        _run("-m", "videobert_jax", "prepare", "kitchen", f"--output={dataset}")
    run = workdir / f"{recipe}-{seed}"
    if not all(_is_measured(record, SCORINGS[recipe]) for record in _records(run)):
        _run(
            "train.py",
            f"--config={RECIPES[recipe]}",
            f"--workdir={run}",
            f"--config.seed={seed}",
            f"--config.data.path={dataset}",
        )
        scoring = f"--scoring={SCORINGS[recipe]}"
        _run("eval.py", f"--workdir={run}", f"--task={TASKS[0]}", f"--split={FROZEN}", scoring)
        _run(
            "eval.py",
            f"--workdir={run}",
            f"--task={','.join(TASKS)}",
            f"--split={','.join(TESTS)}",
            scoring,
        )
    return run


def _run(*arguments: str) -> None:
    print("python", *arguments, flush=True)
    code = subprocess.run([sys.executable, *arguments], cwd=ROOT).returncode
    if code:
        raise alternate.BenchmarkError(
            f"python {' '.join(arguments)} ended with {code}, see above; the same command goes on "
            "from there."
        )


def _measured_checkpoint(run: pathlib.Path) -> dict[str, Any]:
    """Step and digest of the parameters that all records of a run are of.

    Raises BenchmarkError where they are of several.
    """
    records = _records(run)
    found = [json.loads(record.read_text(encoding="utf-8"))["checkpoint"] for record in records]
    if any(checkpoint != found[0] for checkpoint in found):
        raise alternate.BenchmarkError(
            f"the records in {records[0].parent} are of different checkpoints; remove them and "
            "run the same command again."
        )
    return found[0]


def _records(run: pathlib.Path) -> list[pathlib.Path]:
    """All records of a run that are compared."""
    of_tests = [_record(run, task, split) for task in TASKS for split in TESTS]
    return [*of_tests, _record(run, TASKS[0], FROZEN)]


def _is_measured(record: pathlib.Path, scoring: str) -> bool:
    """Whether a record is there, its zero-shot labels told by `scoring`."""
    if not record.is_file():
        return False
    found = json.loads(record.read_text(encoding="utf-8"))
    return found["task"] != TASKS[0] or found.get("scoring") == scoring


def _record(run: pathlib.Path, task: str, split: str) -> pathlib.Path:
    return run / "eval" / f"{task}{split.removeprefix('test')}.json"


def _lines(run: pathlib.Path, task: str, split: str) -> list[Line]:
    file = _record(run, task, split).with_suffix(".examples.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def compare(
    of: Comparison, recipe: str, split: str, runs: Sequence[pathlib.Path]
) -> dict[str, Any]:
    """Figures of a comparison on a test: ours, the peer's, their ratio or difference, intervals."""
    ours, videos = _mean_scores(of.ours, (_lines(run, of.task, split) for run in runs))
    peer_split = of.peer_split or split
    peer, _ = _mean_scores(of.peer, (_lines(run, of.task, peer_split) for run in runs))
    value, low, high = bootstrap(ours, peer, videos, as_points=of.as_points)
    target = of.targets.get(recipe)
    return {
        "recipe": recipe,
        "split": split,
        "figure": of.name,
        "ours": float(ours.mean()),
        "peer": float(peer.mean()),
        "difference" if of.as_points else "ratio": value,
        "interval": [low, high],
        "examples": len(ours),
        "seeds": len(runs),
        "target": target,
        "reached": None if target is None else value >= target,
    }


def _mean_scores(score: Score, seeds: Iterable[list[Line]]) -> tuple[np.ndarray, np.ndarray]:
    """(mean score over the seeds of every example that has one, its video)."""
    rows = []
    videos: list[str] = []
    for lines in seeds:
        scored = [(line["example_id"], score(line), line["video"]) for line in lines]
        kept = sorted((one, value, video) for one, value, video in scored if value is not None)
        rows.append([value for _, value, _ in kept])
        videos = [video for *_, video in kept]
    return np.mean(rows, axis=0), np.array(videos)


def bootstrap(
    ours: np.ndarray, peer: np.ndarray, videos: np.ndarray, *, as_points: bool, draws: int = DRAWS
) -> tuple[float, float, float]:
    """(ratio or difference of the means, lower and upper end of its 95 % interval).

    Paired: a drawn video brings its examples of both sides (Efron and Tibshirani 1993, chapter 8).
    """
    names, of = np.unique(videos, return_inverse=True)
    sums = np.stack([np.bincount(of, values, len(names)) for values in (ours, peer)])
    sizes = np.bincount(of, minlength=len(names))
    drawn = np.random.default_rng(0).multinomial(
        len(names), np.full(len(names), 1 / len(names)), draws
    )
    means = drawn @ sums.T / (drawn @ sizes)[:, None]

    def contrast(values: np.ndarray) -> np.ndarray:
        if as_points:
            return values[..., 0] - values[..., 1]
        return values[..., 0] / np.maximum(values[..., 1], 1e-9)

    low, high = np.quantile(contrast(means), [0.025, 0.975])
    return float(contrast(np.array([ours.mean(), peer.mean()]))), float(low), float(high)


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """The results as lines of text."""
    rows = [("figure", "test", "recipe", "ours", "peer", "value", "95 %", "target", "")]
    for result in results:
        value = result.get("ratio", result.get("difference"))
        low, high = result["interval"]
        rows.append(
            (
                result["figure"],
                result["split"],
                result["recipe"],
                f"{result['ours']:.3f}",
                f"{result['peer']:.3f}",
                f"{value:.2f}",
                f"{low:.2f} to {high:.2f}",
                "" if result["target"] is None else f"{result['target']:.2f}",
                {True: "reached", False: "not reached", None: ""}[result["reached"]],
            )
        )
    return report.aligned(rows)


def run(arguments: argparse.Namespace) -> int:
    recipes = arguments.recipes.split(",")
    if unknown := sorted(set(recipes) - set(RECIPES)):
        raise alternate.BenchmarkError(
            f"--recipes={arguments.recipes}: {unknown} is none of {list(RECIPES)}."
        )
    if arguments.seeds < 1:
        raise alternate.BenchmarkError(f"--seeds={arguments.seeds}: expected 1 or more.")
    results, checkpoints = [], {}
    for recipe in recipes:
        runs = [
            run_seed(recipe, seed, arguments.dataset.resolve(), arguments.workdir.resolve())
            for seed in range(arguments.seeds)
        ]
        checkpoints |= {run.name: _measured_checkpoint(run) for run in runs}
        results += [
            compare(of, recipe, split, runs)
            for split in TESTS
            for of in comparisons()
            if split in of.splits
        ]
    print(table(results))
    record = {
        "benchmark": "kitchen",
        "ratio": min(result["ratio"] for result in results if "ratio" in result),
        "figures": results,
        "checkpoints": checkpoints,
        "notes": "drawn in 2D by one renderer; says nothing about real cooking video",
        "hardware": alternate.hardware(),
        "versions": alternate.versions(["flax", "optax"]),
        "commit": alternate.commit(),
    }
    alternate.write(record, arguments.json)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipes", default="short", help=f"of {', '.join(RECIPES)}, with commas")
    parser.add_argument("--dataset", type=pathlib.Path, default=ROOT / "runs/data/kitchen")
    parser.add_argument("--workdir", type=pathlib.Path, default=ROOT / "runs/benchmarks/kitchen")
    parser.add_argument("--json", help="file of the record")
    arguments = parser.parse_args()
    return failures.exit_code(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
