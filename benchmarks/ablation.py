"""What each objective adds on the embedded corpus: left out of the recipe, or put into it.

    python -m benchmarks.ablation --seeds 3 [--only cascade,matching] [--shard I/N] [--json FILE]

A run takes 1,000 steps, three fifths of the recipe's, five minutes on one core and more. What its
examples scored is a line of --scores at once (kept_scores.py); a run that has its line is not made
again, and one that was stopped goes on in its folder in --workdir. So docs/ablation.jsonl alone
gives the table. A figure is the mean over the seeds and over the examples of all three tests;
`adds` is its difference with and without the objective, in points of 100, with a 95 % interval.
`ratio` is the recipe's mean over all figures by that of the best run without one of its objectives.

The corpus is drawn in 2D by one renderer: nothing here says anything about real cooking video.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks import alternate, kept_scores, kitchen_runs
from configs import base
from videobert_jax import configuration
from videobert_jax.cli import failures
from videobert_jax.tasks import report
from videobert_jax.training import run_record

RUNS = kitchen_runs.ROOT / "runs/benchmarks/ablation"
SCORES = kitchen_runs.ROOT / "docs/ablation.jsonl"
CONFIG = "configs/kitchen.py"
RECIPE = "recipe"
EVALUATIONS = (
    kitchen_runs.Evaluation(kitchen_runs.TASKS, flags=("--untrained-heads",), scoring="both"),
)
_EVERY = {"training.num_steps": 1000, "training.eval_every": 0}


@dataclasses.dataclass(frozen=True)
class Ablation:
    """The recipe with one objective changed by `overrides`.

    is_added: whether they put it in; else they leave it out. file: the setting that names a file of
    the corpus, one of kitchen_runs.FILES, which is then made.
    """

    name: str
    overrides: Mapping[str, Any]
    is_added: bool = False
    file: str = ""


ABLATIONS = (
    Ablation("contrastive", {"objectives.contrastive.weight": 0.0}),
    Ablation("matching", {"objectives.matching.weight": 0.0}),
    Ablation("masked_language", {"objectives.masked_language.weight": 0.0}),
    Ablation("masked_video", {"objectives.masked_video.weight": 0.0}),
    Ablation("hard_negatives", {"objectives.matching.negatives": "hard"}, is_added=True),
    Ablation(
        "bag_of_words",
        {"model.bag_of_words_head": True, "objectives.bag_of_words.weight": 1.0},
        is_added=True,
    ),
    Ablation(
        "token_contrastive",
        {"model.token_head": True, "objectives.token_contrastive.weight": 1.0},
        is_added=True,
        file="data.content_words",
    ),
    Ablation("cascade", {"objectives.cascade.weight": 1.0}, is_added=True),
    Ablation(
        "captioning",
        {
            "model.decoder.num_layers": 1,
            "data.target_length": 64,  # as the rows of text
            "objectives.captioning.weight": 1.0,
            "objectives.captioning.inputs": "video",
        },
        is_added=True,
    ),
    Ablation(
        "visual_words",
        {
            "model.masked_video_head": "visual_words",
            "model.visual_words.branching": kitchen_runs.BRANCHING,
            "model.visual_words.depth": 1,
        },
        is_added=True,
        file="data.visual_words",
    ),
    Ablation("regression", {"model.masked_video_head": "regression"}, is_added=True),
)


def _zero_shot(slot: str, variant: str) -> kitchen_runs.Score:
    return lambda line: float(line[slot]["rank_by"][variant] <= 1) if slot in line else None


def _masked(slot: str) -> kitchen_runs.Score:
    return lambda line: float(line[slot]["with_video"]["rank"] <= 1) if slot in line else None


def figures() -> dict[str, tuple[str, kitchen_runs.Score]]:
    """Name of a figure -> (its task, an example's score)."""
    zero_shot, retrieval, fill_mask = kitchen_runs.TASKS
    found = {
        f"{slot} by {variant}": (zero_shot, _zero_shot(slot, variant))
        for slot in ("verb", "object")
        for variant in ("cloze", "joint_space", "both")
    }
    found["text to video R5"] = (retrieval, lambda line: float(line["text_to_video_rank"] <= 5))
    return found | {f"masked {slot}": (fill_mask, _masked(slot)) for slot in ("verb", "object")}


def adds(
    of: Ablation,
    scores: kept_scores.KeptScores,
    recipe: Sequence[kept_scores.Line],
    changed: Sequence[kept_scores.Line],
    splits: Sequence[str] = kitchen_runs.TESTS,
) -> dict[str, dict[str, Any]]:
    """Figure -> {with, without, adds, interval} of an objective over the examples of `splits`.

    recipe, changed: runs, one a seed.
    """
    sides = (changed, recipe) if of.is_added else (recipe, changed)
    found = {}
    for name in figures():
        (having, videos), (lacking, _) = (scores.means(name, runs, splits) for runs in sides)
        value, low, high = kitchen_runs.contrast(having, lacking, videos, as_points=True)
        found[name] = {
            "with": float(having.mean()),
            "without": float(lacking.mean()),
            "adds": value,
            "interval": [low, high],
        }
    return found


def table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Points of 100 that each objective adds to each figure, with intervals."""
    rows = [("figure", *results)]
    for name in figures():
        cells = []
        for of in results.values():
            low, high = of[name]["interval"]
            cells.append(f"{100 * of[name]['adds']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})")
        rows.append((name, *cells))
    return report.aligned(rows)


def _mean_ratio(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> float | None:
    """The recipe's mean figure by the best one without an objective; None with none left out."""
    left_out = [results[of.name] for of in ABLATIONS if of.name in results and not of.is_added]
    means = [
        {side: np.mean([figure[side] for figure in of.values()]) for side in ("with", "without")}
        for of in left_out
    ]
    return min((float(of["with"] / of["without"]) for of in means), default=None)


def named(names: str) -> list[Ablation]:
    """Those of these names, with commas; all where none is named."""
    wanted = names.split(",") if names else [of.name for of in ABLATIONS]
    known = {of.name: of for of in ABLATIONS}
    if unknown := sorted(set(wanted) - set(known)):
        raise alternate.BenchmarkError(f"--only={names}: {unknown} is none of {list(known)}.")
    return [known[name] for name in wanted]


def _settings(of: Ablation, seed: int) -> dict[str, Any]:
    """What a run sets otherwise than the recipe, but for its files."""
    return {**_EVERY, "seed": seed, **of.overrides}


def _about(of: Ablation, seed: int) -> dict[str, Any]:
    """What the line of a run is told by, the recipe among it."""
    return {**_settings(of, seed), "recipe": recipe_digest(CONFIG)}


@functools.cache
def recipe_digest(config: str) -> str:
    """Tells what a config file sets otherwise than configs/base.py from what another sets."""
    recipe, defaults = (
        configuration.flat_settings(configuration.to_json(made))
        for made in (configuration.load_file(str(kitchen_runs.ROOT / config)), base.get_config())
    )
    changed = {
        name: value
        for name, value in recipe.items()
        if defaults.get(name) != value and not run_record.is_younger_default(name, value)
    }
    text = json.dumps(changed, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _name(line: kept_scores.Line) -> str:
    return f"{line['run']}-{line['about']['seed']}"


def trained(of: Ablation, seed: int, dataset: pathlib.Path, workdir: pathlib.Path) -> pathlib.Path:
    """Folder of a run in `workdir`, trained and evaluated; what is there already is kept."""
    dataset, folder = dataset.resolve(), workdir.resolve() / f"{of.name}-{seed}"
    kitchen_runs.prepare(dataset)
    settings = {**_settings(of, seed), "data.path": dataset}
    if of.file:
        settings[of.file] = kitchen_runs.file_of(dataset, of.file)
    kitchen_runs.train_and_evaluate(folder, CONFIG, settings, EVALUATIONS)
    return folder


def _keep(of: Ablation, seed: int, scores: kept_scores.KeptScores, folder: pathlib.Path) -> None:
    """Keeps what the examples of a run scored."""
    checkpoint = kitchen_runs.measured_checkpoint(folder, EVALUATIONS)
    hardware = alternate.hardware()
    scores.add(of.name, _about(of, seed), folder, checkpoint=checkpoint, hardware=hardware)


def run(arguments: argparse.Namespace) -> int:
    if arguments.seeds < 1:
        raise alternate.BenchmarkError(f"--seeds={arguments.seeds}: expected 1 or more.")
    chosen = named(arguments.only)
    scores = kept_scores.KeptScores(arguments.scores, figures())
    seeds = range(arguments.seeds)  # a whole seed first: what is there early can be read
    wanted = [(of, seed) for seed in seeds for of in (Ablation(RECIPE, {}), *chosen)]
    for of, seed in wanted[arguments.shard]:
        if scores.find(of.name, _about(of, seed)) is None:
            folder = trained(of, seed, arguments.dataset, arguments.workdir)
            _keep(of, seed, scores, folder)
    runs: dict[str, list[kept_scores.Line]] = {}
    missing = []
    for of, seed in wanted:
        if (line := scores.find(of.name, _about(of, seed))) is not None:
            runs.setdefault(of.name, []).append(line)
        else:
            missing.append(f"{of.name}-{seed}")
    if missing:
        print(f"{len(missing)} of {len(wanted)} runs are of other shards: {', '.join(missing)}")
        return 0

    def added(splits: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
        return {of.name: adds(of, scores, runs[RECIPE], runs[of.name], splits) for of in chosen}

    results = added(kitchen_runs.TESTS)
    print(table(results))
    every = [line for of_name in runs.values() for line in of_name]
    record = {
        "benchmark": "ablation",
        "ratio": _mean_ratio(results),
        "figures": results,
        "figures_of_tests": {split: added([split]) for split in kitchen_runs.TESTS},
        "seeds": arguments.seeds,
        "checkpoints": {_name(line): line["checkpoint"] for line in every},
        "commits": sorted({line["commit"] for line in every}),
        "notes": "drawn in 2D by one renderer; says nothing about real cooking video",
        **alternate.circumstances(["flax", "optax"]),
    }
    alternate.write(record, arguments.json)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--only", default="", help=f"of {', '.join(of.name for of in ABLATIONS)}, with commas"
    )
    parser.add_argument("--dataset", type=pathlib.Path, default=kitchen_runs.DATASET)
    parser.add_argument("--workdir", type=pathlib.Path, default=RUNS)
    parser.add_argument("--scores", type=pathlib.Path, default=SCORES, help="appended to")
    alternate.add_shard(parser, "runs")
    parser.add_argument("--json", help="file of the record")
    arguments = parser.parse_args()
    return failures.exit_code(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
