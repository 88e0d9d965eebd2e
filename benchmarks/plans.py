"""docs/plans.md and docs/memory.md: every config compiled for TPU slices and for one device.

    python -m benchmarks.plans slices [--only NAME] [--at_most N]
    python -m benchmarks.plans memory [--only NAME] [--at_most N]
    python -m benchmarks.plans hours [--only NAME] [--at_most N]
    python -m benchmarks.plans write

The first two compile what has not been compiled yet, the most telling first, and append a JSON
line a finished plan to docs/plans.jsonl: they can be stopped and started again, and take minutes a
plan. `hours` does so with what a step of each config's own batch computes, for which it is traced,
in seconds. Each ends by writing the documents of what there is; `write` does only that. On slices
a chip has one block; in memory a micro-batch is one block, of the sizes and policies below.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks import layouts, plan_documents
from videobert_jax import configuration
from videobert_jax.cli import failures
from videobert_jax.sharding import mesh as meshes
from videobert_jax.training import abstract_step

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONFIGS = (
    "videobert_large",
    "videobert_base",
    "howto100m",
    "videobert_visual_words",
    "univl_stage2",
    "univl_stage1",
    "videoclip",
    "taco",
    "youcook2_from_scratch",
)
SLICES = (
    ("v5p:4x4x4", 1),
    ("v6e:4x4", 1),
    ("v5e:16x16", 1),
    ("v5e:16x16", 2),
    ("v4:4x4x4", 1),
    ("v5p:8x8x8", 1),
)
# One config with the batch in proportion to the chips, and on two slices as on one.
SCALING = ("videobert_base", (("v5e:4x4", 1), ("v5e:8x8", 1), ("v5e:16x16", 1), ("v5e:16x16", 2)))
POLICIES, BLOCK_SIZES = ("none", "dots", "full"), (64, 256)


@dataclasses.dataclass(frozen=True)
class Job:
    """One call of `videobert plan`; `key` is what a finished one is known by."""

    document: str
    config: str
    arguments: tuple[str, ...]

    @property
    def key(self) -> str:
        return " ".join((self.document, self.config, *self.arguments))


def slice_jobs() -> Iterator[Job]:
    """Plans on slices: the largest config everywhere, scaling, then the others."""
    wanted = [(CONFIGS[0], place) for place in SLICES]
    wanted += [(SCALING[0], place) for place in SCALING[1]]
    wanted += [(config, place) for config in CONFIGS[1:] for place in SLICES]
    for config, (topology, slices) in dict.fromkeys(wanted):
        chips = slices * plan_documents.chips_of(topology)
        yield Job(
            "slices",
            config,
            (
                f"--topology={topology}",
                f"--slices={slices}",
                f"--config.data.blocks_per_batch={chips}",
            ),
        )


def memory_jobs() -> Iterator[Job]:
    """Plans on one device of 80 GiB: what a step of one block needs, by its size and policy."""
    for config in (CONFIGS[1], CONFIGS[0], *CONFIGS[2:]):
        for policy in POLICIES:
            for size in BLOCK_SIZES:
                yield Job(
                    "memory",
                    config,
                    (
                        "--device-memory=80GiB",
                        f"--config.model.remat={policy}",
                        f"--config.data.block_size={size}",
                        "--config.data.blocks_per_batch=1",
                    ),
                )


def hours_jobs() -> Iterator[Job]:
    """Operations of a step of each config."""
    for config in CONFIGS:
        yield Job("hours", config, ())


def read(results: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Finished plans by their job's key."""
    if not results.exists():
        return {}
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    return {line["key"]: line for line in lines}


def in_order(finished: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Finished plans of one config after the other, whenever they were made."""
    every = [*slice_jobs(), *memory_jobs(), *hours_jobs()]
    jobs = sorted(every, key=lambda job: CONFIGS.index(job.config))
    return [finished[job.key] for job in jobs if job.key in finished]


def compile_job(job: Job) -> dict[str, Any]:
    """The record of a job, planned in a process of its own: compilers keep much memory."""
    command = [sys.executable, "-m", "videobert_jax", "plan", "--json"]
    command += [f"--config=configs/{job.config}.py", *job.arguments]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    record: dict[str, Any] = {"key": job.key, "document": job.document, "config": job.config}
    if run.returncode not in (0, 1) or not run.stdout:
        raise RuntimeError(f"{' '.join(command)} ended with code {run.returncode}.")
    made = json.loads(run.stdout)
    del made["collectives"]  # their totals stay
    return {**record, "arguments": list(job.arguments), "plan": made}


def trace_job(job: Job) -> dict[str, Any]:
    """The record of a job of hours: a step of all blocks on one device, attention in its dense
    form."""
    run = configuration.parse(configuration.load_file(str(ROOT / "configs" / f"{job.config}.py")))
    mesh = abstract_step.abstract_mesh(meshes.MeshConfig(1, 1, 1), 1)
    made = {
        "config": job.config,
        "remat": run.model.remat,
        "num_steps": run.training.num_steps,
        "global_batch_size": run.data.global_batch_size,
        "flops": abstract_step.build(run, mesh, layouts.FEATURE_DIM, "gpu").matmul_flops,
    }
    return {"key": job.key, "document": job.document, "config": job.config, "plan": made}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("slices", "memory", "hours", "write"))
    parser.add_argument("--only", default="", help="jobs whose key holds this text")
    parser.add_argument("--at_most", type=int, default=10**6, help="so many new plans")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "docs" / "plans.jsonl")
    parser.add_argument("--documents", type=pathlib.Path, default=ROOT / "docs")
    given = parser.parse_args(arguments)
    jobs, make = {
        "slices": (slice_jobs(), compile_job),
        "memory": (memory_jobs(), compile_job),
        "hours": (hours_jobs(), trace_job),
        "write": ((), compile_job),
    }[given.what]
    finished = read(given.results)
    due = [job for job in jobs if job.key not in finished and given.only in job.key]
    for number, job in enumerate(due[: given.at_most], start=1):
        print(f"{number} of {len(due)}: {job.key}", file=sys.stderr, flush=True)
        record = make(job)
        with given.results.open("a") as file:
            file.write(json.dumps(record) + "\n")
        finished[job.key] = record
        plan_documents.write(given.documents, in_order(finished))
    plan_documents.write(given.documents, in_order(finished))
    return 0


if __name__ == "__main__":
    sys.exit(failures.exit_code(main))
