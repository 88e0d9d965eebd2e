"""Results as records: everything that a figure depends on stands beside it.

FILE.json holds the record, FILE.examples.jsonl one line an example.
"""

import dataclasses
import fnmatch
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from videobert_jax import schema
from videobert_jax.files import atomic, json_values, storage
from videobert_jax.tasks.context import EvaluationContext, PredictionContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import bootstrap, ranking, statistic
from videobert_jax.tasks.metrics.statistic import Statistic

FORMAT = "videobert_jax.result"
ROWS = (  # baselines, in print order
    "chance",
    "majority",
    "majority_of_kind",
    "question_ridge",
    "supervised_ridge",
    "supervised_mlp",
    "narration_ridge",
    "language_prior",
    "nearest_neighbour",
    "all_background",
    "evenly_spread",
    "video_withheld",
    "shuffled_clips",
    "shuffled_video",
    "label_oracle",
)
INTERVALS = (
    "95 %, percentile bootstrap: videos drawn whole, since examples of one depend on each other; "
    f"{bootstrap.DRAWS} draws from the record's seed"
)
ANSWERED_BY = "answered_by"  # of details: how a system made its answers, which no protocol says
ZERO_SHOT = "zero_shot"
PREDICTIONS = "predictions"  # the setting of another system, of whose training nothing is known
KITCHEN_NOTE = "drawn in 2D by one renderer; this figure says nothing about real cooking video"


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """What a task hands over: figures, and what only the task knows about them.

    protocol: what is asked, of what, and how it counts: what makes two figures incomparable, and
    nothing else; how a system made its answers is one of the details (ANSWERED_BY).
    averaging: what metrics are means over. truncation: kind of input -> how many examples lost some
    of it. metrics: figures by name; baselines: name -> the same figures. templates: that the
    network was asked by. details, notes: what else the record says, for programs and for people.
    expected: example ids [n] that the protocol is about and that have what they are asked by.
    examples: one JSON object for each. absent: ids [a] of those that the protocol is about as well,
    but that have no clips, so that nothing is measured of them.
    setting_if_seen: setting where the network was trained on another split of this dataset,
    setting_if_unseen where it was not.
    statistics: how figures are read off the lines of the examples; those without one, which no
    line tells, have no interval.
    """

    task: str
    expected: np.ndarray
    protocol: str
    averaging: str
    truncation: dict[str, int]
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    examples: list[dict[str, Any]]
    setting_if_seen: str = "from_scratch"
    setting_if_unseen: str = ZERO_SHOT
    templates: Sequence[str] = ()
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()
    statistics: dict[str, Statistic] = dataclasses.field(default_factory=dict)
    absent: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))


def record(context: EvaluationContext | PredictionContext, result: TaskResult) -> dict[str, Any]:
    """The result record, a JSON object.

    Raises EvaluationError on a figure that is not finite or not what the lines of its examples
    give, and where examples are missing.
    """
    if len(result.examples) != len(result.expected):
        raise EvaluationError(
            f"{result.task}: {len(result.examples)} of {len(result.expected)} examples were "
            "evaluated; check the dataset with `videobert verify`."
        )
    for name, group in {"metrics": result.metrics, **result.baselines}.items():
        for metric, value in group.items():
            if not math.isfinite(value):
                raise EvaluationError(
                    f"{result.task}: {name} {metric} is {value}; expected a number."
                )
    require_lines(result.metrics, result.statistics, result.examples, where=result.task)
    notes, absent = [*result.notes], len(result.absent)
    if absent:
        every = len(result.expected) + absent
        notes.append(f"{absent} of the {every} examples have no clips and were not evaluated")
    if context.dataset.name in schema.EMBEDDED:
        notes.append(KITCHEN_NOTE)
    if isinstance(context, EvaluationContext) and not context.contract_verified:
        notes.append("the feature contract has unknown fields, so it could not be verified")
    if isinstance(context, EvaluationContext) and context.bundle.untrained_heads:
        names = ", ".join(sorted(context.bundle.untrained_heads))
        if context.untrained_heads:
            notes.append(f"asked as they are, though they were never trained: {names}")
    if context.limit is not None:
        notes.append(f"only the first {context.limit} examples of the split were evaluated")
    return {
        "format": FORMAT,
        "task": result.task,
        "dataset": context.describe_split(result.expected, absent),
        "num_absent": absent,
        **_system(context, result),
        "protocol": result.protocol,
        "ties": ranking.TIES,
        "averaging": result.averaging,
        "truncation": result.truncation,
        "seed": context.seed,
        "templates": list(result.templates),
        "metrics": result.metrics,
        "intervals": _intervals(result, context.seed),
        "interval_method": INTERVALS,
        "statistics": {name: of.to_json() for name, of in result.statistics.items()},
        "baselines": result.baselines,
        **result.details,
        "feature_contract": context.dataset.contract.to_json(),
        "notes": notes,
    }


def _system(context: EvaluationContext | PredictionContext, result: TaskResult) -> dict[str, Any]:
    """What was evaluated: a checkpoint and what it was trained on, or predictions by others, of
    which that is not known."""
    if isinstance(context, PredictionContext):
        return {"setting": PREDICTIONS, "predictions": context.predictions}
    bundle = context.bundle
    return {
        "setting": setting(context, result),
        "trained_on": _trained_on(bundle.trained_on),
        "overlap": {"num_videos": len(context.overlap), "videos": context.overlap[:20]},
        "contract_verified": context.contract_verified,
        "checkpoint": {
            "name": bundle.name,
            "step": bundle.step,
            "digest": bundle.digest,
            "weights": bundle.weights,
        },
    }


