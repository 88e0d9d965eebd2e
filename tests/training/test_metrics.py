"""Speeds, utilisation and the line of progress."""

import pytest

from videobert_jax.training import metrics, wall_time


def progress(peak_flops: float | None) -> metrics.Progress:
    return metrics.Progress(
        num_steps=100,
        stage=1,
        examples_a_step=8,
        peak_flops=peak_flops,
        matmul_flops_a_step=3e12,
        matmul_rate=8e12,
    )


def spent(**seconds: float) -> dict[str, float]:
    return dict.fromkeys(wall_time.KINDS, 0.0) | seconds


def test_speeds_are_of_training_and_of_real_tokens():
    counted = progress(peak_flops=4e12)
    for tokens in (60.0, 80.0, 100.0, 80.0):
        counted.add_step({"tokens": tokens, "model_flops": 1e12})
    speeds = counted.speeds(
        spent(
            data=0.2, step=1.7, other=0.1, compile=5.0, checkpoint=1.0, evaluation=10.0, start=3.0
        )
    )  # 4 steps took 2 s
    assert speeds["examples_per_second"] == pytest.approx(16.0)
    assert speeds["tokens_per_second"] == pytest.approx(160.0)
    assert speeds["data_wait_fraction"] == pytest.approx(0.1)
    assert speeds["mfu"] == pytest.approx(0.5)
    assert speeds["matmul_fraction"] == pytest.approx(0.75)
    assert speeds["seconds_evaluation"] == 10.0 and speeds["seconds_other"] == 0.1
    line = counted.line(4, {"loss": 2.0, **speeds})
    assert line == "step 4/100  stages.1  loss 2.0000  16 examples/s  mfu 50.0%  48 s left"
    assert counted.speeds(spent(step=1.0))["tokens_per_second"] == 0.0  # begun anew


def test_without_a_data_sheet_the_measured_rate_stands_for_it():
    counted = progress(peak_flops=None)
    counted.add_step({"tokens": 80.0, "model_flops": 1e12})
    speeds = counted.speeds(spent(step=0.5))
    assert speeds["mfu"] is None
    assert "16 examples/s  matmul 75.0%" in counted.line(1, speeds)
