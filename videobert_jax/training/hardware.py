"""Processes, devices and what they can do: started once, before the first device call."""

import functools
import importlib.util
import math
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from videobert_jax.files import compilation_cache, storage
from videobert_jax.training import compiler_flags, processes

# Dense bfloat16 FLOP/s of one jax device, by the beginning of its device_kind. Chips on which a
# device is only one of two cores (TPU v2, v3, 7x) are left out: mfu is then not reported.
PEAK_FLOPS: dict[str, float] = {
    "TPU v4": 275e12,  # cloud.google.com/tpu/docs/v4
    "TPU v5 lite": 197e12,  # cloud.google.com/tpu/docs/v5e
    "TPU v5e": 197e12,
    "TPU v5p": 459e12,  # cloud.google.com/tpu/docs/v5p
    "TPU v5": 459e12,  # what the runtime calls a v5p
    "TPU v6 lite": 918e12,  # cloud.google.com/tpu/docs/v6e
    "TPU v6e": 918e12,
    "NVIDIA A100": 312e12,  # NVIDIA A100 data sheet
    "NVIDIA H100 PCIe": 756e12,  # NVIDIA H100 data sheet, halved: it states 2:4 sparsity
    "NVIDIA H100": 989e12,  # SXM5, likewise
    "NVIDIA H200 NVL": 835e12,  # likewise
    "NVIDIA H200": 989e12,  # NVIDIA H200 data sheet, likewise
    "NVIDIA H100 NVL": 835e12,  # likewise
    "NVIDIA L4": 121e12,  # NVIDIA L4 data sheet, likewise
    "NVIDIA A10G": 70e12,  # NVIDIA A10G data sheet, likewise
}


# Of the products whose rate is measured: as large as those of a large network, and so many.
_SQUARE, _SQUARE_ON_CPU, _PRODUCTS, _TRIES = 8192, 512, 4, 4

# Products as large as queries times keys in cuDNN's attention, which is one operation to jax:
# scores and context; backward the scores again, and two for the gradients of either.
_CUDNN_PRODUCTS = {
    "dot_product_attention_fwd_wrapper": 2,
    "dot_product_attention_bwd_wrapper": 5,
}

KEPT_PROGRAMS = "compiled"  # folder of a deterministic run's workdir
_DEVICES = pathlib.Path("/dev")


class HardwareError(ValueError):
    """Devices or processes that are not as the settings say."""


def start(
    platform: str,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    deterministic_in: storage.Path | None = None,
) -> str:
    """One line that names the devices; joins the other processes and sets the compilation cache.

    deterministic_in: the workdir of a run with deterministic=True, of which a second line speaks.

    platform: "" for the accelerator there is, else "cpu", "gpu" or "tpu". Processes are given by
    arguments, by JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, by Slurm's srun, or
    on TPU found by the runtime itself. Raises HardwareError where an accelerator is present but
    unused, or the workdir cannot keep what determinism needs, FlagError, and ProcessError where
    processes do not find each other.
    """
    _choose_platforms(platform)
    expected = _platform_to_be(platform)
    compiler_flags.say(expected, deterministic=deterministic_in is not None)
    kept = None
    if deterministic_in is not None and expected == "gpu":
        kept = _kept_programs(deterministic_in)
    compilation_cache.use(kept)
    _join_processes(platform, coordinator, num_processes, process_id)
    try:
        devices = jax.devices()
    except RuntimeError as error:
        raise HardwareError(
            f"platform={platform!r}: jax finds no such devices ({error}); install the accelerator "
            "packages (make setup ACCELERATOR=cuda12|cuda13|tpu) or say --config.platform=cpu."
        ) from error
    require_accelerator_in_use(platform, devices[0].platform)
    if deterministic_in is None:
        return describe(devices)
    return f"{describe(devices)}\n{determinism(devices[0].platform, deterministic_in)}"


def _kept_programs(workdir: storage.Path) -> pathlib.Path:
    """Folder in the workdir of compiled programs and of what autotuning chose for them: programs of
    another run's choice would have other bits, and no choice at hand would be made anew."""
    if not isinstance(workdir, pathlib.Path):
        raise HardwareError(
            f"deterministic=True keeps what autotuning chose in the workdir, and the compiler does "
            f"not write to buckets ({workdir}); use a --workdir on a disk that all processes see, "
            "or deterministic=False."
        )
    return workdir.absolute() / KEPT_PROGRAMS


