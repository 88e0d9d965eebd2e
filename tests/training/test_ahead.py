"""What is read of the compiler's dump, and what becomes of a compiler that ends or refuses."""

import multiprocessing
import pathlib

import pytest

from videobert_jax.training import ahead

ASSIGNMENT = """BufferAssignment:
allocation 0: size 512, thread-local:
 value: <1586 reduce_sum.4538 @0> (size=512,offset=0): s32[]{:T(128)}
allocation 1: size 4096, parameter 99, shape |f32[32,32]| at ShapeIndex {}, maybe-live-out:
 value: <50945 param.66 @0> (size=4096,offset=0): f32[32,32]{1,0:T(8,128)}
allocation 2: size 1024, parameter 3, shape |s32[8,16]| at ShapeIndex {}:
 value: <50952 param.68 @0> (size=1024,offset=0): s32[8,16]{1,0:T(8,128)}
allocation 3: size 117467344, color 1, preallocated-temp:
 value: <59377 wide.param.7{65} (phi) @1> (size=16384,offset=0): bf16[64,128]{1,0:T(8,128)S(1)}
allocation 4: size 65536, preallocated-temp:
 value: <1 fusion.1 @0> (size=512,offset=0): f32[128]{0}
"""


def test_memory_is_what_the_large_memory_holds():
    found = ahead.memory_of(ASSIGNMENT)
    assert (found.arguments, found.aliased, found.total) == (5120, 4096, 512 + 5120 + 65536)


def test_a_program_counts_once_it_is_written_whole(tmp_path: pathlib.Path, monkeypatch):
    mine, other = multiprocessing.Pipe()
    path = tmp_path / "module_0003.jit_train_step.after_optimizations_after_buffer_assignment.txt"
    path.write_text("HloModule jit_train_step\n\nENTRY %main {\n")
    polls = []

    def poll(seconds: float) -> bool:
        polls.append(path.stat().st_size)
        if len(polls) == 4:
            with path.open("a") as file:
                file.write("  ROOT %x = f32[] constant(0)\n}\n\n")
        return False

    monkeypatch.setattr(mine, "poll", poll)
    assert ahead._wait(mine, tmp_path) is None
    assert len(polls) > 4 and polls[-1] > polls[0]
    other.close()


def test_refusals_and_failures_of_the_compiler_are_told(tmp_path: pathlib.Path):
    mine, other = multiprocessing.Pipe()
    other.send("RESOURCE_EXHAUSTED: Used 23.5G of 15.75G hbm.")
    assert ahead._wait(mine, tmp_path) == "RESOURCE_EXHAUSTED: Used 23.5G of 15.75G hbm."
    other.send(ahead.CompileError("INVALID_ARGUMENT: no such flag"))
    with pytest.raises(ahead.CompileError, match="no such flag"):
        ahead._wait(mine, tmp_path)
    other.close()
    with pytest.raises(ahead.CompileError, match="ended without a word"):
        ahead._wait(mine, tmp_path)
