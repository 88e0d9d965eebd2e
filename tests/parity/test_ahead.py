"""A step that is only scheduled, beside the same step compiled to its end."""

import multiprocessing
from typing import Any

import pytest

from tests.drills import compile_budgets
from videobert_jax.training import ahead, topologies

pytest.importorskip("libtpu", reason='the TPU compiler: pip install "videobert-jax[tpu-compiler]"')
TARGET = compile_budgets.SMALL_TARGETS[1]


def _compiled(target: compile_budgets.Target) -> tuple[str, dict[str, int]]:
    """(text of the program, sizes by XLA's analysis), of a process of its own, as libtpu wants."""
    from videobert_jax.sharding import mesh as meshes
    from videobert_jax.training import abstract_step

    run, slices = compile_budgets.run_of(target), topologies.Target(target.topology)
    mesh = meshes.create_mesh(run.mesh, slices.devices())
    step = abstract_step.build(run, mesh, compile_budgets.FEATURE_DIM, "tpu")
    program = step.traced.lower().compile()
    memory = program.memory_analysis()
    return program.as_text(), {
        "arguments": memory.argument_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
    }


@pytest.mark.long
def test_what_is_scheduled_is_what_is_compiled(monkeypatch: pytest.MonkeyPatch):
    programs: list[str] = []
    monkeypatch.setattr(ahead.hlo, "read", programs.append)
    made = ahead.schedule(
        compile_budgets.run_of(TARGET),
        topologies.Target(TARGET.topology),
        compile_budgets.FEATURE_DIM,
    )
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        text, sizes = pool.apply(_compiled, (TARGET,))
    assert _operations(programs[0]) == _operations(text)
    memory: Any = made.memory
    assert (memory.arguments, memory.aliased) == (sizes["arguments"], sizes["aliased"])
    assert memory.total > memory.arguments


def _operations(text: str) -> list[str]:
    """Instructions of a program, without what the code's maker adds to them."""
    lines = [line for line in text.splitlines() if " = " in line]
    return [line.split(", metadata=")[0].split(", backend_config=")[0] for line in lines]
