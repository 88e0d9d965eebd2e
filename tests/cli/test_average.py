"""Mean figures over folds, against means by hand, and results that have none."""

import json
import re

import numpy as np
import pytest

from videobert_jax.cli import main
from videobert_jax.tasks import report


def write(folder, fold: int, recall: float, **changes) -> str:
    record = {
        "format": report.FORMAT,
        "task": "step_localization",
        "protocol": f"crosstask_primary_18_fold_{fold}. Each step once",
        "num_videos": 2080 + fold,  # what is gone of YouTube is more in one fold than in another
        "num_absent_videos": 130 - fold,
        "templates": [],
        "ties": "",
        "averaging": "tasks",
        "dataset": {"name": "crosstask", "split": "test", "digest": f"{fold}"},
        "metrics": {"average_recall": recall, f"recall_of_{fold}": 1.0},
        "baselines": {"chance": {"average_recall": recall / 10}, f"of_{fold}": {}},
        **changes,
    }
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps(record))
    return str(path)


def test_figures_of_folds_have_their_mean_and_deviation(tmp_path, capsys):
    recalls = {7: 0.41, 0: 0.47, 3: 0.5}
    files = [write(tmp_path, fold, recall) for fold, recall in recalls.items()]
    output = tmp_path / "mean.json"
    assert main.main(["average", *files, f"--json={output}"]) == 0
    found = json.loads(output.read_text())
    values = np.array(list(recalls.values()))
    mean = {"mean": pytest.approx(values.mean()), "deviation": pytest.approx(values.std(ddof=1))}
    assert found["metrics"] == {"average_recall": mean}  # what only some have is left out
    assert found["baselines"] == {
        "chance": {
            "average_recall": {name: pytest.approx(of.expected / 10) for name, of in mean.items()}
        }
    }  # fmt: skip
    assert found["folds"] == [0, 3, 7] and found["results"] == [files[1], files[2], files[0]]
    printed = capsys.readouterr().out
    assert "3 folds (0, 3, 7)" in printed and "average_recall                     0.4600" in printed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "crosstask_primary_18_fold_0. Each step once"}, "fold 0 has several"),
        ({"protocol": "crosstask_primary_18_fold_1. Each twice"}, "protocol is '.*Each step once"),
        ({"num_videos": 100}, "number of videos is 2210 .* 229"),
        ({"task": "retrieval"}, "task is 'step_localization' .* 'retrieval'"),
        ({"dataset": {"name": "coin", "split": "test"}}, "dataset is 'crosstask' .* 'coin'"),
    ],
)
def test_other_results_have_no_mean(tmp_path, capsys, changes, message):
    files = [write(tmp_path, 0, 0.5), write(tmp_path, 1, 0.5, **changes)]
    assert main.main(["average", *files]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error


def test_one_result_and_results_of_no_fold_are_refused(tmp_path, capsys):
    assert main.main(["average", write(tmp_path, 0, 0.5)]) == 2
    assert "two folds or more" in capsys.readouterr().err
    files = [write(tmp_path, 0, 0.5, protocol="crosstask_primary_18.") for _ in range(2)]
    assert main.main(["average", *files]) == 2
    assert "names no fold" in capsys.readouterr().err
