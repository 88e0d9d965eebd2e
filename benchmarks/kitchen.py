"""What the network learns from the embedded corpus, over seeds, beside the baselines.

    python -m benchmarks.kitchen --seeds 3 [--recipes short,long] [--json FILE]

A seed is a training run and its evaluation on three tests, the harder two first (kitchen_runs.py).
All is kept in --workdir: a stopped benchmark goes on where it was, what is finished is not run
again. `ratio` is the smallest ratio of all.

The corpus is drawn in 2D by one renderer: nothing here says anything about real cooking video.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import alternate, kitchen_runs
from videobert_jax.cli import failures
from videobert_jax.kitchen import palette
from videobert_jax.tasks import report

RUNS = kitchen_runs.ROOT / "runs/benchmarks/kitchen"
RECIPES = {"short": "configs/kitchen.py", "long": "configs/kitchen_long.py"}
# (scoring of zero-shot labels, what retrieval ranks by); docs/results.md says how they were chosen.
# Of labels the records have all figures.
TOLD_BY = {"short": ("both", "towers"), "long": ("words_first", "both")}
MOTION_VERBS = frozenset(verb for group in palette.MOTION_GROUPS for verb in group)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A figure of ours beside a peer's on the same examples of a test.

    `peer_split` and `peer` where the peer's scores are; `targets` a recipe: for ours by the peer's,
    or for the difference where `as_points`.
    """

    name: str
    task: str
    ours: kitchen_runs.Score
    peer: kitchen_runs.Score
    targets: Mapping[str, float]
    as_points: bool = False
    splits: tuple[str, ...] = kitchen_runs.TESTS
    peer_split: str | None = None


def _label(slot: str, *, at: int = 1) -> kitchen_runs.Score:
    return lambda line: float(line[slot]["rank"] <= at) if slot in line else None


def _of_baseline(name: str, rank: str, *, at: int = 1) -> kitchen_runs.Score:
    return lambda line: float(line["baselines"][name][rank] <= at)


def _masked(slot: str, condition: str) -> kitchen_runs.Score:
    return lambda line: float(line[slot][condition]["rank"] <= 1) if slot in line else None


def _of_motion(score: kitchen_runs.Score) -> kitchen_runs.Score:
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
            peer_split=kitchen_runs.FROZEN,
        )
    )
    return found


def run_seed(recipe: str, seed: int, dataset: pathlib.Path, workdir: pathlib.Path) -> pathlib.Path:
    """Workdir of a seed, trained and evaluated; what is there already is kept."""
    run = workdir / f"{recipe}-{seed}"
    overrides = {"seed": seed, "data.path": dataset}
    kitchen_runs.train_and_evaluate(
        run, RECIPES[recipe], overrides, kitchen_runs.learning(*TOLD_BY[recipe])
    )
    return run


def compare(
    of: Comparison, recipe: str, split: str, runs: Sequence[pathlib.Path]
) -> dict[str, Any]:
    """Figures of a comparison on a test: ours, the peer's, their ratio or difference, intervals."""
    ours, videos = kitchen_runs.mean_scores(of.ours, of.task, split, runs)
    peer, _ = kitchen_runs.mean_scores(of.peer, of.task, of.peer_split or split, runs)
    value, low, high = kitchen_runs.contrast(ours, peer, videos, as_points=of.as_points)
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
    kitchen_runs.prepare(arguments.dataset)
    results, checkpoints = [], {}
    for recipe in recipes:
        runs = [
            run_seed(recipe, seed, arguments.dataset.resolve(), arguments.workdir.resolve())
            for seed in range(arguments.seeds)
        ]
        checkpoints |= {run.name: kitchen_runs.measured_checkpoint(run) for run in runs}
        results += [
            compare(of, recipe, split, runs)
            for split in kitchen_runs.TESTS
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
        **alternate.circumstances(["flax", "optax"]),
    }
    alternate.write(record, arguments.json)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipes", default="short", help=f"of {', '.join(RECIPES)}, with commas")
    parser.add_argument("--dataset", type=pathlib.Path, default=kitchen_runs.DATASET)
    parser.add_argument("--workdir", type=pathlib.Path, default=RUNS)
    parser.add_argument("--json", help="file of the record")
    arguments = parser.parse_args()
    return failures.exit_code(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