def determinism(platform: str, workdir: storage.Path) -> str:
    """What deterministic=True does on a platform, and what it costs."""
    if platform != "gpu":
        return f"deterministic: nothing to do on {platform}, which sums in one order"
    flags = ", ".join(f"--{name}" for name in compiler_flags.DETERMINISTIC[platform])
    return (
        f"deterministic: {flags}; what autotuning chooses is kept in {workdir / KEPT_PROGRAMS}. It "
        "costs the faster forms of scatters and products, and the programs that other runs have "
        "compiled; compare seconds_step with a run without"
    )


def keep_to_host() -> None:
    """Keeps jax off accelerators, before its first use: reading checkpoints needs none, and the
    TPU of a run under way cannot be opened by a second process."""
    jax.config.update("jax_platforms", "cpu")


def describe(devices: list[Any]) -> str:
    """ "devices: 8 x TPU v4 (tpu), process 0 of 2"."""
    kinds = sorted({device.device_kind for device in devices})
    return (
        f"devices: {len(devices)} x {', '.join(kinds)} ({devices[0].platform}), "
        f"process {jax.process_index()} of {jax.process_count()}"
    )


def present_accelerators(folder: pathlib.Path = _DEVICES) -> list[str]:
    """Device files of NVIDIA GPUs and TPUs, whether or not jax can use them."""
    found = [*folder.glob("nvidia[0-9]*"), *_tpu_files(folder)]
    return sorted(str(path) for path in found)


def require_accelerator_in_use(platform: str, used: str, folder: pathlib.Path = _DEVICES) -> None:
    """Raises HardwareError where jax runs on CPU beside an accelerator, unless CPU was asked."""
    present = present_accelerators(folder)
    if present and used == "cpu" and platform != "cpu":
        raise HardwareError(
            f"an accelerator is present ({', '.join(present)}) but jax runs on cpu: the packages "
            "for it are not installed, or JAX_PLATFORMS hides it. Install them (make setup "
            "ACCELERATOR=cuda12|cuda13|tpu), or say that CPU is meant: train.py "
            "--config.platform=cpu, eval.py --platform=cpu, make PLATFORM=cpu."
        )


def _choose_platforms(platform: str) -> None:
    if platform:
        jax.config.update("jax_platforms", platform)
    elif not _platforms_asked() and _has_libtpu() and not _tpu_files(_DEVICES):
        # Where the TPU compiler is installed without a TPU, jax would look for one for minutes.
        gpus = any("nvidia" in path for path in present_accelerators())
        jax.config.update("jax_platforms", "cuda,cpu" if gpus else "cpu")


def _platform_to_be(platform: str) -> str:
    """The platform that jax will start, told before it does."""
    asked = platform or _platforms_asked() or ""
    if asked:
        first = asked.split(",")[0]
        return "gpu" if first in ("cuda", "rocm") else first
    if _tpu_files(_DEVICES) and _has_libtpu():
        return "tpu"
    return "gpu" if present_accelerators() else "cpu"


def _platforms_asked() -> str | None:
    config: Any = jax.config  # its settings are made at run time
    return config.jax_platforms


def _has_libtpu() -> bool:
    return importlib.util.find_spec("libtpu") is not None


def _tpu_files(folder: pathlib.Path) -> list[pathlib.Path]:
    return [*folder.glob("accel[0-9]*"), *folder.glob("vfio/[0-9]*")]


