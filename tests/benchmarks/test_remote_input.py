"""When late reads are answered, and what is got by what plans need."""

import json

import pytest

from benchmarks import alternate, remote_input


def test_what_a_process_got_by_what_plans_need(tmp_path):
    need = {"processes": 4, "examples": 1000.0, "reads": 2000.0, "bytes": 64e6}
    plans = [
        {"config": "base", "target": "v5p:4x4x4", "input": need},
        {"config": "large", "target": "v5p:4x4x4", "input": None},  # does not fit
    ]
    path = tmp_path / "plans.jsonl"
    path.write_text("\n".join(map(json.dumps, plans)))
    (found,) = remote_input.against_plans(path, remote_input.Rates(500.0, 4000.0, 32.0))
    assert found["plan"] == "base on v5p:4x4x4"
    assert (found["of_examples"], found["of_reads"], found["of_megabytes"]) == (0.5, 2.0, 0.5)
    path.write_text("no plan")
    with pytest.raises(alternate.BenchmarkError, match="expected lines of `videobert plan --json`"):
        remote_input.against_plans(path, remote_input.Rates(1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    "reads, latencies", [(1, 1), (64, 1), (65, 1), (66, 2), (130, 2), (200, 4)]
)
def test_records_of_a_call_wait_together_as_far_as_the_library_has_threads(
    reads, latencies, monkeypatch
):
    slept = []
    monkeypatch.setattr(remote_input.time, "sleep", slept.append)
    monkeypatch.setattr(remote_input.time, "monotonic", lambda: 100.0)
    latency = remote_input.Latency(0.5)
    latency.wait(reads)
    assert slept == [pytest.approx(0.5 * latencies)] and latency.reads == reads
