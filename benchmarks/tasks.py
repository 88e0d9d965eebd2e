"""One pretrained network of the embedded corpus in every task, over seeds, beside the baselines.

    python -m benchmarks.tasks --seeds 3 [--without lxmert] [--json FILE]

A seed is one pretraining run, evaluated as it is, and fine-tuned to caption, to answer questions,
to find steps and to segment; all on three tests, the harder two first (kitchen_runs.py). Beside
each figure stand chance, the supervised linear baseline of its record, ridge regression from the
same clip features, and LXMERT of Hugging Face, trained on the same examples (lxmert_column.py),
where it has what the row asks for. All is kept in --workdir: a stopped benchmark goes on where it
was, what is finished is not run again. `ratio` is the smallest ratio of ours to the best other.

The corpus is drawn in 2D by one renderer: nothing here says anything about real cooking video.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import alternate, kitchen_runs, lxmert_column, lxmert_runs
from benchmarks.kitchen_runs import Evaluation
from videobert_jax.cli import failures
from videobert_jax.tasks import report
from videobert_jax.tasks.metrics.statistic import Statistic

RUNS = kitchen_runs.ROOT / "runs/benchmarks/tasks"
DATASETS = ("kitchen", "kitchen_captions", "kitchen_qa")
SPLITS = kitchen_runs.TESTS
PRETRAINED = "pretrained"
CHANCE, RIDGE = "chance", "supervised_ridge"
LXMERT = lxmert_column.NAME
KINDS = ("verb", "object", "container")
Runs = Mapping[str, Sequence[pathlib.Path]]  # stage -> its run of each seed


@dataclasses.dataclass(frozen=True)
class Stage:
    """A training run: its config, the dataset that it learns from, what is measured of it."""

    config: str
    dataset: str
    evaluations: tuple[Evaluation, ...]


@dataclasses.dataclass(frozen=True)
class Figure:
    """A metric of a task's records, of the runs of a stage.

    by_ridge: keys of a line's baseline to its number; () for those that ours has in the line.
    """

    stage: str
    task: str
    metric: str
    by_ridge: tuple[str, ...] = ()


def stages(data: pathlib.Path) -> dict[str, Stage]:
    """The pretraining and what begins with it, with the datasets in the folder `data`."""
    as_it_is = (
        "zero_shot_classification",
        "retrieval",
        "step_localization",
        "action_segmentation",
        "linear_probe",
    )
    # Chosen by what was pretrained: fine-tuning to answer leaves out the joint space.
    chosen = Evaluation(("multiple_choice",), flags=(f"--dataset={data / 'kitchen_qa'}",))
    return {
        PRETRAINED: Stage(
            "configs/kitchen.py", "kitchen", (Evaluation(as_it_is, scoring="both"), chosen)
        ),
        "captioning": Stage(
            "configs/kitchen_captioning.py", "kitchen_captions", (Evaluation(("captioning",)),)
        ),
        "qa": Stage("configs/kitchen_qa.py", "kitchen_qa", (Evaluation(("question_answering",)),)),
        "localization": Stage(
            "configs/kitchen_localization.py", "kitchen", (Evaluation(("step_localization",)),)
        ),
        "segmentation": Stage(
            "configs/kitchen_segmentation.py", "kitchen", (Evaluation(("action_segmentation",)),)
        ),
    }


def figures() -> list[Figure]:
    """The rows of the table."""
    recalls = ("text_to_video_R1", "text_to_video_R5", "video_to_text_R1", "video_to_text_R5")
    return [
        *(
            Figure(PRETRAINED, "zero_shot_classification", f"{kind}_top1", (f"{kind}_rank",))
            for kind in KINDS
        ),
        *(
            Figure(PRETRAINED, "linear_probe", f"{kind}_video_tower_top1", (f"{kind}_rank",))
            for kind in KINDS
        ),
        *(Figure(PRETRAINED, "retrieval", metric) for metric in recalls),
        *(Figure("captioning", "captioning", f"exact_{kind}") for kind in KINDS),
        Figure("qa", "question_answering", "accuracy"),
        Figure(PRETRAINED, "multiple_choice", "accuracy"),
        Figure(PRETRAINED, "step_localization", "average_recall"),
        Figure("localization", "step_localization", "average_recall"),
        Figure(PRETRAINED, "action_segmentation", "frame_accuracy"),
        Figure("segmentation", "action_segmentation", "frame_accuracy"),
    ]


def run_seed(seed: int, data: pathlib.Path, workdir: pathlib.Path) -> dict[str, pathlib.Path]:
    """Stage -> its workdir of a seed, trained and evaluated; what is there already is kept."""
    found: dict[str, pathlib.Path] = {}
    for name, stage in stages(data).items():
        overrides = {"seed": seed, "data.path": data / stage.dataset}
        if name != PRETRAINED:
            overrides["init.checkpoint"] = found[PRETRAINED]
        found[name] = workdir / f"{name}-{seed}"
        kitchen_runs.train_and_evaluate(found[name], stage.config, overrides, stage.evaluations)
    return found


def compare(of: Figure, split: str, runs: Runs, lxmert: Runs | None = None) -> dict[str, Any]:
    """A row of the table: ours, chance, the others, and ours less the best of them.

    lxmert: its runs, None where it is left out. Raises BenchmarkError where it was measured on
    other examples.
    """
    records = [kitchen_runs.record(run, of.task, split) for run in runs[of.stage]]
    statistic = Statistic.from_json(records[0]["statistics"][of.metric])
    by_ridge = dataclasses.replace(
        statistic, path=("baselines", RIDGE, *(of.by_ridge or statistic.path))
    )
    weight = Statistic.mean(*statistic.weight)

    def scores(of_line: Statistic) -> tuple[np.ndarray, np.ndarray]:
        return kitchen_runs.mean_scores(_score(of_line), of.task, split, runs[of.stage])

    (ours, videos), (ridge, _) = scores(statistic), scores(by_ridge)
    weights = scores(weight)[0] if statistic.weight else np.ones(len(ours))
    others, not_run = {"ridge": ridge}, {}
    if lxmert is not None:
        if reason := lxmert_column.NOT_RUN.get((of.stage, of.task)):
            not_run[LXMERT] = reason
        else:
            others[LXMERT] = _of_lxmert(of, split, records[0], lxmert[of.stage])
    means = {name: float(np.average(other, weights=weights)) for name, other in others.items()}
    best = max(means, key=lambda name: means[name])
    mean = float(np.average(ours, weights=weights))
    less, low, high = kitchen_runs.contrast(
        ours, others[best], videos, as_points=True, weights=weights
    )
    return {
        "stage": of.stage,
        "task": of.task,
        "figure": of.metric,
        "split": split,
        "chance": float(np.mean([one["baselines"][CHANCE][of.metric] for one in records])),
        **means,
        "not_run": not_run,
        "ours": mean,
        "best_other": best,
        "difference": less,
        "interval": [low, high],
        "ratio": mean / means[best] if means[best] else None,
        "examples": len(ours),
        "seeds": len(records),
    }


def _of_lxmert(
    of: Figure, split: str, ours: Mapping[str, Any], runs: Sequence[pathlib.Path]
) -> np.ndarray:
    """Its mean score over its runs of every example of our record."""
    for run in runs:
        measured = kitchen_runs.record(run, of.task, split)["dataset"]
        if measured != ours["dataset"]:
            raise alternate.BenchmarkError(
                f"{kitchen_runs.record_file(run, of.task, split)} is of {measured}, our record of "
                f"{ours['dataset']}; remove it and run the same command again."
            )
    record = kitchen_runs.record(runs[0], of.task, split)
    statistic = Statistic.from_json(record["statistics"][of.metric])
    return kitchen_runs.mean_scores(_score(statistic), of.task, split, runs)[0]


def _score(statistic: Statistic) -> kitchen_runs.Score:
    def score(line: kitchen_runs.Line) -> float | None:
        values, _ = statistic.read([line])
        return float(values[0]) if len(values) else None

    return score


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """The results as lines of text, in percent and points of 100."""
    with_lxmert = any(LXMERT in of or of["not_run"] for of in results)
    systems = (CHANCE, "ridge", *([LXMERT] if with_lxmert else []), "ours")
    rows = [["task", "figure", "stage", "test", *systems, "less best other", "95 %"]]
    for result in results:
        low, high = (100 * end for end in result["interval"])
        rows.append(
            [
                *(result[key] for key in ("task", "figure", "stage", "split")),
                *(f"{100 * result[one]:.1f}" if one in result else "not run" for one in systems),
                f"{100 * result['difference']:+.1f} ({result['best_other']})",
                f"{low:+.1f} to {high:+.1f}",
            ]
        )
    reasons = {
        f"{of['task']}, {of['stage']}: {name} not run: {reason}": None
        for of in results
        for name, reason in of["not_run"].items()
    }
    return "\n".join([report.aligned(rows), *reasons])


def run(arguments: argparse.Namespace) -> int:
    if arguments.seeds < 1:
        raise alternate.BenchmarkError(f"--seeds={arguments.seeds}: expected 1 or more.")
    data, workdir = arguments.data.resolve(), arguments.workdir.resolve()
    column = None if LXMERT in arguments.without else lxmert_column.Column(data, workdir / LXMERT)
    if column is not None:
        lxmert_runs.torch()  # raises at once where it is not installed
    for name in DATASETS:
        kitchen_runs.prepare(data / name, name)
    seeds = [run_seed(seed, data, workdir) for seed in range(arguments.seeds)]
    runs = {stage: [of_seed[stage] for of_seed in seeds] for stage in seeds[0]}
    lxmert = None
    if column is not None:
        lxmert = lxmert_column.by_stage(column.run_seed(seed) for seed in range(arguments.seeds))
    results = [compare(of, split, runs, lxmert) for split in SPLITS for of in figures()]
    print(table(results))
    record = {
        "benchmark": "tasks",
        "ratio": min((of["ratio"] for of in results if of["ratio"] is not None), default=None),
        "figures": results,
        "checkpoints": {
            one.name: kitchen_runs.measured_checkpoint(one, stage.evaluations)
            for name, stage in stages(data).items()
            for one in runs[name]
        },
        LXMERT: column.describe(lxmert) if column is not None and lxmert is not None else None,
        "notes": "drawn in 2D by one renderer; says nothing about real cooking video",
        **alternate.circumstances(
            ["flax", "optax", *([] if column is None else ["torch", "transformers"])]
        ),
    }
    alternate.write(record, arguments.json)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--data",
        type=pathlib.Path,
        default=kitchen_runs.DATASET.parent,
        help=f"folder of the datasets {', '.join(DATASETS)}; prepared where they are not yet",
    )
    parser.add_argument("--workdir", type=pathlib.Path, default=RUNS)
    parser.add_argument(
        "--without", action="append", default=[], choices=[LXMERT], help="a column to leave out"
    )
    parser.add_argument("--json", help="file of the record")
    arguments = parser.parse_args()
    return failures.exit_code(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
