"""`python eval.py` or `videobert evaluate`: a checkpoint or an export through one or several tasks.

python eval.py --workdir=runs/kitchen
python eval.py --checkpoint=WORKDIR@STEP --dataset=DIR --task=retrieval --output=FILE.json
python eval.py --workdir=runs/kitchen --split=test,validation
"""

import argparse
import itertools
import pathlib
import sys
import time
from typing import Any

import jax

from videobert_jax.data import index, local_copy
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.models.config import WEIGHTS
from videobert_jax.tasks import fill_mask, labels, report, retrieval, zero_shot_classification
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.training import hardware

HELP = "measure a checkpoint or an export beside its baselines"
TASKS = (zero_shot_classification.NAME, retrieval.NAME, fill_mask.NAME)
SPLITS = ("test", "validation")  # taken in this order where none is said


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--checkpoint", help="WORKDIR, WORKDIR@STEP or the folder of an export")
    which.add_argument(
        "--workdir", help="its newest verified step, its own dataset; output to DIR/eval"
    )
    parser.add_argument("--dataset", help="prepared dataset; default: the one trained on")
    parser.add_argument(
        "--task", help=f"one or several of {','.join(TASKS)}; default: all that the split allows"
    )
    parser.add_argument(
        "--split",
        help=f"one or several; default: the first there is of {', '.join(SPLITS)}, whose results "
        "are TASK.json; those of another split, test_X or X, are TASK_X.json",
    )
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        help="FILE.json for one result, a folder for several; default: WORKDIR/eval or EXPORT_eval",
    )
    parser.add_argument(
        "--weights",
        choices=WEIGHTS,
        help="ema: the moving average of a run with optimizer.ema_decay, default where there is "
        "one; raw: the weights as they are",
    )
    parser.add_argument("--seed", type=int, default=0, help="of hidden words and held-out videos")
    parser.add_argument("--limit", type=int, help="evaluate the first examples only")
    parser.add_argument(
        "--template",
        action="append",
        default=[],
        help="cloze with {verb}, {object} or another kind of label, or two [MASK]; repeat it for "
        "an ensemble; 'dataset' takes the dataset's own. Default: the paper's, and the dataset's "
        "for kinds that it lacks",
    )
    parser.add_argument(
        "--platform", default="", help="'cpu' says that an accelerator is left unused on purpose"
    )
    parser.add_argument(
        "--scoring",
        choices=zero_shot_classification.SCORINGS,
        default=zero_shot_classification.CLOZE,
        help="of zero-shot labels: by cloze, by sentences in the joint space, by the words that "
        "the caption is expected to have (networks with that head), by two of them (both: cloze "
        "and joint space; towers: joint space and words) or by all; the record has every way's "
        "figures",
    )
    parser.add_argument(
        "--calibration",
        choices=zero_shot_classification.CALIBRATIONS,
        default=zero_shot_classification.NO_CALIBRATION,
        help="prior: of scores by cloze, subtract those without the video",
    )
    parser.add_argument(
        "--shortlist",
        type=int,
        default=retrieval.SHORTLIST,
        help="candidates that retrieval re-ranks by the fused network; 0: none",
    )


def run(arguments: argparse.Namespace) -> int:
    """Evaluates, prints a table a task and writes the records. Always 0; raises what is wrong."""
    devices = hardware.start(arguments.platform)
    name = arguments.workdir or arguments.checkpoint
    bundle = load_bundle(name, arguments.weights)
    dataset = index.open_dataset(arguments.dataset or own_dataset(bundle))
    splits = _splits(arguments.split, dataset)
    tasks = {split.name: _tasks(arguments.task, dataset, split) for split in splits}
    outputs = _outputs(arguments.output, name, tasks, _default_split(dataset))
    context = EvaluationContext(bundle, dataset, splits[0], arguments.seed, arguments.limit)
    _print(devices)
    for split in splits:
        context = context.on(split)
        _print(
            f"{bundle.name} step {bundle.step} ({bundle.weights} weights) on "
            f"{dataset.name}/{split.name} ({len(context.ids)} examples)"
        )
        for task in tasks[split.name]:
            begun = time.monotonic()
            result = evaluate(context, task, arguments)
            record = report.record(context, result)
            output = outputs[split.name, task]
            if jax.process_index() == 0:
                report.write(record, result.examples, output)
            _print(f"\n{task}: {record['setting']}, {time.monotonic() - begun:.0f} s")
            _print(f"{report.table(record)}\n-> {output}")
    return 0


def _print(text: str) -> None:
    """Once, however many processes there are."""
    if jax.process_index() == 0:
        print(text, flush=True)


def evaluate(context: EvaluationContext, task: str, arguments: argparse.Namespace) -> Any:
    """The result of one task by the settings on the command line."""
    if task == retrieval.NAME:
        return retrieval.evaluate(context, shortlist=arguments.shortlist)
    if task == fill_mask.NAME:
        return fill_mask.evaluate(context)
    texts = arguments.template
    if texts == ["dataset"]:
        texts = context.dataset.metadata.get("templates", [])
        if not texts:
            raise EvaluationError(
                f"--template=dataset: {context.dataset.path} declares no templates; give one."
            )
    return zero_shot_classification.evaluate(
        context,
        template_texts=texts,
        scoring=arguments.scoring,
        calibration=arguments.calibration,
    )


