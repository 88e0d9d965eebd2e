"""`videobert average A.json B.json ...`: mean figures of results on several folds of a dataset.

videobert average runs/crosstask_0/eval/step_localization.json
  runs/crosstask_1/eval/step_localization.json

CrossTask is reported as the mean over 20 folds (Zhukov et al. 2019), each a dataset of
`prepare crosstask --fold N` with a run of its own.
"""

import argparse
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from videobert_jax.cli import result_files
from videobert_jax.files import storage
from videobert_jax.tasks import report
from videobert_jax.tasks.errors import EvaluationError

HELP = "mean figures of results on several folds of a dataset"
_FOLD = re.compile(r"_fold_(\d+)")  # of the name of a fold's protocol
_EQUAL = ("task", "templates", "ties", "averaging")
_VIDEOS = ("num_videos", "num_absent_videos", "num_left_out")  # of a fold: all that it has


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", nargs="+", help="records of eval.py, one a fold")
    parser.add_argument("--json", help="file to write the means to")


def run(arguments: argparse.Namespace) -> int:
    """Prints the means, and writes them where asked. Raises EvaluationError where results are not
    of different folds of one protocol."""
    records = {}
    for name in arguments.results:
        storage.require_readable(storage.path(name))
        records[name] = report.read(storage.path(name))
    found = _average(records)
    folds = ", ".join(map(str, found["folds"]))
    print(
        f"{found['task']}: {len(records)} folds ({folds})\n\n{'':<32}{'mean':>9}{'deviation':>11}"
    )
    for group, figures in {"": found["metrics"], **found["baselines"]}.items():
        for figure, of in figures.items():
            name = f"{group} {figure}".strip()
            print(f"{name:<32}{of['mean']:>9.4f}{of['deviation']:>11.4f}")
    print(f"\ndeviation: of one fold, n - 1\n{found['protocol']}")
    if arguments.json is not None:
        result_files.write_json(arguments.json, found)
    return 0


def _average(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    if len(records) < 2:
        raise EvaluationError("one result has no mean; name those of two folds or more.")
    (first_file, first), *others = records.items()
    for file, record in others:
        ours, theirs = _compared(first), _compared(record)
        if differing := [key for key in ours if ours[key] != theirs[key]]:
            key = differing[0]
            raise EvaluationError(
                f"{key} is {ours[key]!r} in {first_file} and {theirs[key]!r} in {file}; only folds "
                "of one protocol have a mean: evaluate them alike."
            )
    folds = [_fold(file, record) for file, record in records.items()]
    if twice := {fold for fold in folds if folds.count(fold) > 1}:
        raise EvaluationError(
            f"fold {min(twice)} has several of the results {', '.join(records)}; name one each."
        )
    order = sorted(range(len(folds)), key=folds.__getitem__)
    sorted_records = [list(records.values())[i] for i in order]
    return {
        "task": first["task"],
        "protocol": _compared(first)["protocol"],
        "folds": sorted(folds),
        "results": [list(records)[i] for i in order],
        "metrics": _means([record["metrics"] for record in sorted_records]),
        "baselines": {
            name: _means([record["baselines"][name] for record in sorted_records])
            for name in first["baselines"]
            if all(name in record["baselines"] for record in sorted_records)
        },
    }


def _compared(record: Mapping[str, Any]) -> dict[str, Any]:
    """What results of different folds have alike: the dataset's name, the protocol's but for the
    fold, and the number of videos, of which some may be absent."""
    alike = {key: record.get(key) for key in _EQUAL}
    return alike | {
        "dataset": record["dataset"]["name"],
        "split": record["dataset"]["split"],
        "protocol": _FOLD.sub("_fold_N", record["protocol"]),
        "number of videos": sum(record.get(count, 0) for count in _VIDEOS),
    }


def _fold(file: str, record: Mapping[str, Any]) -> int:
    found = _FOLD.search(record["protocol"])
    if found is None:
        raise EvaluationError(
            f"{file}: its protocol {record['protocol']!r:.60} names no fold; evaluate the split "
            "test of a dataset of `prepare crosstask --fold N`."
        )
    return int(found[1])


def _means(figures: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and deviation of each figure that all have."""
    names = [name for name in figures[0] if all(name in of for of in figures)]
    of_names = {name: [of[name] for of in figures] for name in names}
    return {
        name: {"mean": statistics.fmean(values), "deviation": statistics.stdev(values)}
        for name, values in of_names.items()
    }
