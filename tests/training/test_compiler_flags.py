"""Compilers are told once; what a user says stays."""

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


def test_each_platform_reads_its_own_variable_and_cpu_none():
    environment: dict[str, str] = {}
    compiler_flags.say("cpu", environment)
    assert environment == {} and compiler_flags.said(environment) == {}
    compiler_flags.say("tpu", environment)
    assert list(environment) == ["LIBTPU_INIT_ARGS"]
