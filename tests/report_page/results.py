"""Results as tasks write them, of examples that are said here, for the tests of the page."""

import json
import pathlib

import numpy as np

from videobert_jax.files import digests
from videobert_jax.tasks import report
from videobert_jax.tasks.metrics import classification, ranking

PLACE = {"example_id": 0, "video": "cook_0003", "start": 2.0, "end": 5.5}


def write(path, task, lines, statistics, *, baselines=None, name="net", **changes) -> pathlib.Path:
    """The record at `path` of lines (without ids), whose figures are read off by `statistics`."""
    lines = [{**PLACE, **line, "example_id": number} for number, line in enumerate(lines)]
    figures = {}
    for metric, of in statistics.items():
        values, rows = of.read(lines)
        figures[metric] = float(of.of(values[None], of.weights(lines, rows))[0])
    record = {
        "format": report.FORMAT,
        "task": task,
        "dataset": {
            "name": "kitchen",
            "digest": "ab",
            "split": "test",
            "num_expected": len(lines),
            "num_evaluated": len(lines),
            "ids_digest": digests.sha256_array(np.arange(len(lines))),
        },
        "setting": "from_scratch",
        "overlap": {"num_videos": 2, "videos": []},
        "contract_verified": True,
        "checkpoint": {"name": name, "step": 3, "digest": f"{name}0123456789", "weights": "raw"},
        "protocol": "clip-level",
        "ties": "fair",
        "averaging": "micro",
        "truncation": {"texts_cut": 4},
        "seed": 0,
        "templates": ["now {verb} it"],
        "metrics": figures,
        "intervals": {metric: [0.9 * value, value] for metric, value in figures.items()},
        "interval_method": "bootstrap",
        "statistics": {metric: of.to_json() for metric, of in statistics.items()},
        "baselines": baselines or {"chance": dict.fromkeys(figures, 0.125)},
        "feature_contract": {"backbone": "i3d"},
        "notes": [report.KITCHEN_NOTE],
        **changes,
    }
    report.write(json.loads(json.dumps(record)), lines, path)
    return path


def retrieval(path, ranks, *, texts=None, found=None, video="cook", **changes) -> pathlib.Path:
    """A retrieval of given ranks, text to video, three examples a video."""
    lines = [
        {
            "video": f"{video}_{number // 3:04d}",
            "text": texts[number] if texts else f"cut it {number}",
            "text_to_video_rank": float(rank),
            "baselines": {"supervised_ridge": {"text_to_video_rank": float(number + 1)}},
            **({"found": {"text_to_video": found[number]}} if found else {}),
        }
        for number, rank in enumerate(ranks)
    ]
    stated = ranking.statistics("text_to_video", "text_to_video_rank")
    changes.setdefault("baselines", {"supervised_ridge": dict.fromkeys(stated, 0.25)})
    return write(path, "retrieval", lines, stated, **changes)


def classified(path, pairs, **changes) -> pathlib.Path:
    """Labels of verbs: (right, told) of each example."""
    lines = [
        {"verb": {"label": right, "rank": 1.0 if right == told else 2.0, "best": [told, "x"]}}
        for right, told in pairs
    ]
    stated = classification.statistics("verb", "verb", "rank")
    return write(path, "zero_shot_classification", lines, stated, **changes)
