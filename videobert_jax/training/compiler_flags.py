"""Flags of the compiler, a platform: the one place where the project says any.

They are read when a platform starts, so they are said before. Those that overlap communication with
arithmetic are of public recipes: for TPU MaxText's (benchmarks/xla_flags_library.py), of which
libtpu's own defaults leave some off; for GPU the "GPU performance tips" of jax's documentation. On
CPU there is none: nothing communicates. A flag that a library does not know ends the process, so
tests/parity/test_compiler_flags.py compiles with the TPU's, and jaxlib parses the GPU's.
"""

import os
from collections.abc import MutableMapping

# Environment variable that a platform reads, and what it is told there.
FLAGS: dict[str, tuple[str, dict[str, str]]] = {
    "tpu": (
        "LIBTPU_INIT_ARGS",
        {
            # All-gathers of parameters (fsdp) run beside the products that do not need them yet.
            "xla_tpu_enable_async_collective_fusion": "true",
            "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "true",
            "xla_tpu_enable_async_collective_fusion_multiple_steps": "true",
            "xla_tpu_overlap_compute_collective_tc": "true",
            "xla_enable_async_all_gather": "true",
            # Reductions of gradients over data run beside the backward pass, across slices too.
            "xla_tpu_enable_data_parallel_all_reduce_opt": "true",
            "xla_tpu_data_parallel_opt_different_sized_ops": "true",
            # No product is cut into as many as its kernel has shards, to send a shard while
            # the one before is used: each part would read, or write, all activations.
            "xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000",
        },
    ),
    "gpu": (
        "XLA_FLAGS",
        {
            "xla_gpu_enable_latency_hiding_scheduler": "true",
            # As part of the scan over layers: the next layer's parameters are gathered in this one.
            "xla_gpu_enable_pipelined_all_gather": "true",
            "xla_gpu_enable_pipelined_reduce_scatter": "true",
            "xla_gpu_enable_pipelined_all_reduce": "true",
        },
    ),
}


# What `--config.deterministic` needs beside them, a platform: XLA's documentation, "Determinism
# (GPU)". It leaves autotuning on, whose choices `hardware.start` keeps; a scatter or product that
# sums in an order of its own is replaced by a slower one, a select-and-scatter fails to compile.
DETERMINISTIC: dict[str, dict[str, str]] = {
    "gpu": {"xla_gpu_exclude_nondeterministic_ops": "true"},
}


class FlagError(ValueError):
    """A flag of the environment that contradicts the settings."""


def say(
    platform: str,
    environment: MutableMapping[str, str] = os.environ,
    *,
    deterministic: bool = False,
) -> None:
    """Adds the platform's flags to the environment; those that it says already stay as they are.

    platform: "tpu", "gpu", or another, which has none. Raises FlagError where the environment
    takes back what `deterministic` needs.
    """
    variable, flags = FLAGS.get(platform, ("", {}))
    said = environment.get(variable, "").split()
    known = {_name(flag): flag.partition("=")[2] for flag in said}
    if deterministic:
        needed = DETERMINISTIC.get(platform, {})
        for name, value in needed.items():
            if known.get(name, value).lower() not in (value, "1", ""):
                raise FlagError(
                    f"{variable} says --{name}={known[name]}, and deterministic=True needs "
                    f"{value}; take it out of {variable}, or say --config.deterministic=False."
                )
        flags = flags | needed
    added = [f"--{name}={value}" for name, value in flags.items() if name not in known]
    if added:
        environment[variable] = " ".join([*said, *added])


def said(environment: MutableMapping[str, str] = os.environ) -> dict[str, str]:
    """What compilers are told, by environment variable, for the record of a run."""
    variables = sorted({"XLA_FLAGS", *(variable for variable, _ in FLAGS.values())})
    return {name: environment[name] for name in variables if environment.get(name)}


def _name(flag: str) -> str:
    return flag.lstrip("-").partition("=")[0]
