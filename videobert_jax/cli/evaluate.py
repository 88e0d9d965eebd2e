"""`python eval.py` or `videobert evaluate`: a checkpoint or an export through one or several tasks.

python eval.py --workdir=runs/kitchen
python eval.py --checkpoint=WORKDIR@STEP --dataset=DIR --task=retrieval --output=FILE.json
python eval.py --workdir=runs/kitchen --split=test,validation
python eval.py --workdir=runs/kitchen --follow
python eval.py --predictions=FILE.npy --dataset=DIR --task=retrieval
python eval.py --workdir=runs/kitchen --report=runs/kitchen/report
"""

import argparse
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax

from videobert_jax import extensions, loading
from videobert_jax.cli import model_options, process_options, result_files, task_options
from videobert_jax.data import index, local_copy
from videobert_jax.files import storage
from videobert_jax.models.bundle import ModelBundle
from videobert_jax.report_page import page
from videobert_jax.tasks import (
    action_segmentation,
    captioning,
    fill_mask,
    labels,
    linear_probe,
    multiple_choice,
    predictions,
    question_answering,
    questions,
    report,
    retrieval,
    step_localization,
    zero_shot_classification,
)
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError, UnfitSplit, UntrainedHead
from videobert_jax.training import hardware, preemption

HELP = "measure a checkpoint or an export beside its baselines"
TASKS = (
    zero_shot_classification.NAME,
    linear_probe.NAME,
    retrieval.NAME,
    fill_mask.NAME,
    captioning.NAME,
    step_localization.NAME,
    action_segmentation.NAME,
    question_answering.NAME,
    multiple_choice.NAME,
)
TASK_NAMES = ("NAME", "evaluate")  # what a task of another package offers
FOLLOW_SECONDS = 30.0
SPLITS = ("test", "validation")  # taken in this order where none is said


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--checkpoint", help="WORKDIR, WORKDIR@STEP, WORKDIR@best or an export")
    which.add_argument(
        "--workdir", help="its newest verified step, its own dataset; output to DIR/eval"
    )
    which.add_argument(
        "--predictions",
        help="another system's: of retrieval a .npy of similarities [texts, videos], or ranks in a "
        ".npy with --direction or in .jsonl with example_id and text_to_video_rank, "
        "video_to_text_rank or both a line; of captioning JSON with an id and a caption each; "
        "needs --dataset and --task, output to FILE_eval",
    )
    parser.add_argument(
        "--ids",
        help="with --predictions: a file with the example of each row, its id or the line of it "
        "in FILE.examples.jsonl; default: rows are in the dataset's order",
    )
    parser.add_argument("--dataset", help="prepared dataset; default: the one trained on")
    parser.add_argument(
        "--task",
        help=f"one or several of {','.join(TASKS)}, or package.module; default: all that can be",
    )
    parser.add_argument(
        "--split",
        help=f"one or several; default: the first there is of {', '.join(SPLITS)}, whose results "
        "are TASK.json; those of another split, test_X or X, are TASK_X.json",
    )
    parser.add_argument(
        "--output",
        help="FILE.json for one result, a folder for several; default: WORKDIR/eval or EXPORT_eval",
    )
    parser.add_argument(
        "--report", help="folder to write a page of HTML of the results to, as `videobert report`"
    )
    parser.add_argument(
        "--follow",
        type=float,
        nargs="?",
        const=FOLLOW_SECONDS,
        metavar="SECONDS",
        help="with --workdir: evaluate each checkpoint of a run under way as it appears, to "
        "DIR/eval/STEP, until the last; look for new ones every so often (default "
        f"{FOLLOW_SECONDS:.0f} s)",
    )
    model_options.add_weights_argument(parser)
    _add_what_is_asked(parser)
    parser.add_argument(
        "--platform", default="", help="'cpu' says that an accelerator is left unused on purpose"
    )
    process_options.add(parser)
    task_options.add_retrieval(parser)
    task_options.add_zero_shot(parser)
    task_options.add_captioning(parser)
    task_options.add_whole_videos(parser)
    task_options.add_multiple_choice(parser)


