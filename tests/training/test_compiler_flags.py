"""Compilers are told once; what a user says stays."""

import pytest

from videobert_jax.training import compiler_flags

FLAG = "xla_gpu_enable_latency_hiding_scheduler"


def test_flags_join_those_that_are_said_and_give_way_to_them():
    environment = {"XLA_FLAGS": f"--xla_dump_to=/dump  --{FLAG}=false"}
    compiler_flags.say("gpu", environment)
    compiler_flags.say("gpu", environment)  # a second time adds nothing
    said = environment["XLA_FLAGS"].split()
    assert said[:2] == ["--xla_dump_to=/dump", f"--{FLAG}=false"]
    assert [flag for flag in said if FLAG in flag] == [f"--{FLAG}=false"]
    assert "--xla_gpu_enable_pipelined_all_gather=true" in said and len(said) == 5
    assert compiler_flags.said(environment) == environment


def test_determinism_has_flags_of_its_own_on_gpus_alone():
    environment: dict[str, str] = {}
    compiler_flags.say("cpu", environment, deterministic=True)
    assert environment == {}
    compiler_flags.say("gpu", environment, deterministic=True)
    assert "--xla_gpu_exclude_nondeterministic_ops=true" in environment["XLA_FLAGS"].split()
    ordinary: dict[str, str] = {}
    compiler_flags.say("gpu", ordinary)
    assert "nondeterministic" not in ordinary["XLA_FLAGS"]


@pytest.mark.parametrize("said", ["=false", "=0"])
def test_a_flag_that_takes_determinism_back_is_refused(said: str):
    environment = {"XLA_FLAGS": f"--xla_gpu_exclude_nondeterministic_ops{said}"}
    with pytest.raises(compiler_flags.FlagError, match=f"ops{said}, and deterministic=True needs"):
        compiler_flags.say("gpu", environment, deterministic=True)
    compiler_flags.say("gpu", environment)  # what a run that is not does with it is its own affair
    environment = {"XLA_FLAGS": "--xla_gpu_exclude_nondeterministic_ops"}  # true without a value
    compiler_flags.say("gpu", environment, deterministic=True)


def test_each_platform_reads_its_own_variable_and_cpu_none():
    environment: dict[str, str] = {}
    compiler_flags.say("cpu", environment)
    assert environment == {} and compiler_flags.said(environment) == {}
    compiler_flags.say("tpu", environment)
    assert list(environment) == ["LIBTPU_INIT_ARGS"]
