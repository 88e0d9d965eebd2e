"""Results as records: everything that a figure depends on stands beside it.

FILE.json holds the record, FILE.examples.jsonl one line an example.
"""

import dataclasses
import fnmatch
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from videobert_jax.files import atomic
from videobert_jax.tasks.context import EvaluationContext
from videobert_jax.tasks.errors import EvaluationError
from videobert_jax.tasks.metrics import ranking

FORMAT = "videobert_jax.result"
ROWS = (  # baselines, in print order
    "chance",
    "majority",
    "supervised_ridge",
    "supervised_mlp",
    "narration_ridge",
    "language_prior",
    "label_oracle",
)
KITCHEN_NOTE = "drawn in 2D by one renderer; this figure says nothing about real cooking video"


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """What a task hands over: figures, and what only the task knows about them.

    expected: example ids that the protocol is about. examples: one JSON object for each.
    setting_if_seen: setting where the network was trained on another split of this dataset.
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
    templates: Sequence[str] = ()
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()


def record(context: EvaluationContext, result: TaskResult) -> dict[str, Any]:
    """The result record, a JSON object.

    Raises EvaluationError on a figure that is not finite, and where examples are missing.
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
    bundle = context.bundle
    notes = [*result.notes]
    if context.dataset.name == "kitchen":
        notes.append(KITCHEN_NOTE)
    if not context.contract_verified:
        notes.append("the feature contract has unknown fields, so it could not be verified")
    if context.limit is not None:
        notes.append(f"only the first {context.limit} examples of the split were evaluated")
    return {
        "format": FORMAT,
        "task": result.task,
        "dataset": context.describe_split(result.expected, len(result.examples)),
        "setting": setting(context, result.setting_if_seen),
        "trained_on": _trained_on(bundle.trained_on),
        "overlap": {"num_videos": len(context.overlap), "videos": context.overlap[:20]},
        "protocol": result.protocol,
        "ties": ranking.TIES,
        "averaging": result.averaging,
        "truncation": result.truncation,
        "seed": context.seed,
        "templates": list(result.templates),
        "metrics": result.metrics,
        "baselines": result.baselines,
        **result.details,
        "feature_contract": context.dataset.contract.to_json(),
        "contract_verified": context.contract_verified,
        "checkpoint": {
            "name": bundle.name,
            "step": bundle.step,
            "digest": bundle.digest,
            "weights": bundle.weights,
        },
        "notes": notes,
    }


def setting(context: EvaluationContext, setting_if_seen: str) -> str:
    """ "zero_shot"; "from_scratch", or "fine_tuned" where the run began with another's parameters;
    "in_sample" where training saw some of the videos."""
    if context.overlap:
        return "in_sample"
    if not context.seen_dataset:
        return "zero_shot"
    fine_tuned = context.bundle.trained_on.get("initialized_from") is not None
    return "fine_tuned" if fine_tuned and setting_if_seen == "from_scratch" else setting_if_seen


def _trained_on(trained_on: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in trained_on.items() if key != "video_names"}
    return {**rest, "num_videos": len(trained_on["video_names"])}


def examples_path(output: pathlib.Path) -> pathlib.Path:
    """FILE.examples.jsonl of FILE.json."""
    return output.with_name(output.name.removesuffix(".json") + ".examples.jsonl")


def write(record: dict[str, Any], examples: Sequence[dict[str, Any]], output: pathlib.Path) -> None:
    """Writes the examples, then the record, each whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(example, ensure_ascii=False, allow_nan=False) for example in examples]
    atomic.write_text(examples_path(output), "\n".join(lines) + "\n")
    atomic.write_json(output, record)


def table(record: dict[str, Any], *, metrics: Sequence[str] = ("*",)) -> str:
    """The figures beside the baselines, as text: those whose names fit patterns (fnmatch)."""
    baselines = record["baselines"]
    columns = [name for name in ROWS if name in baselines]
    groups = [record["metrics"], *(baselines[name] for name in columns)]
    known = dict.fromkeys(name for group in groups for name in group)
    shown = [name for name in known if any(fnmatch.fnmatchcase(name, m) for m in metrics)]
    headers = ["", "this model", *columns]
    cells = [[name, *(_figure(name, group.get(name)) for group in groups)] for name in shown]
    return aligned([headers, *cells])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of as many cells as lines of text: the first column to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    )


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if name.endswith("rank") else f"{100 * value:.1f} %"
