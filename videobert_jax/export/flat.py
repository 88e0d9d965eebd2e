"""A function of the network as one list of plain operations over the tensors of an export.

In training the layers of a stack are one scanned loop over stacked leaves. An export has a tensor a
layer; a loop over them would first copy all weights into one array, at every call. So loops are
unrolled here, and calls are put in place, once for all formats.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import export as jax_export
from jax.extend import core

from videobert_jax.export import functions, names
from videobert_jax.export.functions import Argument, Function
from videobert_jax.models.bundle import ModelBundle

# Primitives that only call what stands in the parameter named.
_CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
_SAME = {"name", "stop_gradient"}  # notes to the compiler and to differentiation


@dataclasses.dataclass(frozen=True)
class Program:
    """A function as operations. `jaxpr` takes the tensors of `parameters`, in their order, then the
    function's inputs; the input statistics of the video are its constants. The dimensions of
    `inputs` that a caller chooses are symbols of jax.export, up to the maxima."""

    function: Function
    jaxpr: core.ClosedJaxpr
    parameters: dict[str, jax.ShapeDtypeStruct]
    inputs: tuple[jax.ShapeDtypeStruct, ...]


@dataclasses.dataclass(frozen=True)
class _Layers:
    """What stands for a stacked leaf: the tensors of the layers."""

    tensors: Sequence[Any]


def program(bundle: ModelBundle, function: Function) -> Program:
    """`function` of the bundle's network, for any number and length of inputs."""
    model, inputs = functions.network(bundle), _inputs(bundle, function)
    statistics = bundle.variables["constants"]["video_embedding"]
    statistics = {name: np.asarray(values, np.float32) for name, values in statistics.items()}

    def of_variables(variables: Any, *values: jax.Array) -> tuple[jax.Array, ...]:
        constants = variables["constants"] | {"video_embedding": statistics}
        return function.apply(model, {**variables, "constants": constants}, *values)

    tensors = names.tensor_structs(bundle.config)
    stacked = names.arrange(tensors, _stacked_struct)
    scanned = jax.make_jaxpr(of_variables)(stacked, *inputs)

    def of_tensors(by_name: dict[str, jax.Array], *values: jax.Array) -> list[Any]:
        variables = names.arrange(by_name, _Layers)
        return evaluate(scanned, *jax.tree.leaves(variables), *values)

    flat = jax.make_jaxpr(of_tensors)(tensors, *inputs)
    return _used(function, flat, tensors, inputs)


def _inputs(bundle: ModelBundle, function: Function) -> tuple[jax.ShapeDtypeStruct, ...]:
    longest = functions.maxima(bundle)
    dimensions = function.dimensions
    symbols = jax_export.symbolic_shape(
        ", ".join(dimensions),
        constraints=[f"{name} <= {longest[name]}" for name in dimensions if name in longest],
    )
    sizes: dict[int | str, Any] = dict(zip(dimensions, symbols, strict=True))
    return tuple(_struct(argument, sizes) for argument in function.inputs)


def _struct(argument: Argument, sizes: dict[int | str, Any]) -> jax.ShapeDtypeStruct:
    shape = tuple(sizes.get(size, size) for size in argument.shape)
    return jax.ShapeDtypeStruct(shape, np.dtype(argument.dtype))


def _stacked_struct(layers: Sequence[jax.ShapeDtypeStruct]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((len(layers), *layers[0].shape), layers[0].dtype)


def evaluate(closed: core.ClosedJaxpr, *inputs: Any) -> list[Any]:
    """Outputs of the operations, loops unrolled and calls in place; an input may be `_Layers` where
    loops alone read it."""
    jaxpr = closed.jaxpr
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    values |= dict(zip(jaxpr.invars, inputs, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for equation in jaxpr.eqns:
        read_values = [read(atom) for atom in equation.invars]
        name, settings = equation.primitive.name, equation.params
        if name in _CALLS:
            outputs = evaluate(settings[_CALLS[name]], *read_values)
        elif name == "scan":
            outputs = _unrolled(settings, read_values)
        elif name in _SAME:
            outputs = read_values
        else:
            outputs = equation.primitive.bind(*read_values, **settings)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        values |= dict(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _unrolled(settings: dict[str, Any], inputs: Sequence[Any]) -> list[Any]:
    """What a scan over layers gives: what goes from layer to layer, and nothing else."""
    num_constants, num_carried = settings["num_consts"], settings["num_carry"]
    constants, rest = inputs[:num_constants], inputs[num_constants:]
    carried, stacks = list(rest[:num_carried]), rest[num_carried:]
    for layer in range(settings["length"]):
        of_layer = [stack.tensors[layer] for stack in stacks]
        carried = evaluate(settings["jaxpr"], *constants, *carried, *of_layer)
    return carried


def _used(
    function: Function,
    closed: core.ClosedJaxpr,
    tensors: dict[str, jax.ShapeDtypeStruct],
    inputs: tuple[jax.ShapeDtypeStruct, ...],
) -> Program:
    """The operations and tensors that the outputs depend on."""
    jaxpr = closed.jaxpr
    needed = {atom for atom in jaxpr.outvars if not isinstance(atom, core.Literal)}
    kept = []
    for equation in reversed(jaxpr.eqns):
        if needed.intersection(equation.outvars):
            kept.append(equation)
            needed |= {atom for atom in equation.invars if not isinstance(atom, core.Literal)}
    by_name = sorted(tensors)  # the order of a dictionary's leaves
    variables = dict(zip(by_name, jaxpr.invars[: len(by_name)], strict=True))
    read = {name: variable for name, variable in variables.items() if variable in needed}
    invars = [*read.values(), *jaxpr.invars[len(by_name) :]]
    pruned = jaxpr.replace(eqns=kept[::-1], invars=invars)
    parameters = {name: tensors[name] for name in read}
    return Program(function, core.ClosedJaxpr(pruned, closed.consts), parameters, inputs)
