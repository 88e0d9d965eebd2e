"""A signal stops an evaluation between two batches; the next start makes it anew, the last one too,
and all figures are there once, as if nothing had been stopped. So does damage in the data."""

import os
import pathlib
import signal

import pytest

from tests.drills import train_with
from tests.integration import runs
from videobert_jax.data import device_feed
from videobert_jax.files import stopping
from videobert_jax.training import checkpoint_folder

SETTINGS = {
    "training__num_steps": 4,
    "training__save_every": 3,
    "training__eval_every": 2,
    "training__eval_tasks": "long,short",
    "training__best_metric": "long/step",
    "objectives__masked_language__weight": 0.0,
}
BATCHES = 5


class Long:
    """So many batches; the signal comes in the third of the steps that it is told."""

    name = "long"

    def __init__(self, *signalled: int):
        self.signalled, self.batches = signalled, []

    def __call__(self, bundle) -> dict[str, float]:
        for batch in range(BATCHES):
            stopping.point()
            self.batches.append((bundle.step, batch))
            if bundle.step in self.signalled and batch == 2:
                os.kill(os.getpid(), signal.SIGTERM)
        return {"step": float(bundle.step)}


class Short:
    name = "short"

    def __call__(self, bundle) -> dict[str, float]:
        return {"half": bundle.step / 2}


def test_an_evaluation_stops_at_its_next_batch_and_is_made_anew(
    tiny_dataset: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    def train(*signalled: int):
        long = Long(*signalled)
        result = runs.train(tmp_path, tiny_dataset, **SETTINGS, evaluators=(Short(), long))
        return result.finished, result.step, long.batches

    whole = [(step, batch) for step in (2, 4) for batch in range(BATCHES)]
    assert train(2) == (False, 2, whole[:3])
    assert "SIGTERM: saved step 2" in capsys.readouterr().out
    assert [line for line in runs.figures(tmp_path) if "contrastive" not in line] == [
        {"step": 2, "short/half": 1.0}
    ]
    assert train(4) == (False, 4, whole[: BATCHES + 3])
    assert train() == (True, 4, whole[BATCHES:])  # a last step without its figures
    assert train() == (True, 4, [])  # and with them
    assert "nothing to do" in capsys.readouterr().out
    assert [line["step"] for line in runs.figures(tmp_path) if "contrastive" in line] == [
        1,
        2,
        3,
        4,
    ]
    assert [line for line in runs.figures(tmp_path) if "contrastive" not in line] == [
        {"step": 2, "short/half": 1.0},
        {"step": 2, "long/step": 2.0},
        {"step": 4, "short/half": 2.0},
        {"step": 4, "long/step": 4.0},
    ]
    best = checkpoint_folder.read_best(tmp_path)
    assert best is not None and best.step == 4


def test_too_much_damage_in_the_batch_before_it_stops_an_evaluation(
    tiny_dataset: pathlib.Path, tmp_path: pathlib.Path
):
    long, settings = Long(), {**SETTINGS, "data__max_damaged_fraction": 0.003}
    with train_with.damaged("8"), pytest.raises(device_feed.DamagedDataError, match="4 of 64 "):
        runs.train(tmp_path, tiny_dataset, **settings, evaluators=(long,))
    assert long.batches == [] and checkpoint_folder.manifest_steps(tmp_path) == [2]
