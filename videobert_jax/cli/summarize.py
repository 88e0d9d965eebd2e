"""`videobert summarize WORKDIR`: what a run has learnt, where everything is, what to run next."""

import argparse
from typing import Any

from videobert_jax import configuration
from videobert_jax.files import storage
from videobert_jax.tasks import report
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.training import goodput, run_record, wall_time

HELP = "say in a few lines what a run has learnt and where everything is"
METRICS = {  # the lines that are shown of each task; of labels, those of every kind
    "zero_shot_classification": ("*_top1", "*_top5"),
    "linear_probe": ("*_top1",),
    "retrieval": (
        "text_to_video_R1",
        "text_to_video_R5",
        "text_to_video_median_rank",
        "text_to_video_same_action_R1",
        "text_to_video_same_action_R5",
        "reranked_text_to_video_R1",
        "reranked_text_to_video_R5",
    ),
    "fill_mask": ("*_accuracy_with_video",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workdir", help="folder of a run, or gs://BUCKET/FOLDER")


def run(arguments: argparse.Namespace) -> int:
    """Prints the summary. Raises EvaluationError where nothing was evaluated."""
    workdir = storage.path(arguments.workdir)
    storage.require_readable(workdir)
    print(summary(workdir))
    return 0


def summary(workdir: storage.Path) -> str:
    """The closing lines of a run, as text."""
    records = [report.read(path) for path in sorted((workdir / "eval").glob("*.json"))]
    if not records:
        raise EvaluationError(
            f"{workdir}: no result is in {workdir / 'eval'}; run `python eval.py "
            f"--workdir={workdir}` first."
        )
    order = {task: place for place, task in enumerate(METRICS)}
    records.sort(key=lambda record: order.get(record["task"], len(order)))
    lines: list[str] = []
    for record in records:
        data = record["dataset"]
        lines += [
            f"{record['task']} on {data['name']}/{data['split']} ({data['num_evaluated']} "
            f"examples, {record['setting']}, {report.described_system(record)})",
            report.table(record, metrics=METRICS.get(record["task"], ("*",))),
            "",
        ]
    notes = [note for record in records for note in record["notes"]]
    if report.KITCHEN_NOTE in notes:
        lines += [f"Of the kitchen: {report.KITCHEN_NOTE}.", ""]
    lines += [
        *_stages(workdir),
        *_times(workdir),
        *_places(workdir),
        "",
        "Next:",
        *_next_commands(workdir, records[0]),
    ]
    return "\n".join(lines)


def _stages(workdir: storage.Path) -> list[str]:
    """A line a stage of the run: its steps, and the settings that it changed."""
    path, lines, first = workdir / run_record.CONFIG_FILE, [], 0
    config = run_record.read_settings(workdir) if path.is_file() else {}
    for number, stage in enumerate(config.get("stages", [])):
        changed = configuration.flat_settings(stage)
        end = first + changed.pop("steps")
        said = ", ".join(f"{key}={value}" for key, value in changed.items())
        lines.append(f"{f'stages.{number}':<17} steps {first} to {end}; {said or 'as the run'}")
        first = end
    return lines


def _times(workdir: storage.Path) -> list[str]:
    """Where the time of the run went, in a line."""
    found = goodput.read(workdir)
    if found is None:
        return []
    seconds = wall_time.duration(found["wall_seconds"])
    return [f"{'time':<17} {wall_time.shares(found['seconds'])} of {seconds}"]


def _places(workdir: storage.Path) -> list[str]:
    named = {
        "checkpoints": workdir / "checkpoints",
        "TensorBoard logs": workdir / "tensorboard",
        "figures a step": workdir / "metrics.jsonl",
        "results": workdir / "eval",
        "exported weights": workdir / "export",
    }
    return [f"{name:<17} {path}" for name, path in named.items() if path.exists()]


def _next_commands(workdir: storage.Path, record: dict[str, Any]) -> list[str]:
    template = "first {verb} the {object}"
    commands = [
        f"  tensorboard --logdir {workdir / 'tensorboard'}",
        f"  python eval.py --workdir={workdir} --task=zero_shot_classification "
        f"--template='{template}' --output={workdir / 'another_template.json'}",
        f"  python eval.py --workdir={workdir} --task=retrieval --shortlist=50 "
        f"--output={workdir / 'longer_shortlist.json'}",
    ]
    if (workdir / "export").is_dir():
        commands[0] = (
            f"  python -c \"import videobert_jax; model = videobert_jax.load('{workdir}/export'); "
            "print(model.encode_text(['now chop the onion']).shape)\""
        )
    if record["task"] != "zero_shot_classification":
        commands[1] = f"  python eval.py --workdir={workdir} --task=fill_mask --seed=1"
    return commands
