"""The encoders as StableHLO by jax.export, which jax alone reads back and runs.

DIR/FUNCTION.stablehlo is for cpu, cuda and tpu at once, for any number of rows and any length up to
the maxima. Weights are arguments, the tensors of DIR/model.safetensors by name: inside, each
function would hold them anew, and as constants that a compiler folds at length.
"""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax import export as jax_export
from jax.extend import core

from videobert_jax.export.flat import Program

PLATFORMS = ("cpu", "cuda", "tpu")
SUFFIX = ".stablehlo"


def write(programs: Sequence[Program], weights: pathlib.Path) -> dict[str, Any]:
    """Writes the programs beside the file of weights; what the manifest says of the format."""
    version = 0
    for program in programs:
        exported = _exported(program)
        version = exported.calling_convention_version
        file = weights.parent / f"{program.function.name}{SUFFIX}"
        file.write_bytes(exported.serialize(vjp_order=0))
    return {
        "platforms": list(PLATFORMS),
        "jax": jax.__version__,
        "calling_convention_version": version,
    }


def _exported(program: Program) -> jax_export.Exported:
    operations = core.jaxpr_as_fun(program.jaxpr)
    outputs = [argument.name for argument in program.function.outputs]

    def call(tensors: dict[str, jax.Array], *inputs: jax.Array) -> dict[str, jax.Array]:
        values = operations(*(tensors[name] for name in program.parameters), *inputs)
        return dict(zip(outputs, values, strict=True))

    call.__name__ = program.function.name
    with _without_places():
        exported = jax_export.export(jax.jit(call), platforms=PLATFORMS)
        return exported(program.parameters, *program.inputs)


@contextlib.contextmanager
def _without_places() -> Iterator[None]:
    """Leaves out of what is traced where its source lies, which is nobody's concern elsewhere, and
    would make equal exports differ."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)
