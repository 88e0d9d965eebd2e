"""The encoders as ONNX (https://onnx.ai), for onnxruntime and what else reads it.

DIR/FUNCTION.onnx holds a graph; its weights stand in DIR/model.safetensors, at the bytes that it
names (external data), so three functions do not hold them thrice. It is made operation by operation
from what jax traces: jax2onnx, which does the like, asks for an orbax older than ours and has no
symbolic lengths for this network, and tf2onnx does not read what jax hands to TensorFlow.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend import core

from videobert_jax.export import onnx_operators
from videobert_jax.export.flat import Program
from videobert_jax.export.functions import Argument, Function
from videobert_jax.export.onnx_graph import Graph, Operand
from videobert_jax.files import tensors

OPSET, IR_VERSION = 18, 9  # of 2022, so that runtimes older than this package read them
SUFFIX = ".onnx"


def write(programs: Sequence[Program], weights: pathlib.Path) -> dict[str, Any]:
    """Writes the programs beside the file of weights; what the manifest says of the format.

    Raises ExportError where the network has an operation without an operator.
    """
    places = tensors.places(weights)
    for program in programs:
        model = converted(program, weights.name, places)
        file = weights.parent / f"{program.function.name}{SUFFIX}"
        file.write_bytes(model.SerializeToString(deterministic=True))
    return {"opset": OPSET, "ir_version": IR_VERSION}


def converted(program: Program, weights_file: str, places: dict[str, tuple[int, int]]) -> Any:
    """ModelProto of a program whose tensors stand in `weights_file` at these bytes."""
    function, jaxpr = program.function, program.jaxpr.jaxpr
    graph = Graph(_sizes(function))
    parameters = jaxpr.invars[: len(program.parameters)]
    known: dict[Any, Operand] = {}
    for name, variable in zip(program.parameters, parameters, strict=True):
        shape, dtype = variable.aval.shape, variable.aval.dtype
        known[variable] = Operand(
            graph.weight(name, shape, dtype, weights_file, places[name]), shape
        )
    for variable, value in zip(jaxpr.constvars, program.jaxpr.consts, strict=True):
        array = np.asarray(value)
        known[variable] = Operand(graph.constant(array, array.dtype), array.shape)
    inputs = jaxpr.invars[len(parameters) :]
    for argument, variable in zip(function.inputs, inputs, strict=True):
        known[variable] = Operand(argument.name, variable.aval.shape)

    def read(atom: Any) -> Operand:
        if isinstance(atom, core.Literal):
            literal: Any = atom.aval
            return Operand(graph.constant(atom.val, literal.dtype), literal.shape)
        return known[atom]

    for equation in jaxpr.eqns:
        (result,) = equation.outvars
        operands = [read(atom) for atom in equation.invars]
        known[result] = onnx_operators.converted(graph, equation, operands)
    for argument, atom in zip(function.outputs, jaxpr.outvars, strict=True):
        graph.give(graph.whole(read(atom), atom.aval.shape), argument.name)
    return _model(graph, function)


def _sizes(function: Function) -> dict[str, tuple[str, int]]:
    """Where the size of each dimension that a caller chooses is found: an input and its axis."""
    return {
        size: (argument.name, axis)
        for argument in reversed(function.inputs)
        for axis, size in enumerate(argument.shape)
        if isinstance(size, str)
    }


def _model(graph: Graph, function: Function) -> Any:
    helper = graph.onnx.helper

    def described(argument: Argument) -> Any:
        element_type = graph.element_type(argument.dtype)
        return helper.make_tensor_value_info(argument.name, element_type, argument.shape)

    made = helper.make_graph(
        graph.nodes,
        function.name,
        [described(argument) for argument in function.inputs],
        [described(argument) for argument in function.outputs],
        list(graph.initializers.values()),
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(
        made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="videobert_jax"
    )