def require_lines(
    metrics: Mapping[str, float],
    statistics: Mapping[str, Statistic],
    lines: Sequence[Mapping[str, Any]],
    *,
    where: str,
) -> None:
    """Raises EvaluationError where figures are not what their examples' lines give."""
    for name, of in statistics.items():
        values, rows = of.read(lines)
        told = math.nan
        if len(values):
            told = float(of.of(values[None], of.weights(lines, rows))[0])
        if not math.isclose(told, metrics[name], rel_tol=1e-6, abs_tol=1e-6):
            raise EvaluationError(
                f"{where}: {name} is {metrics[name]}, but the lines of its examples give {told}; "
                "evaluate again."
            )


def _intervals(result: TaskResult, seed: int) -> dict[str, list[float]]:
    videos = [line["video"] for line in result.examples] if result.statistics else []
    found = statistic.intervals(result.statistics, result.examples, videos, seed=seed)
    return {name: [low, high] for name, (low, high) in found.items()}


def setting(context: EvaluationContext, result: TaskResult) -> str:
    """ "zero_shot"; "from_scratch", or "fine_tuned" where the run began with another's parameters;
    "linear_probe" where a linear map alone learnt of labels; "in_sample" where training saw some
    of the videos."""
    if context.overlap:
        return "in_sample"
    if not context.seen_dataset:
        return result.setting_if_unseen
    fine_tuned = context.bundle.trained_on.get("initialized_from") is not None
    by_training = result.setting_if_seen == "from_scratch"
    return "fine_tuned" if fine_tuned and by_training else result.setting_if_seen


def _trained_on(trained_on: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in trained_on.items() if key != "video_names"}
    return {**rest, "num_videos": len(trained_on["video_names"])}


def examples_path(output: storage.Path) -> storage.Path:
    """FILE.examples.jsonl of FILE.json."""
    return output.with_name(output.name.removesuffix(".json") + ".examples.jsonl")


def write(record: dict[str, Any], examples: Sequence[dict[str, Any]], output: storage.Path) -> None:
    """Writes the examples, then the record, each whole or not at all."""
    storage.make_folder(output.parent)
    lines = [json.dumps(example, ensure_ascii=False, allow_nan=False) for example in examples]
    atomic.write_text(examples_path(output), "\n".join(lines) + "\n")
    atomic.write_json(output, record)


def described_system(record: Mapping[str, Any]) -> str:
    """What a record is of, in a word or two."""
    if "predictions" in record:
        return f"predictions {record['predictions']['file']}"
    return f"step {record['checkpoint']['step']}"


def read(output: storage.Path) -> dict[str, Any]:
    """A result record. Raises EvaluationError where the file is not there or something else."""
    if not output.is_file():
        raise EvaluationError(f"{output}: no such file; name a record that eval.py wrote.")
    try:
        found = json_values.parse(output.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EvaluationError(f"{output}: not JSON ({error}); evaluate again.") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise EvaluationError(f"{output}: not a result of eval.py; name one, or move it away.")
    return found


def read_examples(output: storage.Path) -> list[dict[str, Any]]:
    """The lines of the examples of a record at FILE.json.

    Raises EvaluationError where they are not there or something else.
    """
    file = examples_path(output)
    if not file.is_file():
        raise EvaluationError(f"{output}: its examples are not beside it in {file}; fetch them.")
    try:
        # Texts may hold other separators of lines than "\n", such as U+2028.
        text = file.read_text(encoding="utf-8")
        lines = [json_values.parse(line) for line in text.split("\n") if line]
    except ValueError as error:
        raise EvaluationError(f"{file}: not JSON ({error}); evaluate again.") from error
    if not all(isinstance(line, dict) and {"example_id", "video"} <= line.keys() for line in lines):
        raise EvaluationError(f"{file}: a line names no example_id and video; evaluate again.")
    return lines


def table(record: dict[str, Any], *, metrics: Sequence[str] = ("*",)) -> str:
    """The figures with their intervals beside the baselines, as text: those whose names fit
    patterns (fnmatch)."""
    baselines = record["baselines"]
    columns = [name for name in ROWS if name in baselines]
    groups = [record["metrics"], *(baselines[name] for name in columns)]
    known = dict.fromkeys(name for group in groups for name in group)
    shown = [name for name in known if any(fnmatch.fnmatchcase(name, m) for m in metrics)]
    intervals = record.get("intervals", {})
    rows = [["", "this model", *(["95 %"] if intervals else []), *columns]]
    for name in shown:
        own, *others = [figure(name, group.get(name)) for group in groups]
        between = [" to ".join(figure(name, end) for end in intervals.get(name, [])) or "-"]
        rows.append([name, own, *(between if intervals else []), *others])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of as many cells as lines of text: the first column to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    )


def figure(name: str, value: float | None) -> str:
    """A figure as text: ranks and CIDEr as they are, others in percent, "-" for none."""
    if value is None:
        return "-"
    decimals = decimals_of(name)
    return f"{100 * value:.1f} %" if decimals is None else f"{value:.{decimals}f}"


def decimals_of(name: str) -> int | None:
    """Of a figure that is shown as it is, as papers do; None for a share, shown in percent."""
    if name.startswith("CIDEr"):
        return 2
    return 1 if name.endswith("rank") else None