def _add_what_is_asked(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="of hidden words and held-out videos")
    parser.add_argument(
        "--untrained-heads",
        action="store_true",
        help="ask heads that no objective ever taught, too, and say so in the record",
    )
    parser.add_argument("--limit", type=int, help="evaluate the first examples only")


def run(arguments: argparse.Namespace) -> int:
    """Evaluates, prints a table a task and writes the records. Always 0; raises what is wrong."""
    task_options.require_counts(arguments)
    if arguments.predictions is not None:
        score_predictions(arguments)
        return 0
    if arguments.ids is not None or arguments.direction is not None:
        raise EvaluationError(
            "--ids and --direction say what --predictions are of; name those too."
        )
    devices = hardware.start(arguments.platform, *process_options.of(arguments))
    if arguments.follow is not None:
        from videobert_jax.cli import follow

        _print(devices)
        return follow.run(arguments)
    name = arguments.workdir or arguments.checkpoint
    with preemption.together():
        bundle = loading.load_bundle(name, arguments.weights)
        output = storage.path(arguments.output) if arguments.output else None
        measure(bundle, arguments, name, output, devices)
    return 0


def measure(
    bundle: ModelBundle,
    arguments: argparse.Namespace,
    name: str,
    output: storage.Path | None,
    devices: str = "",
) -> None:
    """Runs the tasks that are asked for on every split, or all that can be, and writes their
    records.

    name: of the run or export. output: FILE.json or a folder, None for the default one. devices: a
    line to say first, once the arguments are found to be right.
    """
    given = arguments.dataset
    path = local_copy.opened_path(given) if given else own_dataset(bundle)
    dataset = index.open_dataset(path)
    splits = _splits(arguments.split, dataset)
    tasks = {split.name: _tasks(arguments.task, dataset, split, bundle) for split in splits}
    outputs = result_files.outputs(output, name, tasks, _default_split(dataset))
    context = EvaluationContext(
        bundle,
        dataset,
        splits[0],
        arguments.seed,
        arguments.limit,
        untrained_heads=arguments.untrained_heads,
    )
    if devices:
        _print(devices)
    reported = []
    for split in splits:
        context = context.on(split)
        _print(
            f"{bundle.name} step {bundle.step} ({bundle.weights} weights) on "
            f"{dataset.name}/{split.name} ({len(context.ids)} examples)"
        )
        for task in tasks[split.name]:
            begun = time.monotonic()
            try:
                result = evaluate(context, task, arguments)
            except (UnfitSplit, UntrainedHead) as error:
                if arguments.task is not None:
                    raise
                _leave_out(task, str(error))
                continue
            record = report.record(context, result)
            written = outputs[split.name, task]
            reported.append(written)
            if jax.process_index() == 0:
                report.write(record, result.examples, written)
            _print(f"\n{task}: {record['setting']}, {time.monotonic() - begun:.0f} s")
            _print(f"{report.table(record)}\n-> {written}")
    _report(arguments, reported)


def score_predictions(arguments: argparse.Namespace) -> None:
    """Measures what another system said of one split, in one task, and writes the record.

    Raises EvaluationError where that is not said, or the file does not fit.
    """
    of_checkpoints = [
        f"--{name}" for name in ("follow", "limit", "weights") if getattr(arguments, name)
    ]
    if of_checkpoints or None in (arguments.dataset, arguments.task):
        raise EvaluationError(
            "--predictions needs --dataset=DIR and --task=TASK, and all of a split; found --task="
            f"{arguments.task}, --dataset={arguments.dataset} {' '.join(of_checkpoints)}".rstrip()
        )
    file = storage.path(arguments.predictions)
    ids = storage.path(arguments.ids) if arguments.ids else None
    given = predictions.Given(ids, arguments.normalization, arguments.direction)
    for path in (file, ids):
        if path is not None and not path.is_file():
            raise EvaluationError(f"{path}: no such file; name the predictions of another system.")
    dataset = index.open_dataset(local_copy.opened_path(arguments.dataset))
    splits = _splits(arguments.split, dataset)
    tasks = {split.name: _tasks(arguments.task, dataset, split, None) for split in splits}
    output = storage.path(arguments.output or file.with_name(f"{file.name}_eval"))
    outputs = result_files.outputs(output, "", tasks, _default_split(dataset))
    if len(outputs) > 1:
        raise EvaluationError("--predictions are of one task on one split; name one of each.")
    ((split, task), written), *_ = outputs.items()
    context, result = predictions.evaluate(
        task,
        file,
        given,
        dataset,
        dataset.split(split),
        seed=arguments.seed,
    )
    record = report.record(context, result)
    report.write(record, result.examples, written)
    print(f"{file} on {dataset.name}/{split} ({len(result.examples)} examples)")
    print(f"{report.table(record)}\n-> {written}")
    _report(arguments, [written])