def load_bundle(name: str, weights: str | None = None) -> ModelBundle:
    """The network of WORKDIR, WORKDIR@STEP or of an export's folder.

    weights: RAW or EMA; None takes the moving average where there is one. Raises EvaluationError
    where the folder is neither or an export has the others, and what the loaders raise.
    """
    folder = pathlib.Path(name.rsplit("@", 1)[0] if _has_step(name) else name)
    if (folder / "checkpoints").is_dir():
        from videobert_jax.training import checkpoint

        return checkpoint.load_bundle(name, weights)
    if any(folder.glob("*.safetensors")):
        from videobert_jax.export import safetensors

        bundle = safetensors.load_bundle(folder)
        if weights not in (None, bundle.weights):
            raise EvaluationError(
                f"--weights={weights}: {name} is an export of the {bundle.weights} weights; take "
                "those, or the run's workdir."
            )
        return bundle
    raise EvaluationError(
        f"{name}: expected a workdir (with checkpoints/), WORKDIR@STEP, or an export (with "
        f"*.safetensors); found {'neither in this folder' if folder.is_dir() else 'no folder'}."
    )


def _has_step(name: str) -> bool:
    return "@" in name and name.rsplit("@", 1)[1].isdigit()


def own_dataset(bundle: ModelBundle) -> str:
    """Path of the dataset of the run's first source. Raises EvaluationError where it is gone."""
    path = local_copy.dataset_path(bundle.data, bundle.data.sources[0])
    if not (pathlib.Path(path) / index.DATASET_FILE).is_file():
        raise EvaluationError(
            f"the dataset that {bundle.name} was trained on is not at {path}; say where it is: "
            "--dataset=DIR."
        )
    return path


def _default_split(dataset: index.Dataset) -> str | None:
    """The first of SPLITS that there is."""
    return next((name for name in SPLITS if name in dataset.splits), None)


def _splits(asked: str | None, dataset: index.Dataset) -> list[index.Split]:
    """The splits that are asked for, or the default one."""
    asked = asked or _default_split(dataset)
    if asked is None:
        raise EvaluationError(
            f"{dataset.path} has none of the splits {', '.join(SPLITS)}; say --split="
            f"{'|'.join(dataset.splits)}."
        )
    names = [name.strip() for name in asked.split(",")]
    if len(set(names)) < len(names):
        raise EvaluationError(f"--split={asked} names a split twice; name each once.")
    return [dataset.split(name) for name in names]


def _tasks(asked: str | None, dataset: index.Dataset, split: index.Split) -> list[str]:
    """The tasks that are asked for, or all that the split has what they need for."""
    if asked is None:
        if labels.kinds(dataset, split):
            return list(TASKS)
        print(f"{TASKS[0]}: left out, split {split.name!r} has no labels", file=sys.stderr)
        return list(TASKS[1:])
    tasks = [task.strip() for task in asked.split(",")]
    unknown = sorted(set(tasks) - set(TASKS))
    if unknown:
        raise EvaluationError(f"--task={asked}: {unknown} is none of {', '.join(TASKS)}.")
    return tasks


def _outputs(
    output: pathlib.Path | None, name: str, tasks: dict[str, list[str]], default: str | None
) -> dict[tuple[str, str], pathlib.Path]:
    """(split, task) -> FILE.json, of the tasks of each split: TASK.json of the default split,
    TASK_SPLIT.json of another, so that one never takes the place of the other.

    Raises EvaluationError where one file would hold several results.
    """
    results = [(split, task) for split, of_split in tasks.items() for task in of_split]
    if output is not None and output.suffix == ".json":
        if len(results) > 1:
            listed = ", ".join(f"{task} on {split}" for split, task in results)
            raise EvaluationError(
                f"--output={output} is one file for {len(results)} results ({listed}); name a "
                "folder, or say one --task and one --split."
            )
        return {results[0]: output}
    if output is None:
        folder = pathlib.Path(name.rsplit("@", 1)[0] if _has_step(name) else name)
        # An export is replaced as a whole: what is measured of it stands beside it.
        is_export = any(folder.glob("*.safetensors"))
        output = pathlib.Path(f"{folder.resolve()}_eval") if is_export else folder / "eval"
    endings = {split: "" if split == default else _ending(split) for split in tasks}
    for split, other in itertools.combinations(tasks, 2):
        if endings[split] == endings[other]:
            raise EvaluationError(
                f"the results of the splits {split} and {other} would both be in files that end in "
                f"{endings[other]}.json; evaluate one of them by itself, with --output=FOLDER."
            )
    return {(split, task): output / f"{task}{endings[split]}.json" for split, task in results}


def _ending(split: str) -> str:
    """Of the names of another split's files: "_unseen_pairs" of "test_unseen_pairs"."""
    return split.removeprefix("test") if split.startswith("test_") else f"_{split}"