def _join_processes(
    platform: str, coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    given = {
        "--coordinator": coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS"),
        "--num_processes": _number(num_processes, "JAX_NUM_PROCESSES"),
        "--process_id": _number(process_id, "JAX_PROCESS_ID"),
    }
    # It would take SIGTERM for itself, and says nothing of it before the next step: see preemption
    jax.config.update("jax_enable_preemption_service", False)
    missing = [flag for flag, value in given.items() if value is None]
    if len(missing) == len(given):
        on_tpu = _tpu_files(_DEVICES) and _has_libtpu() and platform != "cpu"
        if (on_tpu or _started_by_slurm()) and not jax.distributed.is_initialized():
            # the TPU runtime knows its pod, srun says its tasks
            jax.distributed.initialize(heartbeat_timeout_seconds=processes.HEARTBEAT_SECONDS)
        return
    if missing:
        raise HardwareError(
            f"several processes need --coordinator=HOST:PORT, --num_processes and --process_id; "
            f"missing: {', '.join(missing)}."
        )
    processes.join(*given.values(), seconds=processes.JOIN_SECONDS)


def _started_by_slurm() -> bool:
    """Whether srun started this process as one of several; in a shell that waits for them it did
    not, though most of Slurm's variables are there too."""
    tasks = _number(None, "SLURM_STEP_NUM_TASKS")
    return "SLURM_STEP_NODELIST" in os.environ and tasks is not None and tasks > 1


def _number(value: int | None, variable: str) -> int | None:
    if value is None and variable in os.environ:
        text = os.environ[variable]
        if not text.isdigit():
            raise HardwareError(f"{variable}={text!r} is not a number of processes.")
        return int(text)
    return value


def peak_flops(device_kind: str) -> float | None:
    """Dense bfloat16 FLOP/s of a device by its data sheet; None where it is not known, as of a part
    of a card (MIG)."""
    if " MIG " in device_kind:
        return None
    for kind in sorted(PEAK_FLOPS, key=len, reverse=True):
        if device_kind.startswith(kind) and not device_kind[len(kind) :][:1].isalnum():
            return PEAK_FLOPS[kind]
    return None


def matmul_flops(function: Callable[..., Any], *structs: Any) -> float:
    """FLOPs of the matrix products of one call, over all devices; nothing is compiled.

    Counted in the jaxpr, loops times their length: XLA's own cost analysis counts the body of a
    scan over layers once. Recomputation under remat is counted where it happens.
    """
    return jaxpr_matmul_flops(jax.make_jaxpr(function)(*structs))


def jaxpr_matmul_flops(closed: jax.extend.core.ClosedJaxpr) -> float:
    """As `matmul_flops`, of a function that is traced already."""
    return _flops(closed.jaxpr)


@functools.lru_cache
def measured_matmul_rate(mesh: Mesh, dtype: str) -> float:
    """FLOP/s of large square products of this dtype, made on all devices of a mesh at a time.

    The best of a few tries, each a chain long enough that starting it costs nothing. Takes less
    than a second; measured once.
    """
    size = _SQUARE_ON_CPU if mesh.devices.flat[0].platform == "cpu" else _SQUARE
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))

    @functools.partial(jax.jit, out_shardings=sharding)
    def squares() -> jax.Array:  # orthogonal in expectation, so that chains of them stay finite
        values = jax.random.normal(jax.random.key(0), (mesh.size, size, size)) * size**-0.5
        return values.astype(dtype)

    @jax.jit
    def chain(values: jax.Array) -> jax.Array:
        result = values
        for _ in range(_PRODUCTS):
            result = jnp.einsum("kij,kjl->kil", result, values)
        return result

    with jax.set_mesh(mesh):
        values = squares()
        jax.block_until_ready(chain(values))
        seconds = []
        for _ in range(_TRIES):
            begun = time.perf_counter()
            jax.block_until_ready(chain(values))
            seconds.append(time.perf_counter() - begun)
    return mesh.size * _PRODUCTS * 2.0 * size**3 / min(seconds)


def _flops(jaxpr: Any) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            total += _dot_flops(equation)
            continue
        if equation.primitive.name in _CUDNN_PRODUCTS:
            query, key = (operand.aval.shape for operand in equation.invars[:2])  # [..., n, h]
            products = _CUDNN_PRODUCTS[equation.primitive.name]
            total += products * 2.0 * math.prod(query) * key[-3]
            continue
        inner = [_flops(body) for body in inner_jaxprs(equation)]
        if equation.primitive.name == "scan":
            total += equation.params["length"] * sum(inner)
        elif equation.primitive.name == "cond":
            total += max(inner, default=0.0)
        elif equation.primitive.name == "shard_map":
            total += sum(inner) * equation.params["mesh"].size  # inside, shapes are a device's
        elif equation.primitive.name == "pallas_call":  # a kernel, run at every point of a grid
            total += sum(inner) * math.prod(equation.params["grid_mapping"].grid)
        else:
            total += sum(inner)
    return total


def inner_jaxprs(equation: Any) -> list[Any]:
    """Jaxprs that an equation of a jaxpr runs: the body of a loop, branches, a function."""
    found = []
    for value in equation.params.values():
        for entry in value if isinstance(value, tuple | list) else (value,):
            entry = getattr(entry, "jaxpr", entry)  # a ClosedJaxpr holds the jaxpr
            if hasattr(entry, "eqns"):
                found.append(entry)
    return found


def _dot_flops(equation: Any) -> float:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    depth = math.prod(left[axis] for axis in contracted)
    return 2.0 * depth * math.prod(equation.outvars[0].aval.shape)