def _report(arguments: argparse.Namespace, written: list[storage.Path]) -> None:
    """Writes the page of the results, where one is asked for."""
    if arguments.report is not None and jax.process_index() == 0:
        print(f"-> {page.write(written, storage.path(arguments.report))}")


def _print(text: str) -> None:
    """Once, however many processes there are."""
    if jax.process_index() == 0:
        print(text, flush=True)


def evaluate(context: EvaluationContext, task: str, arguments: argparse.Namespace) -> Any:
    """The result of one task by the settings on the command line."""
    if extensions.is_path(task):
        return _evaluate_own(context, task)
    if task == retrieval.NAME:
        return retrieval.evaluate(
            context,
            shortlist=arguments.shortlist,
            normalization=arguments.normalization,
            rank_by=arguments.rank_by,
        )
    if task == linear_probe.NAME:
        return linear_probe.evaluate(context)
    if task == fill_mask.NAME:
        return fill_mask.evaluate(context)
    if task == captioning.NAME:
        return captioning.evaluate(context, task_options.captioning_settings(arguments))
    if task == step_localization.NAME:
        return step_localization.evaluate(context, task_options.localization_settings(arguments))
    if task == action_segmentation.NAME:
        return action_segmentation.evaluate(context, task_options.segmentation_settings(arguments))
    if task == question_answering.NAME:
        return question_answering.evaluate(context)
    if task == multiple_choice.NAME:
        return multiple_choice.evaluate(context, choose_by=arguments.choose_by)
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


def _evaluate_own(context: EvaluationContext, task: str) -> report.TaskResult:
    """The result of a task of another package. Raises EvaluationError where it gives none."""
    result = extensions.load(task, TASK_NAMES, "--task").evaluate(context)
    if not isinstance(result, report.TaskResult):
        raise EvaluationError(
            f"--task={task}: evaluate gave a {type(result).__name__}; expected a TaskResult of "
            "videobert_jax.tasks.report."
        )
    return result


def known_tasks(asked: Sequence[str]) -> list[str]:
    """TASKS, and those asked for that are modules of other packages; these are imported.

    Raises ExtensionError where one cannot be, or is no task.
    """
    paths = [task for task in asked if extensions.is_path(task)]
    for path in paths:
        extensions.load(path, TASK_NAMES, "--task")
    return [*TASKS, *paths]


def evaluate_by_default(context: EvaluationContext, task: str) -> Any:
    """As `evaluate`, where the command line says nothing."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return evaluate(context, task, parser.parse_args(["--workdir="]))


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


def _tasks(
    asked: str | None, dataset: index.Dataset, split: index.Split, bundle: ModelBundle | None
) -> list[str]:
    """The tasks that are asked for, or all that split and network have what they need for."""
    if asked is None:
        left_out = {}
        if not labels.kinds(dataset, split):
            left_out[zero_shot_classification.NAME] = f"split {split.name!r} has no labels"
        if bundle is not None and not bundle.config.decoder.num_layers:
            left_out[captioning.NAME] = "the network has no decoder"
        for task in (step_localization, action_segmentation):
            if reason := task.unfit(split):
                left_out[task.NAME] = reason
        left_out |= questions.unfit(dataset, split, bundle, TASKS)
        for task, reason in left_out.items():
            _leave_out(task, reason)
        return [task for task in TASKS if task not in left_out]
    tasks = [task.strip() for task in asked.split(",")]
    unknown = sorted(set(tasks) - set(known_tasks(tasks)))
    if unknown:
        raise EvaluationError(
            f"--task={asked}: {unknown} is none of {', '.join(TASKS)}, and no package.module."
        )
    return tasks


def _leave_out(task: str, reason: str) -> None:
    print(f"{task}: left out, {reason}", file=sys.stderr)
