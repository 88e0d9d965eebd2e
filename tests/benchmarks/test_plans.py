import copy
import json

import pytest

from benchmarks import plan_documents, plans

PLAN = {
    "config": "videobert_base",
    "stage": "",
    "target": "v5e:4x4",
    "num_devices": 16,
    "mesh": {"data": 16, "fsdp": 1, "tensor": 1},
    "global_batch_size": 4096,
    "tokens": 32768,
    "remat": "dots",
    "flops": 2e12,
    "fits": True,
    "needed_bytes": 12 * 2**30,
    "available_bytes": 15 * 2**30,
    "bytes_accessed": 4e10,
    "collective_totals": [
        {
            "kind": "all-reduce",
            "where": "over data",
            "count": 3,
            "bytes_a_step": 6_000_000,
            "sent_a_step": 10_000_000.0,
        }
    ],
    "roofline": {"arithmetic": 0.3, "memory": 0.2, "network": 0.1, "between_slices": 0.0},
    "bound": "arithmetic",
    "examples_a_second": 13653.0,
    "input": {"bytes": 5e8},
    "compile_seconds": 100.0,
}


@pytest.fixture
def planned(monkeypatch, tmp_path):
    """(calls of `videobert plan`, run of the command in a folder of its own)."""
    calls = []

    def compiled(job):
        calls.append(job)
        made = copy.deepcopy(PLAN) | {"config": job.config}
        values = dict(argument.lstrip("-").split("=") for argument in job.arguments)
        if job.document == "memory":
            made["global_batch_size"] = int(values["config.data.block_size"])
            made["remat"] = values["config.model.remat"]
        else:
            slices, chips = int(values["slices"]), int(values["config.data.blocks_per_batch"])
            made |= {"target": f"{slices} x {values['topology']}", "num_devices": chips}
        return {"key": job.key, "document": job.document, "config": job.config, "plan": made}

    monkeypatch.setattr(plans, "compile_job", compiled)
    files = (f"--results={tmp_path / 'plans.jsonl'}", f"--documents={tmp_path}")
    return calls, lambda *given: plans.main([*given, *files]), tmp_path


def test_every_config_is_due_on_six_slices_and_the_batch_goes_with_the_chips():
    jobs = list(plans.slice_jobs())
    assert len({job.key for job in jobs}) == len(jobs)
    for config in plans.CONFIGS:
        assert len([job for job in jobs if job.config == config]) >= 6
    largest = next(job for job in jobs if "--slices=2" in job.arguments)
    assert "--config.data.blocks_per_batch=512" in largest.arguments
    assert len(list(plans.memory_jobs())) == len(plans.CONFIGS) * 6


def test_plans_go_on_where_they_were_stopped(planned):
    calls, command, folder = planned
    command("slices", "--at_most=2")
    command("slices", "--at_most=1")
    command("memory", "--only=videobert_base", "--at_most=1")
    assert len({job.key for job in calls}) == 4
    lines = (folder / "plans.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == [job.key for job in calls]
    command("write")
    assert len(calls) == 4


def test_documents_hold_what_was_compiled(planned):
    _, command, folder = planned
    command("slices", "--only=taco", "--at_most=1")
    command("slices", "--only=videobert_base", "--at_most=2")
    text = (folder / "plans.md").read_text()
    assert text.index("| videobert_base") < text.index("| taco")  # whenever they were made
    rows = [line for line in text.splitlines() if line.startswith("| videobert_base")]
    assert "| 12.00 of 15.00 | 2.00 | 40.0 | 10 | **arithmetic**: arithmetic 300" in rows[0]
    # both of one kind and the same axes, added up; and the chips beside one another
    assert "| all-reduce over data | 3 | 6.0 |" in text
    assert "| videobert_base | v5e | 64 | 1 x v5e:8x8 | 1.000 | 1.000 | 6 |" in text
    command("memory", "--only=videobert_base", "--at_most=4")
    memory = (folder / "memory.md").read_text()
    assert "| videobert_base | 64 | 32,768 | none | 12.00 | no | yes | yes | yes | yes |" in memory


def test_hours_are_those_of_all_steps_of_a_config(planned):
    calls, command, folder = planned
    command("hours", "--only=youcook2_from_scratch")
    (line,) = (json.loads(line) for line in (folder / "plans.jsonl").read_text().splitlines())
    made, memory = line["plan"], (folder / "memory.md").read_text()
    exa, hours = made["flops"] * 30_000 / 1e18, made["flops"] * 30_000 / (0.4 * 989e12) / 3600
    row = f"| youcook2_from_scratch | none | 30,000 | 128 | {exa:.1f} | {hours:.1f} |"
    assert row in memory and not calls
    # two FLOPs a parameter and place forward, four backward, of a network in which a place goes
    # through about half of the parameters; matching goes through the cross-modal encoder again
    places, parameters = 128 * 96, 80e6
    assert 0.5 < made["flops"] / (6 * places * parameters) < 2.0


def test_a_plan_that_does_not_fit_is_a_row_too(planned):
    _, _, folder = planned
    large = PLAN | {"fits": False, "needed_bytes": None, "roofline": None, "would_fit": []}
    large["collective_totals"] = None
    records = [{"document": name, "plan": large} for name in ("slices", "memory")]
    plan_documents.write(folder, records)
    assert "more of 15.00: does **not** fit" in (folder / "plans.md").read_text()
    assert "| more | no | no | no | no | no |" in (folder / "memory.md").read_text()
    plan_documents.write(folder, [])
    assert "Nothing has been compiled yet." in (folder / "plans.md").read_text()
